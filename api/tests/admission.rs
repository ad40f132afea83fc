//! What stands around handlers, shown on handlers made for it: panics, slowness, clients that hang up.

#![cfg(test)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::HeaderValue;
use credence_api::http::{self, Limits, Part, Route};
use credence_api::policy::May;
use credence_api::services::App;
use support::{Anonymous, Engine, Session, TestApp, User, eventually, send};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use utoipa_axum::routes;

static FINISHED: AtomicBool = AtomicBool::new(false);

#[utoipa::path(get, path = "/panics")]
async fn panics() {
    panic!("a secret of the handler");
}

#[utoipa::path(get, path = "/sleeps")]
async fn sleeps() {
    tokio::time::sleep(Duration::from_millis(600)).await;
    FINISHED.store(true, Ordering::SeqCst);
}

#[utoipa::path(post, path = "/takes", request_body = String)]
async fn takes(body: axum::body::Bytes) -> String {
    body.len().to_string()
}

#[utoipa::path(get, path = "/foreign")]
async fn foreign() -> (axum::http::StatusCode, &'static str) {
    (axum::http::StatusCode::NOT_FOUND, "in a library's own words")
}

fn told(problem: &http::problem::Problem, app: &App) -> serde_json::Value {
    serde_json::json!({"success": false, "message": problem.kind.title, "by": app.worker})
}

async fn start(app: &TestApp, answer_max: Duration) -> Anonymous {
    let table = vec![
        Route::new(Part::Issuance, routes!(panics)),
        Route::new(Part::Issuance, routes!(sleeps)),
        Route::new(Part::Issuance, routes!(takes)).told_by(told),
        Route::new(Part::Issuance, routes!(foreign)),
    ];
    let limits = Limits {
        body_bytes_max: 4096,
        rate_limit_public: None,
        cors_origins: Vec::<HeaderValue>::new(),
        body_max: Duration::from_millis(300),
        answer_max,
    };
    let router = http::serve_table(table, |_| Some(May::Everybody), app.services(), &limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(http::serve::serve(listener, router, app.services().draining.clone(), Duration::from_secs(1)));
    Anonymous(Session { client: reqwest::Client::new(), address, key: None })
}

#[tokio::test]
async fn a_panic_is_told_as_an_internal_error_without_its_message() {
    let app = TestApp::start(Engine::Sqlite).await;
    let anonymous = start(&app, Duration::from_secs(5)).await;
    let answer = anonymous.get("/panics").await.expect_problem(500, "internal");
    assert!(!answer.text.contains("secret"), "{}", answer.text);
    anonymous.get("/panics").await.expect_problem(500, "internal");
}

#[tokio::test]
async fn what_takes_too_long_is_answered_408_and_finished_all_the_same() {
    let app = TestApp::start(Engine::Sqlite).await;
    let anonymous = start(&app, Duration::from_millis(50)).await;
    anonymous.get("/sleeps").await.expect_problem(408, "timeout");
    assert!(!FINISHED.load(Ordering::SeqCst));
    eventually("finished", || async { FINISHED.swap(false, Ordering::SeqCst) }).await;

    // A client that hangs up stops nothing either.
    let mut stream = tokio::net::TcpStream::connect(anonymous.0.address).await.unwrap();
    stream.write_all(b"GET /sleeps HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(stream);
    eventually("finished", || async { FINISHED.load(Ordering::SeqCst) }).await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_answered_408() {
    let app = TestApp::start(Engine::Sqlite).await;
    let anonymous = start(&app, Duration::from_secs(5)).await;
    let mut stream = tokio::net::TcpStream::connect(anonymous.0.address).await.unwrap();
    stream.write_all(b"POST /takes HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_dialect_tells_problems_in_its_own_shape_even_those_from_before_its_handler() {
    let app = TestApp::start(Engine::Sqlite).await;
    let anonymous = start(&app, Duration::from_secs(5)).await;
    let request = anonymous.request(reqwest::Method::POST, "/takes").body(vec![b'x'; 5000]);
    let answer = send(request).await.expect(413);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.body, serde_json::json!({"success": false, "message": "Payload too large", "by": "test-worker"}));
    let request = anonymous.request(reqwest::Method::POST, "/takes").body(vec![b'x'; 4096]);
    assert_eq!(send(request).await.expect(200).text, "4096");
}

#[tokio::test]
async fn a_failure_in_a_librarys_words_becomes_a_problem() {
    let app = TestApp::start(Engine::Sqlite).await;
    let anonymous = start(&app, Duration::from_secs(5)).await;
    anonymous.get("/foreign").await.expect_problem(404, "not-found");
}
