//! Fills a fresh store with many credentials, without HTTP: a node in this process, and so many callers of its use cases at once
//! that every commit is a full one.
//!
//! What then lies in ledger and vault is what as many requests would have left there; of every eleven events ten issue and one
//! revokes. Nothing follows the log meanwhile: the read model is built afterwards, by the product's own command.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use credence_api::caller::{Caller, Principal};
use credence_api::config::{Config, ServeOptions, StoreOptions};
use credence_api::http::body::Fields;
use credence_api::node::Node;
use credence_api::services::App;
use credence_api::stores::Sources;
use credence_api::use_cases::change::{self, ChangeStatus};
use credence_api::use_cases::{Error, issue};
use credence_api::wire::credential::read_issue;
use credence_ledger::decision::credential::Change;
use credence_ledger::event::new_id;
use credence_ledger::json;
use uuid::Uuid;

use crate::engine::{Engine, Store};
use crate::product::{self, command};
use crate::requests::{self, Issued};

/// Enough for a full commit under way and another one waiting, in the vault and in the ledger.
const CALLERS: usize = 8_000;
/// How often a revocation is tried that a busy store turns away.
const TRIES_MAX: usize = 20;

/// Fills a fresh store up to so many events, and answers its credentials.
pub(crate) async fn fill(engine: &Engine, store: &Store, events: u64) -> Arc<[Issued]> {
    eprintln!("{}: filling a store with {events} events", engine.name());
    let node = Node::start(config(store), Sources::default()).await.unwrap();
    let start = Instant::now();
    let issued = issue_until(&node, events).await;
    eprintln!("{}: {:.0} events a second; its read model", engine.name(), events as f64 / start.elapsed().as_secs_f64());
    node.shutdown().await;
    let (told, _) = product::run(command(store).args(["rebuild", "verification"]).stdout(Stdio::piped()));
    assert!(told.starts_with(&format!("verification: {events} events, ")), "{told}");
    eprint!("{}: {told}", engine.name());
    engine.tidy(store).await;
    issued
}

/// A process that issues and folds nothing.
fn config(store: &Store) -> Config {
    let folder = store.folder.path();
    let stores = StoreOptions {
        store: Some(store.url.clone()),
        data_dir: Some(folder.display().to_string()),
        master_key_file: store.url.starts_with("postgres").then(|| folder.join("master.key").display().to_string()),
        ..StoreOptions::default()
    };
    let serve = ServeOptions { listen: Some("127.0.0.1:0".to_owned()), role: Some("issuance".to_owned()), ..ServeOptions::default() };
    Config::read(&stores, &serve, std::iter::empty()).unwrap().0
}

async fn issue_until(node: &Node, events: u64) -> Arc<[Issued]> {
    let app = node.services();
    let key = node.administrator_key.as_ref().expect("the store is fresh");
    let key = app.vault.find_key(key).await.unwrap().expect("it was just made");
    let there = app.ledger().unwrap().log.head().await.unwrap().size;
    let call_for = |left: &Arc<AtomicU64>| tokio::spawn(call(app.clone(), Principal::from(&key), Arc::clone(left)));
    // One credential alone: what a process looks up once and keeps is not looked up by thousands at once.
    let mut issued = call_for(&Arc::new(AtomicU64::new(1))).await.unwrap();
    let left = Arc::new(AtomicU64::new(events - there - 1));
    let callers: Vec<_> = (0..CALLERS).map(|_| call_for(&left)).collect();
    for caller in callers {
        issued.extend(caller.await.unwrap());
    }
    issued.into()
}

/// One caller, who issues until no event is left, and revokes every tenth credential right after it was issued.
async fn call(app: App, principal: Principal, left: Arc<AtomicU64>) -> Vec<Issued> {
    let one_more = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let mut issued = Vec::new();
    while one_more() {
        let mut body = Vec::new();
        let subject = requests::write_issuance(&mut body);
        let id = issue(&app, &principal, &body).await;
        let revoked = subject.is_multiple_of(10) && one_more();
        if revoked {
            revoke(&app, &principal, id).await;
        }
        issued.push(Issued { id, subject, revoked });
    }
    issued
}

/// As the handler does it.
async fn issue(app: &App, principal: &Principal, body: &[u8]) -> Uuid {
    let body = json::parse(body).expect("it is JSON");
    let read = Fields::read(body, read_issue).unwrap_or_else(|_| panic!("the request breaks a rule"));
    let caller = caller(app, principal, "POST /v1/credentials");
    issue::issue(app, &caller, principal.issuer, &read.command, None).await.unwrap().opened.credential.id
}

async fn revoke(app: &App, principal: &Principal, id: Uuid) {
    let command = ChangeStatus { id, change: Change::Revoke, reason: None };
    let caller = caller(app, principal, "POST /v1/credentials/{id}/revoke");
    for _ in 0..TRIES_MAX {
        match change::change(app, &caller, principal, &command, None).await {
            Ok(_) => return,
            // A read gave up its place behind the others'; nothing was written.
            Err(Error::Store(error)) if error.is_transient() => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the store stays busy");
}

fn caller(app: &App, principal: &Principal, via: &str) -> Caller {
    let request_id = new_id(&app.clock, &app.random).to_string().into();
    Caller { principal: Some(principal.clone()), is_operator: false, request_id, ..Caller::operator(via) }
}
