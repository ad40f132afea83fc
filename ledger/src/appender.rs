//! The appender: collects waiting appends into batches and answers each after its commit.
//!
//! One task a log and process. Idle, it commits what arrives at once; while a commit runs, what arrives becomes the next
//! batch. What always holds:
//!
//! - Nothing is acknowledged before it is committed, and nothing is dropped silently: an append that finds the queue full is
//!   handed back.
//! - At most one commit of this process is under way.
//! - A commit whose outcome is unknown is never sent again. Its appends are looked for, by their event ids, where in the log they would
//!   stand, once that commit can no longer be under way.
//! - A log that contradicts the planner stops the appender for good: whatever is wrong, appending more makes it worse.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram};
use tokio::sync::{Notify, oneshot, watch};

use crate::event::Recorded;
use crate::log::{Append, CommitError, Log, Outcome, Query};
use crate::{LogName, Position, causes, store};

/// The bounds of queue and batch, by count and by bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many appends may wait.
    pub queue_count: usize,
    /// How many bytes may wait. A single append may be larger, if it waits alone.
    pub queue_bytes: usize,
    /// How many appends one commit takes at most.
    pub batch_count: usize,
    /// How many bytes one commit takes at most. A single append may be larger.
    pub batch_bytes: usize,
    /// How long the log is asked at most what became of a commit of unknown outcome. Meanwhile nothing is committed.
    pub resolve_within: Duration,
    /// For how long a failed commit speaks of the log's state ([`Appender::trouble`]). Nothing can be appended just to see whether it can, and
    /// who is not asked because it says that it fails must be asked again one day.
    pub trouble_kept: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queue_count: 20_000,
            queue_bytes: 64 << 20,
            batch_count: 2_000,
            batch_bytes: 8 << 20,
            resolve_within: Duration::from_secs(20),
            trouble_kept: Duration::from_secs(10),
        }
    }
}

/// An append was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue is full. Here is the append again.
    #[error("too many appends are waiting")]
    Full(Box<Append>),
    /// The appender takes no more. Nothing was written.
    #[error("the appender has stopped")]
    Stopped,
    /// The store failed. Nothing of this append was written.
    #[error("the append was not written")]
    Store(#[source] Arc<store::Error>),
    /// The store failed, and whether the append was written could not be learnt in time.
    #[error("whether the append was written is unknown")]
    Unknown(#[source] Arc<store::Error>),
}

/// A handle on the appender of one log. The last one dropped has the task flush what waits and end.
#[derive(Clone)]
pub struct Appender {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(State::Draining);
    }
}

impl Appender {
    /// Starts the task. It must be called within a tokio runtime.
    #[must_use]
    pub fn start(log: Arc<dyn Log>, limits: Limits) -> Appender {
        let shared = Arc::new(Shared {
            limits,
            log_name: log.name().as_str().to_owned(),
            metrics: Metrics::of(log.name()),
            queue: Mutex::new(Queue { state: State::Open, waiting: VecDeque::new(), bytes: 0 }),
            trouble: Mutex::default(),
            arrived: Notify::new(),
            head: watch::Sender::new(None),
            ended: watch::Sender::new(false),
        });
        let task = Task { log, end: End(shared.clone()) };
        tokio::spawn(task.run());
        Appender { handle: Arc::new(Handle { shared }) }
    }

    /// Appends, and answers once it is committed (or was judged). Dropping the future does not take the append back.
    ///
    /// # Errors
    /// See [`Error`]; with all but [`Error::Unknown`] nothing was written.
    ///
    /// # Panics
    /// The append holds no event: it would be remembered at a position that is not its own.
    pub async fn append(&self, append: Append) -> Result<Outcome, Error> {
        assert!(append.events().next().is_some(), "an append holds at least one event");
        let answer = self.handle.shared.push(append)?;
        // The task ends without an answer only when it was killed in the middle of a commit.
        answer.await.unwrap_or_else(|gone| Err(Error::Unknown(Arc::new(store::Error::Failed(gone.into())))))
    }

    /// False once the appender has stopped for good, because the log contradicted the planner or the task was killed.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.handle.shared.queue().state != State::Stopped
    }

    /// Why the last commit failed, if it did within [`Limits::trouble_kept`]: the store may answer whoever asks and yet take nothing, as on a disk that
    /// is full. The next append that is committed ends it.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<store::Error>> {
        let (trouble, kept) = (self.handle.shared.trouble(), self.handle.shared.limits.trouble_kept);
        trouble.as_ref().filter(|(failed_at, _)| failed_at.elapsed() < kept).map(|(_, error)| error.clone())
    }

    /// The log's last position as of the last commit of this process: a hint to look, since others append, too.
    #[must_use]
    pub fn head_watch(&self) -> watch::Receiver<Option<Position>> {
        self.handle.shared.head.subscribe()
    }

    /// Takes no more appends, commits what waits, and returns when the task has ended.
    pub async fn shutdown(&self) {
        self.handle.shared.close(State::Draining);
        // The sender lives in `shared`, so waiting cannot fail.
        let _ = self.handle.shared.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Takes appends.
    Open,
    /// Takes no more, but commits what waits.
    Draining,
    /// Commits nothing more.
    Stopped,
}

