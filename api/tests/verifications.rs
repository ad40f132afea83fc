//! Verifications: what a verdict says, of which moment, and that it is recorded or not given.

#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credence_api::config::Role;
use credence_ledger::event::New;
use credence_ledger::event::Origination;
use credence_ledger::event::audit::{AuditEvent, CredentialVerified};
use credence_ledger::log::{Append, Expected};
use credence_ledger::testing::ManualClock;
use credence_ledger::{Clock, LogPosition, Stream};
use credence_projections::projection::Projection;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, Engine, Issuer, TestApp, User, send};

engines!(
    a_credential_is_verified_by_id_digest_document_and_secret,
    holder_details_must_match_in_normal_form,
    an_unknown_credential_and_a_wrong_detail_are_answered_alike,
    a_changed_document_is_tampered,
    the_status_follows_from_state_dates_and_time,
    a_verdict_can_be_asked_as_of_an_earlier_time_or_position,
    a_verdict_is_the_same_again_as_of_the_moment_it_tells,
    a_verdict_of_a_date_that_just_came_is_the_same_again,
    a_moment_that_is_not_reached_is_waited_for,
    a_secret_is_found_at_its_issuer_and_the_newest_speaks,
    each_verdict_is_recorded_with_its_true_cause,
    what_was_erased_is_told_to_whoever_has_its_document_alone,
    without_a_record_there_is_no_verdict,
    a_malformed_question_is_told_what_is_wrong,
    a_read_model_that_stopped_gives_no_verdict,
    a_read_model_that_is_not_confirmed_gives_no_verdict,
    issuing_may_be_down_while_verifying,
);

/// With a clock that the test moves, by days if need be.
async fn started(engine: Engine) -> (TestApp, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let builder = TestApp::builder(engine).await.with(|config| config.staleness_max = Duration::from_secs(3600 * 24 * 365));
    (builder.clock(clock.clone()).start().await, clock)
}

fn credential(name: &str, email: &str) -> Value {
    json!({"type": "badge", "subject": {"name": name, "email": email}})
}

async fn head(app: &TestApp) -> String {
    let last = app.services().ledger().unwrap().log.head().await.unwrap().last().unwrap();
    format!("ledger@{last}")
}

/// Asks, waiting for a position.
async fn ask_at(app: &TestApp, position: &str, question: &Value) -> Answer {
    send(app.anonymous().request(Method::POST, "/v1/verifications").json(question).header("ledger-min-position", position)).await
}

/// Asks once the read model has applied all that the ledger holds.
async fn ask(app: &TestApp, question: Value) -> Value {
    ask_at(app, &head(app).await, &question).await.expect(200).body
}

async fn status(app: &TestApp, question: Value) -> String {
    let verdict = ask(app, question).await;
    assert_eq!(verdict["valid"], verdict["status"] == "active");
    verdict["status"].as_str().unwrap().to_owned()
}

async fn act(issuer: &Issuer, issued: &Value, what: &str) -> Answer {
    issuer.post_empty(&format!("/v1/credentials/{}/{what}", issued["id"].as_str().unwrap())).await.expect(200)
}

