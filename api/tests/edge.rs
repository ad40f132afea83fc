//! What holds for every request, whatever the route.

#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credence_api::config::Role;
use reqwest::Method;
use serde_json::json;
use support::{Engine, Stores, TestApp, User, eventually, send};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

engines!(a_process_is_healthy_and_ready, every_answer_names_its_request_and_worker_and_carries_the_security_headers,);

async fn a_process_is_healthy_and_ready(engine: Engine) {
    let app = TestApp::start(engine).await;
    let health = app.anonymous().get("/health").await.expect(200).body;
    assert_eq!((&health["status"], &health["service"], &health["worker"]), (&json!("healthy"), &json!("all"), &json!("test-worker")));
    assert!(health["timestamp"].as_str().unwrap().ends_with('Z'));
    app.anonymous().get("/health/live").await.expect(200);
    let anonymous = app.anonymous();
    eventually("ready", || async { anonymous.get("/health/ready").await.status == 200 }).await;
    let ready = anonymous.get("/health/ready").await.body;
    assert_eq!((&ready["status"], &ready["failing"]), (&json!("ready"), &json!([])));
}

async fn every_answer_names_its_request_and_worker_and_carries_the_security_headers(engine: Engine) {
    let app = TestApp::start(engine).await;
    for path in ["/health", "/nowhere", "/v1/credentials", "/openapi.json"] {
        let answer = app.anonymous().get(path).await;
        assert_eq!(answer.header("x-worker-id"), "test-worker", "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}

async fn sqlite() -> TestApp {
    TestApp::start(Engine::Sqlite).await
}

#[tokio::test]
async fn a_request_id_is_kept_when_it_is_one_and_made_otherwise() {
    let app = sqlite().await;
    for (given, kept) in [
        ("abc-1_2.3", true),
        ("", false),
        ("a b", false),
        ("é", false),
        ("a/b", false),
        (&*"x".repeat(128), true),
        (&*"x".repeat(129), false),
    ] {
        let answer = send(app.anonymous().request(Method::GET, "/health").header("x-request-id", given)).await;
        let answered = answer.header("x-request-id");
        assert_eq!(answered == given, kept, "{given:?} became {answered:?}");
        assert!(!answered.is_empty());
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_another_method_405_with_allow() {
    let app = sqlite().await;
    app.anonymous().get("/v1/nothing").await.expect_problem(404, "not-found");
    let answer = send(app.anonymous().request(Method::DELETE, "/v1/credentials")).await.expect_problem(405, "method-not-allowed");
    let mut allowed: Vec<&str> = answer.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn a_key_is_needed_and_must_be_good() {
    let app = sqlite().await;
    let refused = app.anonymous().get("/v1/credentials").await.expect_problem(401, "unauthenticated");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    let bad = format!("Bearer credence_{}", "0".repeat(64));
    for authorization in ["Basic YTpi", "Bearer", "Bearer nonsense", &bad, "credence"] {
        // A bad key is refused on public routes, too.
        for (method, path) in [(Method::GET, "/v1/credentials"), (Method::POST, "/v1/verifications")] {
            let request = app.anonymous().request(method, path).header("authorization", authorization);
            send(request).await.expect_problem(401, "unauthenticated");
        }
        // But these routes do not look at it.
        for path in
            ["/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs/index.html", "/problems", "/problems/stale"]
        {
            let answer = send(app.anonymous().request(Method::GET, path).header("authorization", authorization)).await;
            assert_ne!(answer.status, 401, "{path}");
        }
    }
    let twice = app.operator().await.request(Method::GET, "/v1/credentials").header("authorization", "Bearer x");
    send(twice).await.expect_problem(401, "unauthenticated");
    app.operator().await.get("/v1/credentials").await.expect(200);
}

#[tokio::test]
async fn a_revoked_key_is_refused_everywhere_within_a_second_and_that_is_recorded() {
    let app = sqlite().await;
    let other = TestApp::on(app.stores.clone()).start().await;
    let issuer = app.issuer().await;
    let elsewhere = support::Issuer(support::Session { address: other.address(), ..issuer.0.clone() });
    issuer.get("/v1/credentials").await.expect(200);
    elsewhere.get("/v1/credentials").await.expect(200);
    let services = app.services();
    let key = services.vault.find_key(issuer.0.key.as_ref().unwrap()).await.unwrap().unwrap();
    services.vault.revoke_key(key.id, services.clock.now()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    issuer.get("/v1/credentials").await.expect_problem(401, "unauthenticated");
    elsewhere.get("/v1/credentials").await.expect_problem(401, "unauthenticated");
    let recorded = || async {
        let events = services.audit.log.read(&credence_ledger::log::Query::from(credence_ledger::Position::FIRST, 100)).await.unwrap();
        let refused = events.iter().filter(|event| event.kind == "AccessRefused");
        refused.filter(|event| event.metadata().unwrap().actor == format!("key/{}", key.id)).count() == 2
    };
    eventually("both refusals are recorded", recorded).await;
}

#[tokio::test]
async fn a_known_caller_refused_for_its_role_is_recorded_with_sealed_details_and_an_anonymous_one_is_not() {
    let app = sqlite().await;
    let auditor = app.inspector().await;
    let body = json!({"type": "t", "subject": {"name": "A", "email": "a@example.org"}});
    app.anonymous().post("/v1/credentials", &body).await.expect_problem(401, "unauthenticated");
    auditor.post("/v1/credentials", &body).await.expect_problem(403, "forbidden");
    let log = &app.services().audit.log;
    let refusals = || async {
        let events = log.read(&credence_ledger::log::Query::from(credence_ledger::Position::FIRST, 100)).await.unwrap();
        events.into_iter().filter(|event| event.kind == "AccessRefused").collect::<Vec<_>>()
    };
    eventually("the refusal is recorded", || async { !refusals().await.is_empty() }).await;
    let refusals = refusals().await;
    assert_eq!(refusals.len(), 1);
    let refused: credence_ledger::event::audit::AccessRefused = refusals[0].payload().unwrap();
    assert_eq!((refused.via.as_str(), refused.problem.as_str()), ("POST /v1/credentials", "forbidden"));
    let metadata = refusals[0].metadata().unwrap();
    assert!(metadata.actor.starts_with("key/") && metadata.details.is_some());
    assert!(!refusals[0].metadata.windows(9).any(|bytes| bytes == b"127.0.0.1"));
}

#[tokio::test]
async fn bodies_uris_and_headers_have_bounds() {
    let app = sqlite().await;
    let admin = app.operator().await;
    let post = |body: Vec<u8>| admin.request(Method::POST, "/v1/credentials").header("content-type", "application/json").body(body);
    let answer = send(post(vec![b' '; 1_048_577])).await.expect_problem(413, "payload-too-large");
    assert!(answer.body["detail"].as_str().unwrap().contains("1048576"));
    send(post(vec![b' '; 8 << 20])).await.expect_problem(413, "payload-too-large");
    // Without a length announced.
    let chunks = futures::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024])));
    let chunked = admin.request(Method::POST, "/v1/credentials").header("content-type", "application/json");
    send(chunked.body(reqwest::Body::wrap_stream(chunks))).await.expect_problem(413, "payload-too-large");
    admin.get(&format!("/v1/credentials?type={}", "x".repeat(9000))).await.expect_problem(414, "uri-too-long");
    let long = admin.request(Method::GET, "/v1/credentials").header("x-long", "x".repeat(40_000));
    send(long).await.expect_problem(431, "headers-too-large");
    let many = (0..120).fold(admin.request(Method::GET, "/v1/credentials"), |request, at| request.header(format!("x-{at}"), "x"));
    send(many).await.expect_problem(431, "headers-too-large");
    send(post(b"<a/>".to_vec())).await.expect_problem(400, "malformed-json");
    let xml = admin.request(Method::POST, "/v1/credentials").header("content-type", "application/xml").body("<a/>");
    send(xml).await.expect_problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn a_process_serves_its_role_and_names_what_others_serve() {
    let stores = Arc::new(Stores::new(Engine::Sqlite).await);
    let issuance = TestApp::on(stores.clone()).with(|config| config.role = Role::Issuance).start().await;
    let verification = TestApp::on(stores.clone()).with(|config| config.role = Role::Verification).start().await;
    let projector = TestApp::on(stores).with(|config| config.role = Role::Projector).start().await;
    for (app, role) in [(&issuance, "issuance"), (&verification, "verification"), (&projector, "projector")] {
        let anonymous = app.anonymous();
        assert_eq!(anonymous.get("/health").await.expect(200).body["service"], role);
        for path in ["/metrics", "/openapi.json", "/problems"] {
            anonymous.get(path).await.expect(200);
        }
        eventually("ready", || async { anonymous.get("/health/ready").await.status == 200 }).await;
    }
    verification.anonymous().get("/v1/credentials").await.expect_problem(404, "not-served-by-this-role");
    projector.anonymous().get("/v1/credentials").await.expect_problem(404, "not-served-by-this-role");
    for app in [&issuance, &projector] {
        app.anonymous().post("/v1/verifications", &json!({})).await.expect_problem(404, "not-served-by-this-role");
    }
    let issued = issuance.issuer().await.issue("Ada", "ada@example.org").await;
    let verdict = send(
        verification
            .anonymous()
            .request(Method::POST, "/v1/verifications")
            .header("ledger-min-position", issued["position"].as_str().unwrap())
            .json(&json!({"id": issued["id"]})),
    )
    .await
    .expect(200);
    assert_eq!(verdict.body["valid"], true);
}

#[tokio::test]
async fn pages_of_listed_origins_may_call_and_no_others() {
    let origin = "https://app.example.org";
    let app = TestApp::builder(Engine::Sqlite).await.with(|config| config.cors_origins = vec![origin.parse().unwrap()]).start().await;
    let preflight = |origin: &str| {
        let request = app.anonymous().request(Method::OPTIONS, "/v1/verifications");
        send(request.header("origin", origin).header("access-control-request-method", "POST"))
    };
    let allowed = preflight(origin).await.expect(200);
    assert_eq!(allowed.header("access-control-allow-origin"), origin);
    assert!(allowed.header("access-control-allow-headers").contains("idempotency-key"));
    assert_eq!(preflight("https://evil.example.org").await.header("access-control-allow-origin"), "");
    let answer = send(app.anonymous().request(Method::GET, "/health").header("origin", origin)).await;
    for exposed in ["x-request-id", "x-worker-id", "ledger-position", "ledger-as-of", "idempotency-replayed", "ratelimit-reset"] {
        assert!(answer.header("access-control-expose-headers").contains(exposed), "{exposed}");
    }
    let closed = sqlite().await;
    let answer = send(closed.anonymous().request(Method::GET, "/health").header("origin", origin)).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_body_that_never_comes_to_its_end_does_not_hold_up_others() {
    let app = sqlite().await;
    let mut stream = tokio::net::TcpStream::connect(app.address()).await.unwrap();
    stream
        .write_all(b"POST /v1/verifications HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        .await
        .unwrap();
    app.anonymous().get("/health").await.expect(200);
    drop(stream);
}

#[tokio::test]
async fn a_client_that_has_said_all_it_has_to_say_is_answered() {
    let app = sqlite().await;
    let mut stream = tokio::net::TcpStream::connect(app.address()).await.unwrap();
    let body = r#"{"id": "0198c5a2-0000-7000-8000-000000000001"}"#;
    let length = body.len();
    let asked =
        format!("POST /v1/verifications HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(asked.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("not_found"), "{answer}");
}

#[tokio::test]
async fn what_is_no_http_is_answered_with_a_bare_status() {
    let app = sqlite().await;
    let mut stream = tokio::net::TcpStream::connect(app.address()).await.unwrap();
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn requests_are_counted_by_route() {
    let app = sqlite().await;
    app.anonymous().get("/health").await.expect(200);
    let metrics = app.anonymous().get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(metrics.text.contains("credence_http_requests_total{route=\"GET /health\",status=\"200\"}"), "{}", metrics.text);
    assert!(metrics.text.contains("credence_http_request_duration_seconds_bucket{route=\"GET /health\""));

    // Any word is a method to HTTP: those that nobody knows are one series.
    for method in ["AAAA1", "AAAA2", "AAAA3"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        send(app.anonymous().request(method, "/health")).await.expect_problem(405, "method-not-allowed");
    }
    let metrics = app.anonymous().get("/metrics").await.expect(200);
    assert!(metrics.text.contains("credence_http_requests_total{route=\"OTHER /health\",status=\"405\"} 3"), "{}", metrics.text);
    assert!(!metrics.text.contains("AAAA"), "{}", metrics.text);
}

#[tokio::test]
async fn the_vault_learns_when_a_key_was_last_used() {
    let app = sqlite().await;
    let issuer = app.issuer().await;
    issuer.get("/v1/credentials").await.expect(200);
    let text = issuer.0.key.clone().unwrap();
    let vault = app.services().vault.clone();
    assert_eq!(vault.find_key(&text).await.unwrap().unwrap().last_used_at, None);
    // Kept: the vault stands in their folder.
    let _stores = app.shutdown().await;
    assert!(vault.find_key(&text).await.unwrap().unwrap().last_used_at.is_some());
}
