//! Sessions over HTTP: begun, gone on with, ended, on one process and on two; and the tokens that carry them.

#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credence_api::config::{Config, TrustedProxies};
use credence_api::stores::DEFAULT_ISSUER;
use credence_api::tokens::KEY_AGE_MAX;
use credence_ledger::clock::SystemClock;
use credence_ledger::event::audit::{AuditEvent, EndedBy, FailedBy};
use credence_ledger::log::Query;
use credence_ledger::testing::ManualClock;
use credence_ledger::vault::Role;
use credence_ledger::vault::sessions::NewSession;
use credence_ledger::{Clock as _, Position, random};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;
use support::accounts::{LoggedIn, PASSWORD, log_in, register};
use support::{Answer, Engine, Session, TestApp, User, eventually, send};

engines!(
    a_login_answers_tokens_that_hold_for_a_while,
    an_unknown_account_and_a_wrong_password_are_alike_and_cost_one_hash_each,
    a_failed_login_tells_the_log_nothing_that_was_typed,
    without_a_record_nobody_is_logged_in,
    of_a_hundred_wrong_passwords_at_once_five_are_looked_at,
    who_knows_the_password_is_not_counted,
    a_refresh_token_is_good_once_and_a_second_use_ends_the_session,
    of_refreshes_at_once_no_more_than_one_is_answered,
    a_refresh_that_cannot_be_answered_uses_nothing_up,
    whoever_follows_a_log_is_let_go_when_the_right_ends,
    of_logins_beside_a_change_of_the_password_no_session_is_left,
    what_ends_on_one_process_ends_on_the_other_within_a_second,
    an_owner_lists_and_ends_sessions,
    of_more_than_a_hundred_sessions_the_one_longest_not_refreshed_ends,
    a_token_that_is_not_ours_is_refused,
    an_access_token_expires_and_so_does_a_session,
    the_published_keys_check_a_token_and_a_replaced_key_checks_none,
    a_new_key_is_published_before_it_signs,
    who_waits_too_long_for_a_password_to_be_checked_is_told_to_come_back,
    a_service_asks_what_a_token_is_worth,
    while_the_vault_is_away_nobody_is_known,
    a_password_is_hashed_anew_when_its_cost_changes,
    a_login_succeeds_though_its_password_cannot_be_hashed_anew,
    nothing_secret_stands_in_the_stores,
);

fn login(identifier: &str, password: &str) -> Value {
    json!({"identifier": identifier, "password": password})
}

async fn events(app: &TestApp, kind: &str) -> Vec<AuditEvent> {
    let query = Query { kind: Some(kind.to_owned()), ..Query::from(Position::FIRST, 100) };
    let events = app.services().audit.log.read(&query).await.unwrap();
    events.iter().map(|event| AuditEvent::decode(event).unwrap()).collect()
}