async fn a_credential_is_verified_by_id_digest_document_and_secret(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.post("/v1/credentials", &credential("Ada", "ada@example.org")).await.expect(201).body;
    let secret = issuer.post("/v1/credentials", &json!({"type": "code", "secret": "open sesame"})).await.expect(201).body;
    let mut signed = issued["document"].clone();
    signed["proof"] = json!({"type": "DataIntegrityProof", "cryptosuite": "ecdsa-jcs-2019"});
    for (question, of) in [
        (json!({"id": issued["id"]}), &issued),
        (json!({"id": issued["id"].as_str().unwrap().to_uppercase(), "secret": null}), &issued),
        (json!({"digest": issued["digest"]}), &issued),
        (json!({"digest": issued["digest"], "issuer": "default"}), &issued),
        (json!({"document": issued["document"]}), &issued),
        (json!({"document": signed}), &issued),
        (json!({"secret": "open sesame"}), &secret),
        (json!({"secret": "open sesame", "issuer": "default"}), &secret),
        (json!({"digest": secret["digest"]}), &secret),
        (json!({"id": secret["id"]}), &secret),
    ] {
        let answer = ask_at(&app, &head(&app).await, &question).await.expect(200);
        let verdict = &answer.body;
        assert_eq!((&verdict["valid"], &verdict["status"]), (&json!(true), &json!("active")), "{question}");
        let shown = json!({"id": of["id"], "type": of["type"], "issuer": "default", "issued_at": of["issued_at"], "issued_by": "test-worker",
            "valid_from": null, "valid_until": null});
        assert_eq!(verdict["credential"], shown);
        assert_eq!((&verdict["verified_by"], &verdict["message"]), (&json!("test-worker"), &json!("credential verified by test-worker")));
        assert_eq!(verdict["as_of_position"], answer.header("ledger-as-of"));
        assert!(verdict["verified_at"].is_string() && verdict["as_of"].is_string());
        assert!(verdict["audit_position"].as_str().unwrap().starts_with("audit@"));
        assert_eq!(verdict.as_object().unwrap().len(), 9);
    }
}

async fn holder_details_must_match_in_normal_form(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.post("/v1/credentials", &credential("Zoë Müller", "zoe@example.org")).await.expect(201).body;
    let secret = issuer.post("/v1/credentials", &json!({"type": "code", "secret": "s"})).await.expect(201).body;
    for (subject, expected) in [
        (json!({}), "active"),
        (json!({"name": null}), "active"),
        (json!({"name": " Zoe\u{308}  Müller"}), "active"),
        (json!({"email": "ZOE@example.ORG "}), "active"),
        (json!({"name": "Zoë Müller", "email": "zoe@example.org"}), "active"),
        (json!({"name": "zoë müller"}), "not_found"),
        (json!({"name": "Zoë"}), "not_found"),
        (json!({"email": "other@example.org"}), "not_found"),
        (json!({"name": "Zoë Müller", "email": "other@example.org"}), "not_found"),
        (json!({"name": "Other", "email": "zoe@example.org"}), "not_found"),
        (json!({"email": "no address"}), "not_found"),
    ] {
        assert_eq!(status(&app, json!({"id": issued["id"], "subject": subject})).await, expected, "{subject}");
    }
    assert_eq!(status(&app, json!({"id": secret["id"], "subject": {"name": "Zoë Müller"}})).await, "not_found");
    assert_eq!(status(&app, json!({"id": secret["id"], "subject": {}})).await, "active");
}

async fn an_unknown_credential_and_a_wrong_detail_are_answered_alike(engine: Engine) {
    let (app, _) = started(engine).await;
    let issued = app.issuer().await.post("/v1/credentials", &credential("Ada", "ada@example.org")).await.expect(201).body;
    let unknown = "0198c5a2-0000-7000-8000-000000000001";
    let wrong = ask_at(&app, &head(&app).await, &json!({"id": issued["id"], "subject": {"name": "Eve"}})).await;
    let none = ask_at(&app, &head(&app).await, &json!({"id": unknown, "subject": {"name": "Eve"}})).await;
    let bare = |answer: &Answer| {
        let mut body = answer.body.clone();
        body["audit_position"] = Value::Null;
        let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        headers.sort();
        (answer.status, body, headers, answer.header("content-length").to_owned())
    };
    assert_eq!(bare(&wrong), bare(&none));
    assert_eq!((&wrong.body["status"], &wrong.body["credential"]), (&json!("not_found"), &Value::Null));
}

