//! Accounts over HTTP: registered once, told to whom they concern, changed by their owners and administrators, deactivated.

#![cfg(test)]

mod support;

use credence_api::stores::DEFAULT_ISSUER;
use credence_ledger::event::audit::AuditEvent;
use credence_ledger::log::Query;
use credence_ledger::vault::Role;
use reqwest::Method;
use serde_json::{Value, json};
use support::accounts::{PASSWORD, log_in, register};
use support::{Answer, Engine, Session, TestApp, User, eventually, send};

engines!(
    an_administrator_registers_a_member_and_nobody_else_does,
    anybody_registers_while_registration_is_open,
    of_twenty_registrations_of_one_name_at_once_one_makes_an_account,
    a_name_or_address_that_is_taken_is_not_told_from_the_other,
    an_account_is_registered_only_with_a_record_of_it,
    what_is_taken_away_does_not_wait_for_its_record,
    every_rule_of_a_registration_is_told,
    an_owner_reads_and_changes_what_the_account_tells,
    of_changes_of_a_profile_at_once_none_is_lost,
    a_changed_password_ends_all_other_sessions,
    of_changes_of_a_password_at_once_one_is_made,
    accounts_are_listed_to_their_organisation_alone,
    roles_hold_within_a_second_in_sessions_that_go_on,
    an_administrator_gives_and_takes_no_more_than_is_the_organisations,
    however_close_two_changes_of_roles_come_an_administrator_takes_nothing_from_an_operator,
    to_inspect_another_organisation_is_not_to_run_it,
    a_deactivated_account_is_closed_until_it_is_activated,
    each_act_is_recorded_with_its_actor,
    who_reads_anothers_account_is_on_record,
);

async fn put(session: &Session, path: &str, body: &Value) -> Answer {
    send(session.request(Method::PUT, path).json(body)).await
}

async fn patch(session: &Session, path: &str, body: &Value) -> Answer {
    send(session.request(Method::PATCH, path).json(body)).await
}

fn registration(username: &str) -> Value {
    json!({"username": username, "email": format!("{username}@example.org"), "password": PASSWORD, "first_name": "Ada", "last_name": "Lovelace"})
}

/// The types of an account's events.
async fn recorded(app: &TestApp, id: &str) -> Vec<String> {
    let stream = format!("account/{id}").parse().unwrap();
    let events = app.services().audit.log.read(&Query::stream(&stream)).await.unwrap();
    events.iter().map(|event| event.kind.clone()).collect()
}

async fn an_administrator_registers_a_member_and_nobody_else_does(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.anonymous().post("/v1/auth/register", &registration("ada")).await.expect_problem(401, "unauthenticated");
    for role in [Role::Member, Role::Issuer, Role::Auditor, Role::Billing, Role::Inspector] {
        app.caller(role, DEFAULT_ISSUER).await.post("/v1/auth/register", &registration("ada")).await.expect_problem(403, "forbidden");
    }
    let admin = app.caller(Role::Admin, "acme").await;
    let made = admin.post("/v1/auth/register", &registration("Ada_1")).await.expect(201);
    let id = made.body["id"].as_str().unwrap();
    assert_eq!(made.header("location"), format!("/v1/accounts/{id}"));
    let expected = json!({
        "id": id, "username": "Ada_1", "email": "ada_1@example.org", "first_name": "Ada", "last_name": "Lovelace", "roles": ["member"],
        "issuer": "acme", "created_at": made.body["created_at"], "deactivated_at": null,
    });
    assert_eq!(made.body, expected);
    assert!(!made.text.contains(PASSWORD));
    assert_eq!(admin.get(&format!("/v1/accounts/{id}")).await.expect(200).body, expected);
    // Another organisation is named by operators alone.
    let elsewhere = |name: &str| json!({"username": "bob", "email": "bob@example.org", "password": PASSWORD, "issuer": name});
    admin.post("/v1/auth/register", &elsewhere(DEFAULT_ISSUER)).await.expect_problem(403, "forbidden");
    admin.post("/v1/auth/register", &elsewhere("nowhere")).await.expect_problem(403, "forbidden");
    let operator = app.operator().await;
    operator.post("/v1/auth/register", &elsewhere("nowhere")).await.expect_field("issuer", "unknown");
    assert_eq!(operator.post("/v1/auth/register", &elsewhere("acme")).await.expect(201).body["issuer"], "acme");
}

