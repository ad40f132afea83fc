//! Credentials: issued, changed, read, listed, searched; and who may.

#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credence_api::use_cases::change::CHANGES_MAX;
use credence_ledger::document::{self, Unsecured};
use credence_ledger::event::credential::{CredentialReinstated, CredentialSuspended};
use credence_ledger::event::{New, Origination};
use credence_ledger::log::{Append, Expected, Outcome, Query};
use credence_ledger::random::SystemRandom;
use credence_ledger::testing::ManualClock;
use credence_ledger::{LogName, Position, Stream, Version, json as canonical};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;
use support::{Answer, Engine, Operator, TestApp, User, send};

engines!(
    issuing_answers_the_credential_and_where_it_stands,
    a_credential_is_read_back_as_it_was_issued,
    text_that_looks_like_code_is_kept_as_text,
    the_document_has_the_promised_shape_and_digest,
    an_equal_credential_is_refused_until_the_first_is_revoked,
    of_twenty_equal_issuances_one_wins,
    of_equal_issuances_at_two_processes_one_wins,
    of_two_revocations_one_wins,
    a_secret_is_kept_as_a_keyed_digest_alone,
    nothing_is_appended_for_a_request_that_is_refused,
    a_status_changes_only_as_the_rules_allow,
    what_was_changed_as_often_as_any_is_can_only_be_revoked,
    a_repeat_answers_as_the_first_did,
    a_repeat_may_leave_out_what_is_nothing,
    a_row_of_repeats_that_was_altered_opens_nobody_elses_credential,
    each_kind_of_caller_may_do_its_own,
    reading_personal_data_is_recorded_first,
    what_cannot_be_opened_is_gone,
    lists_are_paged_newest_first_and_filtered,
    a_search_finds_by_whole_name_and_address,
    what_happened_to_a_credential_can_be_read,
);

fn ada() -> Value {
    json!({
        "type": "developer-certificate",
        "subject": {"name": "Ada Lovelace", "email": "ada@example.org", "id": "did:example:ada"},
        "claims": {"level": 3, "languages": ["Rust", "Ada"]},
        "valid_from": "2026-01-01T00:00:00+01:00",
        "valid_until": "2099-01-01T00:00:00Z",
    })
}

fn credential(credential_type: &str, name: &str, email: &str) -> Value {
    json!({"type": credential_type, "subject": {"name": name, "email": email}})
}

fn id(body: &Value) -> String {
    body["id"].as_str().unwrap().to_owned()
}

/// Posts JSON with one more header.
async fn post_with(user: &impl User, path: &str, body: &Value, header: (&str, &str)) -> Answer {
    send(user.request(Method::POST, path).json(body).header(header.0, header.1)).await
}

/// Posts bytes as they are.
async fn post_raw(user: &impl User, path: &str, media_type: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
    let request = user.request(Method::POST, path).body(body);
    send(media_type.into_iter().fold(request, |request, media_type| request.header("content-type", media_type))).await
}

/// Gets what a read model serves, once it has applied everything that the ledger holds.
async fn get_settled(app: &TestApp, user: &impl User, path: &str) -> Answer {
    send(user.request(Method::GET, path).header("ledger-min-position", head(app).await)).await
}

async fn head(app: &TestApp) -> String {
    let last = app.services().ledger().unwrap().log.head().await.unwrap().last().unwrap();
    format!("ledger@{last}")
}

async fn size(app: &TestApp) -> u64 {
    app.services().ledger().unwrap().log.head().await.unwrap().size
}

async fn audit_size(app: &TestApp) -> u64 {
    app.services().audit.log.head().await.unwrap().size
}

