//! Organisations: created, told, changed, deactivated; and what each meets of the others, which is nothing.

#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use credence_api::caller::Caller;
use credence_api::stores::DEFAULT_ISSUER;
use credence_api::use_cases::audit;
use credence_ledger::Stream;
use credence_ledger::document::proof;
use credence_ledger::event::audit::{KeyRevoked, LogKeyRotated, RebuildStarted};
use credence_ledger::event::{New, Origination};
use credence_ledger::log::{Append, Expected, Query};
use credence_ledger::random::SystemRandom;
use credence_ledger::stream::category;
use credence_ledger::vault::{Role, Terms};
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;
use support::accounts::{PASSWORD, log_in, register};
use support::{Answer, Engine, Issuer, Session, TestApp, User, chain, eventually, send};
use uuid::Uuid;

engines!(
    an_organisation_is_created_with_a_key_of_its_own,
    of_organisations_of_one_name_created_at_once_one_is_there,
    an_organisation_whose_profile_cannot_be_recorded_is_there_without_one,
    what_was_begun_before_a_crash_is_finished,
    organisations_are_listed_newest_first_and_each_knows_its_own,
    an_administrator_changes_what_its_organisation_tells,
    nothing_is_told_without_a_record_and_a_deactivation_does_not_wait_for_it,
    a_deactivated_organisation_is_out_everywhere_and_what_it_issued_stays,
    what_is_anothers_is_not_there,
    subjects_and_secrets_are_each_organisations_own,
    an_auditor_reads_the_events_of_its_organisation_alone,
    every_format_tells_an_auditor_the_same_events,
    a_follower_gets_what_is_its_organisations,
    a_page_of_an_organisations_events_looks_at_a_bounded_stretch,
    an_auditor_opens_what_is_its_own_on_record,
    keys_of_a_vault_from_before_organisations_keep_the_whole_installation,
);

fn patch(user: &impl User, path: &str, body: &Value) -> impl Future<Output = Answer> + Send {
    send(user.request(Method::PATCH, path).json(body))
}

/// Creates an organisation and answers its id.
async fn create(app: &TestApp, name: &str) -> String {
    let created = app.operator().await.post("/v1/issuers", &json!({"name": name})).await.expect(201);
    created.body["id"].as_str().unwrap().to_owned()
}

fn id(body: &Value) -> &str {
    body["id"].as_str().unwrap()
}

fn column<'a>(page: &'a Value, name: &str) -> Vec<&'a str> {
    page["items"].as_array().unwrap().iter().map(|item| item[name].as_str().unwrap()).collect()
}

async fn an_organisation_is_created_with_a_key_of_its_own(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    let body = json!({"name": "  ac\u{301}me  ", "display_name": "Acme & Söhne", "url": "https://acme.example/"});
    let created = operator.post("/v1/issuers", &body).await.expect(201);
    let path = format!("/v1/issuers/{}", id(&created.body));
    assert_eq!(created.header("location"), path);
    let did = created.body["did"].as_str().unwrap();
    assert!(did.starts_with("did:key:z6Mk"));
    let expected = json!({
        "id": id(&created.body), "name": "a\u{107}me", "display_name": "Acme & Söhne", "url": "https://acme.example/", "did": did,
        "is_active": true, "deactivated_at": null, "keys": [{"did": did, "state": "current"}],
    });
    assert_eq!(created.body, expected);
    assert_eq!(operator.get(&path).await.expect(200).body, expected);
    let default = operator.get("/v1/issuers").await.expect(200).body["items"][1].clone();
    assert_eq!(default["name"], DEFAULT_ISSUER);
    assert_ne!(default["did"], did);

    // The ledger tells who did it.
    let stream = format!("issuer/{}", id(&created.body));
    let events = operator.get(&format!("/v1/logs/ledger/events?stream={stream}")).await.expect(200).body["items"].clone();
    assert_eq!(events.as_array().unwrap().len(), 1);
    assert_eq!((&events[0]["type"], &events[0]["payload"]), (&json!("IssuerRegistered"), &json!({"did": did, "name": "a\u{107}me"})));
    assert!(events[0]["metadata"]["actor"].as_str().unwrap().starts_with("key/"));
    assert_eq!(events[0]["position"], created.header("ledger-position"));

    let taken = operator.post("/v1/issuers", &json!({"name": "a\u{107}me"})).await.expect_problem(409, "issuer-exists");
    assert_eq!(taken.body["existing"], json!({"id": id(&created.body)}));
    for (body, field, code) in [
        (json!({}), "name", "required"),
        (json!({"name": " "}), "name", "blank"),
        (json!({"name": "x".repeat(101)}), "name", "too_long"),
        (json!({"name": "x\u{7}"}), "name", "control_character"),
        (json!({"name": 1}), "name", "type"),
        (json!({"name": "x", "display_name": ""}), "display_name", "blank"),
        (json!({"name": "x", "url": "javascript:alert(1)"}), "url", "format"),
        (json!({"name": "x", "url": "/relative"}), "url", "format"),
        (json!({"name": "x", "url": "https:///"}), "url", "format"),
        (json!({"name": "x", "is_active": false}), "is_active", "unknown"),
    ] {
        operator.post("/v1/issuers", &body).await.expect_field(field, code);
    }
    for role in [Role::Admin, Role::Inspector, Role::Issuer, Role::Auditor] {
        let caller = app.caller(role, DEFAULT_ISSUER).await;
        caller.post("/v1/issuers", &json!({"name": "other"})).await.expect_problem(403, "forbidden");
    }
}