async fn anybody_registers_while_registration_is_open(engine: Engine) {
    let app = TestApp::builder(engine).await.with(|config| config.accounts.open_registration = true).start().await;
    let made = app.anonymous().post("/v1/auth/register", &registration("ada")).await.expect(201).body;
    assert_eq!((&made["roles"], &made["issuer"]), (&json!(["member"]), &json!(DEFAULT_ISSUER)));
    // Who is known may still not do more than its roles allow.
    let member = log_in(&app, "ada", PASSWORD).await.session;
    member.post("/v1/auth/register", &registration("bob")).await.expect_problem(403, "forbidden");
    for path in ["/v1/credentials", "/v1/accounts", "/v1/projections", "/v1/logs/audit/events"] {
        member.get(path).await.expect_problem(403, "forbidden");
    }
    member.get("/v1/me").await.expect(200);
}

async fn of_twenty_registrations_of_one_name_at_once_one_makes_an_account(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    let attempts = (0..20).map(|at| {
        let operator = operator.0.clone();
        let username = if at % 2 == 0 { "Ada" } else { "aDA" };
        let body = json!({"username": username, "email": format!("ada{at}@example.org"), "password": PASSWORD});
        async move { operator.post("/v1/auth/register", &body).await }
    });
    let answers = futures::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.expect_problem(409, "account-exists");
    }
    assert_eq!(operator.get("/v1/accounts").await.expect(200).body["items"].as_array().unwrap().len(), 1);
    let registered = Query { kind: Some("AccountRegistered".to_owned()), ..Query::from(credence_ledger::Position::FIRST, 100) };
    assert_eq!(app.services().audit.log.read(&registered).await.unwrap().len(), 1);
}

async fn a_name_or_address_that_is_taken_is_not_told_from_the_other(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    register(&operator, "ada").await;
    let with = |username: &str, email: &str| json!({"username": username, "email": email, "password": PASSWORD});
    let name = operator.post("/v1/auth/register", &with("ADA", "another@example.org")).await.expect_problem(409, "account-exists");
    let address = operator.post("/v1/auth/register", &with("another", "ADA@Example.ORG")).await.expect_problem(409, "account-exists");
    for member in ["type", "title", "detail", "errors"] {
        assert_eq!(name.body[member], address.body[member], "{member}");
    }
    operator.post("/v1/auth/register", &with("another", "another@example.org")).await.expect(201);
}

async fn an_account_is_registered_only_with_a_record_of_it(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    app.services().audit.appender.shutdown().await;
    operator.post("/v1/auth/register", &registration("ada")).await.expect_problem(503, "audit-unavailable");
    assert_eq!(operator.get("/v1/accounts").await.expect(200).body["items"], json!([]));
    let login = json!({"identifier": "ada", "password": PASSWORD});
    assert_ne!(app.anonymous().post("/v1/auth/login", &login).await.status, 200);
}

async fn what_is_taken_away_does_not_wait_for_its_record(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    let id = register(&operator, "ada").await;
    let roles = format!("/v1/accounts/{id}/roles");
    put(&operator.0, &roles, &json!({"roles": ["issuer", "billing"]})).await.expect(200);
    let (ada, other) = (log_in(&app, "ada", PASSWORD).await.session, log_in(&app, "ada", PASSWORD).await.session);
    app.services().audit.appender.shutdown().await;
    let told_as_done = |answer: Answer| {
        let answer = answer.expect_problem(503, "audit-unavailable");
        assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains("done")), "{}", answer.text);
    };
    // Nobody is told of it, either, while that cannot be recorded.
    operator.get(&format!("/v1/accounts/{id}")).await.expect_problem(503, "audit-unavailable");
    operator.get("/v1/accounts").await.expect_problem(503, "audit-unavailable");
    let account = async || app.services().vault.account(id.parse().unwrap()).await.unwrap().unwrap();
    // What gives is not done.
    put(&operator.0, &roles, &json!({"roles": ["issuer", "admin"]})).await.expect_problem(503, "audit-unavailable");
    assert_eq!(account().await.roles.to_string(), "issuer billing");
    told_as_done(put(&operator.0, &roles, &json!({"roles": ["billing"]})).await);
    assert_eq!(account().await.roles.to_string(), "billing");
    let change = json!({"current_password": PASSWORD, "new_password": "another winter's bicycle, humming"});
    told_as_done(put(&ada, "/v1/me/password", &change).await);
    eventually("the other session is over", || async { other.get("/v1/me").await.status == 401 }).await;
    told_as_done(operator.post_empty(&format!("/v1/accounts/{id}/deactivate")).await);
    assert!(account().await.deactivated_at.is_some());
    eventually("and so is this one", || async { ada.get("/v1/me").await.status == 401 }).await;
}

