//! Readiness while stores fail and come back.

#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use credence_api::config::Role;
use credence_api::http::health::READINESS_KEPT;
use credence_ledger::testing::ManualClock;
use credence_ledger::testing::postgres::Server;
use credence_ledger::vault::MasterKey;
use credence_ledger::vault::master_key::ring::{Rotation, Stage};
use credence_ledger::{Clock as _, random};
use serde_json::{Value, json};
use support::{Answer, Child, Engine, TestApp, User, eventually};
use tempfile::TempDir;

engines!(
    a_master_key_that_is_not_at_hand_is_named_and_one_that_is_only_announced_is_a_warning,
    a_clock_in_a_month_whose_details_were_destroyed_is_named,
    a_clock_that_is_behind_a_log_is_a_warning,
);

/// Asks when what was told before is not told again.
async fn asked(user: &impl User) -> Answer {
    tokio::time::sleep(READINESS_KEPT).await;
    user.get("/health/ready").await
}

fn names(told: &Value) -> Vec<&str> {
    told.as_array().unwrap().iter().map(|failing| failing["name"].as_str().unwrap()).collect()
}

fn failing(readiness: &Value) -> Vec<&str> {
    names(&readiness["failing"])
}

async fn a_master_key_that_is_not_at_hand_is_named_and_one_that_is_only_announced_is_a_warning(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (probe, vault) = (app.anonymous(), &app.services().vault);
    let before = asked(&probe).await.expect(200);
    assert!(!names(&before.body["warnings"]).contains(&"master-key"), "{before:?}");
    let new = MasterKey::generate(&random::SystemRandom);
    let announced = Rotation { from: vault.ring().fingerprints()[0], to: new.fingerprint(), stage: Stage::Announced };
    assert!(vault.set_rotation(None, &announced).await.unwrap());
    let readiness = asked(&probe).await.expect(200);
    assert!(names(&readiness.body["warnings"]).contains(&"master-key"), "{readiness:?}");

    // Somebody went on without it: what it wraps from now on cannot be opened here.
    let wrapping = Rotation { stage: Stage::Wrapping, ..announced };
    assert!(vault.set_rotation(Some(&announced), &wrapping).await.unwrap());
    let readiness = asked(&probe).await.expect(503);
    assert_eq!(failing(&readiness.body), ["master-key"]);
    assert!(readiness.text.contains(&new.fingerprint().to_string()), "{readiness:?}");

    let file = app.stores.data_dir().join("master.key");
    let both = format!("{}\n{}\n", std::fs::read_to_string(&file).unwrap().trim(), *new.to_hex());
    std::fs::write(&file, both).unwrap();
    eventually("ready once it is given", || async { probe.get("/health/ready").await.status == 200 }).await;
}

#[tokio::test]
async fn however_many_ask_the_stores_are_asked_at_most_twice_a_second() {
    let app = TestApp::start(Engine::Sqlite).await.with_read_models().await;
    let probe = app.anonymous();
    let start = Instant::now();
    let before = asked(&probe).await.expect(200);
    let new = MasterKey::generate(&random::SystemRandom);
    let vault = &app.services().vault;
    let announced = Rotation { from: vault.ring().fingerprints()[0], to: new.fingerprint(), stage: Stage::Announced };
    assert!(vault.set_rotation(None, &announced).await.unwrap());
    for again in futures::future::join_all((0..20).map(|_| probe.get("/health/ready"))).await {
        // A machine that is too slow for this shows nothing.
        assert!(again.expect(200).body == before.body || start.elapsed() > 2 * READINESS_KEPT);
    }
    assert_ne!(asked(&probe).await.expect(200).body, before.body);
}

async fn a_clock_in_a_month_whose_details_were_destroyed_is_named(engine: Engine) {
    let clock = Arc::new(ManualClock::default());
    let app = TestApp::builder(engine).await.clock(clock.clone()).start().await.with_read_models().await;
    let probe = app.anonymous();
    asked(&probe).await.expect(200);
    app.services().vault.forget_months(&[clock.now().month()]).await.unwrap();
    // Who has read the key already goes on with it.
    asked(&probe).await.expect(200);
    let other = TestApp::on(app.stores.clone()).clock(clock.clone()).start().await;
    let probe = other.anonymous();
    let readiness = asked(&probe).await.expect(503);
    assert_eq!(failing(&readiness.body), ["audit-details"]);
    assert!(readiness.text.contains(&clock.now().month()), "{readiness:?}");
    clock.advance(Duration::from_secs(31 * 24 * 3600));
    eventually("ready by another clock", || async { probe.get("/health/ready").await.status == 200 }).await;
}

