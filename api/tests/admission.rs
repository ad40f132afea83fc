//! What stands around handlers, shown on handlers made for it: panics, slowness, clients that hang up.

#![cfg(test)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use credence_api::config::TrustedProxies;
use credence_api::http::body::Whole;
use credence_api::http::serve::{Patience, Server};
use credence_api::http::{self, Bounds, Part, Route};
use credence_api::policy::May;
use credence_api::services::App;
use support::{Anonymous, Engine, Session, TestApp, User, eventually, send};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use utoipa_axum::routes;

/// How long a client may do nothing.
const SHORT: Duration = Duration::from_millis(700);

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
async fn takes(axum::Extension(Whole(body)): axum::Extension<Whole>) -> String {
    body.len().to_string()
}

#[utoipa::path(get, path = "/foreign")]
async fn foreign() -> (axum::http::StatusCode, &'static str) {
    (axum::http::StatusCode::NOT_FOUND, "in a library's own words")
}

#[utoipa::path(get, path = "/floods")]
async fn floods() -> Vec<u8> {
    vec![0; 64 << 20]
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
        Route::new(Part::Issuance, routes!(floods)),
    ];
    let bounds = Bounds {
        body_bytes_max: 4096,
        trusted_proxies: TrustedProxies::default(),
        is_tls: false,
        cors_origins: Vec::<HeaderValue>::new(),
        body_max: Duration::from_millis(300),
        answer_max,
    };
    let router = http::serve_table(table, |_| Some(May::Everybody), app.services(), &bounds);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let patience = Patience { handshake: SHORT, headers: SHORT, write: SHORT };
    let server = Server { router, tls: None, patience };
    tokio::spawn(http::serve::serve(listener, server, app.services().draining.clone(), Duration::from_secs(1)));
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

/// Writes a byte now and then, and answers what came before the server closed, and after how long.
async fn trickle(stream: &mut tokio::net::TcpStream, bytes: &[u8]) -> (String, Duration) {
    let (start, mut answer) = (Instant::now(), Vec::new());
    for byte in bytes.iter().cycle() {
        assert!(start.elapsed() < Duration::from_secs(10), "it is still open");
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        if let Ok(read) = tokio::time::timeout(Duration::from_millis(20), stream.read_buf(&mut answer)).await {
            match read {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
    (String::from_utf8_lossy(&answer).into_owned(), start.elapsed())
}

#[tokio::test]
async fn a_client_that_never_comes_to_the_end_of_its_headers_is_let_go() {
    let app = TestApp::start(Engine::Sqlite).await;
    let anonymous = start(&app, Duration::from_secs(5)).await;
    // Each byte is no new beginning.
    let mut stream = tokio::net::TcpStream::connect(anonymous.0.address).await.unwrap();
    stream.write_all(b"GET /takes HTTP/1.1\r\n").await.unwrap();
    let (_, took) = trickle(&mut stream, b"x").await;
    assert!(took >= SHORT / 2 && took < Duration::from_secs(5), "{took:?}");
    // Nor is one who says nothing at all waited for, or nothing more.
    let mut silent = tokio::net::TcpStream::connect(anonymous.0.address).await.unwrap();
    let mut answered = tokio::net::TcpStream::connect(anonymous.0.address).await.unwrap();
    answered.write_all(b"GET /foreign HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    for stream in [&mut silent, &mut answered] {
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let app = TestApp::start(Engine::Sqlite).await;
    let anonymous = start(&app, Duration::from_secs(5)).await;
    let mut stream = tokio::net::TcpStream::connect(anonymous.0.address).await.unwrap();
    stream.write_all(b"GET /floods HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(3 * SHORT).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    assert!(answer.len() < 64 << 20, "what the system had taken already, and no more: {}", answer.len());
}