async fn a_login_answers_tokens_that_hold_for_a_while(engine: Engine) {
    let app = TestApp::start(engine).await;
    let id = register(&app.operator().await, "ada").await;
    let answer = app.anonymous().post("/v1/auth/login", &login("ADA", PASSWORD)).await.expect(200);
    assert_eq!((&answer.body["token_type"], &answer.body["expires_in"]), (&json!("bearer"), &json!(600)));
    assert_eq!(answer.header("cache-control"), "no-store");
    let access = answer.body["access_token"].as_str().unwrap();
    let claims = claims(access);
    for claim in ["iss", "aud", "sub", "sid", "role", "exp", "iat", "jti"] {
        assert!(!claims[claim].is_null(), "{claim}");
    }
    assert_eq!((&claims["sub"], &claims["role"]), (&json!(id), &json!("member")));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 600);
    let [AuditEvent::SessionStarted(started)] = &events(&app, "SessionStarted").await[..] else { panic!("one session was begun") };
    assert_eq!(started.account.to_string(), id);
    // The header of a request for a session does not matter: the token in it may have ended.
    let request = app.anonymous().request(Method::POST, "/v1/auth/login").bearer_auth("ended");
    send(request.json(&login("ada@EXAMPLE.org", PASSWORD))).await.expect(200);
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// How many passwords the process has checked.
async fn checks(app: &TestApp) -> u64 {
    let metrics = app.anonymous().get("/metrics").await.expect(200).text;
    let line = metrics.lines().find(|line| line.starts_with("credence_password_checks_total"));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

async fn an_unknown_account_and_a_wrong_password_are_alike_and_cost_one_hash_each(engine: Engine) {
    let app = TestApp::start(engine).await;
    register(&app.operator().await, "ada").await;
    let mut answers = Vec::new();
    for identifier in ["ada", "nobody", "nobody@example.org"] {
        let before = checks(&app).await;
        let answer = app.anonymous().post("/v1/auth/login", &login(identifier, "a wrong password")).await;
        assert_eq!(checks(&app).await - before, 1, "{identifier}");
        answers.push(answer.expect_problem(401, "unauthenticated"));
    }
    for answer in &answers {
        for member in ["type", "title", "status", "detail", "errors"] {
            assert_eq!(answer.body[member], answers[0].body[member], "{member}");
        }
        assert_eq!(answer.headers.get("www-authenticate"), answers[0].headers.get("www-authenticate"));
    }
}

async fn a_failed_login_tells_the_log_nothing_that_was_typed(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    let id = register(&operator, "ada").await;
    for (identifier, password) in [("ada", "a wrong password"), ("a password typed here", "ada"), ("A Password typed here ", "x")] {
        app.anonymous().post("/v1/auth/login", &login(identifier, password)).await.expect(401);
    }
    operator.post_empty(&format!("/v1/accounts/{id}/deactivate")).await.expect(200);
    app.anonymous().post("/v1/auth/login", &login("ada", PASSWORD)).await.expect(401);
    let failed: Vec<_> = events(&app, "LoginFailed")
        .await
        .into_iter()
        .map(|event| match event {
            AuditEvent::LoginFailed(failed) => (failed.cause, failed.identifier),
            other => panic!("{other:?}"),
        })
        .collect();
    let causes: Vec<FailedBy> = failed.iter().map(|(cause, _)| *cause).collect();
    assert_eq!(causes, [FailedBy::Password, FailedBy::Unknown, FailedBy::Unknown, FailedBy::Inactive]);
    // One thing typed is one hash, however it was typed; and it is keyed.
    assert!(failed[1].1 == failed[2].1 && failed[0].1 == failed[3].1 && failed[0].1 != failed[1].1);
    assert_ne!(failed[1].1.as_ref(), blake3::hash(b"a password typed here").as_bytes());
    let everything = operator.get("/v1/logs/audit/events?limit=1000").await.expect(200).text;
    assert!(!everything.contains("typed here"));
}

async fn without_a_record_nobody_is_logged_in(engine: Engine) {
    let app = TestApp::start(engine).await;
    register(&app.operator().await, "ada").await;
    app.services().audit.appender.shutdown().await;
    app.anonymous().post("/v1/auth/login", &login("ada", PASSWORD)).await.expect_problem(503, "audit-unavailable");
    app.anonymous().post("/v1/auth/login", &login("ada", "a wrong password")).await.expect_problem(503, "audit-unavailable");
}

/// With the limit on failed logins that there is by default, and a proxy before it.
async fn limited(engine: Engine) -> TestApp {
    let limit = |config: &mut Config| {
        config.rate_limits.login_failures = Some("5/15m".parse().unwrap());
        config.trusted_proxies = TrustedProxies::read("127.0.0.0/8").unwrap();
    };
    TestApp::builder(engine).await.with(limit).start().await
}

async fn login_from(app: &TestApp, address: &str, identifier: &str, password: &str) -> Answer {
    let request = app.anonymous().request(Method::POST, "/v1/auth/login").header("x-forwarded-for", address);
    send(request.json(&login(identifier, password))).await
}

async fn of_a_hundred_wrong_passwords_at_once_five_are_looked_at(engine: Engine) {
    let app = limited(engine).await;
    let operator = app.operator().await;
    register(&operator, "ada").await;
    register(&operator, "bob").await;
    let before = checks(&app).await;
    // From as many addresses, by both of its names.
    let attempts = (0..100).map(|at| {
        let (address, name) = (format!("192.0.2.{at}"), ["ada", "ADA@example.org"][at % 2]);
        let app = &app;
        async move { login_from(app, &address, name, "a wrong password").await }
    });
    let answers = futures::future::join_all(attempts).await;
    assert_eq!(checks(&app).await - before, 5);
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 5);
    let refused = login_from(&app, "198.51.100.1", "ada", PASSWORD).await.expect_problem(429, "rate-limited");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=180).contains(&wait), "a fifth of 15 minutes at most: {wait}");
    // From one address, of as many accounts, whether there are any or not.
    let attempts = (0..100).map(|at| {
        let (app, name) = (&app, format!("nobody_{at}"));
        async move { login_from(app, "203.0.113.1", &name, "a wrong password").await }
    });
    let answers = futures::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 5);
    assert_eq!(checks(&app).await - before, 10);
    // It is not ada's door that is closed to bob, nor bob's to other addresses.
    login_from(&app, "203.0.113.1", "bob", PASSWORD).await.expect_problem(429, "rate-limited");
    login_from(&app, "198.51.100.1", "bob", PASSWORD).await.expect(200);
}

