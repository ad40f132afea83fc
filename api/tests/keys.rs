//! API keys for programs: made, told once, listed, limited, rotated and revoked, over HTTP and by the command line.

#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credence_api::stores::{self, DEFAULT_ISSUER};
use credence_ledger::event::audit::{AuditEvent, KeyReplaced};
use credence_ledger::event::{New, Origination};
use credence_ledger::log::{Append, Expected, Query};
use credence_ledger::testing::ManualClock;
use credence_ledger::vault::{Role, Roles, Terms};
use credence_ledger::{Clock as _, Position, Stream, random};
use reqwest::Method;
use serde_json::{Value, json};
use support::accounts::{PASSWORD, log_in, register};
use support::{Answer, Child, Engine, Issuer, Stores, TestApp, User, eventually, run, send};
use uuid::Uuid;

engines!(
    a_key_is_told_once_found_by_its_prefix_and_revoked,
    keys_are_listed_newest_first_page_by_page,
    a_key_that_expires_holds_until_then,
    a_key_is_rotated_with_and_without_an_overlap,
    of_rotations_at_once_one_makes_a_key,
    a_rotation_that_broke_off_is_finished_by_a_repeat_and_by_a_start,
    who_is_limited_to_types_administers_no_accounts,
    nobody_gives_more_than_it_has,
    what_is_another_organisations_is_not_there,
    a_limited_key_issues_and_changes_its_types_and_no_others,
    a_key_revoked_by_the_command_line_is_refused_by_every_process_within_a_second,
    access_tokens_signed_until_the_keys_are_replaced_are_refused_within_a_second,
    a_key_that_cannot_be_recorded_is_nobodys_and_one_that_is_revoked_stays_so,
    nothing_of_a_key_but_its_prefix_is_kept_or_told_again,
    the_command_line_gives_keys_every_term_and_rotates_them,
);

/// Whoever has this role in this organisation.
async fn of(app: &TestApp, role: Role, issuer: &str) -> Issuer {
    Issuer(app.caller(role, issuer).await)
}

/// Whoever has a key on these terms, which are made right.
async fn with(app: &TestApp, issuer: &str, roles: &[Role], types: Option<&[&str]>) -> (Uuid, Issuer) {
    let services = app.services();
    let ledger = services.ledger.as_ref().unwrap();
    let issuer = stores::register_issuer(&*services.vault, ledger, issuer, &services.worker, &services.clock, &services.random).await;
    let types = types.map(|types| types.iter().map(|each| (*each).to_owned()).collect());
    let terms = Terms { roles: Roles::of(roles), types, ..Terms::of(Role::Member, issuer.unwrap().id) };
    let (key, text) = services.vault.create_key(&terms, services.clock.now()).await.unwrap();
    (key.id, app.issuer_with(&text))
}

/// Makes a key and answers what is told of it, this once.
async fn make(by: &impl User, body: &Value) -> Value {
    by.post("/v1/keys", body).await.expect(201).body
}

fn holder(app: &TestApp, made: &Value) -> Issuer {
    app.issuer_with(made["key"].as_str().unwrap())
}

fn path(key: &Value) -> String {
    format!("/v1/keys/{}", key["id"].as_str().unwrap())
}

async fn delete(by: &impl User, path: &str) -> Answer {
    send(by.request(Method::DELETE, path)).await
}

async fn issue(by: &impl User, credential_type: &str) -> Answer {
    let email = format!("{}@example.org", fresh());
    by.post("/v1/credentials", &json!({"type": credential_type, "subject": {"name": "Ada", "email": email}})).await
}

fn fresh() -> Uuid {
    Uuid::from_bytes(random::bytes(&random::SystemRandom))
}

/// The types of the events of a key, and who did it.
async fn recorded(app: &TestApp, id: &str) -> Vec<(String, String)> {
    let stream: Stream = format!("key/{id}").parse().unwrap();
    let events = app.services().audit.log.read(&Query::stream(&stream)).await.unwrap();
    events.iter().map(|event| (event.kind.clone(), event.metadata().unwrap().actor)).collect()
}

fn kinds(recorded: &[(String, String)]) -> Vec<&str> {
    recorded.iter().map(|(kind, _)| kind.as_str()).collect()
}

