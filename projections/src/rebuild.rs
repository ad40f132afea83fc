//! Building a generation anew, beside the one that serves.
//!
//! In order: a new generation is loaded in bulk, without indexes; it gets its indexes and is caught up; both generations are
//! hashed at the same position, each in a snapshot; the pointer is flipped in one transaction. The serving generation is read
//! from and written to all the while and never waits. Whatever ends a rebuild early leaves it untouched: the next one goes on
//! with what was built. The generation that was replaced is kept until the next rebuild.
//!
//! One rebuild of a projection runs at a time, over all processes. When the digests differ the pointer is flipped all the same,
//! for repair is what a rebuild is for, and the answer says so. A replay has no side effects: nothing but rows comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use credence_ledger::log::Head;
use credence_ledger::{LogPosition, Position, causes, store};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::digest::{DigestAt, digest};
use crate::generation::{Flipped, Generation, Held, Lock, Mode, Place, Pointer, Seen, Snapshot, Stage};
use crate::projection::{self, Projection};
use crate::projector::{Halt, Moving, Projector};
use crate::read_store::{Phase, Rebuild};

/// Events applied in one transaction.
pub const CHUNK: usize = 2000;

/// How often progress is written down.
const REPORT: Duration = Duration::from_millis(250);

/// How long a flip that came too late waits before it is tried again.
const BEHIND: Duration = Duration::from_millis(5);

/// Why what serves is stopped where the log is not the one that it tells of.
const OTHER_LOG: &str = "it tells of another log";

/// Is told of every phase and, now and then, of progress. It must not block.
pub type Observer = Arc<dyn Fn(&Rebuild) + Send + Sync>;

/// How a rebuild is run.
#[derive(Clone)]
pub struct Options {
    /// The rebuild's id.
    pub id: Uuid,
    /// Events applied in one transaction.
    pub chunk: usize,
    /// Ends it early, between two transactions or while it compares.
    pub cancel: CancellationToken,
    /// Is told of its progress.
    pub observer: Observer,
}

impl Options {
    /// A rebuild that nobody watches.
    #[must_use]
    pub fn new(id: Uuid) -> Options {
        Options { id, chunk: CHUNK, cancel: CancellationToken::new(), observer: Arc::new(|_| ()) }
    }
}