struct Waiting {
    append: Append,
    answer: oneshot::Sender<Result<Outcome, Error>>,
}

struct Queue {
    state: State,
    waiting: VecDeque<Waiting>,
    /// The sum of the waiting appends' sizes.
    bytes: usize,
}

/// Looked up once, with the recorder that was installed before the appender was started.
struct Metrics {
    queue_length: Gauge,
    batch_size: Histogram,
    commit_seconds: Histogram,
    appended: Counter,
}

impl Metrics {
    fn of(log: &LogName) -> Metrics {
        let log = || log.as_str().to_owned();
        Metrics {
            queue_length: metrics::gauge!("credence_append_queue_length", "log" => log()),
            batch_size: metrics::histogram!("credence_append_batch_size", "log" => log()),
            commit_seconds: metrics::histogram!("credence_append_commit_seconds", "log" => log()),
            appended: metrics::counter!("credence_appended_total", "log" => log()),
        }
    }
}

/// What the handles and the task share. The queue's lock is held while appends are moved in and out, for nothing else.
struct Shared {
    limits: Limits,
    log_name: String,
    metrics: Metrics,
    queue: Mutex<Queue>,
    /// When a commit failed, and why, if none has gone well since.
    trouble: Mutex<Option<(Instant, Arc<store::Error>)>>,
    /// Woken when something arrives and when the state changes.
    arrived: Notify,
    head: watch::Sender<Option<Position>>,
    ended: watch::Sender<bool>,
}

impl Shared {
    /// Nothing panics while the lock is held, so a poisoned one holds a whole queue.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As with the queue.
    fn trouble(&self) -> MutexGuard<'_, Option<(Instant, Arc<store::Error>)>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch of which nothing was to be written tells nothing.
    fn judge(&self, results: &[Result<Outcome, Error>]) {
        if results.iter().any(|result| matches!(result, Ok(Outcome::Appended(_)))) {
            *self.trouble() = None;
        } else if let Some(Err(Error::Store(error) | Error::Unknown(error))) = results.iter().find(|result| result.is_err()) {
            *self.trouble() = Some((Instant::now(), error.clone()));
        }
    }

    fn push(&self, append: Append) -> Result<oneshot::Receiver<Result<Outcome, Error>>, Error> {
        let size = append.size();
        let mut queue = self.queue();
        if queue.state != State::Open {
            return Err(Error::Stopped);
        }
        let too_large = queue.bytes + size > self.limits.queue_bytes && !queue.waiting.is_empty();
        if too_large || queue.waiting.len() >= self.limits.queue_count {
            return Err(Error::Full(Box::new(append)));
        }
        let (answer, answered) = oneshot::channel();
        queue.bytes += size;
        queue.waiting.push_back(Waiting { append, answer });
        drop(queue);
        self.arrived.notify_one();
        Ok(answered)
    }

    /// A state is never left for an earlier one.
    fn close(&self, state: State) {
        let mut queue = self.queue();
        queue.state = queue.state.max(state);
        drop(queue);
        self.arrived.notify_one();
    }

    /// The next batch; `None` when there will be none.
    async fn next_batch(&self) -> Option<Vec<Waiting>> {
        loop {
            let (batch, length, state) = {
                let mut queue = self.queue();
                (queue.take(&self.limits), queue.waiting.len(), queue.state)
            };
            self.metrics.queue_length.set(count(length));
            match (batch.is_empty(), state) {
                (_, State::Stopped) | (true, State::Draining) => return None,
                (false, _) => return Some(batch),
                (true, State::Open) => self.arrived.notified().await,
            }
        }
    }
}

impl Queue {
    /// What is not to be committed any more stays, for [`End`] to answer.
    fn take(&mut self, limits: &Limits) -> Vec<Waiting> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while self.state != State::Stopped
            && let Some(next) = self.waiting.front()
        {
            let size = next.append.size();
            if batch.len() >= limits.batch_count || (bytes + size > limits.batch_bytes && !batch.is_empty()) {
                break;
            }
            bytes += size;
            self.bytes -= size;
            batch.extend(self.waiting.pop_front());
        }
        batch
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric's value: counts stay far below 2^52")]
fn count(items: usize) -> f64 {
    items as f64
}

struct Task {
    log: Arc<dyn Log>,
    end: End,
}

/// However the task ends, whoever waits is told.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        // With a queue that is not empty, or still open, this end was none that anybody asked for.
        if queue.state == State::Open || !queue.waiting.is_empty() {
            queue.state = State::Stopped;
        }
        queue.bytes = 0;
        for waiting in queue.waiting.drain(..) {
            let _ = waiting.answer.send(Err(Error::Stopped));
        }
        drop(queue);
        self.0.ended.send_replace(true);
    }
}