async fn who_knows_the_password_is_not_counted(engine: Engine) {
    let app = limited(engine).await;
    register(&app.operator().await, "ada").await;
    for _ in 0..4 {
        login_from(&app, "192.0.2.1", "ada", "a wrong password").await.expect(401);
    }
    for _ in 0..10 {
        login_from(&app, "192.0.2.1", "ada", PASSWORD).await.expect(200);
    }
    // To change it, it is asked for like there.
    let ada = LoggedIn::of(&app, &login_from(&app, "192.0.2.1", "ada", PASSWORD).await.expect(200).body).session;
    let change = json!({"current_password": "a wrong password", "new_password": "another winter's bicycle, humming"});
    let ask = || send(ada.request(Method::PUT, "/v1/me/password").header("x-forwarded-for", "192.0.2.1").json(&change));
    ask().await.expect_field("current_password", "wrong");
    ask().await.expect_problem(429, "rate-limited");
}

async fn a_refresh_token_is_good_once_and_a_second_use_ends_the_session(engine: Engine) {
    let app = TestApp::start(engine).await;
    let id = register(&app.operator().await, "ada").await;
    let first = log_in(&app, "ada", PASSWORD).await;
    let second = LoggedIn::of(&app, &first.refresh(&app).await.expect(200).body);
    assert_ne!(first.refresh_token, second.refresh_token);
    second.session.get("/v1/me").await.expect(200);
    let third = LoggedIn::of(&app, &second.refresh(&app).await.expect(200).body);
    third.session.get("/v1/me").await.expect(200);
    // Whoever it is.
    first.refresh(&app).await.expect_problem(401, "unauthenticated");
    third.refresh(&app).await.expect_problem(401, "unauthenticated");
    eventually("its access tokens are worth nothing", || async { third.session.get("/v1/me").await.status == 401 }).await;
    let [AuditEvent::SessionEnded(ended)] = &events(&app, "SessionEnded").await[..] else { panic!("one session ended") };
    assert_eq!((ended.cause, ended.account.to_string()), (EndedBy::Reuse, id));
    for token in ["", "x", "credence_refresh_", &format!("credence_refresh_{}", "0".repeat(64))] {
        app.anonymous().post("/v1/auth/refresh", &json!({"refresh_token": token})).await.expect_problem(401, "unauthenticated");
    }
    // A refresh token opens nothing else.
    let mut session = first.session.clone();
    session.key = Some(third.refresh_token.clone());
    session.get("/v1/me").await.expect_problem(401, "unauthenticated");
}

async fn of_refreshes_at_once_no_more_than_one_is_answered(engine: Engine) {
    let app = TestApp::start(engine).await;
    register(&app.operator().await, "ada").await;
    let session = Arc::new(log_in(&app, "ada", PASSWORD).await);
    let answers = futures::future::join_all((0..10).map(|_| session.refresh(&app))).await;
    // None, where those who came second ended the session before the first was answered.
    assert!(answers.iter().filter(|answer| answer.status == 200).count() <= 1);
    assert!(answers.iter().all(|answer| [200, 401].contains(&answer.status.as_u16())));
    // One of the others was the second.
    let session = session.session.clone();
    eventually("the session is over", || async { session.get("/v1/me").await.status == 401 }).await;
}

/// Changes the vault behind the process's back.
async fn in_the_vault(app: &TestApp, engine: Engine, sqlite: &str, postgres: &str) {
    match engine {
        Engine::Sqlite => {
            let vault = rusqlite::Connection::open(app.stores.folder.path().join("vault.sqlite")).unwrap();
            vault.busy_timeout(Duration::from_secs(5)).unwrap();
            vault.execute_batch(sqlite).unwrap();
        }
        Engine::Postgres => {
            let mut vault = sqlx::PgConnection::connect(&app.stores.url()).await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(postgres.to_owned())).execute(&mut vault).await.unwrap();
        }
    }
}

async fn a_refresh_that_cannot_be_answered_uses_nothing_up(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (operator, admin) = (app.operator().await, app.caller(Role::Admin, "acme").await);
    register(&admin, "ada").await;
    let first = log_in(&app, "ada", PASSWORD).await;
    // While the organisation is deactivated.
    let acme = admin.get("/v1/issuers").await.expect(200).body["items"][0]["id"].as_str().unwrap().to_owned();
    let set_active = async |active: bool| {
        let change = operator.request(Method::PATCH, &format!("/v1/issuers/{acme}")).json(&json!({"is_active": active}));
        send(change).await.expect(200);
    };
    set_active(false).await;
    for _ in 0..2 {
        first.refresh(&app).await.expect_problem(401, "unauthenticated");
    }
    set_active(true).await;
    let second = LoggedIn::of(&app, &first.refresh(&app).await.expect(200).body);
    eventually("it goes on", || async { second.session.get("/v1/me").await.status == 200 }).await;
    // While there is no key to sign with.
    let rename = |from: &str, to: &str| format!("alter table {from} rename to {to}");
    in_the_vault(&app, engine, &rename("token_keys", "aside"), &rename("vault.token_keys", "aside")).await;
    assert!(second.refresh(&app).await.status.is_server_error());
    in_the_vault(&app, engine, &rename("aside", "token_keys"), &rename("vault.aside", "token_keys")).await;
    second.refresh(&app).await.expect(200);
    assert_eq!(events(&app, "SessionEnded").await, []);
}

