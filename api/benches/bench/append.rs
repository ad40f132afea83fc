//! Appending in the process: group commit without HTTP, sealing or subjects, events of about 300 bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use credence_ledger::appender::{Appender, Limits};
use credence_ledger::chain::Origin;
use credence_ledger::clock::SystemClock;
use credence_ledger::event::{New, Origination, Recorded, new_id};
use credence_ledger::log::{Append, CommitError, Expected, Head, KeyOwner, Log, Outcome, Query, UniqueKey};
use credence_ledger::random::SystemRandom;
use credence_ledger::{LogName, Position, Stream, Timestamp, store};

use crate::Extent;
use crate::engine::Engine;
use crate::row::{Row, histogram};

/// Measures 1, 64 and 256 writers and holds group commit to what it promises.
pub(crate) async fn measure(engine: &Engine, extent: Extent) {
    let mut rates = Vec::new();
    for writers in [1, 64, 256] {
        let row = with_writers(engine, extent, writers).await;
        row.print();
        rates.push((row.rate(), row.batch.unwrap_or(0.0)));
    }
    let (alone, together) = (rates[0].0, rates[1].0);
    println!("{:<44} {:>9} {:>9.1}x, mean batch {:.1}", "  64 writers against 1", engine.name(), together / alone, rates[1].1);
}

async fn with_writers(engine: &Engine, extent: Extent, writers: usize) -> Row<'_> {
    let store = engine.store().await;
    let counted = Arc::new(Counted { log: engine.log(&store).await, commits: AtomicU64::new(0) });
    let appender = Appender::start(Arc::clone(&counted) as Arc<dyn Log>, Limits::default());
    let (measuring, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (appender, measuring, stop) = (appender.clone(), Arc::clone(&measuring), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut latencies = histogram();
                while !stop.load(Ordering::Relaxed) {
                    let append = an_append();
                    let start = Instant::now();
                    let outcome = appender.append(append).await.unwrap();
                    assert!(matches!(outcome, Outcome::Appended(_)));
                    if measuring.load(Ordering::Relaxed) {
                        latencies.record(u64::try_from(start.elapsed().as_micros()).unwrap().max(1)).unwrap();
                    }
                }
                latencies
            })
        })
        .collect();
    tokio::time::sleep(extent.time / 4).await;
    let before = counted.commits.load(Ordering::Relaxed);
    measuring.store(true, Ordering::Relaxed);
    let start = Instant::now();
    tokio::time::sleep(extent.time).await;
    measuring.store(false, Ordering::Relaxed);
    let (elapsed, commits) = (start.elapsed(), counted.commits.load(Ordering::Relaxed) - before);
    stop.store(true, Ordering::Relaxed);
    let mut latencies = histogram();
    for task in tasks {
        latencies.add(task.await.unwrap()).unwrap();
    }
    let batch = Some(latencies.len() as f64 / commits.max(1) as f64);
    Row { what: format!("append, {writers} writers"), engine, elapsed, count: latencies.len(), latencies: Some(latencies), batch }
}

/// One event on a stream of its own.
fn an_append() -> Append {
    let stream = Stream::credential(new_id(&SystemClock, &SystemRandom));
    let metadata = Origination::system("bench").metadata(&SystemRandom);
    let event = New {
        kind: "CredentialIssued",
        schema: 1,
        event_id: *metadata.event_id,
        metadata: credence_ledger::codec::encode(&metadata),
        payload: credence_ledger::random::bytes::<150>(&SystemRandom).to_vec(),
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
    async fn key_owner(&self, key: &UniqueKey) -> Result<Option<KeyOwner>, store::Error> {
        self.log.key_owner(key).await
    }
    async fn keys(&self, after: Option<&UniqueKey>, limit: usize) -> Result<Vec<(UniqueKey, KeyOwner)>, store::Error> {
        self.log.keys(after, limit).await
    }
    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64, store::Error> {
        self.log.forget_idempotency(before).await
    }
}
