//! A witness, small but whole, by the C2SP tlog-witness specification; and all that can be wrong with one.
//!
//! It lives on a thread of its own, so that its death takes its connections along. What it has seen outlives it, unless it forgets.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use credence_ledger::checkpoint::{Checkpoint, TreeHead, VerifierKey, WitnessKey};
use credence_ledger::tree::proof::check_consistency;
use credence_ledger::tree::{Hash, TreeSize};
use tokio::runtime::Runtime;

/// How it does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Well,
    /// The same, among signatures of keys that nobody knows.
    Grease,
    /// The same, after a while.
    Slow(Duration),
    /// It takes requests and never answers.
    Hang,
    /// It cosigns with another key under its name.
    OtherKey,
    /// Its signature is one bit off.
    WrongSignature,
    /// It sends whoever asks to itself, where it would cosign.
    Redirect,
    /// Its answer never ends.
    Endless,
    /// It answers this status and nothing else.
    Status(u16),
    /// It claims to have seen so large a tree.
    Ahead(u64),
}

/// See the module.
pub struct TestWitness {
    pub name: String,
    pub key: VerifierKey,
    pub address: SocketAddr,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

struct State {
    key: WitnessKey,
    manner: Mutex<Manner>,
    trusted: Mutex<Vec<VerifierKey>>,
    /// The last checkpoint of each origin, checked and replaced under one lock.
    seen: Mutex<HashMap<String, TreeHead>>,
    asked: Mutex<u64>,
}

impl TestWitness {
    /// It listens, and knows no log yet.
    pub fn start(number: u8) -> TestWitness {
        let (name, seed) = (format!("w{number}"), [number; 32]);
        let key = WitnessKey::from_seed(&format!("{name}.example/witness"), &seed);
        let verifier = key.verifier();
        let (manner, asked) = (Mutex::new(Manner::Well), Mutex::default());
        let state = Arc::new(State { key, manner, trusted: Mutex::default(), seen: Mutex::default(), asked });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut witness = TestWitness { name, key: verifier, address, state, runtime: None };
        witness.live();
        witness
    }

    /// Its line of a policy.
    pub fn line(&self) -> String {
        format!("witness {} {} http://{}/prefix/\n", self.name, self.key, self.address)
    }

    pub fn trust(&self, keys: &[VerifierKey]) {
        self.state.trusted.lock().unwrap().extend_from_slice(keys);
    }

    pub fn does(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// How many requests there were.
    pub fn asked(&self) -> u64 {
        *self.state.asked.lock().unwrap()
    }

    /// The size that it saw last of this log.
    pub fn seen(&self, origin: &str) -> u64 {
        self.state.seen.lock().unwrap().get(origin).map_or(0, |head| head.size.0)
    }

    /// As if it had been made anew.
    pub fn forget(&self) {
        self.state.seen.lock().unwrap().clear();
    }

    /// Nobody listens any more, and all connections are cut.
    pub fn die(&mut self) {
        let runtime = self.runtime.take().unwrap();
        // Waits until the listener is closed, which a thread of another runtime may not.
        std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
    }

    /// It listens again where it did.
    pub fn live(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let state = self.state.clone();
        let router = Router::new().route("/prefix/add-checkpoint", post(move |body: String| answer(state, body)));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for TestWitness {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(state: Arc<State>, body: String) -> Response {
    *state.asked.lock().unwrap() += 1;
    let manner = *state.manner.lock().unwrap();
    match manner {
        Manner::Hang => std::future::pending().await,
        Manner::Slow(time) => tokio::time::sleep(time).await,
        Manner::Redirect => return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/prefix/add-checkpoint")]).into_response(),
        Manner::Endless => {
            let chunk = Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4096]));
            return Body::from_stream(futures::stream::repeat(chunk)).into_response();
        }
        Manner::Status(status) => return StatusCode::from_u16(status).unwrap().into_response(),
        Manner::Ahead(size) => return conflict(size),
        Manner::Well | Manner::Grease | Manner::OtherKey | Manner::WrongSignature => {}
    }
    let checkpoint = match state.add(&body) {
        Ok(checkpoint) => checkpoint,
        Err(refused) => return refused,
    };
    let lines = state.key.cosign(&checkpoint, 1_700_000_000);
    match manner {
        Manner::Grease => {
            let unknown = WitnessKey::from_seed("grease.example", &[200; 32]).cosign(&checkpoint, 1);
            format!("— grease.example AAAAAAAAAAAA\n{unknown}{lines}{unknown}")
        }
        Manner::OtherKey => WitnessKey::from_seed(state.key.verifier().name(), &[201; 32]).cosign(&checkpoint, 1),
        Manner::WrongSignature => {
            // The key's id and the time are whole, and the signature is of another time.
            let other = state.key.cosign(&checkpoint, 1_700_000_001);
            let (name, signature) = lines.trim_end().rsplit_once(' ').unwrap();
            let (_, others) = other.trim_end().rsplit_once(' ').unwrap();
            format!("{name} {}{}\n", &signature[..16], &others[16..])
        }
        _ => lines,
    }
    .into_response()
}

fn conflict(size: u64) -> Response {
    (StatusCode::CONFLICT, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n")).into_response()
}

impl State {
    /// Checks and remembers a checkpoint, in the specification's order.
    fn add(&self, body: &str) -> Result<Checkpoint, Response> {
        let (old, proof, checkpoint) = read(body).ok_or_else(|| StatusCode::BAD_REQUEST.into_response())?;
        let head = checkpoint.head().clone();
        let origin = head.origin.as_str().to_owned();
        let trusted = self.trusted.lock().unwrap().clone();
        if !trusted.iter().any(|key| key.name() == origin) {
            return Err(StatusCode::NOT_FOUND.into_response());
        }
        if checkpoint.verify(&trusted).is_err() {
            return Err(StatusCode::FORBIDDEN.into_response());
        }
        if old > head.size {
            return Err(StatusCode::BAD_REQUEST.into_response());
        }
        let mut seen = self.seen.lock().unwrap();
        let last = seen.get(&origin).cloned();
        let size = last.as_ref().map_or(TreeSize::EMPTY, |last| last.size);
        if old != size {
            return Err(conflict(size.0));
        }
        if let Some(last) = last {
            if last.size == head.size && last.root != head.root {
                return Err(conflict(size.0));
            }
            if check_consistency(&proof, (last.size, last.root), (head.size, head.root)).is_err() {
                return Err(StatusCode::UNPROCESSABLE_ENTITY.into_response());
            }
        } else if !proof.is_empty() {
            return Err(StatusCode::UNPROCESSABLE_ENTITY.into_response());
        }
        seen.insert(origin, head);
        Ok(checkpoint)
    }
}

fn read(body: &str) -> Option<(TreeSize, Vec<Hash>, Checkpoint)> {
    let (said, note) = body.split_once("\n\n")?;
    let mut lines = said.lines();
    let digits = lines.next()?.strip_prefix("old ")?;
    let old: u64 = digits.parse().ok().filter(|old: &u64| old.to_string() == digits)?;
    let proof: Vec<Hash> = lines.map(Hash::from_base64).collect::<Option<_>>()?;
    (proof.len() <= 63).then_some((TreeSize(old), proof, Checkpoint::parse(note).ok()?))
}