async fn every_rule_of_a_registration_is_told(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    let with = |name: &str, value: Value| {
        let mut body = registration("ada");
        body[name] = value;
        body
    };
    for (name, value, code) in [
        ("username", json!("ab"), "too_short"),
        ("username", json!("a".repeat(51)), "too_long"),
        ("username", json!("ada lovelace"), "format"),
        ("username", json!("adá_1"), "format"),
        ("username", json!(null), "required"),
        ("username", json!(7), "type"),
        ("email", json!("ada"), "format"),
        ("password", json!("short"), "too_short"),
        ("password", json!("x".repeat(129)), "too_long"),
        ("password", json!("ada@example.org1"), "too_weak"),
        ("password", json!("password12345"), "too_weak"),
        ("first_name", json!("a\u{0}b"), "control_character"),
        ("role", json!("operator"), "unknown"),
    ] {
        operator.post("/v1/auth/register", &with(name, value)).await.expect_field(name, code);
    }
    let all = operator.post("/v1/auth/register", &json!({"username": "a b c", "email": "x", "password": "short"})).await;
    assert_eq!(all.expect(422).body["errors"].as_array().unwrap().len(), 3);
    operator.post("/v1/auth/register", &with("username", json!("a".repeat(50)))).await.expect(201);
}

async fn an_owner_reads_and_changes_what_the_account_tells(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    let (id, _) = (register(&operator, "ada").await, register(&operator, "bob").await);
    let ada = log_in(&app, "ADA@example.org", PASSWORD).await.session;
    let me = ada.get("/v1/me").await.expect(200).body;
    assert_eq!(
        (&me["kind"], &me["id"], &me["roles"], &me["issuer"]),
        (&json!("account"), &json!(id), &json!(["member"]), &json!("default"))
    );
    assert_eq!(me["account"]["username"], "ada");
    let changed = patch(&ada, "/v1/me", &json!({"email": "Lovelace@Example.org", "first_name": null})).await.expect(200).body;
    assert_eq!(
        (&changed["email"], &changed["first_name"], &changed["last_name"]),
        (&json!("lovelace@example.org"), &json!(null), &json!("Lovelace"))
    );
    assert_eq!(ada.get("/v1/me").await.expect(200).body["account"], changed);
    log_in(&app, "lovelace@example.org", PASSWORD).await;
    patch(&ada, "/v1/me", &json!({"email": "bob@example.org"})).await.expect_problem(409, "account-exists");
    patch(&ada, "/v1/me", &json!({"username": "countess"})).await.expect_field("username", "unknown");
    patch(&ada, "/v1/me", &json!({"roles": ["operator"]})).await.expect_field("roles", "unknown");
    // A key has no account, but is told whose it is.
    let key = operator.get("/v1/me").await.expect(200).body;
    assert_eq!((&key["kind"], &key["roles"], &key["account"]), (&json!("key"), &json!(["operator"]), &json!(null)));
    patch(&operator.0, "/v1/me", &json!({"first_name": "x"})).await.expect_problem(403, "forbidden");
    app.anonymous().get("/v1/me").await.expect_problem(401, "unauthenticated");
}

async fn of_changes_of_a_profile_at_once_none_is_lost(engine: Engine) {
    let app = TestApp::start(engine).await;
    register(&app.operator().await, "ada").await;
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    for round in 0..6 {
        let changes = [
            json!({"email": format!("ada-{round}@example.org")}),
            json!({"first_name": format!("Ada {round}")}),
            json!({"last_name": format!("Lovelace {round}")}),
        ];
        let answers = futures::future::join_all(changes.iter().map(|change| patch(&ada, "/v1/me", change))).await;
        answers.into_iter().for_each(|answer| drop(answer.expect(200)));
        let account = &ada.get("/v1/me").await.expect(200).body["account"];
        for (member, value) in changes.iter().flat_map(|change| change.as_object().unwrap()) {
            assert_eq!(&account[member], value, "round {round}");
        }
    }
}