async fn of_organisations_of_one_name_created_at_once_one_is_there(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    let bodies: Vec<Value> = (0..8).map(|at| json!({"name": "acme", "display_name": format!("Acme {at}")})).collect();
    let answers = futures::future::join_all(bodies.iter().map(|body| operator.post("/v1/issuers", body))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 1);
    for answer in refused {
        let answer = answer.expect_problem(409, "issuer-exists");
        assert_eq!(answer.body["existing"]["id"], made[0].body["id"]);
    }
    assert_eq!(column(&operator.get("/v1/issuers").await.expect(200).body, "name"), ["acme", DEFAULT_ISSUER]);
    // It is called what it was made with, and nothing else was recorded of it.
    let told = operator.get(&format!("/v1/issuers/{}", id(&made[0].body))).await.expect(200).body;
    assert_eq!(told["display_name"], made[0].body["display_name"]);
    let changes = operator.get("/v1/logs/audit/events?type=IssuerChanged").await.expect(200).body;
    let names: Vec<&Value> = changes["items"].as_array().unwrap().iter().map(|event| &event["payload"]["display_name"]).collect();
    assert_eq!(names, [&told["display_name"]]);
}

async fn an_organisation_whose_profile_cannot_be_recorded_is_there_without_one(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    app.services().audit.appender.shutdown().await;
    let body = json!({"name": "acme", "display_name": "Acme"});
    let told = operator.post("/v1/issuers", &body).await.expect_problem(503, "audit-unavailable");
    assert!(told.body["detail"].as_str().unwrap().starts_with("it was done"), "{}", told.text);
    let repeated = operator.post("/v1/issuers", &body).await.expect_problem(409, "issuer-exists");
    let made = operator.get(&format!("/v1/issuers/{}", repeated.body["existing"]["id"].as_str().unwrap())).await.expect(200).body;
    assert_eq!((&made["name"], &made["display_name"]), (&json!("acme"), &Value::Null));
}

async fn what_was_begun_before_a_crash_is_finished(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (operator, services) = (app.operator().await, app.services());
    // The vault's part is done; the process died before the ledger's.
    let begun = services.vault.ensure_issuer("acme", services.clock.now()).await.unwrap();
    let created = operator.post("/v1/issuers", &json!({"name": "acme", "url": "https://acme.example/"})).await.expect(201);
    assert_eq!((id(&created.body), &created.body["did"]), (begun.id.to_string().as_str(), &json!(begun.did)));
    assert_eq!(created.body["url"], "https://acme.example/");
    operator.post("/v1/issuers", &json!({"name": "acme"})).await.expect_problem(409, "issuer-exists");
}

async fn organisations_are_listed_newest_first_and_each_knows_its_own(engine: Engine) {
    let app = TestApp::start(engine).await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(create(&app, name).await);
    }
    for everything in [app.operator().await.0, app.inspector().await.0] {
        let first = everything.get("/v1/issuers?limit=3").await.expect(200).body;
        assert_eq!(column(&first, "name"), ["three", "two", "one"]);
        let next = first["next_cursor"].as_str().unwrap();
        let second = everything.get(&format!("/v1/issuers?limit=3&cursor={next}")).await.expect(200).body;
        assert_eq!((column(&second, "name"), &second["next_cursor"]), (vec![DEFAULT_ISSUER], &Value::Null));
        everything.get("/v1/issuers?cursor=x").await.expect_field("cursor", "format");
        everything.get("/v1/issuers?more=1").await.expect_field("more", "unknown");
    }
    for role in [Role::Member, Role::Issuer, Role::Auditor, Role::Billing, Role::Admin] {
        let caller = app.caller(role, "two").await;
        let own = caller.get("/v1/issuers").await.expect(200).body;
        assert_eq!((column(&own, "name"), &own["next_cursor"]), (vec!["two"], &Value::Null));
        let after = caller.get(&format!("/v1/issuers?cursor=i{}", ids[1].replace('-', ""))).await.expect(200).body;
        assert_eq!(after["items"], json!([]));
        caller.get(&format!("/v1/issuers/{}", ids[1])).await.expect(200);
        for other in [&ids[0], &Uuid::nil().to_string(), &"x".to_owned()] {
            caller.get(&format!("/v1/issuers/{other}")).await.expect_problem(404, "not-found");
        }
    }
    app.anonymous().get("/v1/issuers").await.expect_problem(401, "unauthenticated");
}

