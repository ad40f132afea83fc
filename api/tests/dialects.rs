//! The two older dialects: every row of what their clients know, and the shapes of their errors.

#![cfg(test)]

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, Engine, TestApp, User, send};

engines!(
    a_credential_is_issued_and_verified,
    what_is_issued_twice_is_refused_with_what_there_is,
    a_credential_that_does_not_count_is_not_found,
    a_secret_is_issued_checked_and_verified,
    a_secret_is_asked_for_at_the_issuer_of_the_key,
    open_issuance_opens_the_two_issuing_routes_alone,
);

const ISSUE: &str = "/issuance/credentials";
const VERIFY: &str = "/verification/credentials";

fn ada() -> Value {
    json!({"name": "Ada Lovelace", "email": "ada@example.org", "credentialType": "developer", "metadata": {"level": 3}, "unheard": "of"})
}

/// The answer's members, by name.
fn members(answer: &Answer) -> Vec<&str> {
    answer.body.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn a_credential_is_issued_and_verified(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, anybody) = (app.issuer().await, app.anonymous());
    let issued = issuer.post(ISSUE, &ada()).await.expect(201).body;
    let credential = &issued["credential"];
    assert_eq!((&issued["success"], &issued["message"]), (&json!(true), &json!("credential issued by test-worker")));
    assert_eq!(
        *credential,
        json!({"id": credential["id"], "name": "Ada Lovelace", "email": "ada@example.org", "credentialType": "developer",
               "metadata": {"level": 3}, "issuedBy": "test-worker", "issuedAt": credential["issuedAt"]})
    );
    // It is the same credential in the API.
    let path = format!("/v1/credentials/{}", credential["id"].as_str().unwrap());
    let read = issuer.get(&path).await.expect(200).body;
    assert_eq!((&read["claims"], &read["issued_at"]), (&json!({"level": 3}), &credential["issuedAt"]));

    // At once, without waiting for anything.
    let verified = anybody.post(VERIFY, &json!({"id": credential["id"], "more": 1})).await.expect(200).body;
    assert_eq!(
        verified,
        json!({"valid": true, "message": "Credential verified successfully", "verifiedBy": "test-worker", "verifiedAt": verified["verifiedAt"],
               "credential": {"id": credential["id"], "credentialType": "developer", "issuedBy": "test-worker", "issuedAt": credential["issuedAt"]}})
    );
    let whole = json!({"id": credential["id"], "name": " Ada  Lovelace", "email": "ADA@example.org"});
    let verified = anybody.post(VERIFY, &whole).await.expect(200).body;
    assert_eq!((&verified["credential"]["name"], &verified["credential"]["email"]), (&json!("Ada Lovelace"), &json!("ada@example.org")));
    // Without metadata there are no claims.
    let bare = issuer.post(ISSUE, &json!({"name": "Bob", "email": "bob@example.org", "credentialType": "x"})).await.expect(201).body;
    assert_eq!(bare["credential"]["metadata"], json!({}));
}

async fn what_is_issued_twice_is_refused_with_what_there_is(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let first = issuer.post(ISSUE, &ada()).await.expect(201).body["credential"].clone();
    // These clients know nothing of idempotency keys.
    for _ in 0..2 {
        let again = send(issuer.request(Method::POST, ISSUE).json(&ada()).header("idempotency-key", "one")).await.expect(409);
        let existing = json!({"id": first["id"], "issuedBy": "test-worker", "issuedAt": first["issuedAt"]});
        assert_eq!(again.body, json!({"success": false, "message": "Credential already issued", "existingCredential": existing}));
    }
}