async fn a_changed_password_ends_all_other_sessions(engine: Engine) {
    let app = TestApp::start(engine).await;
    let id = register(&app.operator().await, "ada").await;
    let (this, other) = (log_in(&app, "ada", PASSWORD).await, log_in(&app, "ada", PASSWORD).await);
    let new = "another winter's bicycle, humming";
    let with = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    put(&this.session, "/v1/me/password", &with("wrong, but long enough", new)).await.expect_field("current_password", "wrong");
    put(&this.session, "/v1/me/password", &with(PASSWORD, "short")).await.expect_field("new_password", "too_short");
    other.session.get("/v1/me").await.expect(200);
    put(&this.session, "/v1/me/password", &with(PASSWORD, new)).await.expect(204);
    eventually("the other session is over", || async { other.session.get("/v1/me").await.status == 401 }).await;
    other.refresh(&app).await.expect_problem(401, "unauthenticated");
    this.session.get("/v1/me").await.expect(200);
    this.refresh(&app).await.expect(200);
    let login = |password: &str| json!({"identifier": "ada", "password": password});
    app.anonymous().post("/v1/auth/login", &login(PASSWORD)).await.expect_problem(401, "unauthenticated");
    log_in(&app, "ada", new).await;
    assert_eq!(recorded(&app, &id).await, ["AccountRegistered", "PasswordChanged"]);
}

async fn of_changes_of_a_password_at_once_one_is_made(engine: Engine) {
    let app = TestApp::start(engine).await;
    register(&app.operator().await, "ada").await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(log_in(&app, "ada", PASSWORD).await.session);
    }
    let new = |at: usize| format!("another winter's bicycle, number {at}");
    let changes = sessions.iter().enumerate().map(|(at, session)| async move {
        put(session, "/v1/me/password", &json!({"current_password": PASSWORD, "new_password": new(at)})).await
    });
    let answers = futures::future::join_all(changes).await;
    let changed: Vec<usize> = (0..answers.len()).filter(|at| answers[*at].status == 204).collect();
    assert_eq!(changed.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| [204, 401, 422].contains(&answer.status.as_u16())), "{answers:?}");
    log_in(&app, "ada", &new(changed[0])).await;
    sessions[changed[0]].get("/v1/me").await.expect(200);
}