async fn issuing_answers_the_credential_and_where_it_stands(engine: Engine) {
    let app = TestApp::start(engine).await;
    let answer = app.issuer().await.post("/v1/credentials", &ada()).await.expect(201);
    let body = &answer.body;
    assert_eq!(answer.header("location"), format!("/v1/credentials/{}", id(body)));
    assert_eq!(answer.header("ledger-position"), body["position"]);
    assert_eq!(answer.header("idempotency-replayed"), "");
    assert_eq!(body["type"], "developer-certificate");
    assert_eq!(body["issuer"], "default");
    assert_eq!(body["subject"], json!({"name": "Ada Lovelace", "email": "ada@example.org", "id": "did:example:ada"}));
    assert_eq!(body["claims"], json!({"level": 3, "languages": ["Rust", "Ada"]}));
    assert_eq!((&body["valid_from"], &body["valid_until"]), (&json!("2025-12-31T23:00:00Z"), &json!("2099-01-01T00:00:00Z")));
    assert_eq!((&body["status"], &body["status_changed_at"]), (&json!("active"), &Value::Null));
    assert_eq!(body["issued_by"], "test-worker");
    assert_eq!(body["message"], "credential issued by test-worker");
    assert_eq!(body["event_hash"].as_str().unwrap().len(), 64);
    assert!(body["issued_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(body.as_object().unwrap().len(), 16);
    assert_eq!(head(&app).await, body["position"]);
}

async fn a_credential_is_read_back_as_it_was_issued(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let bare = json!({"type": "  Badge\u{a0} of  Honour ", "subject": {"name": "  Zoe\u{308}   Müller ", "email": " ZOE@Example.ORG "}, "claims": null});
    for body in [ada(), bare] {
        let mut issued = issuer.post("/v1/credentials", &body).await.expect(201).body;
        let read = issuer.get(&format!("/v1/credentials/{}", id(&issued))).await.expect(200).body;
        issued.as_object_mut().unwrap().remove("message");
        assert_eq!(read, issued);
    }
    let read = issuer.post("/v1/credentials", &credential("Badge of Honour", "Zoë Müller", "x@example.org")).await.expect(201).body;
    assert_eq!(read["subject"], json!({"name": "Zoë Müller", "email": "x@example.org"}));
    assert_eq!((&read["claims"], &read["valid_from"]), (&json!({}), &Value::Null));
    let twin = credential("Badge of Honour", "Zoë Müller", "zoe@example.org");
    issuer.post("/v1/credentials", &twin).await.expect_problem(409, "already-issued");
}

async fn text_that_looks_like_code_is_kept_as_text(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    for text in [
        "Robert'); DROP TABLE events;--",
        "<script>alert('x')</script>",
        "\"quoted\" \\ back",
        "مريم الأسطرلابي",
        "👩‍🚀 Zoë ½",
        "%00 $1 {{7*7}}",
        "null",
    ] {
        let body =
            json!({"type": text, "subject": {"name": text, "email": "a'b+c@example.org"}, "claims": {text: [text, "tab\tline\r\nend"]}});
        let issued = issuer.post("/v1/credentials", &body).await.expect(201).body;
        let read = issuer.get(&format!("/v1/credentials/{}", id(&issued))).await.expect(200).body;
        assert_eq!((&read["type"], &read["subject"]["name"], &read["claims"]), (&json!(text), &json!(text), &body["claims"]), "{text}");
    }
}

async fn the_document_has_the_promised_shape_and_digest(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issued = app.issuer().await.post("/v1/credentials", &ada()).await.expect(201).body;
    let document = &issued["document"];
    let did = app.services().issuers.by_name("default").await.unwrap().unwrap().did;
    assert!(did.starts_with("did:key:z6Mk"));
    let signing_key = app.services().vault.signing_key(&did).await.unwrap().unwrap();
    let salt = document["salt"].as_str().unwrap();
    assert_eq!(salt.len(), 32);
    let expected = json!({
        "@context": ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/undefined-terms/v2"],
        "id": format!("urn:uuid:{}", id(&issued)),
        "type": ["VerifiableCredential", "developer-certificate"],
        "issuer": did,
        "validFrom": "2025-12-31T23:00:00Z",
        "validUntil": "2099-01-01T00:00:00Z",
        "credentialSubject": {"id": "did:example:ada", "name": "Ada Lovelace", "email": "ada@example.org", "claims": {"level": 3, "languages": ["Rust", "Ada"]}},
        "salt": salt,
    });
    assert_eq!(issued["digest"], format!("blake3:{}", blake3::hash(&canonical::canonical(&expected))));
    assert_eq!(issued["digest"], format!("blake3:{}", hex::encode(document::digest(document))));
    let signed = document::proof::sign(Unsecured::new(expected), issued["issued_at"].as_str().unwrap().parse().unwrap(), &signing_key);
    assert_eq!(*document, signed);
}

async fn an_equal_credential_is_refused_until_the_first_is_revoked(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, other) = (app.issuer().await, app.issuer_of("acme").await);
    let mut expired = ada();
    expired["valid_until"] = json!("2026-01-02T00:00:00Z");
    let first = issuer.post("/v1/credentials", &expired).await.expect(201).body;
    assert_eq!(first["status"], "expired");
    // Neither another spelling nor another URI nor other claims make it another one; nor does expiry make room.
    let mut twin = ada();
    twin["subject"] = json!({"name": " Ada  Lovelace", "email": "ADA@EXAMPLE.ORG", "id": "did:example:other"});
    twin["claims"] = Value::Null;
    let refused = issuer.post("/v1/credentials", &twin).await.expect_problem(409, "already-issued").body;
    let existing = json!({"id": first["id"], "issued_at": first["issued_at"], "issued_by": "test-worker", "status": "expired"});
    assert_eq!(refused["existing"], existing);
    // Another issuer, type, name or address does.
    other.post("/v1/credentials", &ada()).await.expect(201);
    for (pointer, value) in [("/type", "diploma"), ("/subject/name", "ada lovelace"), ("/subject/email", "ada2@example.org")] {
        let mut another = ada();
        *another.pointer_mut(pointer).unwrap() = json!(value);
        issuer.post("/v1/credentials", &another).await.expect(201);
    }
    issuer.post_empty(&format!("/v1/credentials/{}/suspend", id(&first))).await.expect(200);
    let refused = issuer.post("/v1/credentials", &twin).await.expect_problem(409, "already-issued").body;
    assert_eq!(refused["existing"]["status"], "suspended");
    issuer.post_empty(&format!("/v1/credentials/{}/revoke", id(&first))).await.expect(200);
    let second = issuer.post("/v1/credentials", &twin).await.expect(201).body;
    assert_ne!(second["id"], first["id"]);
    issuer.post("/v1/credentials", &ada()).await.expect_problem(409, "already-issued");
}

async fn of_twenty_equal_issuances_one_wins(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let before = size(&app).await;
    let body = ada();
    let answers = futures::future::join_all((0..20).map(|_| issuer.post("/v1/credentials", &body))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((won.len(), lost.len()), (1, 19));
    for answer in lost {
        let answer = answer.expect_problem(409, "already-issued");
        assert_eq!(answer.body["existing"]["id"], won[0].body["id"]);
    }
    assert_eq!(size(&app).await, before + 1);
}

async fn of_equal_issuances_at_two_processes_one_wins(engine: Engine) {
    let app = TestApp::start(engine).await;
    let twin = TestApp::on(app.stores.clone()).start().await;
    let (here, there) = (app.issuer().await, twin.issuer().await);
    let before = size(&app).await;
    for round in 0..5 {
        let body = credential("badge", "Ada", &format!("ada{round}@example.org"));
        let users = [&here, &there, &here, &there];
        let answers = futures::future::join_all(users.map(|user| user.post("/v1/credentials", &body))).await;
        let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
        assert_eq!(won.len(), 1);
        for lost in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!((lost.status.as_u16(), &lost.body["existing"]["id"]), (409, &won[0].body["id"]));
        }
    }
    assert_eq!(size(&app).await, before + 5);
}

async fn of_two_revocations_one_wins(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    for round in 0..10 {
        let issued = issuer.issue("Ada", &format!("ada{round}@example.org")).await;
        let path = format!("/v1/credentials/{}/revoke", id(&issued));
        let (one, other) = tokio::join!(issuer.post_empty(&path), issuer.post_empty(&path));
        let (won, lost) = if one.status == 200 { (one, other) } else { (other, one) };
        assert_eq!(won.expect(200).body["status"], "revoked");
        lost.expect_problem(409, "already-revoked");
    }
}

async fn a_secret_is_kept_as_a_keyed_digest_alone(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, other) = (app.issuer().await, app.issuer_of("acme").await);
    let body = json!({"type": "access-code", "secret": "correct horse battery staple"});
    let issued = issuer.post("/v1/credentials", &body).await.expect(201).body;
    for member in ["subject", "claims", "document", "valid_from", "valid_until", "status_changed_at"] {
        assert_eq!(issued[member], Value::Null, "{member}");
    }
    let digest = app.services().vault.lookup().secret(b"correct horse battery staple");
    assert_eq!(issued["digest"], format!("hmac-sha256:{}", hex::encode(digest)));
    let refused =
        issuer.post("/v1/credentials", &json!({"type": "other", "secret": body["secret"]})).await.expect_problem(409, "already-issued");
    assert_eq!(refused.body["existing"]["id"], issued["id"]);
    assert!(!refused.text.contains("horse"));
    other.post("/v1/credentials", &body).await.expect(201);

    let before = audit_size(&app).await;
    let path = format!("/v1/credentials/{}", id(&issued));
    assert_eq!(issuer.get(&path).await.expect(200).body["digest"], issued["digest"]);
    assert_eq!(audit_size(&app).await, before, "nothing personal was opened");
    let revoked = issuer.post(&format!("{path}/revoke"), &json!({"reason": "it leaked"})).await.expect(200).body;
    assert_eq!((&revoked["status"], &revoked["subject"]), (&json!("revoked"), &Value::Null));
    issuer.post("/v1/credentials", &body).await.expect(201);
    let events = app.services().ledger().unwrap().log.read(&Query::from(Position::FIRST, 100)).await.unwrap();
    for event in events {
        for hidden in ["horse", "leaked"] {
            assert!(!String::from_utf8_lossy(&event.content()).contains(hidden), "{hidden} in {}", event.kind);
        }
    }
}

