//! Who may do what, for every operation that there is: the document's operations and the policy's are the same, so that nothing can be
//! added without being judged; and each is asked for by everybody.

#![cfg(test)]

mod support;

use std::time::Duration;

use credence_api::http::docs;
use credence_api::policy::{self, May};
use credence_api::stores::DEFAULT_ISSUER;
use credence_ledger::vault::Role;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Engine, TestApp, User, eventually};

engines!(every_operation_lets_pass_whom_the_policy_names_and_nobody_else);

/// A body that the operation takes, so that a refusal is not one of the body.
fn body(operation: &str, id: &str) -> Value {
    match operation {
        "POST /check" => json!({"credential_hash": "00".repeat(32)}),
        "POST /issuance/credentials" => json!({"name": "Ada", "email": "ada@example.org", "credentialType": "t"}),
        "POST /issue" | "POST /verify" => json!({"credential": "opaque"}),
        "POST /v1/credentials" => json!({"type": "t", "subject": {"name": "Bob", "email": "bob@example.org"}}),
        "POST /v1/issuers" => json!({"name": "acme"}),
        "POST /v1/verifications" | "POST /verification/credentials" => json!({"id": id}),
        "POST /v1/keys" => json!({"roles": ["member"]}),
        "POST /v1/auth/login" => json!({"identifier": 1}),
        "POST /v1/auth/refresh" => json!({"refresh_token": 1}),
        _ => json!({}),
    }
}

/// What stands for `{id}` in the operation's path, by the collection that it is in.
fn placeholder<'a>(path: &str, ids: &'a [(&str, String)], otherwise: &'a str) -> &'a str {
    let collection = path.split('/').nth(2);
    ids.iter().find(|(name, _)| Some(*name) == collection).map_or(otherwise, |(_, id)| id)
}

fn documented() -> Vec<String> {
    let document: Value = serde_json::from_str(docs::json()).unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys().filter(|key| ["get", "post", "put", "patch", "delete"].contains(&key.as_str()));
        methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    let mut documented: Vec<String> = document["paths"].as_object().unwrap().iter().flat_map(of_path).collect();
    documented.sort();
    documented
}

#[test]
fn every_operation_has_an_entry_in_the_policy_and_every_entry_an_operation() {
    assert_eq!(documented(), policy::TABLE.iter().map(|(operation, _)| (*operation).to_owned()).collect::<Vec<_>>());
}

/// Whether the table lets somebody with that role pass; `None` is anonymous. Nothing is open.
fn passes(may: May, role: Option<Role>) -> bool {
    match may {
        May::Everybody | May::Unasked => true,
        // Keys have no account.
        May::Owner => false,
        May::Known => role.is_some(),
        May::Any(roles) | May::AnyOrOpenIssuance(roles) | May::AnyOrOpenRegistration(roles) => {
            role.is_some_and(|role| roles.contains(role))
        }
    }
}

async fn every_operation_lets_pass_whom_the_policy_names_and_nobody_else(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issued = app.issuer().await.issue("Ada", "ada@example.org").await;
    let id = issued["id"].as_str().unwrap();
    let made = app.operator().await.post("/v1/keys", &json!({"roles": ["member"]})).await.expect(201).body;
    let default = app.services().issuers.by_name(DEFAULT_ISSUER).await.unwrap().unwrap();
    let ids = [("issuers", default.id.to_string()), ("keys", made["id"].as_str().unwrap().to_owned())];
    let mut callers = vec![(None, app.anonymous().0)];
    for role in Role::ALL {
        callers.push((Some(role), app.caller(role, DEFAULT_ISSUER).await));
        callers.push((Some(role), app.caller(role, "a stranger").await));
    }
    for (operation, may) in policy::TABLE {
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path
            .replace("{id}", placeholder(path, &ids, id))
            .replace("{name}", "verification")
            .replace("{log}", "ledger")
            .replace("{file}", "index.html")
            .replace("{tile}", "0/000.p/1");
        for (role, session) in &callers {
            let mut request = session.client.request(method.parse::<Method>().unwrap(), app.url(&path)).timeout(Duration::from_secs(10));
            if let Some(key) = &session.key {
                request = request.bearer_auth(key);
            }
            if method != "GET" {
                request = request.json(&body(operation, id));
            }
            let status = request.send().await.unwrap().status().as_u16();
            match passes(*may, *role) {
                true => assert!(![401, 403].contains(&status), "{operation} by {role:?}: {status}"),
                false => assert_eq!(status, if role.is_none() { 401 } else { 403 }, "{operation} by {role:?}"),
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
    app.inspector().await.get(&path).await.expect(200);
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