async fn a_credential_that_does_not_count_is_not_found(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, anybody) = (app.issuer().await, app.anonymous());
    let id = issuer.post(ISSUE, &ada()).await.expect(201).body["credential"]["id"].clone();
    let not_found = async |question: Value| {
        let answer = anybody.post(VERIFY, &question).await.expect(404).body;
        let expected = json!({"valid": false, "message": "Credential not found or invalid", "verifiedBy": "test-worker", "verifiedAt": answer["verifiedAt"]});
        assert_eq!(answer, expected);
        assert!(answer["verifiedAt"].is_string());
    };
    not_found(json!({"id": "0198c5a2-0000-7000-8000-000000000001"})).await;
    not_found(json!({"id": id, "name": "Charles Babbage"})).await;
    not_found(json!({"id": id, "email": "charles@example.org"})).await;
    let revoked = issuer.post_empty(&format!("/v1/credentials/{}/revoke", id.as_str().unwrap())).await.expect(200);
    let passed = revoked.header("ledger-position").to_owned();
    app.eventually("the read model has seen the revocation", || async {
        let request = anybody.request(Method::POST, "/v1/verifications").header("ledger-min-position", &passed);
        send(request.json(&json!({"id": id}))).await.expect(200).body["status"] == "revoked"
    })
    .await;
    not_found(json!({"id": id})).await;
}

async fn a_secret_is_issued_checked_and_verified(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, anybody) = (app.issuer().await, app.anonymous());
    let issued = issuer.post("/issue", &json!({"credential": "open sesame"})).await.expect(200);
    assert_eq!(members(&issued), ["credential_hash", "issued_at", "message"]);
    assert_eq!(issued.body["message"], "credential issued by test-worker");
    let hash = issued.body["credential_hash"].as_str().unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let again = issuer.post("/issue", &json!({"credential": "open sesame"})).await.expect(400);
    assert_eq!(again.body, json!({"message": "credential already issued"}));

    let at = &issued.body["issued_at"];
    let check = async |hash: &str| anybody.post("/check", &json!({"credential_hash": hash})).await.expect(200).body;
    assert_eq!(check(hash).await, json!({"exists": true, "worker_id": "test-worker", "issued_at": at}));
    assert_eq!(check(&hash.to_uppercase()).await["exists"], true);
    for unknown in ["ab".repeat(32).as_str(), "no hash", ""] {
        assert_eq!(check(unknown).await, json!({"exists": false}), "{unknown}");
    }
    let verify = async |secret: &str| anybody.post("/verify", &json!({"credential": secret})).await.expect(200).body;
    assert_eq!(
        verify("open sesame").await,
        json!({"isValid": true, "message": "credential verified by test-worker", "issuedBy": "test-worker", "issuedAt": at})
    );
    assert_eq!(verify("open  sesame").await, json!({"isValid": false, "message": "credential not found - verified by test-worker"}));
    // It is the same credential in the API, of the type `secret`.
    let list = issuer.get("/v1/credentials?type=secret").await.expect(200).body;
    assert_eq!(list["items"][0]["digest"], format!("hmac-sha256:{hash}"));
    let id = list["items"][0]["id"].as_str().unwrap();
    issuer.post_empty(&format!("/v1/credentials/{id}/suspend")).await.expect(200);
    app.eventually("the read model has seen the suspension", || async { verify("open sesame").await["isValid"] == false }).await;
    assert_eq!(check(hash).await, json!({"exists": false}));
}

async fn a_secret_is_asked_for_at_the_issuer_of_the_key(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (acme, other, anybody) = (app.issuer_of("acme").await, app.issuer().await, app.anonymous());
    let issued = acme.post("/issue", &json!({"credential": "open sesame"})).await.expect(200).body;
    let (secret, hash) = (json!({"credential": "open sesame"}), json!({"credential_hash": issued["credential_hash"]}));
    assert_eq!(acme.post("/verify", &secret).await.expect(200).body["isValid"], true);
    assert_eq!(acme.post("/check", &hash).await.expect(200).body["exists"], true);
    // Everybody else asks another issuer, which has none; then it has one of its own.
    for valid in [false, true] {
        assert_eq!(other.post("/verify", &secret).await.expect(200).body["isValid"], valid);
        assert_eq!(other.post("/check", &hash).await.expect(200).body["exists"], valid);
        assert_eq!(anybody.post("/verify", &secret).await.expect(200).body["isValid"], valid);
        assert_eq!(anybody.post("/check", &hash).await.expect(200).body["exists"], valid);
        if !valid {
            other.post("/issue", &secret).await.expect(200);
        }
    }
}