/// What was known may be used for so long.
async fn a_second() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn a_key_is_told_once_found_by_its_prefix_and_revoked(engine: Engine) {
    let app = TestApp::start(engine).await;
    let admin = of(&app, Role::Admin, "acme").await;
    let asked = json!({"roles": ["auditor", "issuer"], "name": " for  the registry ", "types": ["degree", "badge", " degree"], "expires_at": "2999-01-31T13:00:00+01:00"});
    let answer = admin.post("/v1/keys", &asked).await.expect(201);
    assert_eq!((answer.header("location"), answer.header("cache-control")), (path(&answer.body).as_str(), "no-store"));
    let mut made = answer.body;
    let text = made["key"].as_str().unwrap().to_owned();
    let prefix = made["prefix"].as_str().unwrap().to_owned();
    assert!(text.starts_with(&prefix) && text.len() == "credence_".len() + 64 && prefix.len() == "credence_".len() + 8);
    assert_eq!(
        (&made["roles"], &made["issuer"], &made["name"]),
        (&json!(["issuer", "auditor"]), &json!("acme"), &json!("for the registry"))
    );
    assert_eq!((&made["types"], &made["expires_at"]), (&json!(["degree", "badge"]), &json!("2999-01-31T12:00:00Z")));
    assert_eq!((&made["status"], &made["last_used_at"], &made["revoked_at"]), (&json!("active"), &Value::Null, &Value::Null));

    // From now on everything is told but the key.
    let user = app.issuer_with(&text);
    made.as_object_mut().unwrap().remove("key");
    assert_eq!(admin.get(&path(&made)).await.expect(200).body, made);
    let found = admin.get(&format!("/v1/keys?prefix={prefix}")).await.expect(200);
    assert_eq!(found.body, json!({"items": [made], "next_cursor": null}));
    admin.get(&format!("/v1/keys?prefix={text}")).await.expect_field("prefix", "format");
    issue(&user, "degree").await.expect(201);
    user.get("/v1/keys").await.expect_problem(403, "forbidden");
    app.eventually("it is told when the key was last used", || async {
        admin.get(&path(&made)).await.body["last_used_at"].as_str().is_some_and(|at| at.ends_with(":00Z"))
    })
    .await;

    for _ in 0..2 {
        assert_eq!(delete(&admin, &path(&made)).await.expect(204).text, "");
    }
    a_second().await;
    issue(&user, "degree").await.expect_problem(401, "unauthenticated");
    let revoked = admin.get(&path(&made)).await.expect(200).body;
    assert!(revoked["status"] == "revoked" && revoked["revoked_at"].is_string());
    let recorded = recorded(&app, made["id"].as_str().unwrap()).await;
    assert_eq!(kinds(&recorded), ["KeyCreated", "KeyRevoked"]);
    assert!(recorded.iter().all(|(_, actor)| actor.starts_with("key/") && *actor == recorded[0].1));

    for (body, field, code) in [
        (json!({}), "roles", "required"),
        (json!({"roles": []}), "roles", "blank"),
        (json!({"roles": "issuer"}), "roles", "type"),
        (json!({"roles": ["issuer", "king"]}), "roles[1]", "format"),
        (json!({"roles": [1]}), "roles[0]", "type"),
        (json!({"roles": ["issuer"], "types": []}), "types", "blank"),
        (json!({"roles": ["issuer"], "types": [" "]}), "types[0]", "blank"),
        (json!({"roles": ["issuer"], "name": "a\nb"}), "name", "control_character"),
        (json!({"roles": ["issuer"], "expires_at": "2020-01-31T12:00:00Z"}), "expires_at", "range"),
        (json!({"roles": ["issuer"], "expires_at": "soon"}), "expires_at", "format"),
        (json!({"roles": ["issuer"], "key": "mine"}), "key", "unknown"),
    ] {
        admin.post("/v1/keys", &body).await.expect_field(field, code);
    }
}

