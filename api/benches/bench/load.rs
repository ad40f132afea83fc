//! Issuing and verifying over HTTP: a process of the shipped binary, keep-alive connections, each waiting for its answer
//! before it asks again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::Extent;
use crate::engine::{Engine, Store};
use crate::row::{Row, histogram};

/// The server under load. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) key: String,
}

impl Server {
    pub(crate) fn start(store: &Store) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_credence"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .envs(environment(store))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("the server did not start: {line}")).to_owned();
        let key = std::fs::read_to_string(store.folder.path().join("admin.key")).unwrap().trim().to_owned();
        Server { child, address, key }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The environment in which every process of a store runs.
pub(crate) fn environment(store: &Store) -> Vec<(&'static str, String)> {
    let mut environment =
        vec![("CREDENCE_STORE", store.url.clone()), ("CREDENCE_RATE_LIMIT", "off".to_owned()), ("CREDENCE_LOG", "warn".to_owned())];
    if store.url.starts_with("postgres") {
        let folder = store.folder.path();
        environment.push(("CREDENCE_DATA_DIR", folder.display().to_string()));
        environment.push(("CREDENCE_MASTER_KEY_FILE", folder.join("master.key").display().to_string()));
    }
    environment
}

/// Measures both at 1, 64 and 256 connections.
pub(crate) async fn measure(engine: &Engine, extent: Extent) {
    let store = engine.store().await;
    let server = Server::start(&store);
    for connections in [1, 64, 256] {
        run(engine, &server, format!("issue over HTTP, {connections} connections"), connections, extent.time, Arc::new(issuance))
            .await
            .print();
    }
    let ids = Arc::new(issue_many(&server, extent.credentials).await);
    for connections in [1, 64, 256] {
        let ids = Arc::clone(&ids);
        let verification = move |n: usize| verification(&ids, n);
        run(engine, &server, format!("verify over HTTP, {connections} connections"), connections, extent.time, Arc::new(verification))
            .await
            .print();
    }
}

/// A route, a body and the status that must come.
type Request = (&'static str, Value, u16);

/// A new subject each, with about 200 bytes of claims.
fn issuance(n: usize) -> Request {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    let unique = RUN.fetch_add(1, Ordering::Relaxed);
    let body = json!({
        "type": "developer-certificate",
        "subject": {"name": format!("Subject {unique}"), "email": format!("subject-{unique}@example.org")},
        "claims": {"course": "Distributed systems, from the clock to the quorum", "grade": "with distinction", "lane": n,
                   "hours": 120, "modules": ["replication", "consensus", "storage", "failure", "time"], "place": "online"},
    });
    ("/v1/credentials", body, 201)
}

/// Uniform over the credentials, half of them with an e-mail address.
fn verification(issued: &[(String, String)], n: usize) -> Request {
    let (id, email) = &issued[n.wrapping_mul(2_654_435_761) % issued.len()];
    let body = if n.is_multiple_of(2) { json!({"id": id}) } else { json!({"id": id, "subject": {"email": email}}) };
    ("/v1/verifications", body, 200)
}

/// Issues credentials to be verified, every tenth of them revoked: their ids and e-mail addresses.
pub(crate) async fn issue_many(server: &Server, count: usize) -> Vec<(String, String)> {
    let lanes = 64;
    let tasks: Vec<_> = (0..lanes)
        .map(|lane| {
            let (address, key) = (server.address.clone(), server.key.clone());
            tokio::spawn(async move {
                let mut connection = connect(&address).await;
                let mut issued = Vec::new();
                for n in (lane..count).step_by(lanes) {
                    let (route, body, status) = issuance(n);
                    let answer = ask(&mut connection, &key, route, &body, status).await;
                    let id = answer["id"].as_str().unwrap().to_owned();
                    if n / lanes % 10 == 0 {
                        ask(&mut connection, &key, &format!("/v1/credentials/{id}/revoke"), &json!({}), 200).await;
                    }
                    issued.push((id, body["subject"]["email"].as_str().unwrap().to_owned()));
                }
                issued
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}

async fn run<'a>(
    engine: &'a Engine,
    server: &Server,
    what: String,
    connections: usize,
    time: Duration,
    request: Arc<dyn Fn(usize) -> Request + Send + Sync>,
) -> Row<'a> {
    let (measuring, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..connections)
        .map(|lane| {
            let (address, key) = (server.address.clone(), server.key.clone());
            let (measuring, stop, request) = (Arc::clone(&measuring), Arc::clone(&stop), Arc::clone(&request));
            tokio::spawn(async move {
                let mut connection = connect(&address).await;
                let mut latencies = histogram();
                let mut n = lane;
                while !stop.load(Ordering::Relaxed) {
                    let (route, body, status) = request(n);
                    n += connections;
                    let start = Instant::now();
                    ask(&mut connection, &key, route, &body, status).await;
                    if measuring.load(Ordering::Relaxed) {
                        latencies.record(u64::try_from(start.elapsed().as_micros()).unwrap().max(1)).unwrap();
                    }
                }
                latencies
            })
        })
        .collect();
    tokio::time::sleep(time / 4).await;
    measuring.store(true, Ordering::Relaxed);
    let start = Instant::now();
    tokio::time::sleep(time).await;
    measuring.store(false, Ordering::Relaxed);
    let elapsed = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let mut latencies = histogram();
    for task in tasks {
        latencies.add(task.await.unwrap()).unwrap();
    }
    Row { what, engine, elapsed, count: latencies.len(), latencies: Some(latencies), batch: None }
}

type Connection = SendRequest<Full<Bytes>>;

async fn connect(address: &str) -> Connection {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask(connection: &mut Connection, key: &str, route: &str, body: &Value, status: u16) -> Value {
    let request = hyper::Request::post(route)
        .header("host", "bench")
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let answer = connection.send_request(request).await.unwrap();
    let got = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(got, status, "{}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).unwrap()
}