async fn an_administrator_changes_what_its_organisation_tells(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (own, other) = (create(&app, "acme").await, create(&app, "emca").await);
    let (admin, operator) = (app.caller(Role::Admin, "acme").await, app.operator().await);
    let path = format!("/v1/issuers/{own}");
    let changed = patch(&admin, &path, &json!({"display_name": " Acme  Inc. ", "url": "http://acme.example"})).await.expect(200).body;
    assert_eq!((&changed["display_name"], &changed["url"]), (&json!("Acme Inc."), &json!("http://acme.example")));
    assert_eq!(admin.get(&path).await.expect(200).body, changed);
    // What is absent stays, what is null goes.
    let changed = patch(&admin, &path, &json!({"display_name": null})).await.expect(200).body;
    assert_eq!((&changed["display_name"], &changed["url"]), (&Value::Null, &json!("http://acme.example")));
    let changed = patch(&operator, &path, &json!({"url": null, "display_name": "A"})).await.expect(200).body;
    assert_eq!((&changed["display_name"], &changed["url"]), (&json!("A"), &Value::Null));
    patch(&admin, &path, &json!({})).await.expect(200);

    // Each is on record, by whom, and nothing else is.
    let records = operator.get(&format!("/v1/logs/audit/events?stream=issuer/{own}&type=IssuerChanged")).await.expect(200).body;
    let payloads: Vec<&Value> = records["items"].as_array().unwrap().iter().map(|event| &event["payload"]).collect();
    let (url, active) = ("http://acme.example", true);
    let expected = [
        json!({"display_name": "Acme Inc.", "url": url, "is_active": active}),
        json!({"url": url, "is_active": active}),
        json!({"display_name": "A", "is_active": active}),
    ];
    assert_eq!(payloads, expected.iter().collect::<Vec<_>>());

    // It decides nothing else, and nothing elsewhere.
    patch(&admin, &path, &json!({"is_active": false})).await.expect_problem(403, "forbidden");
    patch(&admin, &path, &json!({"is_active": true})).await.expect_problem(403, "forbidden");
    patch(&admin, &format!("/v1/issuers/{other}"), &json!({"url": null})).await.expect_problem(404, "not-found");
    patch(&admin, &format!("/v1/issuers/{}", Uuid::nil()), &json!({})).await.expect_problem(404, "not-found");
    patch(&operator, &format!("/v1/issuers/{}", Uuid::nil()), &json!({})).await.expect_problem(404, "not-found");
    for (body, field, code) in [
        (json!({"name": "other"}), "name", "unknown"),
        (json!({"is_active": "no"}), "is_active", "type"),
        (json!({"url": "acme"}), "url", "format"),
        (json!([]), "", "type"),
    ] {
        patch(&operator, &path, &body).await.expect_field(field, code);
    }
    for role in [Role::Issuer, Role::Auditor, Role::Billing, Role::Member] {
        let caller = app.caller(role, "acme").await;
        patch(&caller, &path, &json!({"url": null})).await.expect_problem(403, "forbidden");
    }
}

async fn nothing_is_told_without_a_record_and_a_deactivation_does_not_wait_for_it(engine: Engine) {
    let app = TestApp::start(engine).await;
    let own = create(&app, "acme").await;
    let (operator, path) = (app.operator().await, format!("/v1/issuers/{own}"));
    app.services().audit.appender.shutdown().await;
    patch(&operator, &path, &json!({"url": "https://acme.example/"})).await.expect_problem(503, "audit-unavailable");
    assert_eq!(operator.get(&path).await.expect(200).body["url"], Value::Null);
    patch(&operator, &path, &json!({"is_active": false})).await.expect_problem(503, "audit-unavailable");
    assert_eq!(operator.get(&path).await.expect(200).body["is_active"], false);
    patch(&operator, &path, &json!({"is_active": true})).await.expect_problem(503, "audit-unavailable");
    assert_eq!(operator.get(&path).await.expect(200).body["is_active"], false);
    // What could not be recorded is, once it is asked for again.
    let app = TestApp::on(app.shutdown().await).start().await;
    let operator = app.operator().await;
    patch(&operator, &path, &json!({"is_active": false})).await.expect(200);
    let records = operator.get(&format!("/v1/logs/audit/events?stream=issuer/{own}")).await.expect(200).body;
    assert_eq!(records["items"].as_array().unwrap().len(), 1);
    assert_eq!(records["items"][0]["payload"], json!({"is_active": false}));
}