async fn whoever_follows_a_log_is_let_go_when_the_right_ends(engine: Engine) {
    let (app, other) = two(engine).await;
    let operator = app.operator().await;
    let id = register(&operator, "ada").await;
    send(operator.request(Method::PUT, &format!("/v1/accounts/{id}/roles")).json(&json!({"roles": ["auditor"]}))).await.expect(200);
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    let key = operator.post("/v1/keys", &json!({"roles": ["auditor"]})).await.expect(201).body;
    let held = Session { key: Some(key["key"].as_str().unwrap().to_owned()), ..ada.clone() };
    let follow = async |session: &Session| {
        let request = at(&other, session).request(Method::GET, "/v1/logs/ledger/events?open=true").header("accept", "text/event-stream");
        let following = request.timeout(Duration::from_secs(20)).send().await.unwrap();
        assert_eq!(following.status(), 200);
        following
    };
    let (by_account, by_key) = (follow(&ada).await, follow(&held).await);
    ada.post_empty("/v1/auth/logout").await.expect(204);
    send(operator.request(Method::DELETE, &format!("/v1/keys/{}", key["id"].as_str().unwrap()))).await.expect(204);
    tokio::time::sleep(Duration::from_secs(1)).await;
    operator.post("/v1/credentials", &json!({"type": "t", "subject": {"name": "Bob", "email": "bob@example.org"}})).await.expect(201);
    for following in [by_account, by_key] {
        // It came to its end, and not by the client's patience.
        let heard = following.text().await.unwrap();
        assert!(heard.contains("IssuerRegistered") && !heard.contains("bob@example.org"), "{heard}");
    }
}

async fn of_logins_beside_a_change_of_the_password_no_session_is_left(engine: Engine) {
    let (app, other) = two(engine).await;
    register(&app.operator().await, "ada").await;
    let owner = log_in(&app, "ada", PASSWORD).await.session;
    let logins = (0..24).map(|at| {
        let anonymous = if at % 2 == 0 { app.anonymous() } else { other.anonymous() };
        tokio::spawn(async move { anonymous.post("/v1/auth/login", &login("ada", PASSWORD)).await })
    });
    let logins: Vec<_> = logins.collect();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let change = json!({"current_password": PASSWORD, "new_password": "another winter's bicycle, humming"});
    // It waits for its turn like the others, and may be told to come back.
    let changed = || send(owner.request(Method::PUT, "/v1/me/password").json(&change));
    let mut answer = changed().await;
    for _ in 0..10 {
        if answer.status != 503 {
            break;
        }
        answer = changed().await;
    }
    answer.expect(204);
    for begun in logins {
        assert!([200, 401, 503].contains(&begun.await.unwrap().status.as_u16()));
    }
    let left = owner.get("/v1/me/sessions").await.expect(200).body["items"].clone();
    assert_eq!(left.as_array().unwrap().iter().filter(|session| session["is_current"] == false).count(), 0, "{left}");
}

/// Two processes on the same stores.
async fn two(engine: Engine) -> (TestApp, TestApp) {
    let one = TestApp::start(engine).await;
    let other = TestApp::on(one.stores.clone()).start().await;
    (one, other)
}

/// Somebody, seen by another process.
fn at(app: &TestApp, session: &Session) -> Session {
    Session { address: app.address(), ..session.clone() }
}