async fn nothing_is_appended_for_a_request_that_is_refused(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    let before = size(&app).await;
    let json = Some("application/json");
    for (body, field, code) in [
        (r#"{"type": "a", "type": "b"}"#, "type", "duplicate"),
        (
            r#"{"type": "a", "subject": {"name": "x", "email": "x@example.org"}, "claims": {"n": [9007199254740993]}}"#,
            "claims.n[0]",
            "range",
        ),
        (r#"{"claims": {"n": 1e400}}"#, "claims.n", "range"),
        (r#"{"claims": {"n": 3.602879701896397e+16}}"#, "claims.n", "range"),
        (r#"{"type": "VerifiableCredential", "secret": "x"}"#, "type", "format"),
        (r#"{"type": " @id", "secret": "x"}"#, "type", "format"),
        (r#"{"type": "\u200b\u2060", "secret": "x"}"#, "type", "blank"),
        (r#"{"type": "a", "subject": {"name": "\ufeff \u00ad", "email": "x@example.org"}}"#, "subject.name", "blank"),
        (r#"{"type": "a", "subject": {"name": "Ada \u202ecalevoL", "email": "x@example.org"}}"#, "subject.name", "control_character"),
        (r#"[]"#, "", "type"),
        (r#""text""#, "", "type"),
        (r#"null"#, "", "type"),
        (r#"{}"#, "subject", "required"),
        (r#"{"type": "a", "secret": "x", "subject": {}}"#, "subject", "unknown"),
        (r#"{"type": "a", "subject": {"name": "\u0000", "email": "x@example.org"}}"#, "subject.name", "control_character"),
        (
            r#"{"type": "a", "subject": {"name": "x", "email": "x@example.org"}, "claims": {"x": "\u0000"}}"#,
            "claims.x",
            "control_character",
        ),
    ] {
        post_raw(&issuer, "/v1/credentials", json, body).await.expect_field(field, code);
    }
    let deep = format!(r#"{{"claims": {}1{}}}"#, r#"{"a":"#.repeat(64), "}".repeat(64));
    post_raw(&issuer, "/v1/credentials", json, deep).await.expect_problem(422, "validation-failed");
    for body in [&b""[..], b"{", b"{} {}", b"{\"type\": \"\xff\"}", b"{\"type\": \"\\ud800\"}", b"{'type': 1}"] {
        post_raw(&issuer, "/v1/credentials", json, body.to_vec()).await.expect_problem(400, "malformed-json");
    }
    for media_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/json; charset=latin1")] {
        post_raw(&issuer, "/v1/credentials", media_type, ada().to_string()).await.expect_problem(415, "unsupported-media-type");
    }
    let too_large = json!({"type": "a", "secret": "x".repeat(1 << 20)}).to_string();
    post_raw(&issuer, "/v1/credentials", json, too_large).await.expect_problem(413, "payload-too-large");
    for key in ["", "with space", "é", &"x".repeat(256)] {
        post_with(&issuer, "/v1/credentials", &ada(), ("idempotency-key", key)).await.expect_field("Idempotency-Key", "format");
    }
    let revoke = format!("/v1/credentials/{}/revoke", id(&issued));
    for (path, body) in [
        ("/v1/credentials?x=1", ada()),
        (&format!("{revoke}?x=1"), json!({})),
        ("/v1/credentials/search?x=1", json!({})),
        ("/v1/verifications?x=1", json!({"id": id(&issued)})),
    ] {
        issuer.post(path, &body).await.expect_field("x", "unknown");
    }
    issuer.post(&revoke, &json!({"reason": "x".repeat(1001)})).await.expect_field("reason", "too_long");
    issuer.post(&revoke, &json!({"why": "x"})).await.expect_field("why", "unknown");
    post_raw(&issuer, &revoke, Some("text/plain"), "{}").await.expect_problem(415, "unsupported-media-type");
    let (whole, nothing) = (ada(), json!({}));
    let coded = |body, coding| post_with(&issuer, "/v1/credentials", body, ("content-encoding", coding));
    coded(&whole, "gzip").await.expect_problem(415, "unsupported-media-type");
    coded(&nothing, "identity").await.expect_field("subject", "required");
    issuer.get("/v1/credentials?type=%ff").await.expect_field("", "format");
    post_raw(&issuer, &revoke, json, "{").await.expect_problem(400, "malformed-json");
    for path in ["/v1/credentials/1/revoke", "/v1/credentials/%ff/revoke", "/v1/credentials/0198c5a2-0000-7000-8000-000000000001/revoke"] {
        issuer.post_empty(path).await.expect_problem(404, "not-found");
    }
    assert_eq!(size(&app).await, before);
    // JSON by another name, and an act without a body, are taken.
    post_raw(&issuer, "/v1/credentials", Some("application/vc+json"), ada().to_string()).await.expect(201);
    post_raw(&issuer, &revoke, json, "").await.expect(200);
}

async fn a_status_changes_only_as_the_rules_allow(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    let act = async |what: &str| issuer.post(&format!("/v1/credentials/{}/{what}", id(&issued)), &json!({"reason": "a \"reason\""})).await;
    act("reinstate").await.expect_problem(409, "not-suspended");
    let suspended = act("suspend").await.expect(200);
    assert_eq!(
        (&suspended.body["status"], &suspended.body["message"]),
        (&json!("suspended"), &json!("credential suspended by test-worker"))
    );
    assert_eq!((&suspended.body["position"], &suspended.body["event_hash"]), (&issued["position"], &issued["event_hash"]));
    assert_eq!(suspended.header("ledger-position"), head(&app).await);
    assert!(suspended.body["status_changed_at"].is_string());
    assert_eq!(suspended.body["document"], issued["document"]);
    act("suspend").await.expect_problem(409, "already-suspended");
    let reinstated = act("reinstate").await.expect(200).body;
    assert_eq!((&reinstated["status"], &reinstated["message"]), (&json!("active"), &json!("credential reinstated by test-worker")));
    let revoked = act("revoke").await.expect(200).body;
    assert_eq!((&revoked["status"], &revoked["message"]), (&json!("revoked"), &json!("credential revoked by test-worker")));
    for what in ["suspend", "reinstate", "revoke"] {
        act(what).await.expect_problem(409, "already-revoked");
    }
    let read = issuer.get(&format!("/v1/credentials/{}", id(&issued))).await.expect(200).body;
    assert_eq!((&read["status"], &read["status_changed_at"]), (&json!("revoked"), &revoked["status_changed_at"]));
}

async fn what_was_changed_as_often_as_any_is_can_only_be_revoked(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    let stream = Stream::credential(id(&issued).parse().unwrap());
    let metadata = Origination::system("test").metadata(&SystemRandom);
    let (suspended, reinstated) = (CredentialSuspended { reason: None }, CredentialReinstated { reason: None });
    let changes = (0..CHANGES_MAX - 1).map(|at| if at % 2 == 0 { New::of(&suspended, &metadata) } else { New::of(&reinstated, &metadata) });
    let append = Append::to(stream, Expected::Exact(Version::FIRST), changes.collect());
    assert!(matches!(app.services().ledger().unwrap().append(append).await.unwrap(), Outcome::Appended(_)));

    let path = |what: &str| format!("/v1/credentials/{}/{what}", id(&issued));
    let last = async || post_with(&issuer, &path("reinstate"), &json!({}), ("idempotency-key", "last")).await;
    assert_eq!(last().await.expect(200).body["status"], "active");
    issuer.post_empty(&path("suspend")).await.expect_problem(409, "changed-too-often");
    issuer.post_empty(&path("reinstate")).await.expect_problem(409, "not-suspended");
    assert_eq!(last().await.expect(200).header("idempotency-replayed"), "true");
    let receipt = issuer.get(&path(&format!("receipt?version={CHANGES_MAX}"))).await.expect(200).body;
    assert_eq!(receipt["position"], LogName::LEDGER.at(Position(CHANGES_MAX + 1)).to_string());
    issuer.get(&path(&format!("receipt?version={}", CHANGES_MAX + 1))).await.expect_problem(404, "not-found");
    issuer.post_empty(&path("revoke")).await.expect(200);
    issuer.issue("Ada", "ada@example.org").await;
}

async fn a_repeat_answers_as_the_first_did(engine: Engine) {
    let clock = Arc::new(ManualClock::default());
    let app = TestApp::builder(engine).await.clock(clock.clone()).start().await;
    let (issuer, twin) = (app.issuer().await, app.issuer().await);
    let key = ("idempotency-key", "!k~1");
    let mut body = ada();
    body["valid_until"] = json!("2026-01-02T00:00:00Z");
    let first = post_with(&issuer, "/v1/credentials", &body, key).await.expect(201);
    let revoke = format!("/v1/credentials/{}/revoke", id(&first.body));
    let revoked = post_with(&issuer, &revoke, &json!({"reason": "r"}), key).await.expect(200);
    let after = size(&app).await;

    // Revoked, and by now expired too: the repeat answers as of then.
    clock.advance(Duration::from_secs(100 * 3600));
    let again = post_with(&issuer, "/v1/credentials", &body, key).await.expect(201);
    assert_eq!((&again.body, again.body["status"].as_str()), (&first.body, Some("active")));
    assert_eq!(again.header("ledger-position"), first.header("ledger-position"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    let again = post_with(&issuer, &revoke, &json!({"reason": " r "}), key).await.expect(200);
    assert_eq!(again.body, revoked.body);
    assert_eq!((again.header("ledger-position"), again.header("idempotency-replayed")), (revoked.header("ledger-position"), "true"));

    // The same command in another spelling is the same; another one is not.
    body["subject"]["email"] = json!("ADA@example.org");
    body["claims"] = json!({"languages": ["Rust", "Ada"], "level": 3.0});
    assert_eq!(post_with(&issuer, "/v1/credentials", &body, key).await.expect(201).body, first.body);
    body["valid_from"] = json!("2025-12-31T23:00:00.000Z");
    assert_eq!(post_with(&issuer, "/v1/credentials", &body, key).await.expect(201).body, first.body);
    body["claims"]["level"] = json!(4);
    post_with(&issuer, "/v1/credentials", &body, key).await.expect_problem(422, "idempotency-key-reused");
    post_with(&issuer, &revoke, &json!({}), key).await.expect_problem(422, "idempotency-key-reused");
    // A key belongs to whoever used it, and only what appended is remembered.
    assert_eq!(size(&app).await, after);
    body["subject"]["email"] = json!("other@example.org");
    post_with(&twin, "/v1/credentials", &body, key).await.expect(201);
    post_with(&issuer, "/v1/credentials", &body, ("idempotency-key", "k2")).await.expect_problem(409, "already-issued");
    body["subject"]["email"] = json!("third@example.org");
    post_with(&issuer, "/v1/credentials", &body, ("idempotency-key", "k2")).await.expect(201);

    clock.advance(Duration::from_secs(69 * 3600));
    body["subject"]["email"] = json!("fourth@example.org");
    post_with(&issuer, "/v1/credentials", &body, key).await.expect(201);
}

async fn a_repeat_may_leave_out_what_is_nothing(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let nothing = [json!({}), json!({"claims": null}), json!({"claims": {}, "valid_from": null, "receipt": false})];
    for (at, first) in nothing.iter().enumerate() {
        let asked = |more: &Value| {
            let mut body = credential("a", "Ada", &format!("ada-{at}@example.org"));
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let (name, path) = (format!("k-{at}"), "/v1/credentials");
        let key = ("idempotency-key", name.as_str());
        let issued = post_with(&issuer, path, &asked(first), key).await.expect(201).body;
        for again in &nothing {
            assert_eq!(post_with(&issuer, path, &asked(again), key).await.expect(201).body, issued, "{first} {again}");
        }
        let other = asked(&json!({"claims": {"a": null}}));
        post_with(&issuer, path, &other, key).await.expect_problem(422, "idempotency-key-reused");
    }
}

async fn each_kind_of_caller_may_do_its_own(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, other, auditor, admin) = (app.issuer().await, app.issuer_of("acme").await, app.inspector().await, app.operator().await);
    let issued = issuer.post("/v1/credentials", &ada()).await.expect(201).body;
    let one = format!("/v1/credentials/{}", id(&issued));
    let (events, verifications) = (format!("{one}/events"), format!("{one}/verifications"));
    let (revoke, suspend) = (format!("{one}/revoke"), format!("{one}/suspend"));
    for path in ["/v1/credentials", &one, &events, &verifications] {
        let answer = app.anonymous().get(path).await.expect_problem(401, "unauthenticated");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        auditor.get(path).await.expect(200);
        admin.get(path).await.expect(200);
        issuer.get(path).await.expect(200);
    }
    for path in [&one, &events, &verifications] {
        other.get(path).await.expect_problem(404, "not-found");
    }
    // Refused before the body is looked at.
    for path in ["/v1/credentials", &suspend, &revoke] {
        post_raw(&app.anonymous(), path, None, "{").await.expect_problem(401, "unauthenticated");
        post_raw(&auditor, path, None, "{").await.expect_problem(403, "forbidden");
    }
    app.anonymous().post("/v1/credentials/search", &json!({})).await.expect_problem(401, "unauthenticated");
    for path in [&suspend, &revoke] {
        other.post_empty(path).await.expect_problem(404, "not-found");
    }
    assert_eq!(get_settled(&app, &other, "/v1/credentials").await.expect(200).body["items"], json!([]));
    assert_eq!(other.post("/v1/credentials/search", &json!({"email": "ada@example.org"})).await.expect(200).body["items"], json!([]));
    let found = auditor.post("/v1/credentials/search", &json!({"email": "ada@example.org"})).await.expect(200).body;
    assert_eq!(found["items"][0]["id"], issued["id"]);
    admin.post_empty(&suspend).await.expect(200);
    let own = admin.post("/v1/credentials", &credential("x", "Bob", "bob@example.org")).await.expect(201).body;
    assert_eq!(own["issuer"], "default");
}

async fn reading_personal_data_is_recorded_first(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, auditor) = (app.issuer().await, app.inspector().await);
    let issued = issuer.issue("Ada", "ada@example.org").await;
    let before = audit_size(&app).await;
    let path = format!("/v1/credentials/{}", id(&issued));
    auditor.get(&path).await.expect(200);
    assert_eq!(audit_size(&app).await, before + 1);
    let events = app.services().audit.log.read(&Query::from(Position(before), 1)).await.unwrap();
    assert_eq!(events[0].kind, "PersonalDataRead");
    assert_eq!(events[0].stream.category(), "access");
    let content = String::from_utf8_lossy(&events[0].content()).into_owned();
    assert!(content.contains(&format!("credential/{}", id(&issued))) && content.contains("GET /v1/credentials/{id}"), "{content}");
    assert!(!content.contains("127.0.0.1"), "the caller's address is sealed");
    // No record, no read; but issuing and changing go on.
    app.services().audit.appender.shutdown().await;
    issuer.get(&path).await.expect_problem(503, "audit-unavailable");
    issuer.issue("Bob", "bob@example.org").await;
    issuer.post_empty(&format!("{path}/suspend")).await.expect(200);
    issuer.get(&format!("{path}/events")).await.expect(200);
}

/// Does to the tables of `store`, `vault` or `ledger`, what only somebody with a hand on them can.
async fn alter(app: &TestApp, engine: Engine, store: &str, statement: &str) {
    match engine {
        Engine::Sqlite => {
            let file = rusqlite::Connection::open(app.stores.folder.path().join(format!("{store}.sqlite"))).unwrap();
            file.execute(statement, []).unwrap();
        }
        Engine::Postgres => {
            let mut database = sqlx::PgConnection::connect(&app.stores.url()).await.unwrap();
            let statement = format!("set search_path to {store}; {statement}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut database).await.unwrap();
        }
    }
}

/// Takes every subject's key away, as a vault from before does.
async fn lose_everybody(app: &TestApp, engine: Engine) {
    alter(app, engine, "vault", "delete from subjects").await;
}

async fn a_row_of_repeats_that_was_altered_opens_nobody_elses_credential(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let key = ("idempotency-key", "k");
    let first = post_with(&issuer, "/v1/credentials", &ada(), key).await.expect(201).body;
    let suspend = format!("/v1/credentials/{}/suspend", id(&first));
    post_with(&issuer, &suspend, &json!({}), key).await.expect(200);
    issuer.issue("Grace", "grace@example.org").await;
    let last = size(&app).await - 1;
    for position in [last, 0, last + 1000] {
        alter(&app, engine, "ledger", &format!("update idempotency set position = {position}")).await;
        for (path, body) in [("/v1/credentials", ada()), (&*suspend, json!({}))] {
            let answer = post_with(&issuer, path, &body, key).await.expect_problem(500, "internal");
            assert!(!answer.text.contains("Grace"), "{}", answer.text);
        }
    }
}

async fn what_cannot_be_opened_is_gone(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    let path = format!("/v1/credentials/{}", id(&issued));
    lose_everybody(&app, engine).await;
    issuer.get(&path).await.expect_problem(410, "key-lost");
    let events = issuer.get(&format!("{path}/events")).await.expect(200).body;
    assert_eq!(events["items"][0]["payload"]["document"], json!({"sealed": "erased"}));
}

async fn lists_are_paged_newest_first_and_filtered(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let empty = issuer.get("/v1/credentials").await.expect(200).body;
    assert_eq!(empty, json!({"items": [], "next_cursor": null}));
    let mut issued = Vec::new();
    for number in 0..5 {
        let kind = if number % 2 == 0 { "even" } else { "odd" };
        issued.push(issuer.post("/v1/credentials", &credential(kind, "Ada", &format!("ada{number}@example.org"))).await.expect(201).body);
    }
    issuer.post_empty(&format!("/v1/credentials/{}/revoke", id(&issued[1]))).await.expect(200);
    let mut expired = credential("odd", "Bob", "bob@example.org");
    expired["valid_until"] = json!("2020-01-01T00:00:00Z");
    issuer.post("/v1/credentials", &expired).await.expect(201);

    let all = get_settled(&app, &issuer, "/v1/credentials").await.expect(200);
    assert_eq!(all.header("ledger-as-of"), head(&app).await);
    assert_eq!((all.body["items"].as_array().unwrap().len(), &all.body["next_cursor"]), (6, &Value::Null));
    let summary = &all.body["items"][1];
    for member in
        ["id", "type", "issuer", "status", "digest", "valid_from", "valid_until", "issued_at", "issued_by", "status_changed_at", "position"]
    {
        assert_eq!(summary[member], issued[4][member], "{member}");
    }
    assert_eq!(summary.as_object().unwrap().len(), 11);
    assert!(!all.text.contains("example.org"));

    let mut seen = Vec::new();
    let mut path = "/v1/credentials?limit=4".to_owned();
    loop {
        let page = issuer.get(&path).await.expect(200).body;
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/credentials?limit=4&cursor={cursor}");
    }
    assert_eq!(json!(seen), all.body["items"]);

    for (query, count) in [
        ("type=even", 3),
        ("type=odd&status=revoked", 1),
        ("status=active", 4),
        ("status=expired", 1),
        ("status=suspended", 0),
        ("type=none", 0),
    ] {
        let found = issuer.get(&format!("/v1/credentials?{query}")).await.expect(200).body;
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{query}");
    }
    for (query, field, code) in [
        ("limit=0", "limit", "range"),
        ("limit=101", "limit", "range"),
        ("limit=x", "limit", "format"),
        ("cursor=x", "cursor", "format"),
        ("status=tampered", "status", "format"),
        ("colour=red", "colour", "unknown"),
        ("type=a&type=b", "type", "duplicate"),
        ("email=ada@example.org", "email", "unknown"),
        ("type=a%00", "type", "control_character"),
        ("type=%20", "type", "blank"),
    ] {
        issuer.get(&format!("/v1/credentials?{query}")).await.expect_field(query.split('=').next().unwrap_or(field), code);
    }
    app.inspector().await.get("/v1/logs/ledger/events?type=%00").await.expect_field("type", "control_character");
    for position in ["42", "other@1", "ledger@x", "audit@0"] {
        let request = issuer.request(Method::GET, "/v1/credentials").header("ledger-min-position", position);
        send(request).await.expect_field("Ledger-Min-Position", "format");
    }
}

async fn a_search_finds_by_whole_name_and_address(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    for (kind, name, email) in [
        ("a", "Ada Lovelace", "ada@example.org"),
        ("b", "Ada Lovelace", "ada@example.org"),
        ("a", "Ada Lovelace", "other@example.org"),
        ("a", "Bob", "ada@example.org"),
    ] {
        issuer.post("/v1/credentials", &credential(kind, name, email)).await.expect(201);
    }
    let position = head(&app).await;
    let search =
        async |body: Value| post_with(&issuer, "/v1/credentials/search", &body, ("ledger-min-position", &position)).await.expect(200).body;
    for (body, count) in [
        (json!({}), 4),
        (json!({"email": "ADA@example.org"}), 3),
        (json!({"name": " Ada   Lovelace"}), 3),
        (json!({"name": "Ada Lovelace", "email": "ada@example.org"}), 2),
        (json!({"name": "Ada Lovelace", "email": "ada@example.org", "type": "b"}), 1),
        (json!({"email": "ada@example.org", "status": "revoked"}), 0),
        (json!({"name": "Ada"}), 0),
        (json!({"email": "example.org"}), 0),
    ] {
        let found = search(body.clone()).await;
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{body}");
        assert!(!found.to_string().contains("Lovelace"));
    }
    let first = search(json!({"email": "ada@example.org", "limit": 2})).await;
    let rest = search(json!({"email": "ada@example.org", "limit": 2, "cursor": first["next_cursor"]})).await;
    assert_eq!((first["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (2, 1));
    assert_eq!(rest["next_cursor"], Value::Null);
    for (body, field, code) in [
        (json!({"limit": 0}), "limit", "range"),
        (json!({"limit": 1.5}), "limit", "type"),
        (json!({"cursor": "x"}), "cursor", "format"),
        (json!({"status": "x"}), "status", "format"),
        (json!({"phone": "x"}), "phone", "unknown"),
        (json!({"name": ""}), "name", "blank"),
    ] {
        issuer.post("/v1/credentials/search", &body).await.expect_field(field, code);
    }
}

async fn what_happened_to_a_credential_can_be_read(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    let path = format!("/v1/credentials/{}", id(&issued));
    issuer.post(&format!("{path}/suspend"), &json!({"reason": "the holder asked"})).await.expect(200);
    issuer.post_empty(&format!("{path}/reinstate")).await.expect(200);
    let events = issuer.get(&format!("{path}/events")).await.expect(200);
    let kinds: Vec<&str> = events.body["items"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["CredentialIssued", "CredentialSuspended", "CredentialReinstated"]);
    assert_eq!(events.body["items"][0]["position"], issued["position"]);
    assert_eq!(events.body["items"][0]["event_hash"], issued["event_hash"]);
    assert!(events.body["items"][1]["payload"]["reason"]["sealed"].as_str().unwrap().starts_with("subject/"));
    assert!(!events.text.contains("Ada") && !events.text.contains("asked"));
    let first = issuer.get(&format!("{path}/events?limit=2")).await.expect(200).body;
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = issuer.get(&format!("{path}/events?limit=2&cursor={cursor}")).await.expect(200).body;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
    issuer.get(&format!("{path}/events?from=0")).await.expect_field("from", "unknown");

    let position = head(&app).await;
    let mut last = Value::Null;
    for body in [json!({"id": issued["id"]}), json!({"id": issued["id"], "subject": {"name": "Eve"}}), json!({"secret": "x"})] {
        let verdict = post_with(&app.anonymous(), "/v1/verifications", &body, ("ledger-min-position", &position)).await.expect(200).body;
        last = verdict["audit_position"].clone();
    }
    let path = format!("{path}/verifications");
    let wait = ("ledger-min-position", last.as_str().unwrap());
    let found = send(issuer.request(Method::GET, &path).header(wait.0, wait.1)).await.expect(200);
    let causes: Vec<(&Value, &Value)> =
        found.body["items"].as_array().unwrap().iter().map(|event| (&event["payload"]["cause"], &event["payload"]["status"])).collect();
    assert_eq!(causes, [(&json!("found"), &json!("active")), (&json!("mismatch"), &json!("not_found"))]);
    assert_eq!(found.header("ledger-as-of"), last);
    assert!(!found.text.contains("Eve"));
    let first = issuer.get(&format!("{path}?limit=1")).await.expect(200).body;
    let rest = issuer.get(&format!("{path}?limit=1&cursor={}", first["next_cursor"].as_str().unwrap())).await.expect(200).body;
    assert_eq!((&rest["items"][0], &rest["next_cursor"]), (&found.body["items"][1], &Value::Null));
    let wrong = issuer.request(Method::GET, &path).header("ledger-min-position", "ledger@0");
    send(wrong).await.expect_field("Ledger-Min-Position", "format");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_an_admin_issues_as_its_own_issuer() {
    let app = TestApp::start(Engine::Sqlite).await;
    let acme = app.issuer_of("acme").await;
    let admin: Operator = app.operator().await;
    let issued = acme.post("/v1/credentials", &ada()).await.expect(201).body;
    assert_eq!(issued["issuer"], "acme");
    assert_eq!(admin.post("/v1/credentials", &ada()).await.expect(201).body["issuer"], "default");
}

/// Holds the ledger's write lock, as another process might.
fn lock_ledger(app: &TestApp) -> rusqlite::Connection {
    let ledger = rusqlite::Connection::open(app.stores.folder.path().join("ledger.sqlite")).unwrap();
    ledger.execute_batch("begin immediate").unwrap();
    ledger
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_wait_is_refused_and_nothing_of_it_is_done() {
    let app = TestApp::builder(Engine::Sqlite).await.queue(1).start().await;
    let issuer = app.issuer().await;
    issuer.issue("Ada", "ada@example.org").await;
    let before = size(&app).await;
    let lock = lock_ledger(&app);
    let issue = |number: usize| {
        let issuer = issuer.clone();
        async move { issuer.post("/v1/credentials", &credential("badge", "Bob", &format!("bob{number}@example.org"))).await }
    };
    let all = tokio::spawn(futures::future::join_all((0..6).map(issue)));
    tokio::time::sleep(Duration::from_millis(1000)).await;
    lock.execute_batch("rollback").unwrap();
    let answers = all.await.unwrap();
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert!(!taken.is_empty() && !refused.is_empty());
    for answer in refused {
        assert_eq!(answer.expect_problem(503, "overloaded").header("retry-after"), "1");
    }
    assert_eq!(size(&app).await, before + taken.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_ledger_cannot_be_written_issuing_says_so_and_verifying_goes_on() {
    let app = TestApp::start(Engine::Sqlite).await;
    let issuer = app.issuer().await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    get_settled(&app, &issuer, "/v1/credentials").await.expect(200);
    let before = size(&app).await;
    let key = ("idempotency-key", "k");
    let body = credential("badge", "Bob", "bob@example.org");
    let lock = lock_ledger(&app);
    let refused = post_with(&issuer, "/v1/credentials", &body, key).await.expect_problem(503, "store-unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    app.anonymous().post("/v1/verifications", &json!({"id": issued["id"]})).await.expect(200);
    issuer.get(&format!("/v1/credentials/{}", id(&issued))).await.expect(200);
    lock.execute_batch("rollback").unwrap();
    let answer = post_with(&issuer, "/v1/credentials", &body, key).await.expect(201);
    assert_eq!(answer.header("idempotency-replayed"), "");
    assert_eq!(size(&app).await, before + 1);
}