async fn a_clock_that_is_behind_a_log_is_a_warning(engine: Engine) {
    let clock = Arc::new(ManualClock::default());
    let app = TestApp::builder(engine).await.clock(clock.clone()).start().await.with_read_models().await;
    let (probe, start) = (app.anonymous(), clock.now());
    assert!(!names(&asked(&probe).await.expect(200).body["warnings"]).contains(&"clock"));
    clock.advance(Duration::from_secs(3600));
    app.issuer().await.issue("Ada", "ada@example.org").await;
    clock.set(start);
    let readiness = asked(&probe).await.expect(200);
    assert!(names(&readiness.body["warnings"]).contains(&"clock") && readiness.text.contains("3600 s later"), "{readiness:?}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_named_and_refused_with_503_and_its_return_heals_everything() {
    let mut server = Server::start_private().await;
    let database = server.create_database().await;
    let folder = TempDir::new().unwrap();
    // The read models stay: what is refused is refused for the audit log alone.
    let (data_dir, read) = (folder.path().display().to_string(), format!("sqlite:{}", folder.path().join("read").display()));
    let child = Child::serve(folder.path(), &["--store", &database.url, "--read-store", &read, "--data-dir", &data_dir]);
    let admin = child.admin(&std::fs::read_to_string(folder.path().join("admin.key")).unwrap());
    admin.get("/v1/credentials").await.expect(200);
    asked(&child.anonymous()).await.expect(200);

    server.kill9();
    let readiness = asked(&child.anonymous()).await.expect(503);
    assert_eq!(readiness.body["status"], "not_ready");
    assert_eq!(failing(&readiness.body), ["vault", "ledger", "audit"]);
    assert!(!readiness.text.contains("postgres:") && !readiness.text.contains('/'), "{}", readiness.text);
    child.anonymous().get("/health").await.expect(200);
    child.anonymous().get("/health/live").await.expect(200);
    // Its key is not known any more after half a second, and nobody can be asked.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let refused = admin.get("/v1/credentials").await.expect_problem(503, "store-unavailable");
    assert!(!refused.header("retry-after").is_empty());
    // Whoever comes without a key can have no verdict either: it could not be recorded.
    let body = json!({"id": uuid::Uuid::nil()});
    child.anonymous().post("/v1/verifications", &body).await.expect_problem(503, "audit-unavailable");

    server.start().await;
    eventually("ready again", || async { child.anonymous().get("/health/ready").await.status == 200 }).await;
    admin.get("/v1/credentials").await.expect(200);
    child.anonymous().post("/v1/verifications", &body).await.expect(200);
}

#[tokio::test]
async fn a_read_model_that_is_stale_or_gone_is_named() {
    let clock = Arc::new(ManualClock::default());
    let app = TestApp::builder(Engine::Sqlite).await.clock(clock.clone()).with(|config| config.role = Role::Issuance).start().await;
    let readiness = asked(&app.anonymous()).await.expect(503);
    assert_eq!(failing(&readiness.body), ["verification", "history"], "nobody has built them");

    let projector = TestApp::on(app.stores.clone()).clock(clock.clone()).with(|config| config.role = Role::Projector).start().await;
    eventually("ready", || async { app.anonymous().get("/health/ready").await.status == 200 }).await;
    projector.shutdown().await;
    clock.advance(Duration::from_secs(301));
    let readiness = asked(&app.anonymous()).await.expect(503);
    assert_eq!(failing(&readiness.body), ["verification", "history"]);
    app.operator().await.get("/v1/credentials").await.expect_problem(503, "stale");
}

#[tokio::test]
async fn nothing_is_acknowledged_once_the_data_folder_is_gone() {
    let app = TestApp::start(Engine::Sqlite).await;
    let issuer = app.issuer().await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    std::fs::rename(app.stores.data_dir(), app.stores.data_dir().with_extension("aside")).unwrap();
    let body = json!({"type": "a", "subject": {"name": "Bob", "email": "bob@example.org"}});
    issuer.post("/v1/credentials", &body).await.expect_problem(503, "store-unavailable");
    issuer.post("/v1/credentials", &json!({"type": "a", "secret": "x"})).await.expect_problem(503, "store-unavailable");
    issuer.post_empty(&format!("/v1/credentials/{}/revoke", issued["id"].as_str().unwrap())).await.expect_problem(503, "store-unavailable");
    issuer.post("/v1/verifications", &json!({"id": issued["id"]})).await.expect(503);
    let readiness = asked(&app.anonymous()).await.expect(503);
    assert_eq!(failing(&readiness.body)[..3], ["vault", "ledger", "audit"]);

    // Whatever was made at the old place meanwhile is in the way of the folder's return, and none of it is durable.
    let _ = std::fs::remove_dir_all(app.stores.data_dir());
    std::fs::rename(app.stores.data_dir().with_extension("aside"), app.stores.data_dir()).unwrap();
    issuer.post("/v1/credentials", &body).await.expect(201);
    eventually("ready again", || async { app.anonymous().get("/health/ready").await.status == 200 }).await;
}