async fn what_ends_on_one_process_ends_on_the_other_within_a_second(engine: Engine) {
    let (one, other) = two(engine).await;
    let operator = one.operator().await;
    for username in ["ada", "bob", "cyd", "dan", "eve"] {
        register(&operator, username).await;
    }
    let ids = operator.get("/v1/accounts").await.expect(200).body;
    let id_of = |username: &str| {
        let accounts = ids["items"].as_array().unwrap();
        accounts.iter().find(|account| account["username"] == username).unwrap()["id"].as_str().unwrap().to_owned()
    };
    // Begun on one, known on the other at once.
    let mut there = Vec::new();
    for username in ["ada", "bob", "cyd", "dan", "eve"] {
        let begun = log_in(&one, username, PASSWORD).await;
        let there_too = at(&other, &begun.session);
        there_too.get("/v1/me").await.expect(200);
        there.push((begun, there_too));
    }
    let new = "another winter's bicycle, humming";
    let second = log_in(&one, "bob", PASSWORD).await.session;
    let began = std::time::Instant::now();
    there[0].0.session.post_empty("/v1/auth/logout").await.expect(204);
    let change = json!({"current_password": PASSWORD, "new_password": new});
    send(second.request(Method::PUT, "/v1/me/password").json(&change)).await.expect(204);
    operator.post_empty(&format!("/v1/accounts/{}/deactivate", id_of("cyd"))).await.expect(200);
    let roles = send(operator.request(Method::PUT, &format!("/v1/accounts/{}/roles", id_of("dan"))).json(&json!({"roles": ["inspector"]})));
    roles.await.expect(200);
    let sessions = there[4].0.session.get("/v1/me/sessions").await.expect(200).body;
    let path = format!("/v1/me/sessions/{}", sessions["items"][0]["id"].as_str().unwrap());
    send(there[4].0.session.request(Method::DELETE, &path)).await.expect(204);
    let acts_took = began.elapsed();
    eventually("what was taken away is gone, and what was given is there", || async {
        let mut statuses = Vec::new();
        for at in [0, 1, 2, 4] {
            statuses.push(there[at].1.get("/v1/me").await.status.as_u16());
        }
        statuses == [401, 401, 401, 401] && there[3].1.get("/v1/projections").await.status == 200
    })
    .await;
    let after = began.elapsed() - acts_took;
    assert!(after < Duration::from_secs(1), "{after:?}");
    // And what is refreshed on the other goes on here.
    let dan = LoggedIn::of(&other, &there[3].0.refresh(&other).await.expect(200).body);
    at(&one, &dan.session).get("/v1/me").await.expect(200);
}

async fn an_owner_lists_and_ends_sessions(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    register(&operator, "ada").await;
    register(&operator, "bob").await;
    let (ada, bob) = (log_in(&app, "ada", PASSWORD).await, log_in(&app, "bob", PASSWORD).await);
    let request = app.anonymous().request(Method::POST, "/v1/auth/login").header("user-agent", "a browser");
    let second = LoggedIn::of(&app, &send(request.json(&login("ada", PASSWORD))).await.expect(200).body);
    let listed = ada.session.get("/v1/me/sessions").await.expect(200).body["items"].clone();
    let told: Vec<_> = listed.as_array().unwrap().iter().map(|session| (&session["is_current"], &session["user_agent"])).collect();
    assert_eq!(told, [(&json!(false), &json!("a browser")), (&json!(true), &json!(null))]);
    let path = format!("/v1/me/sessions/{}", listed[0]["id"].as_str().unwrap());
    // Another's session is not there.
    send(bob.session.request(Method::DELETE, &path)).await.expect_problem(404, "not-found");
    second.session.get("/v1/me").await.expect(200);
    send(ada.session.request(Method::DELETE, &path)).await.expect(204);
    send(ada.session.request(Method::DELETE, &path)).await.expect_problem(404, "not-found");
    eventually("it is over", || async { second.session.get("/v1/me").await.status == 401 }).await;
    assert_eq!(ada.session.get("/v1/me/sessions").await.expect(200).body["items"].as_array().unwrap().len(), 1);
    ada.session.post_empty("/v1/auth/logout").await.expect(204);
    eventually("it is over, too", || async { ada.session.get("/v1/me/sessions").await.status == 401 }).await;
    ada.refresh(&app).await.expect_problem(401, "unauthenticated");
    let causes: Vec<EndedBy> = events(&app, "SessionEnded")
        .await
        .into_iter()
        .map(|event| if let AuditEvent::SessionEnded(ended) = event { ended.cause } else { panic!("{event:?}") })
        .collect();
    assert_eq!(causes, [EndedBy::Owner, EndedBy::Logout]);
}

async fn of_more_than_a_hundred_sessions_the_one_longest_not_refreshed_ends(engine: Engine) {
    let app = TestApp::start(engine).await;
    let account = register(&app.operator().await, "ada").await.parse().unwrap();
    let vault = &app.services().vault;
    let checked = vault.login_of(account).await.unwrap().unwrap().stored;
    let (now, mut begun) = (SystemClock.now(), Vec::new());
    for number in 0..100_u8 {
        let created_at = now.minus(Duration::from_secs(1000 - u64::from(number)));
        let id = random::uuid_v7(created_at, &random::SystemRandom);
        let (token, expires_at) = ([number; 32], now.plus(Duration::from_secs(3600)));
        let new = NewSession { id, account, checked: checked.clone(), agent: None, token, created_at, expires_at };
        assert!(vault.insert_session(&new).await.unwrap());
        begun.push(id);
    }
    vault.refresh([0; 32], [200; 32], now, now.plus(Duration::from_secs(3600))).await.unwrap();
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    let left = ada.get("/v1/me/sessions").await.expect(200).body["items"].clone();
    let left: Vec<&str> = left.as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap()).collect();
    let is_left = |at: usize| left.contains(&begun[at].to_string().as_str());
    assert!(left.len() == 100 && is_left(0) && !is_left(1) && (2..100).all(is_left), "{left:?}");
    let [AuditEvent::SessionEnded(ended)] = &events(&app, "SessionEnded").await[..] else { panic!("one session ended") };
    assert_eq!((ended.cause, ended.account), (EndedBy::Owner, account));
}