async fn a_changed_document_is_tampered(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.post("/v1/credentials", &credential("Ada", "ada@example.org")).await.expect(201).body;
    let secret = issuer.post("/v1/credentials", &json!({"type": "code", "secret": "s"})).await.expect(201).body;
    let changed = |member: &str, value: Value| {
        let mut document = issued["document"].clone();
        document[member] = value;
        json!({ "document": document })
    };
    for (question, expected) in [
        (changed("salt", json!("00000000000000000000000000000000")), "tampered"),
        (changed("validUntil", json!("2099-01-01T00:00:00Z")), "tampered"),
        (changed("credentialSubject", json!({"name": "Eve"})), "tampered"),
        (json!({"document": {"id": issued["document"]["id"]}}), "tampered"),
        (json!({"document": {"id": format!("urn:uuid:{}", secret["id"].as_str().unwrap())}}), "tampered"),
        (changed("id", json!("urn:uuid:0198c5a2-0000-7000-8000-000000000001")), "not_found"),
        (changed("id", Value::Null), "not_found"),
        (json!({"document": {}}), "not_found"),
    ] {
        let verdict = ask(&app, question.clone()).await;
        assert_eq!(
            (&verdict["status"], &verdict["credential"], &verdict["valid"]),
            (&json!(expected), &Value::Null, &json!(false)),
            "{question}"
        );
    }
    // Another spelling of the same document is the same document.
    let text = serde_json::to_string_pretty(&json!({"document": issued["document"]})).unwrap();
    let request = app.anonymous().request(Method::POST, "/v1/verifications").header("content-type", "application/vc+json").body(text);
    assert_eq!(send(request).await.expect(200).body["status"], "active");
}

async fn the_status_follows_from_state_dates_and_time(engine: Engine) {
    let (app, clock) = started(engine).await;
    let issuer = app.issuer().await;
    let mut dated = credential("Ada", "ada@example.org");
    dated["valid_from"] = json!("2026-01-02T00:00:00Z");
    dated["valid_until"] = json!("2026-01-03T00:00:00Z");
    let issued = issuer.post("/v1/credentials", &dated).await.expect(201).body;
    assert_eq!(issued["status"], "not_yet_valid");
    let question = json!({"id": issued["id"]});
    assert_eq!(status(&app, question.clone()).await, "not_yet_valid");
    clock.set("2026-01-02T00:00:01Z".parse().unwrap());
    for (as_of, expected) in [("2026-01-01T23:59:59.999999Z", "not_yet_valid"), ("2026-01-02T00:00:00Z", "active")] {
        assert_eq!(status(&app, json!({"id": issued["id"], "as_of": as_of})).await, expected);
    }
    assert_eq!(status(&app, question.clone()).await, "active");
    let suspended = act(&issuer, &issued, "suspend").await.body;
    let verdict = ask(&app, question.clone()).await;
    assert_eq!((&verdict["status"], &verdict["credential"]["status_changed_at"]), (&json!("suspended"), &suspended["status_changed_at"]));
    assert_eq!(verdict["credential"]["valid_until"], "2026-01-03T00:00:00Z");
    clock.set("2026-01-03T00:00:00Z".parse().unwrap());
    assert_eq!(status(&app, question.clone()).await, "suspended");
    act(&issuer, &issued, "reinstate").await;
    assert_eq!(status(&app, question.clone()).await, "expired");
    let read = issuer.get(&format!("/v1/credentials/{}", issued["id"].as_str().unwrap())).await.expect(200).body;
    assert_eq!(read["status"], "expired");
    act(&issuer, &issued, "revoke").await;
    assert_eq!(status(&app, question).await, "revoked");
}

