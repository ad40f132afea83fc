//! Who may do what, for every operation that there is: the document's operations and this list are the same, so that nothing can
//! be added without being judged here.

#![cfg(test)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use credence_api::http::docs;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Engine, Session, TestApp, User, eventually};

/// Anybody, with or without a key.
const PUBLIC: &[&str] = &["anonymous", "issuer", "auditor", "admin"];
const ISSUERS: &[&str] = &["issuer", "admin"];
const READERS: &[&str] = &["issuer", "auditor", "admin"];
const AUDITORS: &[&str] = &["auditor", "admin"];
const ADMINS: &[&str] = &["admin"];

const LIST: &[(&str, &[&str])] = &[
    ("GET /docs", PUBLIC),
    ("GET /docs/{file}", PUBLIC),
    ("GET /health", PUBLIC),
    ("GET /health/live", PUBLIC),
    ("GET /health/ready", PUBLIC),
    ("GET /metrics", PUBLIC),
    ("GET /openapi.json", PUBLIC),
    ("GET /problems", PUBLIC),
    ("GET /problems/{name}", PUBLIC),
    ("GET /v1/credentials", READERS),
    ("GET /v1/credentials/{id}", READERS),
    ("GET /v1/credentials/{id}/events", READERS),
    ("GET /v1/credentials/{id}/receipt", READERS),
    ("GET /v1/credentials/{id}/verifications", READERS),
    ("GET /v1/logs/{log}/checkpoint", PUBLIC),
    ("GET /v1/logs/{log}/events", AUDITORS),
    ("GET /v1/logs/{log}/keys", PUBLIC),
    ("GET /v1/logs/{log}/proofs/consistency", PUBLIC),
    ("GET /v1/logs/{log}/proofs/inclusion", PUBLIC),
    ("GET /v1/logs/{log}/tile/{tile}", PUBLIC),
    ("GET /v1/projections", AUDITORS),
    ("GET /v1/projections/{name}/rebuilds/{id}", ADMINS),
    ("GET /v1/services", AUDITORS),
    ("POST /check", PUBLIC),
    ("POST /issuance/credentials", ISSUERS),
    ("POST /issue", ISSUERS),
    ("POST /v1/credentials", ISSUERS),
    ("POST /v1/credentials/search", READERS),
    ("POST /v1/credentials/{id}/reinstate", ISSUERS),
    ("POST /v1/credentials/{id}/revoke", ISSUERS),
    ("POST /v1/credentials/{id}/suspend", ISSUERS),
    ("POST /v1/projections/{name}/rebuilds", ADMINS),
    ("POST /v1/verifications", PUBLIC),
    ("POST /verification/credentials", PUBLIC),
    ("POST /verify", PUBLIC),
];

/// A body that the operation takes, so that a refusal is not one of the body.
fn body(operation: &str, id: &str) -> Value {
    match operation {
        "POST /check" => json!({"credential_hash": "00".repeat(32)}),
        "POST /issuance/credentials" => json!({"name": "Ada", "email": "ada@example.org", "credentialType": "t"}),
        "POST /issue" | "POST /verify" => json!({"credential": "opaque"}),
        "POST /v1/credentials" => json!({"type": "t", "subject": {"name": "Bob", "email": "bob@example.org"}}),
        "POST /v1/verifications" | "POST /verification/credentials" => json!({"id": id}),
        _ => json!({}),
    }
}

#[tokio::test]
async fn every_operation_lets_pass_whom_it_should_and_nobody_else() {
    let app = TestApp::start(Engine::Sqlite).await;
    let document: Value = serde_json::from_str(docs::json()).unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys().filter(|key| ["get", "post"].contains(&key.as_str()));
        methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    let mut documented: Vec<String> = document["paths"].as_object().unwrap().iter().flat_map(of_path).collect();
    documented.sort();
    assert_eq!(documented, LIST.iter().map(|(operation, _)| (*operation).to_owned()).collect::<Vec<_>>());

    let issuer = app.issuer().await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    let id = issued["id"].as_str().unwrap();
    let sessions: BTreeMap<&str, Session> = [
        ("anonymous", app.anonymous().0),
        ("issuer", issuer.0.clone()),
        ("auditor", app.auditor().await.0),
        ("admin", app.admin().await.0),
    ]
    .into();
    for (operation, allowed) in LIST {
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path
            .replace("{id}", id)
            .replace("{name}", "verification")
            .replace("{log}", "ledger")
            .replace("{file}", "index.html")
            .replace("{tile}", "0/000.p/1");
        for (who, session) in &sessions {
            let mut request = session.client.request(method.parse::<Method>().unwrap(), app.url(&path)).timeout(Duration::from_secs(10));
            if let Some(key) = &session.key {
                request = request.bearer_auth(key);
            }
            if method == "POST" {
                request = request.json(&body(operation, id));
            }
            let status = request.send().await.unwrap().status().as_u16();
            let expected_refusal = if *who == "anonymous" { 401 } else { 403 };
            match allowed.contains(who) {
                true => assert!(![401, 403].contains(&status), "{operation} by {who}: {status}"),
                false => assert_eq!(status, expected_refusal, "{operation} by {who}"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_another_issuers_is_not_there() {
    let app = TestApp::start(Engine::Sqlite).await;
    let (own, other) = (app.issuer_of("acme").await, app.issuer_of("emca").await);
    let issued = own.issue("Ada", "ada@example.org").await;
    let path = format!("/v1/credentials/{}", issued["id"].as_str().unwrap());
    own.get(&path).await.expect(200);
    app.auditor().await.get(&path).await.expect(200);
    for below in ["", "/events", "/receipt", "/verifications"] {
        other.get(&format!("{path}{below}")).await.expect_problem(404, "not-found");
    }
    for act in ["revoke", "suspend", "reinstate"] {
        other.post_empty(&format!("{path}/{act}")).await.expect_problem(404, "not-found");
    }
    eventually("the list shows it to its issuer", || async {
        own.get("/v1/credentials").await.body["items"].as_array().is_some_and(|items| items.len() == 1)
    })
    .await;
    assert_eq!(other.get("/v1/credentials").await.expect(200).body["items"], json!([]));
    let searched = other.post("/v1/credentials/search", &json!({"email": "ada@example.org"})).await.expect(200);
    assert_eq!(searched.body["items"], json!([]));
}
