//! `kill -9` under load: what was acknowledged is there, once, and what was not answered ends as exactly one event.

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;

use crate::client::{Client, badge};
use crate::process::{Server, Start, run_well, until};
use crate::store::Store;
use crate::{figure, on_both_engines, replayed};

on_both_engines!(the_server_is_killed_twenty_times_under_load);

/// What the world outside the server knows: which issuance was acknowledged with which id, and which was not answered.
#[derive(Default)]
struct Ledger {
    acknowledged: HashMap<usize, String>,
    unanswered: Vec<usize>,
}

struct Load {
    next: AtomicUsize,
    in_flight: AtomicUsize,
    stop: AtomicBool,
    known: Mutex<Ledger>,
}

impl Load {
    fn new() -> Arc<Load> {
        Arc::new(Load { next: AtomicUsize::new(0), in_flight: AtomicUsize::new(0), stop: AtomicBool::new(false), known: Mutex::default() })
    }

    fn acknowledged(&self) -> usize {
        self.known.lock().unwrap().acknowledged.len()
    }

    /// Issues `n` once; what is not answered by 201 is remembered to be repeated.
    async fn attempt(&self, client: &Client, n: usize) {
        let key = format!("issuance-{n}");
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let answer = client.try_post("/v1/credentials", &badge(n), &[("Idempotency-Key", &key)]).await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        let mut known = self.known.lock().unwrap();
        match answer {
            Ok(answer) if answer.status == 201 => {
                let earlier = known.acknowledged.insert(n, answer.id());
                assert!(earlier.is_none_or(|id| id == answer.id()), "issuance {n} was acknowledged twice, with two ids");
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.body);
                known.unanswered.push(n);
            }
            Err(_) => known.unanswered.push(n),
        }
    }

    /// Eight clients, until told to stop: first what was left unanswered, then new ones.
    fn start(self: &Arc<Self>, client: &Client) -> Vec<tokio::task::JoinHandle<()>> {
        self.stop.store(false, Ordering::SeqCst);
        (0..8)
            .map(|_| {
                let (load, client) = (Arc::clone(self), client.clone());
                tokio::spawn(async move {
                    while !load.stop.load(Ordering::SeqCst) {
                        let again = load.known.lock().unwrap().unanswered.pop();
                        let n = again.unwrap_or_else(|| load.next.fetch_add(1, Ordering::SeqCst));
                        load.attempt(&client, n).await;
                    }
                })
            })
            .collect()
    }

    /// Lets the load run until `more` further issuances are acknowledged and a request is in flight, then kills.
    async fn run_until_killed(self: &Arc<Self>, client: &Client, more: usize, kill: impl FnOnce()) {
        let before = self.acknowledged();
        let tasks = self.start(client);
        until("the load makes progress", Duration::from_secs(120), async || {
            self.acknowledged() >= before + more && self.in_flight.load(Ordering::SeqCst) > 0
        })
        .await;
        kill();
        self.stop.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
    }

    /// Repeats everything unanswered until nothing is, then compares with the log and the read model.
    async fn settle(&self, store: &Store, server: &Server) {
        let client = server.admin(store);
        until("every unanswered issuance is answered", Duration::from_secs(60), async || {
            let unanswered = std::mem::take(&mut self.known.lock().unwrap().unanswered);
            for n in unanswered {
                self.attempt(&client, n).await;
            }
            self.known.lock().unwrap().unanswered.is_empty()
        })
        .await;
        let events = replayed::ledger(store);
        let issued: Vec<&str> = events
            .iter()
            .filter(|event| event.kind == "CredentialIssued")
            .filter_map(|event| event.stream.strip_prefix("credential/"))
            .collect();
        let distinct: HashSet<&str> = issued.iter().copied().collect();
        assert_eq!(distinct.len(), issued.len(), "no credential was issued twice");
        let acknowledged: HashSet<String> = self.known.lock().unwrap().acknowledged.values().cloned().collect();
        assert_eq!(acknowledged.len(), self.next.load(Ordering::SeqCst), "every issuance has an id of its own");
        assert_eq!(
            acknowledged.iter().map(String::as_str).collect::<HashSet<_>>(),
            distinct,
            "exactly what was acknowledged is in the log"
        );
        // The key of each subject is as durable as the credential that is sealed under it.
        let client = &client;
        let documents = acknowledged.iter().map(|id| async move { (id.clone(), client.get(&format!("/v1/credentials/{id}")).await) });
        let opened = futures::stream::iter(documents).buffer_unordered(16);
        let closed: Vec<_> = opened.filter(|(_, answer)| ready(!answer.body["document"].is_object())).collect().await;
        assert!(
            closed.is_empty(),
            "{} credentials do not open, as {:?}",
            closed.len(),
            closed.first().map(|(id, answer)| (id, &answer.body))
        );
        // Whatever was cut off between a signature and its publication was gone on with.
        let newest_position = events.last().unwrap().position;
        until("a checkpoint covers everything", Duration::from_secs(30), async || {
            let size = client.text("/v1/logs/ledger/checkpoint").await.lines().nth(1).and_then(|size| size.parse::<u64>().ok());
            size > Some(newest_position)
        })
        .await;
        run_well(store, &["fsck", "--logs-only"]);
        // The projection catches up by itself: the newest credential is known to it within the bounded wait.
        let newest = events.last().unwrap();
        until("the projection catches up", Duration::from_secs(30), async || {
            client.verify_at_least(acknowledged.iter().next().unwrap(), newest.position).await.body["valid"] == true
        })
        .await;
    }
}

async fn the_server_is_killed_twenty_times_under_load(store: Store) {
    let load = Load::new();
    for _ in 0..20 {
        // Checkpoints as often as they come: each start holds the log against the last that was signed.
        let server = Start::on(&store).variable("CREDENCE_CHECKPOINT_INTERVAL_S", "1").start();
        let client = server.admin(&store);
        load.run_until_killed(&client, 100, || server.kill9()).await;
    }
    let server = Start::on(&store).start();
    load.settle(&store, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed_under_load() {
    let mut store = Store::private_postgres().await;
    let mut database = store.server.take().unwrap();
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    let load = Load::new();
    for _ in 0..figure(3, 20) {
        load.run_until_killed(&client, 100, || database.kill9()).await;
        database.start().await;
        // The server reconnects by itself.
        until("issuing goes on after the database is back", Duration::from_secs(60), async || {
            let n = load.next.fetch_add(1, Ordering::SeqCst);
            load.attempt(&client, n).await;
            load.known.lock().unwrap().acknowledged.contains_key(&n)
        })
        .await;
    }
    load.settle(&store, &server).await;
}