async fn a_verdict_can_be_asked_as_of_an_earlier_time_or_position(engine: Engine) {
    let (app, clock) = started(engine).await;
    let issuer = app.issuer().await;
    let mut dated = credential("Ada", "ada@example.org");
    dated["valid_until"] = json!("2026-01-05T00:00:00Z");
    clock.set("2026-01-01T10:00:00Z".parse().unwrap());
    let issued = issuer.post("/v1/credentials", &dated).await.expect(201);
    clock.set("2026-01-02T10:00:00Z".parse().unwrap());
    let suspended = act(&issuer, &issued.body, "suspend").await;
    clock.set("2026-01-03T10:00:00Z".parse().unwrap());
    let reinstated = act(&issuer, &issued.body, "reinstate").await;
    clock.set("2026-01-04T10:00:00Z".parse().unwrap());
    let revoked = act(&issuer, &issued.body, "revoke").await;
    clock.set("2026-01-06T10:00:00Z".parse().unwrap());
    let position = |answer: &Answer| answer.header("ledger-position").to_owned();
    let before = position(&issued).parse::<LogPosition>().unwrap().position.0 - 1;
    for (time, expected, at) in [
        ("2026-01-01T09:59:59.999999Z", "not_found", format!("ledger@{before}")),
        ("2026-01-01T10:00:00Z", "active", position(&issued)),
        ("2026-01-02T09:00:00Z", "active", position(&issued)),
        ("2026-01-02T11:00:00+01:00", "suspended", position(&suspended)),
        ("2026-01-03T12:00:00Z", "active", position(&reinstated)),
        ("2026-01-04T12:00:00Z", "revoked", position(&revoked)),
        ("2026-01-06T10:00:00Z", "revoked", position(&revoked)),
    ] {
        for question in [json!({"id": issued.body["id"], "as_of": time}), json!({"document": issued.body["document"], "as_of": time})] {
            let verdict = ask(&app, question).await;
            let judged = time.parse::<credence_ledger::Timestamp>().unwrap().to_string();
            assert_eq!(
                (&verdict["status"], &verdict["as_of"], &verdict["as_of_position"]),
                (&json!(expected), &json!(judged), &json!(at)),
                "{time}"
            );
        }
    }
    // A position fixes what is known, today's date judges it.
    for (at, expected) in [
        (format!("ledger@{before}"), "not_found"),
        (position(&issued), "expired"),
        (position(&suspended), "suspended"),
        (position(&reinstated), "expired"),
        (position(&revoked), "revoked"),
    ] {
        let verdict = ask(&app, json!({"id": issued.body["id"], "as_of_position": at})).await;
        assert_eq!((&verdict["status"], &verdict["as_of_position"]), (&json!(expected), &json!(at)));
        assert_eq!(verdict["as_of"], "2026-01-06T10:00:00Z");
    }
}

async fn a_verdict_is_the_same_again_as_of_the_moment_it_tells(engine: Engine) {
    let (app, clock) = started(engine).await;
    let issuer = app.issuer().await;
    let cursor = async || app.services().read.cursor(Projection::Verification).await.unwrap();
    let (mut issued, mut told) = (Value::Null, Vec::new());
    for what in ["issue", "suspend", "reinstate", "revoke"] {
        clock.advance(Duration::from_secs(1));
        while cursor().await.confirmed_at < clock.now() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // So soon after, the read model need not be confirmed anew up to now.
        clock.advance(Duration::from_millis(10));
        if what == "issue" {
            issued = issuer.post("/v1/credentials", &credential("Ada", "ada@example.org")).await.expect(201).body;
        } else {
            act(&issuer, &issued, what).await;
        }
        let verdict = ask(&app, json!({"id": issued["id"]})).await;
        told.push((verdict["as_of"].clone(), verdict["status"].clone()));
    }
    clock.advance(Duration::from_secs(1));
    for (as_of, expected) in told {
        assert_eq!(ask(&app, json!({"id": issued["id"], "as_of": as_of})).await["status"], expected, "{as_of}");
    }
}

/// The read model was confirmed before the date, and the verdict is given after it.
async fn a_verdict_of_a_date_that_just_came_is_the_same_again(engine: Engine) {
    let (app, clock) = started(engine).await;
    let issuer = app.issuer().await;
    let minute = Duration::from_secs(60);
    let mut body = credential("Ada", "ada@example.org");
    body["valid_from"] = clock.now().plus(minute).to_string().into();
    body["valid_until"] = clock.now().plus(minute * 2).to_string().into();
    let issued = issuer.post("/v1/credentials", &body).await.expect(201).body;
    let question = json!({"id": issued["id"]});
    assert_eq!(ask(&app, question.clone()).await["status"], "not_yet_valid");
    for expected in ["active", "expired"] {
        clock.advance(minute);
        let verdict = app.anonymous().post("/v1/verifications", &question).await.expect(200).body;
        assert_eq!(verdict["status"], expected);
        assert_eq!(ask(&app, json!({"id": issued["id"], "as_of": verdict["as_of"]})).await["status"], expected);
    }
    let mut altered = issued["document"].clone();
    altered["credentialSubject"]["name"] = "Eve".into();
    for document in [issued["document"].clone(), altered] {
        let verdict = ask(&app, json!({"document": document})).await;
        assert_eq!(ask(&app, json!({"document": document, "as_of": verdict["as_of"]})).await["status"], verdict["status"]);
    }
}