/// Why a rebuild did not come to its end. The generation that served still does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another one of this projection is running, here or in another process.
    #[error("a rebuild of {0} is running")]
    Running(Projection),
    /// It was told to end early.
    #[error("the rebuild was interrupted")]
    Interrupted,
    /// An event cannot be applied: nothing can be built beyond it.
    #[error("the event {position} cannot be applied: {reason}")]
    Stuck {
        /// Which one.
        position: LogPosition,
        /// Why; nothing personal.
        reason: String,
    },
    /// The log changed under the rebuild, or another generation came to serve.
    #[error("the store was changed under the rebuild: {0}")]
    Disturbed(&'static str),
    /// The log failed.
    #[error("the log cannot be read")]
    Log(#[source] store::Error),
    /// The read store failed.
    #[error(transparent)]
    Store(#[from] projection::Error),
}

impl From<Halt> for Error {
    fn from(halt: Halt) -> Error {
        match halt {
            Halt::Fenced => Error::Disturbed("the new generation was moved by somebody else"),
            Halt::OtherLog { .. } => Error::Disturbed("the log does not continue what was applied"),
            Halt::Stuck { position, reason } => Error::Stuck { position, reason },
            Halt::Log(error) => Error::Log(error),
            Halt::Store(error) => Error::Store(error),
        }
    }
}

/// A rebuild that has begun: its lock is held and its generation is there.
pub struct Job {
    projector: Projector,
    options: Options,
    /// What is to be replaced; it may be gone.
    pointer: Option<Pointer>,
    moving: Moving,
    progress: Progress,
    lock: Box<dyn Held>,
}

/// What serves and what was built, to be compared.
pub(crate) enum Together {
    /// Nothing serves that could be compared.
    Alone,
    /// What serves stands here and tells of another log.
    OtherLog(Place),
    /// Both at the same position.
    Snapshots {
        /// What serves.
        old: Box<dyn Snapshot>,
        /// What was built.
        new: Box<dyn Snapshot>,
    },
}

struct Progress {
    rebuild: Rebuild,
    /// Whether it is written into the store, and not only told to the observer.
    is_recorded: bool,
    began: Instant,
    began_done: u64,
    reported: Instant,
    reported_done: u64,
}

/// Begins a rebuild: takes its lock, clears away what earlier ones left, and takes up or makes the generation to build.
///
/// # Errors
/// [`Error::Running`], or a store fails.
pub async fn start(projector: Projector, options: Options) -> Result<Job, Error> {
    let Projector { projection, store, clock, .. } = &projector;
    let lock = lock(&projector).await?;
    store.fail_interrupted(*projection, clock.now()).await?;
    let pointer = store.pointer(*projection).await?;
    let resumed = unfinished(&projector, pointer).await?;
    let keep: Vec<u64> = pointer.iter().map(|pointer| pointer.generation).chain(resumed.iter().map(|g| g.cursor.generation)).collect();
    store.discard_except(*projection, &keep).await?;
    let generation = match resumed {
        Some(generation) => generation,
        None => store.create(*projection, Stage::Loading, projector.log.origin().genesis()).await?,
    };
    let mut job = Job::new(projector, options, pointer, &generation, lock);
    job.progress.rebuild.total = job.projector.log.head().await.map_err(Error::Log)?.size;
    job.phase(Phase::Building).await?;
    Ok(job)
}

/// Takes the right to build generations of a projection.
pub(crate) async fn lock(projector: &Projector) -> Result<Box<dyn Held>, Error> {
    projector.store.prepare().await?;
    let lock = projector.store.try_lock(Lock::Rebuild(projector.projection)).await.map_err(projection::Error::from)?;
    lock.ok_or(Error::Running(projector.projection))
}

/// What an earlier rebuild left unfinished, if it can be gone on with: newer than what serves, of this version, of this log,
/// and not beyond what serves, with which it is still to be compared.
async fn unfinished(projector: &Projector, pointer: Option<Pointer>) -> Result<Option<Generation>, Error> {
    let projection = projector.projection;
    let newest = projector.store.generations(projection).await?.pop();
    let Some(newest) = newest.filter(|newest| {
        matches!(newest.stage, Stage::Loading | Stage::Ready)
            && newest.version == projection.version()
            && pointer.is_none_or(|pointer| newest.cursor.generation > pointer.generation)
    }) else {
        return Ok(None);
    };
    let beyond = match serving(projector, pointer).await? {
        Some(old) => newest.cursor.position > old.cursor.position,
        None => false,
    };
    Ok(if !beyond && is_of_this_log(projector, &newest).await? { Some(newest) } else { None })
}

/// The serving generation, if it is there and can be compared with one of this version.
async fn serving(projector: &Projector, pointer: Option<Pointer>) -> Result<Option<Generation>, Error> {
    match pointer.filter(|pointer| pointer.version == projector.projection.version()) {
        Some(pointer) => Ok(projector.store.generation(projector.projection, pointer.generation).await?),
        None => Ok(None),
    }
}

/// Whether the log has the generation's chain hash at the generation's position.
async fn is_of_this_log(projector: &Projector, generation: &Generation) -> Result<bool, Error> {
    let expected = match generation.cursor.position {
        None => Some(projector.log.origin().genesis()),
        Some(position) => projector.log.read_at(&[position]).await.map_err(Error::Log)?.first().map(|event| event.chain_hash),
    };
    Ok(expected == Some(generation.cursor.chain_hash))
}

impl Job {
    pub(crate) fn new(
        projector: Projector,
        options: Options,
        pointer: Option<Pointer>,
        generation: &Generation,
        lock: Box<dyn Held>,
    ) -> Job {
        let moving = Moving::from(generation);
        let rebuild = Rebuild {
            id: options.id,
            projection: projector.projection,
            phase: Phase::Building,
            done: moving.next().0,
            total: moving.next().0,
            events_per_second: 0,
            equal: None,
            updated_at: projector.clock.now(),
            failure: None,
        };
        let (began, began_done) = (Instant::now(), rebuild.done);
        let is_recorded = generation.stage != Stage::Temporary;
        let progress = Progress { began, began_done, reported: began, reported_done: began_done, is_recorded, rebuild };
        Job { projector, options, pointer, moving, progress, lock }
    }

    /// The rebuild's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.options.id
    }

    /// The generation that is being built.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.moving.place.generation
    }

    /// How many events an earlier rebuild, left unfinished, had applied already.
    #[must_use]
    pub fn taken_up(&self) -> u64 {
        self.moving.next().0
    }

    /// Runs to the end. Dropping the future interrupts it: the next rebuild goes on from there.
    ///
    /// # Errors
    /// The serving generation is untouched then.
    pub async fn run(mut self) -> Result<Rebuild, Error> {
        let built = self.build().await;
        if let Err(error) = &built {
            self.progress.rebuild.failure = Some(causes(error));
            // The first error is the one to tell.
            let _ = self.phase(Phase::Failed).await;
        }
        self.lock.release().await;
        built.map(|()| self.progress.rebuild)
    }

    /// Ends it before it was run, and writes down why.
    ///
    /// # Errors
    /// The store fails.
    pub async fn give_up(mut self, reason: &str) -> Result<(), Error> {
        self.progress.rebuild.failure = Some(reason.to_owned());
        let written = self.phase(Phase::Failed).await;
        self.lock.release().await;
        written
    }

    /// Gives its lock back.
    pub(crate) async fn release(self) {
        self.lock.release().await;
    }

    async fn build(&mut self) -> Result<(), Error> {
        let stuck = match self.bring_up().await {
            // With nothing to fall back on, what can be built is served as stopped, so that readers are told why.
            Err(Error::Stuck { position, reason }) if self.pointer.is_none() || self.is_gone().await? => {
                self.load_up_to(position.position).await?;
                Some(format!("the event {position} cannot be applied: {reason}"))
            }
            brought_up => {
                brought_up?;
                None
            }
        };
        let digest = if stuck.is_none() { self.compare().await? } else { None };
        self.flip(digest, stuck).await?;
        self.progress.rebuild.events_per_second = per_second(self.moving.next().0, self.progress.began_done, self.progress.began);
        self.phase(Phase::Done).await
    }

    /// Whether what serves is not there any more. What another version built may be whole, though its tables are not those of this one.
    async fn is_gone(&self) -> Result<bool, Error> {
        let Projector { projection, store, .. } = &self.projector;
        let Some(pointer) = self.pointer else { return Ok(true) };
        Ok(pointer.version == projection.version() && store.generation(*projection, pointer.generation).await?.is_none())
    }

    /// Loads in bulk, finishes the load, catches up: but never beyond what serves, with which it is to be compared.
    pub(crate) async fn bring_up(&mut self) -> Result<(), Error> {
        let (projection, store) = (self.projector.projection, self.projector.store.clone());
        let stage = store.generation(projection, self.generation()).await?.map(|generation| generation.stage);
        if matches!(stage, Some(Stage::Loading | Stage::Temporary)) {
            loop {
                let (target, head) = self.target().await?;
                self.advance(target, &head, Mode::Load).await?;
                // What came in meanwhile is caught up with later, unless it is much.
                let (target, _) = self.target().await?;
                if missing(self.moving.place.position, target) <= self.options.chunk as u64 {
                    break;
                }
            }
            self.finish_load().await?;
        }
        self.phase(Phase::CatchingUp).await?;
        loop {
            let (target, head) = self.target().await?;
            if self.moving.place.position >= target {
                return Ok(());
            }
            self.advance(target, &head, Mode::Live).await?;
        }
    }

    async fn finish_load(&mut self) -> Result<(), Error> {
        let projector = &self.projector;
        match projector.store.finish_load(projector.projection, self.generation()).await? {
            None => Ok(()),
            Some(position) => Err(projector.stuck(position, "it contradicts the events before it".to_owned()).into()),
        }
    }

    /// Starts over and loads only what stands before `position`.
    async fn load_up_to(&mut self, position: Position) -> Result<(), Error> {
        let Projector { projection, store, log, .. } = self.projector.clone();
        let generation = store.create(projection, Stage::Loading, log.origin().genesis()).await?;
        self.moving = Moving::from(&generation);
        let head = self.projector.head().await?;
        self.advance(position.0.checked_sub(1).map(Position), &head, Mode::Load).await?;
        self.finish_load().await
    }

    /// How far to go before the comparison, with the log's end.
    async fn target(&self) -> Result<(Option<Position>, Head), Error> {
        let serving = serving(&self.projector, self.pointer).await?;
        let head = self.projector.head().await?;
        let last = head.last();
        Ok((serving.map_or(last, |serving| serving.cursor.position.min(last)), head))
    }

    /// Applies events up to `target`; the next ones are read and folded while some are written.
    async fn advance(&mut self, target: Option<Position>, head: &Head, mode: Mode) -> Result<(), Error> {
        let projector = self.projector.clone();
        let chunk = self.options.chunk;
        if self.moving.place.position >= target {
            return Ok(());
        }
        let mut events = projector.read(self.moving.next(), target, chunk).await?;
        while let Some(last) = events.last() {
            self.may_go_on()?;
            let following = last.position.next();
            let more = async { if Some(following) > target { Ok(Vec::new()) } else { projector.read(following, target, chunk).await } };
            let (advanced, more) = tokio::join!(projector.advance(&mut self.moving, &events, head, mode), more);
            advanced?;
            events = more?;
            self.progress.rebuild.total = head.size;
            self.report().await?;
        }
        Ok(())
    }

    /// Hashes both generations at the same position. Answers the digest of the new one.
    async fn compare(&mut self) -> Result<Option<DigestAt>, Error> {
        self.phase(Phase::Comparing).await?;
        match self.at_one_position().await? {
            Together::Alone => Ok(None),
            Together::OtherLog(old) => {
                // They cannot be brought to one position, and what serves must not hold up the flip.
                self.projector.store.stop(old, Some(OTHER_LOG)).await?;
                self.progress.rebuild.equal = Some(false);
                Ok(None)
            }
            Together::Snapshots { mut old, mut new } => {
                let digests = async { tokio::try_join!(digest(new.as_mut()), digest(old.as_mut())) };
                let (expected, found) = self.options.cancel.run_until_cancelled(digests).await.ok_or(Error::Interrupted)??;
                self.progress.rebuild.equal = Some(expected == found);
                Ok(Some((expected, new.generation().cursor.position)))
            }
        }
    }

    /// Takes a snapshot of what serves and brings the new generation to exactly its position.
    pub(crate) async fn at_one_position(&mut self) -> Result<Together, Error> {
        let Projector { projection, store, .. } = self.projector.clone();
        let Some(old) = serving(&self.projector, self.pointer).await? else { return Ok(Together::Alone) };
        if !is_of_this_log(&self.projector, &old).await? {
            return Ok(Together::OtherLog(old.place()));
        }
        let old = store.snapshot(projection, old.cursor.generation).await?;
        let position = old.generation().cursor.position;
        let head = self.projector.head().await?;
        self.advance(position, &head, Mode::Live).await?;
        let new = store.snapshot(projection, self.generation()).await?;
        if new.generation().cursor.position != position {
            return Err(Error::Disturbed("the serving generation went back"));
        }
        Ok(Together::Snapshots { old, new })
    }

    /// Catches up to the log's end and flips, again and again until nothing that was answered could be missing.
    async fn flip(&mut self, digest: Option<DigestAt>, stuck: Option<String>) -> Result<(), Error> {
        let Projector { projection, store, .. } = self.projector.clone();
        let from = self.pointer.map(|pointer| pointer.generation);
        loop {
            self.may_go_on()?;
            let head = self.projector.head().await?;
            if let Some(reason) = &stuck {
                store.stop(self.moving.place, Some(reason)).await?;
            } else {
                self.advance(head.last(), &head, Mode::Live).await?;
                let confirmed_at = (self.moving.place.position >= head.last()).then_some(head.now);
                store.confirm(self.moving.place, Seen { head: head.last(), confirmed_at }).await?;
            }
            match store.flip(projection, from, self.generation(), digest).await? {
                Flipped::Done => return Ok(()),
                Flipped::Behind(position) => {
                    // What is of another version, or whose rows are gone, was not compared. It must not hold up the flip for ever: a log
                    // never gets shorter, so what is beyond its end tells of another; and what is stopped itself comes no further.
                    let is_beyond = position > self.projector.head().await?.last();
                    if let Some(generation) = from.filter(|_| is_beyond || stuck.is_some()) {
                        let reason = if is_beyond { OTHER_LOG } else { "another one is built, which is stopped" };
                        store.stop(Place { projection, generation, position }, Some(reason)).await?;
                    }
                    tokio::time::sleep(BEHIND).await;
                }
                Flipped::Fenced => return Err(Error::Disturbed("another generation came to serve")),
            }
        }
    }

    /// Looked at between any two steps that take long.
    pub(crate) fn may_go_on(&self) -> Result<(), Error> {
        if self.options.cancel.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    pub(crate) async fn phase(&mut self, phase: Phase) -> Result<(), Error> {
        self.progress.rebuild.phase = phase;
        self.write_down().await
    }

    async fn report(&mut self) -> Result<(), Error> {
        let elapsed = self.progress.reported.elapsed();
        if elapsed < REPORT {
            // Told at every chunk, written down now and then.
            let rebuild = &mut self.progress.rebuild;
            rebuild.done = self.moving.next().0;
            (self.options.observer)(rebuild);
            return Ok(());
        }
        let Progress { reported, reported_done, .. } = self.progress;
        self.progress.rebuild.events_per_second = per_second(self.moving.next().0, reported_done, reported);
        self.progress.reported = Instant::now();
        self.progress.reported_done = self.moving.next().0;
        self.write_down().await
    }

    async fn write_down(&mut self) -> Result<(), Error> {
        let rebuild = &mut self.progress.rebuild;
        rebuild.done = self.moving.next().0;
        rebuild.total = rebuild.total.max(rebuild.done);
        rebuild.updated_at = self.projector.clock.now();
        (self.options.observer)(rebuild);
        if self.progress.is_recorded {
            self.projector.store.record(rebuild).await?;
        }
        Ok(())
    }
}

/// How fast it went from `before` to `done`, since `then`.
fn per_second(done: u64, before: u64, then: Instant) -> u64 {
    let applied = u128::from(done.saturating_sub(before));
    u64::try_from(applied * 1000 / then.elapsed().as_millis().max(1)).unwrap_or(u64::MAX)
}

fn missing(position: Option<Position>, target: Option<Position>) -> u64 {
    let count = |position: Option<Position>| position.map_or(0, |position| position.0 + 1);
    count(target).saturating_sub(count(position))
}
