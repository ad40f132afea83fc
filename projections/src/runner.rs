//! The task that keeps a projection up with its log.
//!
//! One runner a projection and read store is active, whoever else stands by: a lock elects it, and compare-and-set fences it off
//! should it be paused and overtaken. It applies what is new and notes, at least every second, that nothing newer exists. What
//! it cannot apply stops the projection until it is rebuilt or this program is started anew, perhaps in a newer version: nothing
//! is ever skipped. When a store fails it tries again, and the time of the last confirmation stands still meanwhile.
//!
//! A projection that is not there, for the first time or because its tables were deleted, is built by its runner.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use credence_ledger::Timestamp;
use credence_ledger::causes;
use credence_ledger::log::Head;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::generation::{Held, Lock, Mode, Seen, Stage};
use crate::projection::Projection;
use crate::projector::{Halt, Moving, Projector};
use crate::rebuild;

/// How a runner goes about it.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long it sleeps when the log is idle and nobody wakes it.
    pub poll: Duration,
    /// Events applied in one transaction.
    pub chunk: usize,
    /// Rung by whoever appends in this process: a hint.
    pub wake: Arc<Notify>,
    /// Where it says why it cannot go on.
    pub troubles: Troubles,
}

/// Why the runners of a process cannot write to the read store, or build what would be written to, though they try again and again.
/// What is said of one goes with its next step that does not fail.
#[derive(Debug, Clone, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<Projection, String>>>);

impl Troubles {
    /// Each projection that does not move on, and why; neither names an address or a file.
    #[must_use]
    pub fn all(&self) -> Vec<(Projection, String)> {
        self.lock().iter().map(|(projection, reason)| (*projection, reason.clone())).collect()
    }

    fn note(&self, projection: Projection, reason: Option<String>) {
        match reason {
            Some(reason) => self.lock().insert(projection, reason),
            None => self.lock().remove(&projection),
        };
    }

    /// Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Projection, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Options {
    fn default() -> Options {
        Options { poll: Duration::from_millis(100), chunk: 1000, wake: Arc::new(Notify::new()), troubles: Troubles::default() }
    }
}

/// From one transaction to the next, but where a whole chunk is waiting: what arrives meanwhile goes together, so that a busy log
/// does not make a transaction of each of its commits. What arrives after a rest is applied at once.
const PACE: Duration = Duration::from_millis(20);
/// How often an idle log is confirmed.
const CONFIRM: Duration = Duration::from_millis(500);
/// How often lock and pointer are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a runner that stands by waits before it tries the lock again.
const STAND_BY: Duration = Duration::from_millis(250);
/// The longest pause after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A running task. Dropping it ends the task soon, without waiting.
pub struct Runner {
    task: JoinHandle<()>,
    cancel: DropGuard,
}

impl Runner {
    /// Starts the task.
    #[must_use]
    pub fn start(projector: Projector, options: Options) -> Runner {
        let cancel = CancellationToken::new();
        let run = Run { projector, options, cancel: cancel.clone() };
        Runner { task: tokio::spawn(run.forever()), cancel: cancel.drop_guard() }
    }

    /// Ends the task after the transaction at hand, and waits for that.
    pub async fn stop(self) {
        drop(self.cancel);
        if let Err(error) = self.task.await {
            tracing::error!(reason = causes(&error), "a projection's runner ended badly");
        }
    }
}

struct Run {
    projector: Projector,
    options: Options,
    cancel: CancellationToken,
}

/// What the active runner knows.
#[derive(Default)]
struct Active {
    /// The serving generation; `None` when it must be looked up (again).
    moving: Option<Moving>,
    /// The serving generation, when this process has stopped it: it stays so until another one serves.
    stopped: Option<Moving>,
    /// Whether it was unhealthy when it was looked up.
    unhealthy: bool,
    looked: Option<Instant>,
    confirmed: Option<Instant>,
    /// When, by the log's clock, nothing was missing for the last time.
    complete_at: Option<Timestamp>,
    /// The rebuild that is tried again and again until it comes to its end: one row tells of all of its attempts.
    building: Option<Uuid>,
}

impl Active {
    /// Looks everything up again; what was stopped stays stopped.
    fn forget(&mut self) {
        *self = Active { stopped: self.stopped.take(), ..self.anew() };
    }

    /// As if nothing had been looked up.
    fn anew(&self) -> Active {
        Active { complete_at: self.complete_at, building: self.building, ..Active::default() }
    }

