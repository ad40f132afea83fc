//! Readiness while stores fail and come back.

#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credence_api::config::Role;
use credence_ledger::testing::ManualClock;
use credence_ledger::testing::postgres::Server;
use serde_json::{Value, json};
use support::{Child, Engine, TestApp, User, eventually};
use tempfile::TempDir;

fn failing(readiness: &Value) -> Vec<&str> {
    readiness["failing"].as_array().unwrap().iter().map(|failing| failing["name"].as_str().unwrap()).collect()
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
    child.anonymous().get("/health/ready").await.expect(200);

    server.kill9();
    let readiness = child.anonymous().get("/health/ready").await.expect(503);
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
    let readiness = app.anonymous().get("/health/ready").await.expect(503);
    assert_eq!(failing(&readiness.body), ["verification", "history"], "nobody has built them");

    let projector = TestApp::on(app.stores.clone()).clock(clock.clone()).with(|config| config.role = Role::Projector).start().await;
    eventually("ready", || async { app.anonymous().get("/health/ready").await.status == 200 }).await;
    projector.shutdown().await;
    clock.advance(Duration::from_secs(301));
    let readiness = app.anonymous().get("/health/ready").await.expect(503);
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
    let readiness = app.anonymous().get("/health/ready").await.expect(503);
    assert_eq!(failing(&readiness.body)[..3], ["vault", "ledger", "audit"]);

    // Whatever was made at the old place meanwhile is in the way of the folder's return, and none of it is durable.
    let _ = std::fs::remove_dir_all(app.stores.data_dir());
    std::fs::rename(app.stores.data_dir().with_extension("aside"), app.stores.data_dir()).unwrap();
    issuer.post("/v1/credentials", &body).await.expect(201);
    eventually("ready again", || async { app.anonymous().get("/health/ready").await.status == 200 }).await;
}