async fn a_deactivated_organisation_is_out_everywhere_and_what_it_issued_stays(engine: Engine) {
    let app = TestApp::start(engine).await;
    let elsewhere = TestApp::on(app.stores.clone()).start().await;
    let own = create(&app, "acme").await;
    let (operator, path) = (app.operator().await, format!("/v1/issuers/{own}"));
    let issuer = app.issuer_of("acme").await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    let admin = app.caller(Role::Admin, "acme").await;
    register(&admin, "ada").await;
    let of_session = log_in(&app, "ada", PASSWORD).await.session;
    let everybody =
        [&issuer.0, &of_session].map(|session| [&app, &elsewhere].map(|app| Session { address: app.address(), ..session.clone() }));
    for session in everybody.iter().flatten() {
        session.get("/v1/issuers").await.expect(200);
    }

    let before = Instant::now();
    let deactivated = patch(&operator, &path, &json!({"is_active": false})).await.expect(200).body;
    assert!(deactivated["is_active"] == false && deactivated["deactivated_at"].is_string());
    // Within a second; on a busy machine some more.
    for session in everybody.iter().flatten() {
        eventually("it is refused", || async { session.get("/v1/issuers").await.status == 401 }).await;
    }
    assert!(before.elapsed() < Duration::from_secs(5));
    let body = json!({"type": "t", "subject": {"name": "Bob", "email": "bob@example.org"}});
    issuer.post("/v1/credentials", &body).await.expect_problem(401, "unauthenticated");
    app.anonymous()
        .post("/v1/auth/login", &json!({"identifier": "ada", "password": PASSWORD}))
        .await
        .expect_problem(401, "unauthenticated");

    // It is known, and what it issued is what it was.
    assert_eq!(operator.get(&path).await.expect(200).body, deactivated);
    for presented in [json!({"id": issued["id"]}), json!({"document": issued["document"]})] {
        let verdict = elsewhere.anonymous().post("/v1/verifications", &presented).await.expect(200).body;
        assert_eq!((&verdict["valid"], &verdict["credential"]["issuer"]), (&json!(true), &json!("acme")), "{verdict}");
    }

    patch(&operator, &path, &json!({"is_active": true})).await.expect(200);
    for session in everybody.iter().flatten() {
        eventually("it is known again", || async { session.get("/v1/issuers").await.status == 200 }).await;
    }
    // The default organisation stays.
    let default = operator.get("/v1/issuers").await.expect(200).body["items"][1].clone();
    let path = format!("/v1/issuers/{}", id(&default));
    patch(&operator, &path, &json!({"is_active": false})).await.expect_problem(409, "default-issuer");
    operator.get(&path).await.expect(200);
}

async fn what_is_anothers_is_not_there(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (acme, emca) = (create(&app, "acme").await, create(&app, "emca").await);
    let issuer = app.issuer_of("acme").await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    let path = format!("/v1/credentials/{}", id(&issued));
    let search = json!({"email": "ada@example.org"});
    eventually("the list shows it to its issuer", || async { !column(&issuer.get("/v1/credentials").await.body, "id").is_empty() }).await;
    for role in [Role::Issuer, Role::Auditor, Role::Admin] {
        let (own, other) = (app.caller(role, "acme").await, app.caller(role, "emca").await);
        for below in ["", "/events", "/receipt", "/verifications"] {
            own.get(&format!("{path}{below}")).await.expect(200);
            other.get(&format!("{path}{below}")).await.expect_problem(404, "not-found");
        }
        for act in ["revoke", "suspend", "reinstate"] {
            let status = if role == Role::Auditor { (403, "forbidden") } else { (404, "not-found") };
            other.post_empty(&format!("{path}/{act}")).await.expect_problem(status.0, status.1);
        }
        own.get(&format!("/v1/issuers/{acme}")).await.expect(200);
        other.get(&format!("/v1/issuers/{acme}")).await.expect_problem(404, "not-found");
        own.get(&format!("/v1/issuers/{emca}")).await.expect_problem(404, "not-found");
        assert_eq!(column(&own.get("/v1/credentials").await.expect(200).body, "id"), [id(&issued)]);
        assert_eq!(other.get("/v1/credentials").await.expect(200).body["items"], json!([]));
        assert_eq!(column(&own.post("/v1/credentials/search", &search).await.expect(200).body, "id"), [id(&issued)]);
        assert_eq!(other.post("/v1/credentials/search", &search).await.expect(200).body["items"], json!([]));
        // The installation's own affairs are no organisation's.
        for path in ["/v1/services", "/v1/projections"] {
            own.get(path).await.expect_problem(403, "forbidden");
        }
    }
    for everything in [app.operator().await.0, app.inspector().await.0] {
        everything.get(&path).await.expect(200);
        everything.get("/v1/services").await.expect(200);
        assert_eq!(column(&everything.get("/v1/credentials").await.expect(200).body, "id"), [id(&issued)]);
    }
}