async fn open_issuance_opens_the_two_issuing_routes_alone(engine: Engine) {
    let app = TestApp::builder(engine).await.with(|config| config.open_issuance = true).start().await;
    let anybody = app.anonymous();
    let issued = anybody.post(ISSUE, &ada()).await.expect(201).body;
    anybody.post("/issue", &json!({"credential": "x"})).await.expect(200);
    let path = format!("/v1/credentials/{}", issued["credential"]["id"].as_str().unwrap());
    let read = app.operator().await.get(&path).await.expect(200).body;
    assert_eq!(read["issuer"], "default");
    anybody.get(&path).await.expect_problem(401, "unauthenticated");
    anybody.post("/v1/credentials", &json!({"type": "x", "secret": "y"})).await.expect_problem(401, "unauthenticated");
    // A key that may not issue may not, and a wrong one is none.
    app.inspector().await.post("/issue", &json!({"credential": "z"})).await.expect(403);
    send(anybody.request(Method::POST, "/issue").bearer_auth("wrong").json(&json!({"credential": "z"}))).await.expect(401);
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_told_in_the_dialects_own_shape() {
    let app = TestApp::start(Engine::Sqlite).await;
    let issuer = app.issuer().await;
    let errors = |answer: &Answer| -> Vec<(String, String)> {
        assert_eq!((&answer.body["success"], &answer.body["message"]), (&json!(false), &json!("Validation failed")));
        assert_eq!(members(answer), ["errors", "message", "success"]);
        let errors = answer.body["errors"].as_array().unwrap();
        assert!(errors.iter().all(|error| error["message"].is_string()));
        errors.iter().map(|error| (error["path"].as_str().unwrap().to_owned(), error["code"].as_str().unwrap().to_owned())).collect()
    };
    let pairs = |expected: &[(&str, &str)]| -> Vec<(String, String)> {
        expected.iter().map(|(path, code)| ((*path).to_owned(), (*code).to_owned())).collect()
    };
    for (body, expected) in [
        (json!({}), &[("name", "required"), ("email", "required"), ("credentialType", "required")][..]),
        (
            json!({"name": " ", "email": "no address", "credentialType": 1}),
            &[("name", "blank"), ("email", "format"), ("credentialType", "type")],
        ),
        (json!({"name": "Ada", "email": "a@b.org", "credentialType": "x", "metadata": []}), &[("metadata", "type")]),
        (json!([]), &[("", "type")]),
    ] {
        assert_eq!(errors(&issuer.post(ISSUE, &body).await.expect(400)), pairs(expected), "{body}");
    }
    for (body, expected) in [
        (json!({}), &[("id", "required")][..]),
        (json!({"id": "no uuid"}), &[("id", "format")]),
        (json!({"id": 1}), &[("id", "type")]),
        (json!({"id": "0198c5a2-0000-7000-8000-000000000001", "email": "no address"}), &[("email", "format")]),
    ] {
        assert_eq!(errors(&issuer.post(VERIFY, &body).await.expect(400)), pairs(expected), "{body}");
    }
    for path in [ISSUE, VERIFY] {
        for (text, code) in [("{", "malformed-json"), ("", "malformed-json"), (r#"{"id": 1, "id": 2}"#, "duplicate")] {
            let request = issuer.request(Method::POST, path).header("content-type", "application/json").body(text);
            assert_eq!(errors(&send(request).await.expect(400))[0].1, code, "{path} {text}");
        }
    }
    for (path, bodies) in [
        (
            "/issue",
            vec![json!({}), json!({"credential": ""}), json!({"credential": " "}), json!({"credential": 1}), json!(null), json!("x")],
        ),
        ("/verify", vec![json!({}), json!({"credential": "  "}), json!({"credential": ["x"]})]),
        ("/check", vec![json!({}), json!({"credential_hash": null}), json!({"credential_hash": 1}), json!([])]),
    ] {
        for body in bodies {
            assert_eq!(issuer.post(path, &body).await.expect(400).body, json!({"message": "invalid credential format"}), "{path} {body}");
        }
    }
}

/// A problem in the shape that a path's clients know.
fn expect_shape(path: &str, answer: &Answer) {
    assert!(answer.header("content-type").starts_with("application/json"), "{path}");
    assert!(answer.body["message"].is_string(), "{path} {}", answer.text);
    match path {
        ISSUE => {
            assert_eq!(members(answer), ["message", "success"]);
            assert_eq!(answer.body["success"], false);
        }
        VERIFY => {
            assert_eq!(members(answer), ["message", "valid", "verifiedAt", "verifiedBy"]);
            assert_eq!((&answer.body["valid"], &answer.body["verifiedBy"]), (&json!(false), &json!("test-worker")));
        }
        _ => assert_eq!(members(answer), ["message"]),
    }
}

const ALL: [&str; 5] = [ISSUE, VERIFY, "/issue", "/check", "/verify"];

#[tokio::test]
async fn problems_keep_their_status_and_headers_in_the_dialects_own_shape() {
    // Five wrong keys, two requests without one, one verification.
    let app = TestApp::builder(Engine::Sqlite).await.rate_limit("8/1h").start().await;
    let (anybody, issuer) = (app.anonymous(), app.issuer().await);
    for path in ALL {
        let wrong = send(anybody.request(Method::POST, path).bearer_auth("wrong").json(&json!({}))).await.expect(401);
        assert_eq!(wrong.header("www-authenticate"), "Bearer");
        expect_shape(path, &wrong);
        let text = send(issuer.request(Method::POST, path).header("content-type", "text/plain").body("{}")).await.expect(415);
        expect_shape(path, &text);
        expect_shape(path, &issuer.post(path, &json!({"credential": "x".repeat(1 << 20)})).await.expect(413));
        expect_shape(path, &issuer.get(path).await.expect(405));
    }
    for path in [ISSUE, "/issue"] {
        expect_shape(path, &anybody.post(path, &json!({})).await.expect(401));
        expect_shape(path, &app.inspector().await.post(path, &json!({})).await.expect(403));
    }
    anybody.post("/verify", &json!({"credential": "x"})).await.expect(200);
    for path in [VERIFY, "/check", "/verify"] {
        let limited = anybody.post(path, &json!({})).await.expect(429);
        assert!(!limited.header("retry-after").is_empty() && limited.header("ratelimit-remaining") == "0");
        expect_shape(path, &limited);
    }
}

#[tokio::test]
async fn without_a_record_there_is_no_verdict_in_a_dialect_either() {
    let app = TestApp::start(Engine::Sqlite).await;
    let issuer = app.issuer().await;
    app.services().audit.appender.shutdown().await;
    let id = "0198c5a2-0000-7000-8000-000000000001";
    for (path, body) in [(VERIFY, json!({"id": id})), ("/check", json!({"credential_hash": "x"})), ("/verify", json!({"credential": "x"}))]
    {
        let answer = app.anonymous().post(path, &body).await.expect(503);
        assert_eq!(answer.header("retry-after"), "1");
        expect_shape(path, &answer);
    }
    issuer.post("/issue", &json!({"credential": "x"})).await.expect(200);
    app.services().ledger().unwrap().appender.shutdown().await;
    for (path, body) in [(ISSUE, ada()), ("/issue", json!({"credential": "y"}))] {
        expect_shape(path, &issuer.post(path, &body).await.expect(503));
    }
}

#[tokio::test]
async fn an_issuance_is_answered_even_if_the_read_model_does_not_see_it_in_time() {
    let stores = std::sync::Arc::new(support::Stores::new(Engine::Sqlite).await);
    // A process of this role keeps no read model up, and nobody else does.
    let issuing = |config: &mut credence_api::config::Config| {
        config.role = credence_api::config::Role::Issuance;
        config.wait_max = std::time::Duration::from_millis(100);
    };
    let app = TestApp::on(stores).with(issuing).start().await;
    app.issuer().await.post("/issue", &json!({"credential": "x"})).await.expect(200);
    app.anonymous().post("/verify", &json!({"credential": "x"})).await.expect(404);
}
