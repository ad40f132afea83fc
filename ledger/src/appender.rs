//! The appender: collects waiting appends into batches and answers each after its commit.
//!
//! One task a log and process. Idle, it commits what arrives at once; while a commit runs, what arrives becomes the next
//! batch. What always holds:
//!
//! - Nothing is acknowledged before it is committed, and nothing is dropped silently: an append that finds the queue full is
//!   handed back.
//! - At most one commit of this process is under way.
//! - A commit whose outcome is unknown is never sent again. Its appends are looked for in the log, by their event ids, once
//!   that commit can no longer be under way.
//! - A log that contradicts the planner stops the appender for good: whatever is wrong, appending more makes it worse.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};

use crate::event::Recorded;
use crate::log::{Append, CommitError, Log, Outcome, Query};
use crate::{Position, store};

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
    /// How long the log is asked what became of a commit of unknown outcome. Meanwhile nothing is committed.
    pub resolve_within: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queue_count: 20_000,
            queue_bytes: 64 << 20,
            batch_count: 2_000,
            batch_bytes: 8 << 20,
            resolve_within: Duration::from_secs(20),
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
            queue: Mutex::new(Queue { state: State::Open, waiting: VecDeque::new(), bytes: 0 }),
            arrived: Notify::new(),
            head: watch::Sender::new(None),
            ended: watch::Sender::new(false),
        });
        let task = Task { log, known_size: None, end: End(shared.clone()) };
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

/// What the handles and the task share. The queue's lock is held for a few instructions, never across an await.
struct Shared {
    limits: Limits,
    log_name: String,
    queue: Mutex<Queue>,
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
            {
                let mut queue = self.queue();
                let batch = queue.take(&self.limits);
                metrics::gauge!("credence_append_queue_length", "log" => self.log_name.clone()).set(count(queue.waiting.len()));
                match (batch.is_empty(), queue.state) {
                    (_, State::Stopped) | (true, State::Draining) => return None,
                    (false, _) => return Some(batch),
                    (true, State::Open) => {}
                }
            }
            self.arrived.notified().await;
        }
    }
}

impl Queue {
    fn take(&mut self, limits: &Limits) -> Vec<Waiting> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front() {
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
    /// A size that the log is known to have had; `None` until the head was read. Whatever is committed lies beyond it.
    known_size: Option<u64>,
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

/// How many events are read at a time when looking for what became of a batch.
const PAGE: usize = 1000;

impl Task {
    async fn run(mut self) {
        while let Some(batch) = self.end.0.next_batch().await {
            let (appends, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.append, waiting.answer)).unzip();
            let results = self.commit(appends).await;
            for (answer, result) in answers.into_iter().zip(results) {
                // Whoever asked may have gone.
                let _ = answer.send(result);
            }
        }
    }

    async fn commit(&mut self, appends: Vec<Append>) -> Vec<Result<Outcome, Error>> {
        let labels = [("log", self.end.0.log_name.clone())];
        let size = appends.len();
        let known_size = match self.known_size().await {
            Ok(size) => size,
            Err(failed) => return failed_all(size, Error::Store, failed),
        };
        let ids: Vec<Ids> = appends.iter().map(|append| append.events().map(|event| event.event_id).collect()).collect();
        metrics::histogram!("credence_append_batch_size", &labels).record(count(size));
        let started = Instant::now();
        let committed = self.log.commit(appends).await;
        metrics::histogram!("credence_append_commit_seconds", &labels).record(started.elapsed().as_secs_f64());
        let results = match committed {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(CommitError::NotCommitted(failed)) => failed_all(size, Error::Store, failed),
            Err(CommitError::Unknown(failed)) => {
                tracing::warn!(log = self.end.0.log_name, error = &failed as &dyn std::error::Error, "the outcome of a commit is unknown");
                self.resolve(known_size, &ids, failed).await
            }
            Err(CommitError::Contradiction(what)) => {
                tracing::error!(log = self.end.0.log_name, what, "the log contradicts the planner: appending has stopped for good");
                self.end.0.close(State::Stopped);
                (0..size).map(|_| Err(Error::Stopped)).collect()
            }
        };
        self.appended(&results, &labels);
        results
    }

    async fn known_size(&mut self) -> Result<u64, store::Error> {
        match self.known_size {
            Some(size) => Ok(size),
            None => {
                let size = self.log.head().await?.size;
                self.known_size = Some(size);
                Ok(size)
            }
        }
    }

    fn appended(&mut self, results: &[Result<Outcome, Error>], labels: &[(&'static str, String)]) {
        let events = results.iter().filter_map(|result| match result {
            Ok(Outcome::Appended(events)) => Some(events),
            _ => None,
        });
        let (number, last) = events.flatten().fold((0, None), |(number, last), event| (number + 1, last.max(Some(event.position))));
        metrics::counter!("credence_appended_total", labels).increment(number);
        if let Some(last) = last {
            self.known_size = self.known_size.max(Some(last.0 + 1));
            self.end.0.head.send_replace(Some(last));
        }
    }

    /// Asks the log what became of a batch, again and again until it answers or time is up.
    async fn resolve(&self, known_size: u64, ids: &[Ids], failed: store::Error) -> Vec<Result<Outcome, Error>> {
        let (started, mut pause) = (Instant::now(), Duration::from_millis(10));
        loop {
            match self.look_for(known_size, ids).await {
                Ok(found) => {
                    let failed = Arc::new(failed);
                    let result = |events: Option<_>| events.map(Outcome::Appended).ok_or_else(|| Error::Store(failed.clone()));
                    return found.into_iter().map(result).collect();
                }
                Err(again) if started.elapsed() + pause >= self.end.0.limits.resolve_within => {
                    tracing::error!(log = self.end.0.log_name, error = &again as &dyn std::error::Error, "it stays unknown");
                    return failed_all(ids.len(), Error::Unknown, failed);
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// For each append of the batch its events, if they are in the log. Others may have appended before, between and after.
    async fn look_for(&self, known_size: u64, ids: &[Ids]) -> Result<Vec<Option<Vec<Recorded>>>, store::Error> {
        // The commit may still be under way on the server; the head is answered only afterwards.
        let size = self.log.head().await?.size;
        let owner_of: HashMap<[u8; 16], usize> =
            ids.iter().enumerate().flat_map(|(append, ids)| ids.iter().map(move |id| (*id, append))).collect();
        let mut found: Vec<Option<Vec<Recorded>>> = vec![None; ids.len()];
        let mut next = Position(known_size);
        while next.0 < size {
            let page = self.log.read(&Query::from(next, PAGE)).await?;
            let Some(last) = page.last() else {
                return Err(store::Error::Corrupt(format!("the head says {size} events, but none stands at {next}")));
            };
            next = last.position.next();
            for event in page {
                // Metadata that this program cannot read is not its own.
                let id = event.metadata().ok().map(|metadata| *metadata.event_id);
                if let Some(append) = id.and_then(|id| owner_of.get(&id)) {
                    found[*append].get_or_insert_default().push(event);
                }
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