async fn accounts_are_listed_to_their_organisation_alone(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (acme, emca) = (app.caller(Role::Admin, "acme").await, app.caller(Role::Admin, "emca").await);
    let mut made = Vec::new();
    for number in 0..3 {
        let body = registration(&format!("acme_{number}"));
        made.push(acme.post("/v1/auth/register", &body).await.expect(201).body["id"].clone());
    }
    let of_emca = emca.post("/v1/auth/register", &registration("emca_0")).await.expect(201).body["id"].clone();
    let ids = |page: &Answer| page.body["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect::<Vec<_>>();
    let first = acme.get("/v1/accounts?limit=2").await.expect(200);
    assert_eq!(ids(&first), [made[2].clone(), made[1].clone()]);
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let second = acme.get(&format!("/v1/accounts?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!((ids(&second), &second.body["next_cursor"]), (vec![made[0].clone()], &json!(null)));
    assert_eq!(ids(&emca.get("/v1/accounts").await.expect(200)), [of_emca]);
    assert_eq!(ids(&app.inspector().await.get("/v1/accounts").await.expect(200)).len(), 4);
    acme.get("/v1/accounts?cursor=x").await.expect_field("cursor", "format");
    // Another organisation's account is not there, whatever is asked of it.
    let path = format!("/v1/accounts/{}", made[0].as_str().unwrap());
    emca.get(&path).await.expect_problem(404, "not-found");
    put(&emca, &format!("{path}/roles"), &json!({"roles": ["issuer"]})).await.expect_problem(404, "not-found");
    for act in ["deactivate", "activate"] {
        emca.post_empty(&format!("{path}/{act}")).await.expect_problem(404, "not-found");
    }
    for id in ["x", "0198c5a2-0000-7000-8000-000000000001"] {
        acme.get(&format!("/v1/accounts/{id}")).await.expect_problem(404, "not-found");
    }
}

async fn roles_hold_within_a_second_in_sessions_that_go_on(engine: Engine) {
    let app = TestApp::start(engine).await;
    let admin = app.caller(Role::Admin, DEFAULT_ISSUER).await;
    let id = register(&admin, "ada").await;
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    let body = json!({"type": "t", "subject": {"name": "Bob", "email": "bob@example.org"}});
    ada.post("/v1/credentials", &body).await.expect_problem(403, "forbidden");
    let roles = format!("/v1/accounts/{id}/roles");
    assert_eq!(put(&admin, &roles, &json!({"roles": ["issuer", "billing"]})).await.expect(200).body["roles"], json!(["issuer", "billing"]));
    eventually("it may issue", || async { ada.get("/v1/credentials").await.status == 200 }).await;
    let issued = ada.post("/v1/credentials", &body).await.expect(201).body;
    assert_eq!(issued["issuer"], "default");
    put(&admin, &roles, &json!({"roles": ["member"]})).await.expect(200);
    let began = std::time::Instant::now();
    eventually("it may no longer", || async { ada.get("/v1/credentials").await.status == 403 }).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    for (body, field, code) in [
        (json!({"roles": []}), "roles", "blank"),
        (json!({"roles": ["king"]}), "roles[0]", "format"),
        (json!({"roles": [1]}), "roles[0]", "type"),
        (json!({"roles": "issuer"}), "roles", "type"),
        (json!({}), "roles", "required"),
    ] {
        put(&admin, &roles, &body).await.expect_field(field, code);
    }
}

async fn an_administrator_gives_and_takes_no_more_than_is_the_organisations(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (admin, operator) = (app.caller(Role::Admin, DEFAULT_ISSUER).await, app.operator().await);
    let id = register(&admin, "ada").await;
    let roles = format!("/v1/accounts/{id}/roles");
    for above in ["inspector", "operator"] {
        put(&admin, &roles, &json!({"roles": ["member", above]})).await.expect_problem(403, "forbidden");
    }
    put(&operator.0, &roles, &json!({"roles": ["operator"]})).await.expect(200);
    put(&admin, &roles, &json!({"roles": ["member"]})).await.expect_problem(403, "forbidden");
    admin.post_empty(&format!("/v1/accounts/{id}/deactivate")).await.expect_problem(403, "forbidden");
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    ada.get("/v1/projections").await.expect(200);
    put(&operator.0, &roles, &json!({"roles": ["admin"]})).await.expect(200);
    eventually("it is an operator's no longer", || async { ada.get("/v1/projections").await.status == 403 }).await;
}

async fn however_close_two_changes_of_roles_come_an_administrator_takes_nothing_from_an_operator(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (admin, operator) = (app.caller(Role::Admin, DEFAULT_ISSUER).await, app.operator().await);
    for round in 0..10 {
        let id = register(&admin, &format!("ada_{round}")).await;
        let roles = format!("/v1/accounts/{id}/roles");
        let by_admin = (0..4).map(|at| {
            let (admin, roles) = (admin.clone(), roles.clone());
            let given = ["issuer", "member"][at % 2];
            tokio::spawn(async move { put(&admin, &roles, &json!({"roles": [given]})).await })
        });
        let by_admin: Vec<_> = by_admin.collect();
        put(&operator.0, &roles, &json!({"roles": ["operator"]})).await.expect(200);
        for answer in by_admin {
            assert!([200, 403].contains(&answer.await.unwrap().status.as_u16()));
        }
        assert_eq!(operator.get(&format!("/v1/accounts/{id}")).await.expect(200).body["roles"], json!(["operator"]));
    }
}

async fn to_inspect_another_organisation_is_not_to_run_it(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (operator, emca) = (app.operator().await, app.caller(Role::Admin, "emca").await);
    let (ada, bob) = (register(&operator, "ada").await, register(&emca, "bob").await);
    let roles = json!({"roles": ["issuer", "admin", "inspector"]});
    put(&operator.0, &format!("/v1/accounts/{ada}/roles"), &roles).await.expect(200);
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    let body = json!({"type": "t", "subject": {"name": "Cyd", "email": "cyd@example.org"}});
    let issued = emca.post("/v1/credentials", &body).await.expect(201).body;
    let credential = format!("/v1/credentials/{}", issued["id"].as_str().unwrap());
    // What it may see, it may not change.
    ada.get(&credential).await.expect(200);
    ada.get(&format!("/v1/accounts/{bob}")).await.expect(200);
    for act in ["revoke", "suspend", "reinstate"] {
        ada.post_empty(&format!("{credential}/{act}")).await.expect_problem(403, "forbidden");
    }
    put(&ada, &format!("/v1/accounts/{bob}/roles"), &json!({"roles": ["admin"]})).await.expect_problem(403, "forbidden");
    ada.post_empty(&format!("/v1/accounts/{bob}/deactivate")).await.expect_problem(403, "forbidden");
    operator.post_empty(&format!("{credential}/revoke")).await.expect(200);
}

async fn a_deactivated_account_is_closed_until_it_is_activated(engine: Engine) {
    let app = TestApp::start(engine).await;
    let admin = app.caller(Role::Admin, DEFAULT_ISSUER).await;
    let id = register(&admin, "ada").await;
    let ada = log_in(&app, "ada", PASSWORD).await;
    ada.session.get("/v1/me").await.expect(200);
    let deactivated = admin.post_empty(&format!("/v1/accounts/{id}/deactivate")).await.expect(200).body;
    let began = std::time::Instant::now();
    assert!(deactivated["deactivated_at"].is_string());
    eventually("its session is over", || async { ada.session.get("/v1/me").await.status == 401 }).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    ada.refresh(&app).await.expect_problem(401, "unauthenticated");
    let login = json!({"identifier": "ada", "password": PASSWORD});
    app.anonymous().post("/v1/auth/login", &login).await.expect_problem(401, "unauthenticated");
    assert_eq!(admin.post_empty(&format!("/v1/accounts/{id}/activate")).await.expect(200).body["deactivated_at"], json!(null));
    ada.session.get("/v1/me").await.expect_problem(401, "unauthenticated");
    log_in(&app, "ada", PASSWORD).await;
    assert_eq!(recorded(&app, &id).await, ["AccountRegistered", "AccountDeactivated", "AccountActivated"]);
}

async fn each_act_is_recorded_with_its_actor(engine: Engine) {
    let app = TestApp::start(engine).await;
    let admin = app.caller(Role::Admin, DEFAULT_ISSUER).await;
    let admin_id = admin.get("/v1/me").await.expect(200).body["id"].as_str().unwrap().to_owned();
    let id = register(&admin, "ada").await;
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    patch(&ada, "/v1/me", &json!({"first_name": "Augusta"})).await.expect(200);
    put(&admin, &format!("/v1/accounts/{id}/roles"), &json!({"roles": ["auditor"]})).await.expect(200);
    let stream = format!("account/{id}").parse().unwrap();
    let events = app.services().audit.log.read(&Query::stream(&stream)).await.unwrap();
    let acts: Vec<(String, String)> = events.iter().map(|event| (event.kind.clone(), event.metadata().unwrap().actor)).collect();
    let (by_admin, by_ada) = (format!("key/{admin_id}"), format!("account/{id}"));
    let expected = [("AccountRegistered", &by_admin), ("ProfileChanged", &by_ada), ("RolesChanged", &by_admin)];
    assert_eq!(acts, expected.map(|(kind, actor)| (kind.to_owned(), actor.clone())));
    for event in &events {
        let metadata = event.metadata().unwrap();
        assert!(metadata.request_id.is_some() && metadata.details.is_some(), "who asked, from where, sealed");
        AuditEvent::decode(event).unwrap();
    }
}

async fn who_reads_anothers_account_is_on_record(engine: Engine) {
    let app = TestApp::start(engine).await;
    let admin = app.caller(Role::Admin, "acme").await;
    admin.get("/v1/accounts").await.expect(200);
    let id = register(&admin, "ada").await;
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    // What is one's own is nobody else's affair.
    ada.get("/v1/me").await.expect(200);
    put(&app.operator().await.0, &format!("/v1/accounts/{id}/roles"), &json!({"roles": ["admin"]})).await.expect(200);
    eventually("it may list", || async { ada.get("/v1/accounts").await.status == 200 }).await;
    ada.get(&format!("/v1/accounts/{id}")).await.expect(200);
    let inspector = app.inspector().await;
    for by in [&admin, &inspector.0] {
        by.get(&format!("/v1/accounts/{id}")).await.expect(200);
        by.get("/v1/accounts").await.expect(200);
    }
    app.caller(Role::Admin, "emca").await.get(&format!("/v1/accounts/{id}")).await.expect(404);
    let reads = inspector.get("/v1/logs/audit/events?type=PersonalDataRead").await.expect(200).body;
    let reads: Vec<(&str, &Value)> = reads["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["metadata"]["actor"].as_str().unwrap(), &event["payload"]["what"]))
        .collect();
    let (by_admin, stream) = (reads[0].0, json!(format!("account/{id}")));
    let by_inspector = reads[2].0;
    let expected = [(by_admin, &stream), (by_admin, &Value::Null), (by_inspector, &stream), (by_inspector, &Value::Null)];
    assert!(by_admin != by_inspector && by_admin.starts_with("key/"));
    assert_eq!(reads, expected);
}