async fn keys_are_listed_newest_first_page_by_page(engine: Engine) {
    let app = TestApp::start(engine).await;
    let admin = of(&app, Role::Admin, "acme").await;
    let mut made = Vec::new();
    for name in ["one", "two", "three"] {
        made.push(make(&admin, &json!({"roles": ["member"], "name": name})).await["id"].clone());
        // Ids are dated to the millisecond.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (mut told, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/v1/keys?limit=2{cursor}")).await.expect(200).body;
        told.extend(page["items"].as_array().unwrap().iter().map(|key| key["id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    // The oldest is the administrator's own.
    assert_eq!(told.len(), 4);
    assert!(told.iter().zip(made.iter().rev()).all(|(told, made)| told == made));
    for (query, field, code) in [
        ("limit=101", "limit", "range"),
        ("cursor=c1", "cursor", "format"),
        ("prefix=ab", "prefix", "format"),
        ("name=one", "name", "unknown"),
    ] {
        admin.get(&format!("/v1/keys?{query}")).await.expect_field(field, code);
    }
}

async fn a_key_that_expires_holds_until_then(engine: Engine) {
    let clock = Arc::new(ManualClock::default());
    let app = TestApp::builder(engine).await.clock(clock.clone()).start().await;
    let admin = of(&app, Role::Admin, "acme").await;
    let expires_at = clock.now().plus(Duration::from_secs(3600));
    let made = make(&admin, &json!({"roles": ["issuer"], "expires_at": expires_at.to_string()})).await;
    let user = holder(&app, &made);
    clock.advance(Duration::from_secs(3599));
    issue(&user, "degree").await.expect(201);
    clock.advance(Duration::from_secs(1));
    let refused = issue(&user, "degree").await.expect_problem(401, "unauthenticated");
    assert!(refused.body["detail"].as_str().unwrap().contains("expired"), "{}", refused.text);
    assert_eq!(admin.get(&path(&made)).await.expect(200).body["status"], "expired");
    admin.post_empty(&format!("{}/rotate", path(&made))).await.expect_problem(409, "key-ended");
}

async fn of_rotations_at_once_one_makes_a_key(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    let made = operator.post("/v1/keys", &json!({"roles": ["issuer"]})).await.expect(201).body;
    let rotate = format!("{}/rotate", path(&made));
    let answers = futures::future::join_all((0..10).map(|_| operator.post_empty(&rotate))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.expect_problem(409, "key-ended");
    }
    let keys = operator.get("/v1/keys?limit=100").await.expect(200).body["items"].clone();
    let holding = |key: &&Value| key["roles"] == json!(["issuer"]) && key["status"] == "active";
    assert_eq!(keys.as_array().unwrap().iter().filter(holding).count(), 1);
}

async fn a_rotation_that_broke_off_is_finished_by_a_repeat_and_by_a_start(engine: Engine) {
    let app = TestApp::start(engine).await;
    let admin = of(&app, Role::Admin, "acme").await;
    let ends = app.services().clock.now();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let made = make(&admin, &json!({"roles": ["issuer"]})).await;
        // What a process that was killed there had recorded, and what the vault had not heard of.
        let stream: Stream = format!("key/{}", made["id"].as_str().unwrap()).parse().unwrap();
        let metadata = Origination::system("killed").metadata(&random::SystemRandom);
        let replaced = New::of(&KeyReplaced { expires_at: ends, replaced_by: fresh() }, &metadata);
        app.services().audit.append(Append::to(stream, Expected::Any, vec![replaced])).await.unwrap();
        issue(&holder(&app, &made), "degree").await.expect(201);
        keys.push(made);
    }
    for _ in 0..2 {
        admin.post_empty(&format!("{}/rotate", path(&keys[0]))).await.expect_problem(409, "key-ended");
        assert_eq!(admin.get(&path(&keys[0])).await.body["expires_at"], ends.to_string());
    }
    assert_eq!(admin.get(&path(&keys[1])).await.body["status"], "active");
    let next = TestApp::on(app.stores.clone()).start().await;
    eventually("a start looks for it", || async { admin.get(&path(&keys[1])).await.body["status"] == "expired" }).await;
    a_second().await;
    for made in &keys {
        issue(&holder(&next, made), "degree").await.expect_problem(401, "unauthenticated");
    }
}

async fn who_is_limited_to_types_administers_no_accounts(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    let limited = operator.post("/v1/keys", &json!({"roles": ["admin"], "types": ["badge"]})).await.expect(201).body;
    let limited = holder(&app, &limited);
    let account = json!({"username": "ada", "email": "ada@example.org", "password": "a winter's bicycle, humming"});
    limited.post("/v1/auth/register", &account).await.expect_problem(403, "forbidden");
    let id = operator.post("/v1/auth/register", &account).await.expect(201).body["id"].as_str().unwrap().to_owned();
    let roles = limited.request(Method::PUT, &format!("/v1/accounts/{id}/roles")).json(&json!({"roles": ["issuer"]}));
    support::send(roles).await.expect_problem(403, "forbidden");
}

async fn a_key_is_rotated_with_and_without_an_overlap(engine: Engine) {
    let clock = Arc::new(ManualClock::default());
    let app = TestApp::builder(engine).await.clock(clock.clone()).start().await;
    let admin = of(&app, Role::Admin, "acme").await;
    let expires_at = clock.now().plus(Duration::from_secs(86_400)).to_string();
    let asked = json!({"roles": ["issuer", "auditor"], "name": "registry", "types": ["degree"], "expires_at": expires_at});
    let first = make(&admin, &asked).await;
    let rotate = |key: &Value| format!("{}/rotate", path(key));
    for body in [json!({"overlap_s": 604_801}), json!({"overlap_s": -1})] {
        admin.post(&rotate(&first), &body).await.expect_field("overlap_s", "range");
    }

    // Both hold while they overlap, and then the new one alone.
    let answer = admin.post(&rotate(&first), &json!({"overlap_s": 60})).await.expect(201);
    let second = answer.body.clone();
    assert_eq!(answer.header("location"), path(&second));
    for term in ["roles", "issuer", "name", "types", "expires_at"] {
        assert_eq!(second[term], first[term], "{term}");
    }
    assert!(second["id"] != first["id"] && second["key"] != first["key"] && second["key"].is_string());
    a_second().await;
    for key in [&first, &second] {
        issue(&holder(&app, key), "degree").await.expect(201);
    }
    let ends = clock.now().plus(Duration::from_secs(60));
    assert_eq!(admin.get(&path(&first)).await.body["expires_at"], ends.to_string());
    admin.post_empty(&rotate(&first)).await.expect_problem(409, "key-ended");
    clock.advance(Duration::from_secs(60));
    a_second().await;
    issue(&holder(&app, &first), "degree").await.expect_problem(401, "unauthenticated");
    issue(&holder(&app, &second), "degree").await.expect(201);

    // Without an overlap the old one ends at once.
    let third = admin.post_empty(&rotate(&second)).await.expect(201).body;
    a_second().await;
    issue(&holder(&app, &second), "degree").await.expect_problem(401, "unauthenticated");
    issue(&holder(&app, &third), "degree").await.expect(201);
    assert_eq!(kinds(&recorded(&app, second["id"].as_str().unwrap()).await), ["KeyCreated", "KeyReplaced"]);
    let stream: Stream = format!("key/{}", first["id"].as_str().unwrap()).parse().unwrap();
    let events = app.services().audit.log.read(&Query::stream(&stream)).await.unwrap();
    let replaced = KeyReplaced { expires_at: ends, replaced_by: second["id"].as_str().unwrap().parse().unwrap() };
    assert_eq!(AuditEvent::decode(events.last().unwrap()).unwrap(), AuditEvent::KeyReplaced(replaced));

    delete(&admin, &path(&third)).await.expect(204);
    admin.post_empty(&rotate(&third)).await.expect_problem(409, "key-ended");
    // What one has rotated its own key for is the new one.
    let own = make(&admin, &json!({"roles": ["admin"]})).await;
    let next = holder(&app, &own).post_empty(&rotate(&own)).await.expect(201).body;
    a_second().await;
    holder(&app, &own).get("/v1/keys").await.expect_problem(401, "unauthenticated");
    holder(&app, &next).get("/v1/keys").await.expect(200);
}

async fn nobody_gives_more_than_it_has(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (admin, operator) = (of(&app, Role::Admin, "acme").await, of(&app, Role::Operator, "acme").await);
    of(&app, Role::Member, "emca").await;
    for role in Role::ALL {
        let asked = json!({"roles": ["member", role.as_str()]});
        let within = !matches!(role, Role::Inspector | Role::Operator);
        if within {
            admin.post("/v1/keys", &asked).await.expect(201);
        } else {
            admin.post("/v1/keys", &asked).await.expect_problem(403, "forbidden");
        }
        operator.post("/v1/keys", &asked).await.expect(201);
    }
    // Whether there is another organisation of that name is not told.
    for issuer in ["emca", "nobody"] {
        admin.post("/v1/keys", &json!({"roles": ["member"], "issuer": issuer})).await.expect_problem(403, "forbidden");
    }
    make(&admin, &json!({"roles": ["member"], "issuer": "acme"})).await;
    assert_eq!(make(&operator, &json!({"roles": ["admin"], "issuer": "emca"})).await["issuer"], "emca");
    operator.post("/v1/keys", &json!({"roles": ["member"], "issuer": "nobody"})).await.expect_field("issuer", "unknown");

    // Who reads everything as well gives no more for it.
    let (_, both) = with(&app, "acme", &[Role::Admin, Role::Inspector], None).await;
    both.post("/v1/keys", &json!({"roles": ["inspector"]})).await.expect_problem(403, "forbidden");
    both.post("/v1/keys", &json!({"roles": ["member"], "issuer": "emca"})).await.expect_problem(403, "forbidden");

    // What reaches further than an organisation is not its administrator's to take or to have.
    for role in [Role::Inspector, Role::Operator] {
        let (id, user) = with(&app, "acme", &[Role::Issuer, role], None).await;
        let path = format!("/v1/keys/{id}");
        assert_eq!(admin.get(&path).await.expect(200).body["status"], "active");
        admin.post_empty(&format!("{path}/rotate")).await.expect_problem(403, "forbidden");
        delete(&admin, &path).await.expect_problem(403, "forbidden");
        a_second().await;
        user.get("/v1/credentials").await.expect(200);
        delete(&operator, &path).await.expect(204);
    }

    // An administrator of some types of credentials gives no others, nor takes over a key that has them.
    for role in [Role::Admin, Role::Operator] {
        let (_, limited) = with(&app, "acme", &[role], Some(&["degree", "badge"])).await;
        for types in [json!(null), json!(["degree", "licence"])] {
            limited.post("/v1/keys", &json!({"roles": ["issuer"], "types": types})).await.expect_problem(403, "forbidden");
        }
        make(&limited, &json!({"roles": ["issuer"], "types": ["badge"]})).await;
        let whole = make(&admin, &json!({"roles": ["issuer"]})).await;
        limited.post_empty(&format!("{}/rotate", path(&whole))).await.expect_problem(403, "forbidden");
        issue(&holder(&app, &whole), "licence").await.expect(201);
    }
}

async fn what_is_another_organisations_is_not_there(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (own, other) = (of(&app, Role::Admin, "acme").await, of(&app, Role::Admin, "emca").await);
    let made = make(&own, &json!({"roles": ["issuer"]})).await;
    let rotate = format!("{}/rotate", path(&made));
    other.get(&path(&made)).await.expect_problem(404, "not-found");
    other.post_empty(&rotate).await.expect_problem(404, "not-found");
    delete(&other, &path(&made)).await.expect_problem(404, "not-found");
    let listed = other.get("/v1/keys").await.expect(200).body;
    assert!(listed["items"].as_array().unwrap().iter().all(|key| key["issuer"] == "emca"), "{listed}");
    let found_by = format!("/v1/keys?prefix={}", made["prefix"].as_str().unwrap());
    assert_eq!(other.get(&found_by).await.expect(200).body["items"], json!([]));
    // Who reads everything reads that too, and changes nothing of it.
    let (_, both) = with(&app, "emca", &[Role::Admin, Role::Inspector], None).await;
    assert_eq!(both.get(&found_by).await.expect(200).body["items"][0]["id"], made["id"]);
    both.get(&path(&made)).await.expect(200);
    both.post_empty(&rotate).await.expect_problem(403, "forbidden");
    delete(&both, &path(&made)).await.expect_problem(403, "forbidden");
    for missing in ["0198c5a2-0000-7000-8000-000000000001", "x"] {
        own.get(&format!("/v1/keys/{missing}")).await.expect_problem(404, "not-found");
        delete(&own, &format!("/v1/keys/{missing}")).await.expect_problem(404, "not-found");
    }
    issue(&holder(&app, &made), "degree").await.expect(201);
    let operator = app.operator().await;
    operator.get(&path(&made)).await.expect(200);
    let next = operator.post_empty(&format!("{}/rotate", path(&made))).await.expect(201).body;
    assert_eq!(next["issuer"], "acme");
    delete(&operator, &path(&next)).await.expect(204);
}

async fn a_limited_key_issues_and_changes_its_types_and_no_others(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let admin = of(&app, Role::Admin, "acme").await;
    let made = make(&admin, &json!({"roles": ["issuer"], "types": ["degree"]})).await;
    let limited = holder(&app, &made);
    let secrets = holder(&app, &make(&admin, &json!({"roles": ["issuer"], "types": ["secret"]})).await);

    let own = issue(&limited, "degree").await.expect(201).body;
    let refused = issue(&limited, "badge").await.expect_problem(403, "forbidden");
    assert_eq!(refused.body["detail"], "the key is limited to other types of credentials");
    limited.post("/v1/credentials", &json!({"type": "licence", "secret": "opaque"})).await.expect_problem(403, "forbidden");
    let older = |kind: &str| json!({"name": "Ada", "email": "ada@example.org", "credentialType": kind});
    limited.post("/issuance/credentials", &older("degree")).await.expect(201);
    assert_eq!(limited.post("/issuance/credentials", &older("badge")).await.expect(403).body["success"], false);
    limited.post("/issue", &json!({"credential": "opaque"})).await.expect(403);
    secrets.post("/issue", &json!({"credential": "opaque"})).await.expect(200);

    // Reading is no matter of types.
    let other = issue(&admin, "badge").await.expect(201).body;
    let at = |credential: &Value, act: &str| format!("/v1/credentials/{}{act}", credential["id"].as_str().unwrap());
    limited.get(&at(&other, "")).await.expect(200);
    for act in ["/suspend", "/reinstate", "/revoke"] {
        limited.post_empty(&at(&other, act)).await.expect_problem(403, "forbidden");
        limited.post_empty(&at(&own, act)).await.expect(200);
    }
    assert_eq!(admin.get(&at(&other, "")).await.body["status"], "active");

    // Who was refused is known, and on record.
    let refusals = async || {
        let query = Query { kind: Some("AccessRefused".to_owned()), ..Query::from(Position::FIRST, 1000) };
        let events = app.services().audit.log.read(&query).await.unwrap();
        let actor = format!("key/{}", made["id"].as_str().unwrap());
        events.iter().filter(|event| event.metadata().unwrap().actor == actor).count()
    };
    eventually("each refusal is on record", async || refusals().await == 7).await;
}

async fn a_key_revoked_by_the_command_line_is_refused_by_every_process_within_a_second(engine: Engine) {
    let app = TestApp::start(engine).await;
    let twin = TestApp::on(app.stores.clone()).start().await;
    let admin = of(&app, Role::Admin, "acme").await;
    let by_command = make(&admin, &json!({"roles": ["issuer"]})).await;
    let by_request = make(&admin, &json!({"roles": ["issuer"]})).await;
    for process in [&app, &twin] {
        for key in [&by_command, &by_request] {
            issue(&holder(process, key), "degree").await.expect(201);
        }
    }
    run(&app.stores, &["keys", "revoke", by_command["id"].as_str().unwrap()], 0).await;
    // Known anew just before it is revoked: what is known is not used for longer than that.
    issue(&holder(&twin, &by_request), "degree").await.expect(201);
    delete(&admin, &path(&by_request)).await.expect(204);
    a_second().await;
    for process in [&app, &twin] {
        for key in [&by_command, &by_request] {
            issue(&holder(process, key), "degree").await.expect_problem(401, "unauthenticated");
        }
    }
    assert_eq!(kinds(&recorded(&app, by_command["id"].as_str().unwrap()).await), ["KeyCreated", "KeyRevoked"]);
}

async fn access_tokens_signed_until_the_keys_are_replaced_are_refused_within_a_second(engine: Engine) {
    let app = TestApp::start(engine).await;
    let twin = TestApp::on(app.stores.clone()).start().await;
    register(&of(&app, Role::Admin, DEFAULT_ISSUER).await, "ada").await;
    let before = log_in(&app, "ada", PASSWORD).await.session.key.unwrap();
    for process in [&app, &twin] {
        process.issuer_with(&before).get("/v1/me").await.expect(200);
    }
    run(&app.stores, &["keys", "rotate", "--tokens"], 0).await;
    a_second().await;
    for process in [&app, &twin] {
        process.issuer_with(&before).get("/v1/me").await.expect_problem(401, "unauthenticated");
    }
    for process in [&app, &twin] {
        let after = log_in(process, "ada", PASSWORD).await.session.key.unwrap();
        app.issuer_with(&after).get("/v1/me").await.expect(200);
        twin.issuer_with(&after).get("/v1/me").await.expect(200);
    }
    let query = Query { kind: Some("TokenKeysReplaced".to_owned()), ..Query::from(Position::FIRST, 1000) };
    let events = app.services().audit.log.read(&query).await.unwrap();
    assert_eq!(events.iter().map(|event| event.metadata().unwrap().actor).collect::<Vec<_>>(), ["system"]);
}

async fn a_key_that_cannot_be_recorded_is_nobodys_and_one_that_is_revoked_stays_so(engine: Engine) {
    let app = TestApp::start(engine).await;
    let admin = of(&app, Role::Admin, "acme").await;
    let made = make(&admin, &json!({"roles": ["issuer"]})).await;
    let kept = make(&admin, &json!({"roles": ["issuer"]})).await;
    let before = app.services().vault.keys().await.unwrap().len();

    let found_again = app.stores.lose("audit").await;
    let refused = admin.post("/v1/keys", &json!({"roles": ["issuer"], "name": "untold"})).await.expect_problem(503, "audit-unavailable");
    assert!(!refused.text.contains("credence_"), "{}", refused.text);
    let untold = app.services().vault.keys().await.unwrap().split_off(before);
    assert!(untold.iter().all(|key| key.revoked_at.is_some()) && untold.len() == 1, "{untold:?}");
    // Nothing is taken from whoever gets nothing for it.
    assert_eq!(admin.post_empty(&format!("{}/rotate", path(&kept))).await.status, 503);
    // The right is gone, whether that can be recorded or not.
    let refused = delete(&admin, &path(&made)).await.expect_problem(503, "audit-unavailable");
    assert!(refused.body["detail"].as_str().unwrap().starts_with("it was done"), "{}", refused.text);
    found_again.await;
    app.eventually("the audit log answers", async || app.services().audit.log.head().await.is_ok()).await;
    a_second().await;
    issue(&holder(&app, &made), "degree").await.expect_problem(401, "unauthenticated");
    issue(&holder(&app, &kept), "degree").await.expect(201);
    assert_eq!(kinds(&recorded(&app, made["id"].as_str().unwrap()).await), ["KeyCreated"]);
    for _ in 0..2 {
        delete(&admin, &path(&made)).await.expect(204);
    }
    assert_eq!(kinds(&recorded(&app, made["id"].as_str().unwrap()).await), ["KeyCreated", "KeyRevoked"]);
}

async fn nothing_of_a_key_but_its_prefix_is_kept_or_told_again(engine: Engine) {
    let stores = Stores::new(engine).await;
    let folder = tempfile::TempDir::new().unwrap();
    let child =
        Child::serve(folder.path(), &["--store", &stores.url(), "--data-dir", &stores.data_dir().display().to_string(), "--log", "trace"]);
    let administrator = std::fs::read_to_string(stores.data_dir().join("admin.key")).unwrap();
    let operator = child.admin(&administrator);
    let first = make(&operator, &json!({"roles": ["operator"], "name": "named", "types": ["degree"]})).await;
    let second = operator.post(&format!("{}/rotate", path(&first)), &json!({"overlap_s": 5})).await.expect(201).body;
    let by_command = run(&stores, &["keys", "create", "--role", "operator"], 0).await;
    let texts = [first["key"].as_str().unwrap(), second["key"].as_str().unwrap(), by_command.trim()];
    let mut told = Vec::new();
    for text in texts {
        let user = child.admin(text);
        told.push(user.get("/v1/keys").await.expect(200));
        told.push(user.get(&format!("/v1/keys?prefix={text}")).await.expect(422));
        told.push(user.get(&path(&first)).await.expect(200));
        told.push(user.get("/v1/logs/audit/events?open=true").await.expect(200));
        told.push(user.post("/v1/keys", &json!({"roles": [text]})).await.expect(422));
    }
    told.push(child.anonymous().get("/metrics").await.expect(200));
    let listed = run(&stores, &["keys", "list"], 0).await;
    delete(&operator, &path(&second)).await.expect(204);

    let told: String = told.into_iter().map(|answer| answer.text).collect();
    let haystacks = [stores.bytes().await, child.stderr().into_bytes(), listed.into_bytes(), told.into_bytes()];
    let is_found = |needle: &[u8]| haystacks.iter().any(|bytes| memchr::memmem::find(bytes, needle).is_some());
    assert!(child.stderr().contains("POST /v1/keys"), "there is a log to search");
    for text in texts {
        let (prefix, rest) = text.split_at("credence_".len() + 8);
        assert!(is_found(prefix.as_bytes()), "the search finds what is visible");
        assert!(!is_found(rest.as_bytes()) && !is_found(hex::encode(rest).as_bytes()) && !is_found(&hex::decode(rest).unwrap()), "{text}");
    }
}

async fn the_command_line_gives_keys_every_term_and_rotates_them(engine: Engine) {
    let app = TestApp::start(engine).await;
    let create =
        ["keys", "create", "--role", "issuer,billing", "--issuer", "Acme", "--name", "registry", "--type", "degree", "--type", "badge"];
    let key = run(&app.stores, &[&create[..], &["--expires", "2999-01-31T12:00:00Z"]].concat(), 0).await;
    let list = async || -> Vec<Value> {
        let list = run(&app.stores, &["keys", "list", "--format", "json"], 0).await;
        serde_json::from_str::<Vec<Value>>(&list).unwrap().into_iter().filter(|key| key["name"] == "registry").collect()
    };
    let listed = list().await;
    let listed = &listed[0];
    assert_eq!(
        (&listed["roles"], &listed["types"], &listed["status"]),
        (&json!(["issuer", "billing"]), &json!(["degree", "badge"]), &json!("active"))
    );
    assert_eq!((&listed["issuer"], &listed["expires_at"]), (&json!("Acme"), &json!("2999-01-31T12:00:00Z")));
    let id = listed["id"].as_str().unwrap();
    let table = run(&app.stores, &["keys", "list"], 0).await;
    let line = table.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(["issuer billing", "Acme", "2999-01-31T12:00:00Z", "degree, badge"].iter().all(|term| line.contains(term)), "{line}");
    let user = app.issuer_with(key.trim());
    issue(&user, "degree").await.expect(201);
    issue(&user, "licence").await.expect_problem(403, "forbidden");

    let next = run(&app.stores, &["keys", "rotate", "--key", id, "--overlap", "3600"], 0).await;
    a_second().await;
    issue(&app.issuer_with(key.trim()), "degree").await.expect(201);
    issue(&app.issuer_with(next.trim()), "degree").await.expect(201);
    let next_id = list().await.iter().find(|key| key["id"] != id).unwrap()["id"].as_str().unwrap().to_owned();
    let last = run(&app.stores, &["keys", "rotate", "--key", &next_id], 0).await;
    a_second().await;
    issue(&app.issuer_with(next.trim()), "degree").await.expect_problem(401, "unauthenticated");
    issue(&app.issuer_with(last.trim()), "degree").await.expect(201);
    assert_eq!(kinds(&recorded(&app, id).await), ["KeyCreated", "KeyReplaced"]);

    run(&app.stores, &["keys", "rotate", "--key", id], 3).await;
    for wrong in [
        &["keys", "rotate"][..],
        &["keys", "rotate", "--tokens", "--log", "ledger"],
        &["keys", "rotate", "--tokens", "--overlap", "1"],
        &["keys", "rotate", "--key", &next_id, "--overlap", "604801"],
        &["keys", "rotate", "--key", "0198c5a2-0000-7000-8000-000000000001"],
        &["keys", "create", "--role", "issuer", "--expires", "2020-01-31T12:00:00Z"],
        &["keys", "create", "--role", "issuer", "--type", ""],
    ] {
        run(&app.stores, wrong, 2).await;
    }
}