async fn a_token_that_is_not_ours_is_refused(engine: Engine) {
    let app = TestApp::start(engine).await;
    register(&app.operator().await, "ada").await;
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    let token = ada.key.clone().unwrap();
    let kid = app.services().vault.token_keys().await.unwrap()[0].kid.clone();
    let ours = app.services().vault.token_signing_key(&kid).await.unwrap().unwrap();
    let whole = claims(&token);
    let with = |name: &str, value: Value| {
        let mut claims = whole.clone();
        claims[name] = value;
        claims
    };
    let header = || Header { typ: Some("at+jwt".to_owned()), kid: Some(kid.clone()), ..Header::new(Algorithm::EdDSA) };
    let signed = |seed: &[u8; 32], header: &Header, claims: &Value| {
        let mut der = hex::decode("302e020100300506032b657004220420").unwrap();
        der.extend_from_slice(seed);
        encode(header, claims, &EncodingKey::from_ed_der(&der)).unwrap()
    };
    let asked = async |token: String| Session { key: Some(token), ..ada.clone() }.get("/v1/me").await.status.as_u16();
    // What is made here like there is taken: so each of the others is refused for what is wrong with it.
    assert_eq!(asked(signed(ours.expose(), &header(), &whole)).await, 200);
    let past = SystemClock.now().as_micros() / 1_000_000 - 1;
    for (what, claims) in [
        ("another issuer", with("iss", json!("elsewhere"))),
        ("another audience", with("aud", json!("elsewhere"))),
        ("expired", with("exp", json!(past))),
        ("another session", with("sid", json!("0198c5a2-0000-7000-8000-000000000001"))),
        ("another account", with("sub", json!("0198c5a2-0000-7000-8000-000000000001"))),
        ("no expiry", with("exp", Value::Null)),
    ] {
        assert_eq!(asked(signed(ours.expose(), &header(), &claims)).await, 401, "{what}");
    }
    assert_eq!(asked(signed(&[7; 32], &header(), &whole)).await, 401, "a foreign key");
    for header in [
        Header { kid: None, ..header() },
        Header { kid: Some("another".to_owned()), ..header() },
        Header { typ: Some("JWT".to_owned()), ..header() },
    ] {
        assert_eq!(asked(signed(ours.expose(), &header, &whole)).await, 401, "{header:?}");
    }
    let public = app.services().vault.token_keys().await.unwrap()[0].public;
    let hmac = Header { alg: Algorithm::HS256, ..header() };
    assert_eq!(asked(encode(&hmac, &whole, &EncodingKey::from_secret(&public)).unwrap()).await, 401, "the public key as a secret");
    let b64 = |text: String| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);
    let head = |alg: &str| b64(json!({"alg": alg, "typ": "at+jwt", "kid": kid}).to_string());
    let parts: Vec<&str> = token.split('.').collect();
    for (what, token) in [
        ("alg none", format!("{}.{}.", head("none"), b64(whole.to_string()))),
        ("alg None with a signature", format!("{}.{}.{}", head("None"), parts[1], parts[2])),
        ("other claims under the signature", format!("{}.{}.{}", parts[0], b64(with("role", json!("operator")).to_string()), parts[2])),
        ("cut short", token[..token.len() - 2].to_owned()),
        ("no signature", format!("{}.{}", parts[0], parts[1])),
        ("dots", "..".to_owned()),
        ("long", "x".repeat(20_000)),
    ] {
        assert_eq!(asked(token).await, 401, "{what}");
    }
    // A role comes from the session, not from the token.
    let mighty = Session { key: Some(signed(ours.expose(), &header(), &with("role", json!("operator")))), ..ada.clone() };
    mighty.get("/v1/projections").await.expect_problem(403, "forbidden");
}

async fn an_access_token_expires_and_so_does_a_session(engine: Engine) {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let app = TestApp::builder(engine)
        .await
        .clock(clock.clone())
        .with(|config| config.accounts.session = Duration::from_secs(7200))
        .start()
        .await;
    register(&app.operator().await, "ada").await;
    let first = log_in(&app, "ada", PASSWORD).await;
    clock.advance(Duration::from_secs(599));
    first.session.get("/v1/me").await.expect(200);
    clock.advance(Duration::from_secs(2));
    // Though the vault's answer is known and new enough.
    first.session.get("/v1/me").await.expect_problem(401, "unauthenticated");
    let second = LoggedIn::of(&app, &first.refresh(&app).await.expect(200).body);
    second.session.get("/v1/me").await.expect(200);
    clock.advance(Duration::from_secs(7199));
    let third = LoggedIn::of(&app, &second.refresh(&app).await.expect(200).body);
    clock.advance(Duration::from_secs(7200));
    third.session.get("/v1/me").await.expect_problem(401, "unauthenticated");
    third.refresh(&app).await.expect_problem(401, "unauthenticated");
}