async fn subjects_and_secrets_are_each_organisations_own(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (acme, emca) = (create(&app, "acme").await, create(&app, "emca").await);
    let issuers: [(&String, Issuer); 2] = [(&acme, app.issuer_of("acme").await), (&emca, app.issuer_of("emca").await)];
    let mut dids = BTreeSet::new();
    for (organisation, issuer) in &issuers {
        let issued = issuer.issue("Ada", "ada@example.org").await;
        let did = issuer.get(&format!("/v1/issuers/{organisation}")).await.expect(200).body["did"].as_str().unwrap().to_owned();
        assert_eq!(issued["document"]["issuer"], did);
        assert_eq!(proof::check_by_issuer(&issued["document"], credence_ledger::Timestamp::MAX).unwrap(), did);
        dids.insert(did);
        let secret = issuer.post("/v1/credentials", &json!({"type": "code", "secret": "open sesame"})).await.expect(201);
        issuer.post("/v1/credentials", &json!({"type": "code", "secret": "open sesame"})).await.expect_problem(409, "already-issued");
        eventually("its secret is verified as its own", || async {
            let presented = json!({"secret": "open sesame", "issuer": secret.body["issuer"]});
            let verdict = app.anonymous().post("/v1/verifications", &presented).await.expect(200).body;
            verdict["credential"]["id"] == secret.body["id"]
        })
        .await;
    }
    assert_eq!(dids.len(), 2);
    // A rotation of one leaves the other's.
    let caller = Caller::operator("test");
    let services = app.services();
    let issuer = services.issuers.by_name("acme").await.unwrap().unwrap();
    credence_api::use_cases::rotate::rotate(services, &caller, &issuer).await.unwrap();
    let (rotated, left) = (&issuers[0].1, &issuers[1].1);
    let told = rotated.get(&format!("/v1/issuers/{acme}")).await.expect(200).body;
    assert_eq!(told["keys"].as_array().unwrap().iter().map(|key| &key["state"]).collect::<Vec<_>>(), ["retired", "current"]);
    assert!(!dids.contains(told["did"].as_str().unwrap()));
    assert!(dids.contains(left.get(&format!("/v1/issuers/{emca}")).await.expect(200).body["did"].as_str().unwrap()));
}