async fn a_moment_that_is_not_reached_is_waited_for(engine: Engine) {
    let builder = TestApp::builder(engine).await.with(|config| config.wait_max = Duration::from_millis(1500));
    let app = builder.start().await;
    let issuer = app.issuer().await;
    for round in 0..5 {
        let issued = issuer.post("/v1/credentials", &credential("Ada", &format!("ada{round}@example.org"))).await.expect(201);
        let position = issued.header("ledger-position");
        let verdict = ask_at(&app, position, &json!({"id": issued.body["id"]})).await.expect(200).body;
        assert_eq!(verdict["status"], "active");
        act(&issuer, &issued.body, "revoke").await;
        let at = head(&app).await;
        let question = json!({"id": issued.body["id"], "as_of_position": at});
        assert_eq!(app.anonymous().post("/v1/verifications", &question).await.expect(200).body["status"], "revoked");
        let now = app.services().clock.now().to_string();
        let question = json!({"id": issued.body["id"], "as_of": now});
        assert_eq!(app.anonymous().post("/v1/verifications", &question).await.expect(200).body["status"], "revoked");
    }
    let answer = ask_at(&app, "ledger@999999", &json!({"secret": "x"})).await.expect_problem(503, "not-caught-up");
    assert_eq!((answer.header("ledger-as-of"), answer.header("retry-after")), (&*head(&app).await, "1"));
    let beyond = json!({"secret": "x", "as_of_position": "ledger@999999"});
    app.anonymous().post("/v1/verifications", &beyond).await.expect_problem(503, "not-caught-up");
    for position in ["x", "ledger@-1", "other@1", "audit@1"] {
        ask_at(&app, position, &json!({"secret": "x"})).await.expect_field("Ledger-Min-Position", "format");
    }
}

async fn a_secret_is_found_at_its_issuer_and_the_newest_speaks(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, acme) = (app.issuer().await, app.issuer_of("acme").await);
    let code = json!({"type": "code", "secret": "open sesame"});
    let first = issuer.post("/v1/credentials", &code).await.expect(201).body;
    assert_eq!(status(&app, json!({"secret": "open sesame", "issuer": "acme"})).await, "not_found");
    assert_eq!(status(&app, json!({"digest": first["digest"], "issuer": "acme"})).await, "not_found");
    assert_eq!(status(&app, json!({"secret": "open sesame", "issuer": "nobody"})).await, "not_found");
    let other = acme.post("/v1/credentials", &code).await.expect(201).body;
    assert_eq!(ask(&app, json!({"secret": "open sesame", "issuer": "acme"})).await["credential"]["id"], other["id"]);
    act(&issuer, &first, "revoke").await;
    assert_eq!(status(&app, json!({"secret": "open sesame"})).await, "revoked");
    let second = issuer.post("/v1/credentials", &code).await.expect(201).body;
    assert_eq!(second["digest"], first["digest"]);
    let verdict = ask(&app, json!({"digest": first["digest"]})).await;
    assert_eq!((&verdict["status"], &verdict["credential"]["id"]), (&json!("active"), &second["id"]));
    assert_eq!(status(&app, json!({"secret": "open  sesame"})).await, "not_found");
    let blake = first["digest"].as_str().unwrap().replace("hmac-sha256", "blake3");
    assert_eq!(status(&app, json!({"digest": blake})).await, "not_found");
}