    /// Tells the metrics how far it is behind.
    fn measure(&mut self, projection: Projection, moving: &Moving, head: &Head) {
        let lag = head.size.saturating_sub(moving.next().0);
        let known = self.complete_at.unwrap_or(head.now);
        let complete_at = if lag == 0 { known.max(head.now) } else { known };
        self.complete_at = Some(complete_at);
        #[expect(clippy::cast_precision_loss, reason = "a gauge: nobody minds the last digits of a lag of 2^53 events")]
        metrics::gauge!("credence_projection_lag_events", "projection" => projection.as_str()).set(lag as f64);
        let seconds = head.now.since(complete_at).as_secs_f64();
        metrics::gauge!("credence_projection_lag_seconds", "projection" => projection.as_str()).set(seconds);
    }
}

/// A head that is not sure yet that its newest event was the last of its time is soon asked for again: readers may be waiting for
/// just that time.
fn confirmed(head: &Head) -> Option<Instant> {
    (head.now >= head.recorded_at).then(Instant::now)
}

impl Run {
    async fn forever(self) {
        let projection = self.projector.projection;
        while !self.cancel.is_cancelled() {
            match self.projector.store.try_lock(Lock::Runner(projection)).await {
                Ok(Some(lock)) => {
                    tracing::info!(%projection, "keeping the projection up");
                    self.active(lock).await;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%projection, reason = causes(&error), "the projection's lock cannot be taken"),
            }
            self.pause(STAND_BY).await;
        }
    }

    /// Until the lock is lost or the task is ended.
    async fn active(&self, mut lock: Box<dyn Held>) {
        let projection = self.projector.projection;
        let (mut active, mut backoff) = (Active::default(), Duration::ZERO);
        while !self.cancel.is_cancelled() {
            if active.looked.is_none_or(|looked| looked.elapsed() >= LOOK) && !lock.is_held().await {
                tracing::warn!(%projection, "the projection's lock was lost");
                self.options.troubles.note(projection, None);
                return;
            }
            let began = Instant::now();
            match self.step(&mut active).await {
                Ok(more) => {
                    backoff = Duration::ZERO;
                    self.options.troubles.note(projection, None);
                    if !more {
                        self.pause(PACE.saturating_sub(began.elapsed())).await;
                        tokio::select! {
                            () = self.options.wake.notified() => {}
                            () = self.pause(self.options.poll) => {}
                        }
                    }
                }
                Err(failed) => {
                    backoff = (backoff * 2).clamp(Duration::from_millis(100), BACKOFF_MAX);
                    // A log that fails says so itself.
                    let is_told = matches!(failed, Halt::Store(_) | Halt::Stuck { .. });
                    self.options.troubles.note(projection, is_told.then(|| failed.to_string()));
                    tracing::warn!(%projection, reason = causes(&failed), retry_ms = backoff.as_millis(), "the projection cannot go on");
                    active.forget();
                    self.pause(backoff).await;
                }
            }
        }
        self.options.troubles.note(projection, None);
        lock.release().await;
    }

