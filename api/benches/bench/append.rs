//! Appending in the process: group commit without HTTP, sealing or subjects, events of about 300 bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use credence_ledger::appender::{Appender, Limits};
use credence_ledger::chain::Origin;
use credence_ledger::clock::SystemClock;
use credence_ledger::event::{New, Origination, Recorded, new_id};
use credence_ledger::log::{Append, CommitError, Expected, Head, KeyOwner, Listed, Log, Outcome, Query, UniqueKey};
use credence_ledger::publisher::cosigners::Cosigners;
use credence_ledger::publisher::{self, Publisher};
use credence_ledger::random::SystemRandom;
use credence_ledger::tiles::{self, Tiles};
use credence_ledger::vault::rows::Keyring;
use credence_ledger::vault::{self, MasterKey};
use credence_ledger::{LogName, Position, Stream, Timestamp, store};
use hdrhistogram::Histogram;

use crate::engine::{Engine, Store};
use crate::generator::Window;
use crate::report::{Run, histogram, record};

/// How often a checkpoint is published beside appending: five times as often as usual.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// A log that is appended to.
pub(crate) struct Appending {
    log: Arc<Counted>,
    tiles: Arc<dyn Tiles>,
    store: Store,
}

impl Appending {
    pub(crate) async fn new(engine: &Engine) -> Appending {
        let store = engine.store().await;
        let log = engine.log(&store).await;
        Appending { log: Arc::new(Counted { log, commits: AtomicU64::new(0) }), tiles: engine.tiles(&store), store }
    }

    /// The same while the log's tree grows and checkpoints of it are published.
    pub(crate) async fn run_with_tree(&self, writers: usize, window: Window) -> Run {
        // What was appended without a tree is made up for before.
        tiles::grow(&*self.tiles, &mut None).await.unwrap();
        let keyring = Keyring::new(MasterKey::from_bytes([7; 32]), Arc::new(SystemRandom));
        let vault = vault::sqlite::Sqlite::open(self.store.folder.path(), keyring, Some("bench.example")).await.unwrap();
        let settings =
            publisher::Settings { interval: CHECKPOINT_EVERY, anchor: None, cosigners: Cosigners::none(), clock: Arc::new(SystemClock) };
        let publisher = Publisher::start(Arc::clone(&self.tiles), Arc::new(vault), settings).await.unwrap();
        let run = self.run(writers, window).await;
        publisher.shutdown(Duration::from_secs(30)).await;
        let (size, latest) = (self.log.head().await.unwrap().size, self.tiles.latest().await.unwrap());
        assert_eq!(latest.map(|latest| latest.size.0), Some(size), "the last checkpoint covers what was appended last");
        run
    }

    /// So many writers, each waiting for its append before the next.
    pub(crate) async fn run(&self, writers: usize, window: Window) -> Run {
        let appender = Appender::start(Arc::clone(&self.log) as Arc<dyn Log>, Limits::default());
        let from = Instant::now() + window.warm_up;
        let until = from + window.time;
        let tasks: Vec<_> = (0..writers).map(|_| tokio::spawn(write(appender.clone(), from, until))).collect();
        tokio::time::sleep_until(from.into()).await;
        let before = self.log.commits.load(Ordering::Relaxed);
        tokio::time::sleep_until(until.into()).await;
        let commits = self.log.commits.load(Ordering::Relaxed) - before;
        let mut latencies = histogram();
        for task in tasks {
            latencies.add(task.await.unwrap()).unwrap();
        }
        Run { commits: Some(commits), ..Run::of(latencies, window.time) }
    }
}

async fn write(appender: Appender, from: Instant, until: Instant) -> Histogram<u64> {
    let mut latencies = histogram();
    loop {
        let append = an_append();
        let start = Instant::now();
        if start >= until {
            return latencies;
        }
        let outcome = appender.append(append).await.unwrap();
        assert!(matches!(outcome, Outcome::Appended(_)));
        let now = Instant::now();
        if (from..until).contains(&now) {
            record(&mut latencies, now - start);
        }
    }
}

/// One event on a stream of its own.
fn an_append() -> Append {
    let stream = Stream::credential(new_id(&SystemClock, &SystemRandom));
    let metadata = Origination::system("bench").metadata(&SystemRandom);
    let event = New {
        kind: "CredentialIssued",
        schema: 1,
        event_id: *metadata.event_id,
        metadata: credence_ledger::codec::encode(&metadata).into(),
        payload: credence_ledger::random::bytes::<150>(&SystemRandom).to_vec().into(),
    };
    Append::to(stream, Expected::None, vec![event])
}

/// A log that counts its commits.
struct Counted {
    log: Arc<dyn Log>,
    commits: AtomicU64,
}

#[async_trait]
impl Log for Counted {
    fn name(&self) -> &LogName {
        self.log.name()
    }
    fn origin(&self) -> &Origin {
        self.log.origin()
    }

    fn schema(&self) -> usize {
        self.log.schema()
    }
    async fn head(&self) -> Result<Head, store::Error> {
        self.log.head().await
    }
    async fn commit(&self, batch: Vec<Append>) -> Result<Vec<Outcome>, CommitError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.log.commit(batch).await
    }
    async fn read(&self, query: &Query) -> Result<Vec<Recorded>, store::Error> {
        self.log.read(query).await
    }
    async fn read_at(&self, positions: &[Position]) -> Result<Vec<Recorded>, store::Error> {
        self.log.read_at(positions).await
    }
    async fn read_first(&self, streams: &[Stream]) -> Result<Vec<Recorded>, store::Error> {
        self.log.read_first(streams).await
    }
    async fn versions(&self, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, store::Error> {
        self.log.versions(after, limit).await
    }
    async fn key_owner(&self, key: &UniqueKey) -> Result<Option<KeyOwner>, store::Error> {
        self.log.key_owner(key).await
    }
    async fn keys(&self, after: Option<&UniqueKey>, limit: usize) -> Result<Vec<(UniqueKey, KeyOwner)>, store::Error> {
        self.log.keys(after, limit).await
    }
    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64, store::Error> {
        self.log.forget_idempotency(before).await
    }
    async fn forget_commands(&self, positions: &[Position]) -> Result<u64, store::Error> {
        self.log.forget_commands(positions).await
    }
}