/// Two organisations that did and suffered all kinds of things. Answers each one's name and the positions of its events, in the ledger and
/// in the audit log.
async fn two_histories(app: &TestApp) -> [(&'static str, [Vec<String>; 2]); 2] {
    let services = app.services();
    let operator = app.operator().await;
    let mut histories = [("acme", [Vec::new(), Vec::new()]), ("emca", [Vec::new(), Vec::new()])];
    for (name, [ledger, audited]) in &mut histories {
        let created = operator.post("/v1/issuers", &json!({"name": name})).await.expect(201);
        ledger.push(created.header("ledger-position").to_owned());
        let organisation = id(&created.body).to_owned();
        let size = async || services.audit.log.head().await.unwrap().size;
        // So many events of the organisation's lie in the audit log from here on.
        let mut from = size().await;
        let mut own = async |count: u64| {
            eventually("all is recorded", || async { size().await >= from + count }).await;
            assert_eq!(size().await, from + count);
            audited.extend((from..from + count).map(|position| format!("audit@{position}")));
            from += count;
        };
        let issuer = app.issuer_of(name).await;
        let issued = issuer.issue("Ada", "ada@example.org").await;
        let path = format!("/v1/credentials/{}", id(&issued));
        let revoked = issuer.post(&format!("{path}/revoke"), &json!({"reason": "moved on"})).await.expect(200);
        ledger.push(issued["position"].as_str().unwrap().to_owned());
        ledger.push(revoked.header("ledger-position").to_owned());
        eventually("it is known", || async { !column(&issuer.get("/v1/credentials").await.body, "id").is_empty() }).await;
        // A verdict about its credential, whoever asks; reads of it, whoever reads.
        app.anonymous().post("/v1/verifications", &json!({"id": id(&issued)})).await.expect(200);
        app.issuer().await.post("/v1/verifications", &json!({"id": id(&issued)})).await.expect(200);
        operator.get(&path).await.expect(200);
        issuer.get(&path).await.expect(200);
        own(4).await;
        // What its key did that is about nothing.
        issuer.post("/v1/verifications", &json!({"id": Uuid::nil()})).await.expect(200);
        issuer.get("/v1/services").await.expect(403);
        own(2).await;
        // What was done to itself, its keys and its accounts.
        patch(&operator, &format!("/v1/issuers/{organisation}"), &json!({"url": "https://example.org/"})).await.expect(200);
        own(1).await;
        let organisation: Uuid = organisation.parse().unwrap();
        let (key, _) = services.vault.create_key(&Terms::of(Role::Auditor, organisation), services.clock.now()).await.unwrap();
        let caller = Caller::operator("test");
        audit::record_on(services, &caller, Stream::new(category::KEY, key.id), Expected::Any, &KeyRevoked {}).await.unwrap();
        own(1).await;
        let admin = app.caller(Role::Admin, name).await;
        register(&admin, &format!("ada_of_{name}")).await;
        let session = log_in(app, &format!("ada_of_{name}"), PASSWORD).await.session;
        session.post_empty("/v1/auth/logout").await;
        let wrong = json!({"identifier": format!("ada_of_{name}"), "password": "a wrong one"});
        app.anonymous().post("/v1/auth/login", &wrong).await.expect(401);
        own(4).await;
    }
    // What is nobody's.
    let caller = Caller::operator("test");
    audit::record(services, &caller, category::KEY, &LogKeyRotated { log: "ledger".to_owned() }).await.unwrap();
    let rebuild = RebuildStarted { generation: 9, projection: "verification".to_owned() };
    audit::record(services, &caller, category::REBUILD, &rebuild).await.unwrap();
    audit::record(services, &caller, category::KEY, &KeyRevoked {}).await.unwrap();
    app.anonymous().post("/v1/verifications", &json!({"id": Uuid::nil()})).await.expect(200);
    app.anonymous().post("/v1/auth/login", &json!({"identifier": "nobody", "password": "a wrong one"})).await.expect(401);
    histories
}

async fn an_auditor_reads_the_events_of_its_organisation_alone(engine: Engine) {
    let app = TestApp::start(engine).await;
    let histories = two_histories(&app).await;
    let all = app.inspector().await.get("/v1/logs/audit/events?limit=1000").await.expect(200).body;
    let kinds: BTreeSet<&str> = column(&all, "type").into_iter().collect();
    for (name, [ledger, audited]) in &histories {
        for role in [Role::Auditor, Role::Admin] {
            let caller = app.caller(role, name).await;
            for (log, expected) in [("ledger", ledger), ("audit", audited)] {
                let path = format!("/v1/logs/{log}/events");
                let read = caller.get(&format!("{path}?limit=1000")).await.expect(200).body;
                assert_eq!(column(&read, "position"), *expected, "{log} of {name}");
                assert_eq!(read["next_cursor"], Value::Null);
                // Page by page it is the same, and a cursor leads to something.
                let (mut positions, mut cursor) = (Vec::new(), String::new());
                loop {
                    let page = caller.get(&format!("{path}?limit=2{cursor}")).await.expect(200).body;
                    positions.extend(column(&page, "position").into_iter().map(str::to_owned));
                    let Some(next) = page["next_cursor"].as_str() else { break };
                    assert_eq!(page["items"].as_array().unwrap().len(), 2);
                    cursor = format!("&cursor={next}");
                }
                assert_eq!(positions, *expected);
            }
        }
        // Filters hold beside.
        let caller = app.caller(Role::Auditor, name).await;
        let typed = caller.get("/v1/logs/ledger/events?type=CredentialRevoked").await.expect(200).body;
        assert_eq!(column(&typed, "position"), ledger[2..]);
        let others = &histories.iter().find(|(other, _)| other != name).unwrap().1;
        let events = app.services().ledger().unwrap().log.read(&Query::from(credence_ledger::Position::FIRST, 100)).await.unwrap();
        let foreign = events.iter().find(|event| format!("ledger@{}", event.position.0) == others[0][1]).unwrap().stream.clone();
        let of_other = caller.get(&format!("/v1/logs/ledger/events?stream={foreign}")).await.expect(200).body;
        assert_eq!(of_other, json!({"items": [], "next_cursor": null}));
        for role in [Role::Issuer, Role::Billing, Role::Member] {
            app.caller(role, name).await.get("/v1/logs/audit/events").await.expect_problem(403, "forbidden");
        }
    }
    // They are not all of one kind.
    for kind in [
        "CredentialVerified",
        "PersonalDataRead",
        "AccessRefused",
        "IssuerChanged",
        "KeyRevoked",
        "AccountRegistered",
        "SessionStarted",
        "SessionEnded",
        "LoginFailed",
    ] {
        assert!(kinds.contains(kind), "{kind}");
    }
}

async fn every_format_tells_an_auditor_the_same_events(engine: Engine) {
    let app = TestApp::start(engine).await;
    let histories = two_histories(&app).await;
    let auditor = app.caller(Role::Auditor, "emca").await;
    let (_, [_, expected]) = &histories[1];
    let path = "/v1/logs/audit/events";
    let get = async |query: &str, accept: &str| {
        let response = auditor.request(Method::GET, &format!("{path}{query}")).header("accept", accept).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], accept);
        response.bytes().await.unwrap()
    };
    for limit in [None, Some(3), Some(1000)] {
        let query = limit.map_or_else(String::new, |limit| format!("?limit={limit}"));
        let expected = &expected[..limit.unwrap_or(1000).min(expected.len())];
        let lines = get(&query, "application/x-ndjson").await;
        let lines = String::from_utf8(lines.to_vec()).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(column(&json!({"items": lines}), "position"), expected);
        let sequence = chain::items(&get(&query, "application/cbor-seq").await);
        let positions: Vec<String> = sequence[1..].iter().map(|item| format!("audit@{}", chain::uint(item, "position"))).collect();
        assert_eq!(positions, expected);
    }
}

