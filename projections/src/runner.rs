//! The task that keeps a projection up with its log.
//!
//! One runner a projection and read store is active, whoever else stands by: a lock elects it, and compare-and-set fences it off
//! should it be paused and overtaken. It applies what is new and notes, at least every second, that nothing newer exists. What
//! it cannot apply stops the projection until it is rebuilt or this program is started anew, perhaps in a newer version: nothing
//! is ever skipped. When a store fails it tries again, and the time of the last confirmation stands still meanwhile.
//!
//! A projection that is not there, for the first time or because its tables were deleted, is built by its runner.

use std::sync::Arc;
use std::time::{Duration, Instant};

use credence_ledger::log::Head;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::generation::{Held, Lock, Mode, Seen, Stage};
use crate::projector::{Halt, Moving, Projector, describe};
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
}

impl Default for Options {
    fn default() -> Options {
        Options { poll: Duration::from_millis(100), chunk: 1000, wake: Arc::new(Notify::new()) }
    }
}

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
            tracing::error!(error = &error as &dyn std::error::Error, "a projection's runner ended badly");
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
    /// Whether it was unhealthy when it was looked up.
    unhealthy: bool,
    /// Set when the generation that serves has been stopped by this process.
    stopped: Option<u64>,
    looked: Option<Instant>,
    confirmed: Option<Instant>,
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
                Err(error) => tracing::warn!(%projection, reason = describe(&error), "the projection's lock cannot be taken"),
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
                return;
            }
            match self.step(&mut active).await {
                Ok(more) => {
                    backoff = Duration::ZERO;
                    if !more {
                        tokio::select! {
                            () = self.options.wake.notified() => {}
                            () = self.pause(self.options.poll) => {}
                        }
                    }
                }
                Err(failed) => {
                    backoff = (backoff * 2).clamp(Duration::from_millis(100), BACKOFF_MAX);
                    tracing::warn!(%projection, reason = describe(&failed), retry_ms = backoff.as_millis(), "the projection cannot go on");
                    active = Active { stopped: active.stopped, ..Active::default() };
                    self.pause(backoff).await;
                }
            }
        }
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
        let Some(moving) = &mut active.moving else { return Ok(false) };
        let head = self.projector.head().await?;
        let moved = self.catch_up(moving, &head).await;
        self.measure(moving, &head);
        match moved {
            Ok(true) => {
                (active.unhealthy, active.confirmed) = (false, Some(Instant::now()));
                Ok(head.last() > moving.place.position)
            }
            Ok(false) => {
                self.confirm(active, &head).await?;
                Ok(false)
            }
            Err(Halt::Fenced) => {
                *active = Active::default();
                Ok(true)
            }
            Err(halt @ (Halt::Stuck { .. } | Halt::OtherLog { .. })) => {
                let reason = describe(&halt);
                tracing::error!(projection = %self.projector.projection, reason, "the projection stopped");
                self.projector.store.stop(moving.place, Some(&reason)).await?;
                active.stopped = Some(moving.place.generation);
                active.moving = None;
                Ok(false)
            }
            Err(other) => Err(other),
        }
    }

    /// Finds the generation that serves, or builds one.
    async fn look(&self, active: &mut Active) -> Result<(), Halt> {
        let Projector { projection, store, .. } = &self.projector;
        let pointer = store.pointer(*projection).await?;
        if active.moving.as_ref().map(|moving| moving.place.generation) == pointer.map(|pointer| pointer.generation) && pointer.is_some() {
            return Ok(());
        }
        let generation = match pointer.filter(|pointer| pointer.version == projection.version()) {
            Some(pointer) if active.stopped == Some(pointer.generation) => {
                // It stays stopped; but if it is gone, there is nothing to repair any more.
                if store.generation(*projection, pointer.generation).await?.is_some() {
                    return Ok(());
                }
                None
            }
            Some(pointer) => store.generation(*projection, pointer.generation).await?,
            None => None,
        };
        let generation = generation.filter(|generation| generation.stage == Stage::Ready);
        *active = Active::default();
        match generation {
            Some(generation) => {
                active.unhealthy = generation.cursor.unhealthy.is_some();
                active.moving = Some(Moving::from(&generation));
                Ok(())
            }
            None => self.build(active).await,
        }
    }

    async fn build(&self, active: &mut Active) -> Result<(), Halt> {
        let Projector { projection, clock, random, .. } = &self.projector;
        let id = credence_ledger::event::new_id(clock, random);
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
            Ok(_) => {
                active.looked = None;
                let cursor = self.projector.store.cursor(*projection).await?;
                active.stopped = cursor.unhealthy.is_some().then_some(cursor.generation);
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

    async fn confirm(&self, active: &mut Active, head: &Head) -> Result<(), Halt> {
        let Some(moving) = &active.moving else { return Ok(()) };
        if active.confirmed.is_some_and(|confirmed| confirmed.elapsed() < CONFIRM) {
            return Ok(());
        }
        let store = &self.projector.store;
        let seen = Seen { head: head.last(), confirmed_at: Some(head.now) };
        let mut holds = store.confirm(moving.place, seen).await?;
        if holds && active.unhealthy {
            // Whatever stopped it holds no longer: the log goes on from where it stands, and nothing is missing.
            holds = store.stop(moving.place, None).await?;
        }
        if holds {
            (active.unhealthy, active.confirmed) = (false, Some(Instant::now()));
        } else {
            *active = Active::default();
        }
        Ok(())
    }

    fn measure(&self, moving: &Moving, head: &Head) {
        let projection = self.projector.projection.as_str();
        let lag = head.size.saturating_sub(moving.next().0);
        #[expect(clippy::cast_precision_loss, reason = "a gauge: nobody minds the last digits of a lag of 2^53 events")]
        metrics::gauge!("credence_projection_lag_events", "projection" => projection).set(lag as f64);
    }
}