/// Event ids of one append, in order.
type Ids = Vec<[u8; 16]>;

impl Task {
    async fn run(self) {
        while let Some(batch) = self.end.0.next_batch().await {
            let (appends, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.append, waiting.answer)).unzip();
            let results = self.commit(appends).await;
            self.end.0.judge(&results);
            for (answer, result) in answers.into_iter().zip(results) {
                // Whoever asked may have gone.
                let _ = answer.send(result);
            }
        }
    }

    async fn commit(&self, appends: Vec<Append>) -> Vec<Result<Outcome, Error>> {
        let metrics = &self.end.0.metrics;
        let size = appends.len();
        let ids: Vec<Ids> = appends.iter().map(|append| append.events().map(|event| event.event_id).collect()).collect();
        metrics.batch_size.record(count(size));
        let started = Instant::now();
        let committed = self.log.commit(appends).await;
        metrics.commit_seconds.record(started.elapsed().as_secs_f64());
        let results = match committed {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(CommitError::NotCommitted(failed)) => failed_all(size, Error::Store, failed),
            Err(CommitError::Unknown { from, source }) => {
                tracing::warn!(log = self.end.0.log_name, reason = causes(&source), "the outcome of a commit is unknown");
                self.resolve(from, &ids, source).await
            }
            Err(CommitError::Contradiction(what)) => {
                tracing::error!(log = self.end.0.log_name, what, "the log contradicts the planner: appending has stopped for good");
                self.end.0.close(State::Stopped);
                (0..size).map(|_| Err(Error::Stopped)).collect()
            }
        };
        self.appended(&results);
        results
    }

    fn appended(&self, results: &[Result<Outcome, Error>]) {
        let events = results.iter().filter_map(|result| match result {
            Ok(Outcome::Appended(events)) => Some(events),
            _ => None,
        });
        let (number, last) = events.flatten().fold((0, None), |(number, last), event| (number + 1, last.max(Some(event.position))));
        self.end.0.metrics.appended.increment(number);
        if let Some(last) = last {
            self.end.0.head.send_replace(Some(last));
        }
    }

    /// Asks the log what became of a batch that would stand from `from` on, again and again until it answers or time is up.
    async fn resolve(&self, from: Position, ids: &[Ids], failed: store::Error) -> Vec<Result<Outcome, Error>> {
        let (deadline, mut pause) = (tokio::time::Instant::now() + self.end.0.limits.resolve_within, Duration::from_millis(10));
        loop {
            let found = tokio::time::timeout_at(deadline, self.look_for(from, ids)).await;
            match found.unwrap_or_else(|late| Err(store::Error::Unavailable(late.into()))) {
                Ok(found) => {
                    let failed = Arc::new(failed);
                    let result = |events: Option<_>| events.map(Outcome::Appended).ok_or_else(|| Error::Store(failed.clone()));
                    return found.into_iter().map(result).collect();
                }
                Err(again) if tokio::time::Instant::now() + pause >= deadline => {
                    tracing::error!(log = self.end.0.log_name, reason = causes(&again), "it stays unknown");
                    return failed_all(ids.len(), Error::Unknown, failed);
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// For each append of the batch its events, if they are in the log: then they stand from `from` on, and nothing else among them.
    async fn look_for(&self, from: Position, ids: &[Ids]) -> Result<Vec<Option<Vec<Recorded>>>, store::Error> {
        // The commit may still be under way on the server; the head is answered only afterwards.
        let size = self.log.head().await?.size;
        let owner_of: HashMap<[u8; 16], usize> =
            ids.iter().enumerate().flat_map(|(append, ids)| ids.iter().map(move |id| (*id, append))).collect();
        let (wanted, there) = (owner_of.len(), size.saturating_sub(from.0));
        let events = self.log.read(&Query::from(from, wanted)).await?;
        if events.len() < wanted && (events.len() as u64) < there {
            return Err(store::Error::Corrupt(format!("the head says {size} events, but from {from} on some are missing")));
        }
        let mut found: Vec<Option<Vec<Recorded>>> = vec![None; ids.len()];
        for event in events {
            // Metadata that this program cannot read is not its own.
            let id = event.metadata().ok().map(|metadata| *metadata.event_id);
            if let Some(append) = id.and_then(|id| owner_of.get(&id)) {
                found[*append].get_or_insert_default().push(event);
            }
        }
        Ok(found)
    }
}

fn failed_all(size: usize, kind: fn(Arc<store::Error>) -> Error, failed: store::Error) -> Vec<Result<Outcome, Error>> {
    let failed = Arc::new(failed);
    (0..size).map(|_| Err(kind(failed.clone()))).collect()
}

#[cfg(test)]
mod tests;