    async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = tokio::time::sleep(duration) => {}
        }
    }

    /// One look at the log. Answers whether more is waiting.
    async fn step(&self, active: &mut Active) -> Result<bool, Halt> {
        if active.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look(active).await?;
            active.looked = Some(Instant::now());
        }
        let head = self.projector.head().await?;
        if let Some(stopped) = active.stopped.clone() {
            active.measure(self.projector.projection, &stopped, &head);
            self.note_head(active, &stopped, &head).await?;
            return Ok(false);
        }
        let Some(mut moving) = active.moving.take() else { return Ok(false) };
        let moved = self.catch_up(&mut moving, &head).await;
        active.measure(self.projector.projection, &moving, &head);
        match moved {
            Ok(true) => {
                (active.unhealthy, active.confirmed) = (false, confirmed(&head));
                let more = head.last() > moving.place.position;
                active.moving = Some(moving);
                Ok(more)
            }
            Ok(false) => {
                if self.confirm(active, &moving, &head).await? {
                    active.moving = Some(moving);
                } else {
                    active.forget();
                }
                Ok(false)
            }
            Err(Halt::Fenced) => {
                active.forget();
                Ok(true)
            }
            Err(halt @ (Halt::Stuck { .. } | Halt::OtherLog { .. })) => {
                let reason = causes(&halt);
                tracing::error!(projection = %self.projector.projection, reason, "the projection stopped");
                if self.projector.store.stop(moving.place, Some(&reason)).await? {
                    active.stopped = Some(moving);
                } else {
                    active.forget();
                }
                Ok(false)
            }
            Err(other) => Err(other),
        }
    }

    /// Finds the generation that serves, or builds one.
    async fn look(&self, active: &mut Active) -> Result<(), Halt> {
        let Projector { projection, store, .. } = &self.projector;
        let pointer = store.pointer(*projection).await?;
        let known = active.moving.as_ref().or(active.stopped.as_ref()).map(|moving| moving.place.generation);
        let is_known = pointer.is_some() && known == pointer.map(|pointer| pointer.generation);
        let generation = match pointer.filter(|pointer| pointer.version == projection.version()) {
            Some(pointer) => store.generation(*projection, pointer.generation).await?,
            None => None,
        };
        // What moves on does, and what was stopped stays stopped; but if it is gone, there is nothing to go on with, nor to repair. Of an
        // idle log nothing else tells: the cursor may be there without the rows.
        if is_known && generation.is_some() {
            return Ok(());
        }
        let generation = generation.filter(|generation| generation.stage == Stage::Ready);
        *active = active.anew();
        match generation {
            Some(generation) => {
                // Whoever built it, nothing is left to be tried again.
                active.building = None;
                active.unhealthy = generation.cursor.unhealthy.is_some();
                active.moving = Some(Moving::from(&generation));
                Ok(())
            }
            None => self.build(active).await,
        }
    }

    async fn build(&self, active: &mut Active) -> Result<(), Halt> {
        let Projector { projection, clock, random, .. } = &self.projector;
        let id = *active.building.get_or_insert_with(|| credence_ledger::event::new_id(clock, random));
        let options = rebuild::Options { cancel: self.cancel.clone(), ..rebuild::Options::new(id) };
        tracing::info!(%projection, "the projection is not there: building it");
        let built = match rebuild::start(self.projector.clone(), options).await {
            Ok(job) => {
                let generation = job.generation();
                job.run().await.map(|_| generation)
            }
            Err(error) => Err(error),
        };
        match built {
            // What could only be built up to some event is served as stopped, and stays so.
            Ok(generation) => {
                active.building = None;
                let built = self.projector.store.generation(*projection, generation).await?;
                match built {
                    Some(built) if built.cursor.unhealthy.is_some() => active.stopped = Some(Moving::from(&built)),
                    built => active.moving = built.as_ref().map(Moving::from),
                }
                Ok(())
            }
            // Somebody else builds it, or this process ends.
            Err(rebuild::Error::Running(_) | rebuild::Error::Interrupted) => Ok(()),
            Err(rebuild::Error::Stuck { position, reason }) => Err(Halt::Stuck { position, reason }),
            Err(rebuild::Error::Log(error)) => Err(Halt::Log(error)),
            Err(rebuild::Error::Store(error)) => Err(Halt::Store(error)),
            Err(rebuild::Error::Disturbed(_)) => Err(Halt::Fenced),
        }
    }

    /// Applies what follows, a chunk at most. Answers whether there was anything.
    async fn catch_up(&self, moving: &mut Moving, head: &Head) -> Result<bool, Halt> {
        self.projector.continues(moving, head)?;
        if head.last() == moving.place.position {
            return Ok(false);
        }
        let events = self.projector.read(moving.next(), None, self.options.chunk).await?;
        self.projector.advance(moving, &events, head, Mode::Live).await?;
        Ok(true)
    }

    /// Notes that nothing is missing. Answers false if the generation is not where it was left.
    async fn confirm(&self, active: &mut Active, moving: &Moving, head: &Head) -> Result<bool, Halt> {
        if active.confirmed.is_some_and(|confirmed| confirmed.elapsed() < CONFIRM) {
            return Ok(true);
        }
        let store = &self.projector.store;
        let seen = Seen { head: head.last(), confirmed_at: Some(head.now) };
        let mut holds = store.confirm(moving.place, seen).await?;
        if holds && active.unhealthy {
            // Whatever stopped it holds no longer: the log goes on from where it stands, and nothing is missing.
            holds = store.stop(moving.place, None).await?;
        }
        (active.unhealthy, active.confirmed) = (false, confirmed(head));
        Ok(holds)
    }

    /// Notes how far a stopped generation is behind.
    async fn note_head(&self, active: &mut Active, stopped: &Moving, head: &Head) -> Result<(), Halt> {
        if active.confirmed.is_none_or(|confirmed| confirmed.elapsed() >= CONFIRM) {
            self.projector.store.confirm(stopped.place, Seen { head: head.last(), confirmed_at: None }).await?;
            active.confirmed = Some(Instant::now());
        }
        Ok(())
    }
}
