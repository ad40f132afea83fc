//! A process within the test's, whose time, randomness and origin are the test's own.

use std::sync::Arc;
use std::time::Duration;

use credence_api::config::{Config, ServeOptions, StoreOptions};
use credence_api::node;
use credence_api::stores::Sources;
use credence_ledger::Clock;
use credence_ledger::testing::{ManualClock, SeededRandom};
use credence_projections::projection::Projection;

use crate::client::Client;
use crate::process::until;
use crate::store::Store;

pub(super) struct Node {
    node: node::Node,
    clock: Arc<ManualClock>,
    admin_key: String,
}

impl Node {
    pub(super) async fn start(store: &Store) -> Node {
        let clock = Arc::new(ManualClock::at("2026-01-31T12:00:00Z".parse().unwrap()));
        // Both engines make the master key, so that both draw as much randomness.
        let _ = std::fs::remove_file(store.folder().join("master.key"));
        let stores = StoreOptions {
            store: Some(store.url().to_owned()),
            data_dir: Some(store.folder().display().to_string()),
            worker_id: Some("worker-1".to_owned()),
            origin: Some("ledger.example".to_owned()),
            ..StoreOptions::default()
        };
        let serve = ServeOptions { listen: Some("127.0.0.1:0".to_owned()), rate_limit: Some("off".to_owned()), ..ServeOptions::default() };
        let (config, _) = Config::read(&stores, &serve, std::iter::empty()).unwrap();
        let sources = Sources { clock: Some(clock.clone()), random: Arc::new(SeededRandom::new(20_260_131)), ..Sources::default() };
        let node = node::Node::start(config, sources).await.unwrap();
        let admin_key = node.administrator_key.as_deref().unwrap().clone();
        let node = Node { node, clock, admin_key };
        node.settle().await;
        node
    }

    pub(super) fn admin(&self) -> Client {
        Client::new(&format!("http://{}", self.node.address), Some(self.admin_key.clone()))
    }

    pub(super) fn anonymous(&self) -> Client {
        Client::new(&format!("http://{}", self.node.address), None)
    }

    pub(super) fn advance(&self) {
        self.clock.advance(Duration::from_millis(1_500));
    }

    /// Waits until both read models have applied everything and have been confirmed at the present time.
    pub(super) async fn settle(&self) {
        let services = self.node.services();
        let logs = [(Projection::Verification, services.ledger.as_ref().unwrap()), (Projection::History, &services.audit)];
        for (projection, access) in logs {
            until("the read model is up to date", Duration::from_secs(20), async || {
                let head = access.log.head().await.unwrap();
                services
                    .read
                    .cursor(projection)
                    .await
                    .is_ok_and(|cursor| cursor.position == head.last() && cursor.confirmed_at == self.clock.now())
            })
            .await;
        }
    }

    pub(super) async fn stop(self) {
        self.node.shutdown().await;
    }
}