async fn the_published_keys_check_a_token_and_a_replaced_key_checks_none(engine: Engine) {
    let (app, other) = two(engine).await;
    register(&app.operator().await, "ada").await;
    let ada = log_in(&app, "ada", PASSWORD).await;
    let published = other.anonymous().get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(published.header("cache-control"), "public, max-age=300");
    let key: jsonwebtoken::jwk::Jwk = serde_json::from_value(published.body["keys"][0].clone()).unwrap();
    let token = ada.session.key.clone().unwrap();
    let mut validation = jsonwebtoken::Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[claims(&token)["aud"].as_str().unwrap()]);
    let checked = jsonwebtoken::decode::<Value>(&token, &jsonwebtoken::DecodingKey::from_jwk(&key).unwrap(), &validation).unwrap();
    assert_eq!(checked.header.kid.as_deref(), published.body["keys"][0]["kid"].as_str());
    let there = at(&other, &ada.session);
    there.get("/v1/me").await.expect(200);
    app.services().vault.replace_token_keys(SystemClock.now()).await.unwrap();
    eventually("what it signed holds no longer", || async { there.get("/v1/me").await.status == 401 }).await;
    let after = LoggedIn::of(&app, &ada.refresh(&app).await.expect(200).body);
    at(&other, &after.session).get("/v1/me").await.expect(200);
    let replaced = other.anonymous().get("/.well-known/jwks.json").await.expect(200).body;
    assert_eq!(replaced["keys"].as_array().unwrap().len(), 1);
    assert_ne!(replaced["keys"][0]["kid"], published.body["keys"][0]["kid"]);
}