async fn a_follower_gets_what_is_its_organisations(engine: Engine) {
    let app = TestApp::start(engine).await;
    create(&app, "acme").await;
    create(&app, "emca").await;
    let (own, other) = (app.issuer_of("acme").await, app.issuer_of("emca").await);
    let auditor = app.caller(Role::Auditor, "acme").await;
    let request = auditor.request(Method::GET, "/v1/logs/ledger/events?limit=3").header("accept", "text/event-stream");
    let mut following = request.send().await.unwrap().bytes_stream();
    let mut expected = vec!["ledger@1".to_owned()];
    for name in ["Ada", "Bob"] {
        other.issue(name, "one@example.org").await;
        expected.push(own.issue(name, "one@example.org").await["position"].as_str().unwrap().to_owned());
    }
    let mut text = String::new();
    // It ends by itself, after as many as were wanted.
    while let Some(bytes) = tokio::time::timeout(Duration::from_secs(20), following.next()).await.unwrap() {
        text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
    }
    let positions: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id:")).map(str::trim).collect();
    assert_eq!(positions, expected);
}

async fn a_page_of_an_organisations_events_looks_at_a_bounded_stretch(engine: Engine) {
    const STRETCH: u64 = 4096;
    let app = TestApp::start(engine).await;
    create(&app, "acme").await;
    let audit = &app.services().audit;
    let before = audit.log.head().await.unwrap().size;
    for start in (0..5000).step_by(500) {
        let batch = (start..start + 500).map(|number| {
            let metadata = Origination::system("one").metadata(&SystemRandom);
            Append::to(Stream::new(category::KEY, Uuid::from_u128(number)), Expected::None, vec![New::of(&KeyRevoked {}, &metadata)])
        });
        audit.log.commit(batch.collect()).await.unwrap();
    }
    let issuer = app.issuer_of("acme").await;
    issuer.get("/v1/services").await.expect(403);
    let position = before + 5000;
    eventually("the refusal is recorded", || async { audit.log.head().await.unwrap().size > position }).await;
    let auditor = app.caller(Role::Auditor, "acme").await;
    let first = auditor.get("/v1/logs/audit/events").await.expect(200).body;
    assert_eq!(first["items"], json!([]));
    // It goes on where the stretch ended.
    let next = first["next_cursor"].as_str().unwrap();
    assert_eq!(next, format!("c{STRETCH:x}"));
    let second = auditor.get(&format!("/v1/logs/audit/events?cursor={next}")).await.expect(200).body;
    assert_eq!(column(&second, "position"), [format!("audit@{position}")]);
    assert_eq!(second["next_cursor"], Value::Null);
}