async fn each_verdict_is_recorded_with_its_true_cause(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issued = app.issuer().await.post("/v1/credentials", &credential("Ada", "ada@example.org")).await.expect(201).body;
    let id = issued["id"].as_str().unwrap().parse().unwrap();
    for (question, by, cause, credential, status) in [
        (json!({"id": issued["id"]}), "Id", "Found", Some(id), "active"),
        (json!({"id": issued["id"], "subject": {"name": "Hidden Eve"}}), "Id", "Mismatch", Some(id), "not_found"),
        (json!({"id": "0198c5a2-0000-7000-8000-000000000001"}), "Id", "Unknown", None, "not_found"),
        (json!({"digest": issued["digest"]}), "Digest", "Found", Some(id), "active"),
        (json!({"document": {"id": issued["document"]["id"], "name": "Hidden Eve"}}), "Document", "Tampered", Some(id), "tampered"),
        (json!({"secret": "Hidden Eve"}), "Secret", "Unknown", None, "not_found"),
    ] {
        let verdict = ask(&app, question.clone()).await;
        let at: LogPosition = verdict["audit_position"].as_str().unwrap().parse().unwrap();
        let recorded = app.services().audit.log.read_at(&[at.position]).await.unwrap().remove(0);
        assert_eq!(recorded.stream.category(), "verification");
        assert_eq!(verdict["verified_at"], recorded.recorded_at.to_string());
        let AuditEvent::CredentialVerified(event) = AuditEvent::decode(&recorded).unwrap() else { panic!("{}", recorded.kind) };
        let CredentialVerified { cause: told, presented_by, credential: named, status: answered, position, as_of } = event;
        assert_eq!(
            (format!("{presented_by:?}"), format!("{told:?}"), named, &*answered),
            (by.into(), cause.into(), credential, status),
            "{question}"
        );
        assert_eq!(verdict["as_of_position"], format!("ledger@{}", position.unwrap()));
        assert_eq!(verdict["as_of"], as_of.to_string());
        let metadata = recorded.metadata().unwrap();
        assert_eq!((&*metadata.actor, &*metadata.worker), ("anonymous", "test-worker"));
        assert!(metadata.details.unwrap().key.starts_with("month/"));
        let content = String::from_utf8_lossy(&recorded.content()).into_owned();
        assert!(!content.contains("Hidden Eve") && !content.contains("127.0.0.1"), "{content}");
    }
    let with_key =
        send(app.inspector().await.request(Method::POST, "/v1/verifications").json(&json!({"id": issued["id"]}))).await.expect(200);
    let at: LogPosition = with_key.body["audit_position"].as_str().unwrap().parse().unwrap();
    let recorded = app.services().audit.log.read_at(&[at.position]).await.unwrap().remove(0);
    assert!(recorded.metadata().unwrap().actor.starts_with("key/"));
    send(app.anonymous().request(Method::POST, "/v1/verifications").bearer_auth("wrong").json(&json!({"id": issued["id"]})))
        .await
        .expect_problem(401, "unauthenticated");
}

