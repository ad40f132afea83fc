//! Each role's process under its own PostgreSQL login, which may do what the role needs and no more.

#![cfg(test)]

mod support;

use credence_ledger::testing::postgres::Server;
use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use support::oidc::{AUDIENCE, SigningKey, TestProvider};
use support::{Child, User, command, eventually, send};
use tempfile::TempDir;

const LOGINS: [&str; 3] = ["issuance", "verification", "projector"];

async fn execute(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn every_role_does_its_work_under_its_own_login() {
    let server = Server::start_private().await;
    let database = server.create_database().await;
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().display().to_string();

    // Before the database is prepared, no login can start anything; and it says who can.
    for login in LOGINS {
        execute(&database.url, format!("create role {login} login")).await;
    }
    let url = database.url_as("issuance", "");
    let early = command(&["serve", "--listen", "127.0.0.1:0", "--store", &url, "--data-dir", &data_dir]).output().unwrap();
    let stderr = String::from_utf8(early.stderr).unwrap();
    assert_eq!(early.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("credence migrate"), "{stderr}");

    let migrated = command(&["migrate", "--roles", "--store", &database.url, "--data-dir", &data_dir]).output().unwrap();
    assert_eq!(migrated.status.code(), Some(0), "{}", String::from_utf8_lossy(&migrated.stderr));
    for login in LOGINS {
        execute(&database.url, format!("grant credence_{login} to {login}")).await;
    }
    let signing = SigningKey::generate("first", Algorithm::ES256);
    let provider = TestProvider::start(&[&signing]);
    let oidc = ["--oidc-issuer", &provider.issuer, "--oidc-audience", AUDIENCE, "--oidc-roles", "cr-inspector=inspector"];
    let start = |role: &str| {
        let url = database.url_as(role, "");
        let arguments = ["--role", role, "--store", &url, "--data-dir", &data_dir, "--worker-id", role];
        Child::serve(folder.path(), &[&arguments[..], &oidc].concat())
    };
    let (issuance, projector, verification) = (start("issuance"), start("projector"), start("verification"));
    let key = std::fs::read_to_string(folder.path().join("admin.key")).unwrap();
    for child in [&issuance, &projector, &verification] {
        eventually("ready", || async { child.anonymous().get("/health/ready").await.status == 200 }).await;
    }

    let admin = issuance.admin(&key);
    let body = json!({"type": "t", "subject": {"name": "Ada", "email": "ada@example.org"}});
    let issued = admin.post("/v1/credentials", &body).await.expect(201).body;
    let verify = async |position: &str, subject: &str| {
        let body = json!({"id": issued["id"], "subject": {"name": subject}});
        let request = verification.anonymous().request(Method::POST, "/v1/verifications").header("ledger-min-position", position);
        send(request.json(&body)).await.expect(200).body["status"].clone()
    };
    assert_eq!(verify(issued["position"].as_str().unwrap(), "Ada").await, "active");
    assert_eq!(verify(issued["position"].as_str().unwrap(), "Bob").await, "not_found");
    let revoked = admin.post_empty(&format!("/v1/credentials/{}/revoke", issued["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(verify(revoked.header("ledger-position"), "Ada").await, "revoked");

    let rebuild = projector.admin(&key).post_empty("/v1/projections/verification/rebuilds").await.expect(202);
    let place = rebuild.header("location").to_owned();
    eventually("rebuilt", || async { projector.admin(&key).get(&place).await.body["phase"] == "done" }).await;
    let rebuilt = projector.admin(&key).get(&place).await.body;
    assert_eq!(rebuilt["equal"], true, "{rebuilt}");

    // Who comes from an identity provider is known to each.
    let token = signing.sign(&provider.claims(&json!({"roles": ["cr-inspector"]})));
    issuance.admin(&token).get("/v1/credentials").await.expect(200);
    projector.admin(&token).get("/v1/projections").await.expect(200);
    verification.admin(&token).post("/v1/verifications", &json!({"id": issued["id"]})).await.expect(200);

    eventually("all workers are seen", || async {
        let services = admin.get("/v1/services").await.expect(200).text;
        LOGINS.iter().all(|login| services.contains(login))
    })
    .await;
    for child in [&issuance, &projector, &verification] {
        let log = child.stderr();
        assert!(!log.contains("lacks a right"), "{log}");
    }
}