async fn an_auditor_opens_what_is_its_own_on_record(engine: Engine) {
    let app = TestApp::start(engine).await;
    create(&app, "acme").await;
    create(&app, "emca").await;
    let (own, other) = (app.issuer_of("acme").await, app.issuer_of("emca").await);
    let mine = own.issue("Ada", "ada@acme.example").await;
    let theirs = other.issue("Eve", "eve@emca.example").await;
    let auditor = app.caller(Role::Auditor, "acme").await;
    let opened = auditor.get("/v1/logs/ledger/events?open=true").await.expect(200);
    assert!(opened.text.contains("ada@acme.example") && !opened.text.contains("eve@emca.example"));
    assert!(!auditor.get("/v1/logs/ledger/events").await.expect(200).text.contains("ada@acme.example"));
    let stream = |issued: &Value| format!("credential/{}", id(issued));
    auditor.get(&format!("/v1/logs/ledger/events?open=true&stream={}", stream(&mine))).await.expect(200);
    let asked = auditor.get(&format!("/v1/logs/ledger/events?open=true&stream={}", stream(&theirs))).await.expect(200);
    assert_eq!(asked.body["items"], json!([]));
    // Every one is on its own organisation's record, and none on the other's, of whom nothing was read.
    let records = "/v1/logs/audit/events?type=PersonalDataRead";
    let whats: Vec<Value> = auditor.get(records).await.expect(200).body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["payload"]["what"].clone())
        .collect();
    assert_eq!(whats, [Value::Null, json!(stream(&mine)), Value::Null]);
    assert_eq!(app.caller(Role::Auditor, "emca").await.get(records).await.expect(200).body["items"], json!([]));
    // Without a record nothing is opened.
    app.services().audit.appender.shutdown().await;
    auditor.get("/v1/logs/ledger/events?open=true").await.expect_problem(503, "audit-unavailable");
}

/// Takes the vault's last step back, and puts two keys into it as the version before did: of an administrator and of an auditor.
async fn as_the_version_before(app: TestApp, engine: Engine) -> (std::sync::Arc<support::Stores>, [String; 2]) {
    let issuer = app.services().issuers.by_name(DEFAULT_ISSUER).await.unwrap().unwrap().id;
    let stores = app.shutdown().await;
    let keys = ["a", "b"].map(|digit| format!("credence_{}", digit.repeat(64)));
    let rows = (1..)
        .zip(&keys)
        .zip(["admin", "auditor"])
        .map(|((number, key), role)| (Uuid::from_u128(number), *blake3::hash(key.as_bytes()).as_bytes(), role));
    match engine {
        Engine::Sqlite => {
            let vault = rusqlite::Connection::open(stores.folder.path().join("vault.sqlite")).unwrap();
            vault.execute_batch(include_str!("organisations/before_accounts.sqlite.sql")).unwrap();
            for (id, hash, role) in rows {
                let insert = "insert into api_keys (id, hash, prefix, role, issuer, created_at) values (?1, ?2, 'credence_x', ?3, ?4, 1)";
                vault.execute(insert, rusqlite::params![id.as_bytes(), hash, role, issuer.as_bytes()]).unwrap();
            }
        }
        Engine::Postgres => {
            let mut vault = sqlx::PgConnection::connect(&stores.url()).await.unwrap();
            sqlx::raw_sql(include_str!("organisations/before_accounts.postgres.sql")).execute(&mut vault).await.unwrap();
            for (id, hash, role) in rows {
                let insert =
                    "insert into vault.api_keys (id, hash, prefix, role, issuer, created_at) values ($1, $2, 'credence_x', $3, $4, 1)";
                sqlx::query(insert).bind(id).bind(hash.to_vec()).bind(role).bind(issuer).execute(&mut vault).await.unwrap();
            }
        }
    }
    (stores, keys)
}

async fn keys_of_a_vault_from_before_organisations_keep_the_whole_installation(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issued = app.issuer_of("acme").await.issue("Ada", "ada@example.org").await;
    let (stores, keys) = as_the_version_before(app, engine).await;
    let app = TestApp::on(stores).start().await.with_read_models().await;
    let [admin, auditor] = keys.map(|key| app.issuer_with(&key));
    let path = format!("/v1/credentials/{}", id(&issued));
    let new = app.caller(Role::Auditor, DEFAULT_ISSUER).await;
    for old in [&admin, &auditor] {
        old.get(&path).await.expect(200);
        old.get("/v1/services").await.expect(200);
        old.get("/v1/projections").await.expect(200);
        assert_eq!(column(&old.get("/v1/issuers").await.expect(200).body, "name"), ["acme", DEFAULT_ISSUER]);
        let log = old.get("/v1/logs/ledger/events").await.expect(200).body;
        assert_eq!(column(&log, "type"), ["IssuerRegistered", "IssuerRegistered", "CredentialIssued"]);
    }
    // One that is made now is an organisation's.
    new.get(&path).await.expect_problem(404, "not-found");
    assert_eq!(column(&new.get("/v1/logs/ledger/events").await.expect(200).body, "type"), ["IssuerRegistered"]);
    for change in [format!("{path}/suspend"), "/v1/projections/history/rebuilds".to_owned(), format!("{path}/revoke")] {
        auditor.post_empty(&change).await.expect_problem(403, "forbidden");
        let done = admin.post_empty(&change).await;
        assert!([200, 202].contains(&done.status.as_u16()), "{}", done.text);
    }
    auditor.post("/v1/issuers", &json!({"name": "new"})).await.expect_problem(403, "forbidden");
    admin.post("/v1/issuers", &json!({"name": "new"})).await.expect(201);
}