async fn what_was_erased_is_told_to_whoever_has_its_document_alone(engine: Engine) {
    let (app, clock) = started(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.post("/v1/credentials", &credential("Ada", "ada@example.org")).await.expect(201).body;
    let other = issuer.post("/v1/credentials", &credential("Bob", "bob@example.org")).await.expect(201).body;
    clock.advance(Duration::from_secs(60));
    let before = (clock.now(), head(&app).await);
    act(&issuer, &issued, "suspend").await;
    clock.advance(Duration::from_secs(60));
    assert_eq!(status(&app, json!({"id": issued["id"]})).await, "suspended");
    app.append_erasure(&issued).await;

    let mut changed = issued["document"].clone();
    changed["salt"] = json!("00000000000000000000000000000000");
    let mut forged = issued["document"].clone();
    forged["proof"]["proofValue"] = json!("z1111");
    let named = issued["id"].clone();
    let expected = [
        (json!({"digest": issued["digest"]}), "erased", "Erased"),
        (json!({"digest": issued["digest"], "issuer": "default"}), "erased", "Erased"),
        (json!({"digest": issued["digest"], "issuer": "another"}), "not_found", "Unknown"),
        (json!({"document": issued["document"]}), "erased", "Erased"),
        (json!({"document": support::unsigned(&issued["document"])}), "erased", "Erased"),
        (json!({"document": forged}), "tampered", "Tampered"),
        (json!({"document": changed}), "not_found", "Erased"),
        (json!({"id": issued["id"]}), "not_found", "Erased"),
        (json!({"id": issued["id"], "subject": {"name": "Ada"}}), "not_found", "Erased"),
        (json!({"id": issued["id"], "subject": {"name": "Eve"}}), "not_found", "Erased"),
    ];
    for (question, expected, cause) in expected {
        let (time, position) = (json!(before.0.to_string()), json!(before.1));
        for (moment, at) in [(None, Value::Null), (Some("as_of"), time), (Some("as_of_position"), position)] {
            let mut question = question.clone();
            if let Some(moment) = moment {
                question[moment] = at;
            }
            let verdict = ask(&app, question.clone()).await;
            let told = (&verdict["status"], &verdict["valid"], &verdict["credential"]);
            assert_eq!(told, (&json!(expected), &json!(false), &Value::Null), "{question}");
            let at: LogPosition = verdict["audit_position"].as_str().unwrap().parse().unwrap();
            let recorded = app.services().audit.log.read_at(&[at.position]).await.unwrap().remove(0);
            let AuditEvent::CredentialVerified(event) = AuditEvent::decode(&recorded).unwrap() else { panic!("{}", recorded.kind) };
            let found = event.credential.map_or(Value::Null, |id| json!(id.to_string()));
            let is_known = if cause == "Unknown" { Value::Null } else { named.clone() };
            assert_eq!((format!("{:?}", event.cause), &*event.status, found), (cause.to_owned(), expected, is_known), "{question}");
        }
    }
    // An id that was erased is answered as one that never was.
    let unknown = "0198c5a2-0000-7000-8000-000000000001";
    let bare = async |id: &str| {
        let mut verdict = ask(&app, json!({ "id": id })).await;
        verdict["audit_position"] = Value::Null;
        verdict
    };
    assert_eq!(bare(issued["id"].as_str().unwrap()).await, bare(unknown).await);
    assert_eq!(status(&app, json!({"id": other["id"]})).await, "active");

    // The older dialect; lists and searches; but who may know of it still learns of its verifications.
    let question = json!({"id": issued["id"], "name": "Ada", "email": "ada@example.org"});
    let answer = app.anonymous().post("/verification/credentials", &question).await.expect(404).body;
    assert_eq!(answer["message"], "Credential not found or invalid");
    for listed in [
        issuer.get("/v1/credentials").await,
        issuer.post("/v1/credentials/search", &json!({"type": "badge"})).await,
        app.operator().await.get("/v1/credentials?type=badge").await,
    ] {
        let ids: Vec<Value> = listed.expect(200).body["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
        assert_eq!(ids, [other["id"].clone()]);
    }
    for status in ["active", "suspended", "revoked"] {
        let listed = issuer.get(&format!("/v1/credentials?status={status}")).await.expect(200).body;
        assert!(!listed.to_string().contains(issued["id"].as_str().unwrap()), "{listed}");
    }
    let path = format!("/v1/credentials/{}/verifications?limit=100", issued["id"].as_str().unwrap());
    app.eventually("its verifications are told", || async {
        issuer.get(&path).await.expect(200).body["items"].as_array().unwrap().len() > 27
    })
    .await;
}

async fn without_a_record_there_is_no_verdict(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issued = app.issuer().await.post("/v1/credentials", &credential("Ada", "ada@example.org")).await.expect(201).body;
    assert_eq!(status(&app, json!({"id": issued["id"]})).await, "active");
    app.services().audit.appender.shutdown().await;
    for question in [json!({"id": issued["id"]}), json!({"secret": "x"})] {
        let answer = app.anonymous().post("/v1/verifications", &question).await.expect_problem(503, "audit-unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(answer.body.get("valid").is_none());
    }
}

async fn a_malformed_question_is_told_what_is_wrong(engine: Engine) {
    let app = TestApp::start(engine).await;
    let anonymous = app.anonymous();
    let before = app.services().audit.log.head().await.unwrap().size;
    let id = "0198c5a2-0000-7000-8000-000000000001";
    for (question, field, code) in [
        (json!({}), "", "required"),
        (json!({"id": id, "secret": "x"}), "secret", "unknown"),
        (json!({"id": "x"}), "id", "format"),
        (json!({"id": id, "as_of": "2999-01-01T00:00:00Z"}), "as_of", "range"),
        (json!({"id": id, "as_of": "2026-01-01T00:00:00Z", "as_of_position": "ledger@0"}), "as_of_position", "unknown"),
        (json!({"document": {"id": "urn:uuid:1"}}), "document.id", "format"),
        (json!({"secret": "x", "subject": {}}), "subject", "unknown"),
    ] {
        anonymous.post("/v1/verifications", &question).await.expect_field(field, code);
    }
    let raw = async |media_type: &'static str, body: &'static str| {
        send(anonymous.request(Method::POST, "/v1/verifications").header("content-type", media_type).body(body)).await
    };
    raw("application/json", "{").await.expect_problem(400, "malformed-json");
    raw("application/json", "").await.expect_problem(400, "malformed-json");
    raw("text/plain", "{}").await.expect_problem(415, "unsupported-media-type");
    raw("application/json", r#"{"document": {"a": 1, "a": 2}}"#).await.expect_field("document.a", "duplicate");
    raw("application/json", r#"{"document": {"a": 9007199254740992}}"#).await.expect_field("document.a", "range");
    let allowed = anonymous.get("/v1/verifications").await.expect_problem(405, "method-not-allowed");
    assert!(allowed.header("allow").contains("POST"));
    assert_eq!(app.services().audit.log.head().await.unwrap().size, before);
}

async fn a_read_model_that_stopped_gives_no_verdict(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.post("/v1/credentials", &credential("Ada", "ada@example.org")).await.expect(201).body;
    assert_eq!(status(&app, json!({"id": issued["id"]})).await, "active");
    // An event of a newer program: to skip it could be to skip a revocation.
    let metadata = Origination::system("newer").metadata(&app.services().random);
    let payload = credence_ledger::codec::encode(&std::collections::BTreeMap::<String, u8>::new());
    let newer = New {
        kind: "CredentialMelted",
        schema: 1,
        event_id: *metadata.event_id,
        metadata: credence_ledger::codec::encode(&metadata).into(),
        payload: payload.into(),
    };
    let stream = Stream::credential(issued["id"].as_str().unwrap().parse().unwrap());
    app.services().ledger().unwrap().append(Append::to(stream, Expected::Any, vec![newer])).await.unwrap();
    app.eventually("no verdict", async || app.anonymous().post("/v1/verifications", &json!({"id": issued["id"]})).await.status == 503)
        .await;
    app.anonymous().post("/v1/verifications", &json!({"secret": "x"})).await.expect_problem(503, "projection-unhealthy");
    issuer.get("/v1/credentials").await.expect_problem(503, "projection-unhealthy");
    issuer.post("/v1/credentials", &credential("Bob", "bob@example.org")).await.expect(201);
}

async fn a_read_model_that_is_not_confirmed_gives_no_verdict(engine: Engine) {
    let (app, clock) = started(engine).await;
    let issued = app.issuer().await.post("/v1/credentials", &credential("Ada", "ada@example.org")).await.expect(201).body;
    assert_eq!(status(&app, json!({"id": issued["id"]})).await, "active");
    let stores = app.shutdown().await;
    // Nobody moves the read model on any more.
    let alone = TestApp::on(stores).with(|config| config.role = Role::Verification).clock(clock.clone()).start().await;
    let question = json!({"id": issued["id"]});
    clock.advance(Duration::from_secs(290));
    assert_eq!(alone.anonymous().post("/v1/verifications", &question).await.expect(200).body["status"], "active");
    clock.advance(Duration::from_secs(20));
    alone.anonymous().post("/v1/verifications", &question).await.expect_problem(503, "stale");
}

async fn issuing_may_be_down_while_verifying(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.post("/v1/credentials", &credential("Ada", "ada@example.org")).await.expect(201).body;
    assert_eq!(status(&app, json!({"id": issued["id"]})).await, "active");
    app.services().ledger().unwrap().appender.shutdown().await;
    issuer.post("/v1/credentials", &credential("Bob", "bob@example.org")).await.expect_problem(503, "store-unavailable");
    let question = json!({"id": issued["id"], "subject": {"name": "Ada"}});
    assert_eq!(app.anonymous().post("/v1/verifications", &question).await.expect(200).body["status"], "active");
}