async fn a_new_key_is_published_before_it_signs(engine: Engine) {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let app = TestApp::builder(engine).await.clock(clock.clone()).start().await;
    register(&app.operator().await, "ada").await;
    let kid_of = |session: &LoggedIn| jsonwebtoken::decode_header(session.session.key.as_ref().unwrap()).unwrap().kid.unwrap();
    let first = log_in(&app, "ada", PASSWORD).await;
    let published = async || {
        let keys = app.anonymous().get("/.well-known/jwks.json").await.expect(200).body["keys"].clone();
        keys.as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(published().await, [kid_of(&first)]);
    clock.advance(Duration::from_secs(31 * 24 * 3600));
    // What the process does of itself, now and then.
    app.services().vault.add_token_key(clock.now().minus(KEY_AGE_MAX), clock.now()).await.unwrap();
    // What is known is told for so long.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let both = published().await;
    assert_eq!((both.len(), &both[0]), (2, &kid_of(&first)));
    let still = log_in(&app, "ada", PASSWORD).await;
    assert_eq!(kid_of(&still), both[0]);
    clock.advance(Duration::from_secs(599));
    assert_eq!(kid_of(&log_in(&app, "ada", PASSWORD).await), both[0]);
    clock.advance(Duration::from_secs(1));
    let next = log_in(&app, "ada", PASSWORD).await;
    assert_eq!(kid_of(&next), both[1]);
    next.session.get("/v1/me").await.expect(200);
    // What the old one signed holds until it ends.
    LoggedIn::of(&app, &still.refresh(&app).await.expect(200).body).session.get("/v1/me").await.expect(200);
    assert_eq!(published().await, both);
}

async fn who_waits_too_long_for_a_password_to_be_checked_is_told_to_come_back(engine: Engine) {
    // Of nobody's password the hash costs what is configured: here, seconds.
    let dear = |config: &mut Config| config.accounts.password.iterations = 100;
    let app = TestApp::builder(engine).await.with(dear).start().await;
    let cores = std::thread::available_parallelism().unwrap().get();
    let attempts = (0..cores * 8).map(|at| {
        let app = &app;
        async move { app.anonymous().post("/v1/auth/login", &login(&format!("nobody_{at}"), "a wrong password")).await }
    });
    let answers = futures::future::join_all(attempts).await;
    let (checked, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 401);
    assert!(!checked.is_empty() && !refused.is_empty(), "{} were checked, {} refused", checked.len(), refused.len());
    for answer in refused {
        assert!(!answer.expect_problem(503, "overloaded").header("retry-after").is_empty());
    }
}

async fn a_service_asks_what_a_token_is_worth(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (service, stranger) = (app.issuer().await, app.caller(Role::Issuer, "a stranger").await);
    let id = register(&app.operator().await, "ada").await;
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    let token = ada.key.clone().unwrap();
    let ask = async |who: &Session, token: &str| who.post("/v1/auth/introspect", &json!({"token": token})).await.expect(200).body;
    let told = ask(&service.0, &token).await;
    let whole = claims(&token);
    let expected = json!({
        "active": true, "token_type": "access_token", "sub": id, "sid": whole["sid"], "role": "member", "issuer": DEFAULT_ISSUER,
        "exp": whole["exp"],
    });
    assert_eq!(told, expected);
    let key = ask(&service.0, service.0.key.as_ref().unwrap()).await;
    assert_eq!((&key["active"], &key["token_type"], &key["role"]), (&json!(true), &json!("api_key"), &json!("issuer")));
    for (who, token) in [(&service.0, "x"), (&service.0, "credence_x"), (&stranger, token.as_str())] {
        assert_eq!(ask(who, token).await, json!({"active": false}));
    }
    ada.post_empty("/v1/auth/logout").await.expect(204);
    // Without any cache: it is over when it is answered to be over.
    assert_eq!(ask(&service.0, &token).await, json!({"active": false}));
    app.anonymous().post("/v1/auth/introspect", &json!({"token": token})).await.expect_problem(401, "unauthenticated");
    service.post("/v1/auth/introspect", &json!({})).await.expect_field("token", "required");
}

async fn while_the_vault_is_away_nobody_is_known(engine: Engine) {
    let app = TestApp::start(engine).await;
    register(&app.operator().await, "ada").await;
    let ada = log_in(&app, "ada", PASSWORD).await.session;
    let back = app.stores.lose("vault").await;
    eventually("nobody is known", || async { ada.get("/v1/me").await.status == 503 }).await;
    app.anonymous().post("/v1/auth/login", &login("ada", PASSWORD)).await.expect_problem(503, "store-unavailable");
    back.await;
    eventually("it is known again", || async { ada.get("/v1/me").await.status == 200 }).await;
}

async fn a_password_is_hashed_anew_when_its_cost_changes(engine: Engine) {
    let app = TestApp::start(engine).await;
    register(&app.operator().await, "ada").await;
    let dearer = TestApp::on(app.stores.clone()).with(|config| config.accounts.password.iterations += 1).start().await;
    let identifier = app.services().vault.lookup().account("ada");
    let hash = async || app.services().vault.find_login(identifier).await.unwrap().unwrap().password.to_string();
    let before = hash().await;
    log_in(&app, "ada", PASSWORD).await;
    assert_eq!(hash().await, before);
    dearer.anonymous().post("/v1/auth/login", &login("ada", "a wrong password")).await.expect(401);
    assert_eq!(hash().await, before);
    log_in(&dearer, "ada", PASSWORD).await;
    assert_ne!(hash().await, before);
    log_in(&dearer, "ada", PASSWORD).await;
}

async fn a_login_succeeds_though_its_password_cannot_be_hashed_anew(engine: Engine) {
    let app = TestApp::start(engine).await;
    register(&app.operator().await, "ada").await;
    let dearer = TestApp::on(app.stores.clone()).with(|config| config.accounts.password.iterations += 1).start().await;
    let sqlite = "create trigger refuse before update of wrapped_password on accounts begin select raise(abort, 'refused'); end";
    let postgres = "create function vault.refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
        create trigger refuse before update of wrapped_password on vault.accounts for each row execute function vault.refuse()";
    in_the_vault(&app, engine, sqlite, postgres).await;
    log_in(&dearer, "ada", PASSWORD).await.session.get("/v1/me").await.expect(200);
}

async fn nothing_secret_stands_in_the_stores(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    register(&operator, "ada_lovelace").await;
    let session = log_in(&app, "ada_lovelace", PASSWORD).await;
    let next = LoggedIn::of(&app, &session.refresh(&app).await.expect(200).body);
    app.anonymous().post("/v1/auth/login", &login("what I typed by mistake", "a wrong password here")).await.expect(401);
    let secrets = [
        PASSWORD.to_owned(),
        "a wrong password here".to_owned(),
        "what i typed by mistake".to_owned(),
        "what I typed by mistake".to_owned(),
        session.refresh_token.clone(),
        next.refresh_token.clone(),
        session.refresh_token["credence_refresh_".len()..].to_owned(),
        session.session.key.clone().unwrap(),
        next.session.key.clone().unwrap(),
        operator.0.key.clone().unwrap()["credence_".len() + 8..].to_owned(),
        "ada_lovelace".to_owned(),
        "$argon2id$".to_owned(),
    ];
    let stores = app.shutdown().await;
    let everything = stores.bytes().await;
    assert!(memchr::memmem::find(&everything, b"AccountRegistered").is_some(), "the search would find it");
    for secret in &secrets {
        assert!(memchr::memmem::find(&everything, secret.as_bytes()).is_none(), "{secret}");
    }
}
