//! What the writers of a read model need of its store: generations, each with its rows and its cursor.
//!
//! A generation is one complete build of a projection. At most one of them serves, which a pointer says; the others are being
//! built, or were replaced and are kept until the next rebuild. What always holds, whoever writes:
//!
//! - A generation's rows and its cursor move in one transaction, by compare-and-set on the cursor's position: a twin that was
//!   paused and comes back changes nothing.
//! - A generation that was replaced is [`Stage::Retired`] and never moves on. A reader that meets one follows the pointer.
//! - The pointer moves by compare-and-set, and never to a generation that is behind the one it replaces.

use async_trait::async_trait;
use credence_ledger::chain::Hash;
use credence_ledger::{Position, Timestamp, store};

use crate::digest::DigestAt;
use crate::fold::Batch;
use crate::projection::{Cursor, Error, Projection};
use crate::read_store::{ReadStore, Rebuild};
use crate::table::{Row, Table};

/// What a generation is for, at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Built to be compared, then thrown away; never resumed, never served.
    Temporary,
    /// Being loaded: rows without indexes, states not settled.
    Loading,
    /// Whole. It serves, or waits to be caught up, compared and flipped to.
    Ready,
    /// It was replaced.
    Retired,
}

impl Stage {
    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Temporary => "temporary",
            Stage::Loading => "loading",
            Stage::Ready => "ready",
            Stage::Retired => "retired",
        }
    }

    /// As it was stored.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Stage> {
        [Stage::Temporary, Stage::Loading, Stage::Ready, Stage::Retired].into_iter().find(|stage| stage.as_str() == text)
    }
}

/// One build of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// How far it has come; holds its number and its projection.
    pub cursor: Cursor,
    /// The projection's version that it was built by.
    pub version: u32,
    /// What it is for.
    pub stage: Stage,
}

impl Generation {
    /// Where it stands, to compare and set.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { projection: self.cursor.projection, generation: self.cursor.generation, position: self.cursor.position }
    }
}

/// Where a writer believes that a generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Of which projection.
    pub projection: Projection,
    /// Which generation.
    pub generation: u64,
    /// The last position applied; `None` while there is none.
    pub position: Option<Position>,
}

/// What a writer knows of the log while it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The log's last position.
    pub head: Option<Position>,
    /// When, by the log's clock, it was known that nothing existed beyond where the cursor stands after this write; `None` if
    /// that is not known. The stored time never goes back.
    pub confirmed_at: Option<Timestamp>,
}

/// How rows are brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Inserts alone, unchecked: [`Store::finish_load`] comes after.
    Load,
    /// Checked and settled, so that readers see whole states.
    Live,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Rows and cursor were moved on.
    Moved,
    /// Nothing was written: the generation is not where the writer believed, or was replaced.
    Fenced,
    /// Nothing was written: the event at this position cannot be applied, those before it can.
    Contradicted(Position),
}

/// What became of a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flipped {
    /// The new generation serves.
    Done,
    /// Nothing was changed: the serving generation has come to this position, further than the new one.
    Behind(Option<Position>),
    /// Nothing was changed: another generation serves than the one to be replaced.
    Fenced,
}

/// Which lock; one process holds it at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lock {
    /// The right to move the projection's serving generation on.
    Runner(Projection),
    /// The right to build generations of the projection.
    Rebuild(Projection),
}

/// A lock that is held until it is dropped or lost; the death of its process frees it.
#[async_trait]
pub trait Held: Send + Sync {
    /// Whether it is still held. Asked now and then: what fences writers is compare-and-set.
    async fn is_held(&mut self) -> bool;

    /// Gives it back, so that the next one can take it at once. Dropping it does so too, in its own time.
    async fn release(self: Box<Self>);
}

/// The rows of a generation as they were at one moment, while the generation may move on.
#[async_trait]
pub trait Snapshot: Send {
    /// The generation at that moment.
    fn generation(&self) -> &Generation;

    /// Rows of one of its tables after the position `after`, in position order, at most `limit`; fewer only at the end.
    async fn rows(&mut self, table: &'static Table, after: Option<Position>, limit: usize) -> Result<Vec<Row>, Error>;
}

/// The generation that a projection's pointer names, which may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    /// Its number.
    pub generation: u64,
    /// The projection's version that it was built by.
    pub version: u32,
}

/// A read store, as its writers see it.
#[async_trait]
pub trait Store: ReadStore {
    /// Makes what is missing besides generations: the folder or schema, the pointers' table.
    async fn prepare(&self) -> Result<(), Error>;

    /// Takes a lock, or answers `None` if another process or task holds it.
    async fn try_lock(&self, lock: Lock) -> Result<Option<Box<dyn Held>>, store::Error>;

    /// Which generation serves.
    async fn pointer(&self, projection: Projection) -> Result<Option<Pointer>, Error>;

    /// A generation; `None` if it is not there.
    async fn generation(&self, projection: Projection, number: u64) -> Result<Option<Generation>, Error>;

    /// All generations of a projection, by number.
    async fn generations(&self, projection: Projection) -> Result<Vec<Generation>, Error>;

    /// Makes an empty generation, [`Stage::Loading`] or [`Stage::Temporary`], with a number greater than any before.
    async fn create(&self, projection: Projection, stage: Stage, genesis: Hash) -> Result<Generation, Error>;

    /// Throws away all generations of a projection but these.
    async fn discard_except(&self, projection: Projection, keep: &[u64]) -> Result<(), Error>;

    /// Throws away these generations of a projection, and no others.
    async fn discard(&self, projection: Projection, numbers: &[u64]) -> Result<(), Error>;

    /// Writes a batch and moves the cursor from `place` to the batch's end, in one transaction. The projection is healthy
    /// afterwards. The batch must hold at least one event.
    async fn apply(&self, place: Place, batch: Batch, seen: Seen, mode: Mode) -> Result<Applied, Error>;

    /// Ends a load: indexes, checks, states. Answers the first event that cannot be applied, if there is one; else the
    /// generation is [`Stage::Ready`] (a temporary one stays temporary). Repeating it does no harm.
    async fn finish_load(&self, projection: Projection, number: u64) -> Result<Option<Position>, Error>;

    /// Notes that nothing was to be applied. Answers false, and notes nothing, if the generation is not at `place`.
    async fn confirm(&self, place: Place, seen: Seen) -> Result<bool, Error>;

    /// Makes the generation unhealthy, or healthy again with `None`. Answers false, and changes nothing, if it is not at `place`.
    async fn stop(&self, place: Place, reason: Option<&str>) -> Result<bool, Error>;

    /// Opens a snapshot of a generation.
    async fn snapshot(&self, projection: Projection, number: u64) -> Result<Box<dyn Snapshot>, Error>;

    /// Makes `to` serve instead of `from` (`None`: the projection has no pointer), whose stage becomes [`Stage::Retired`].
    /// `digest` is that of `to`, with the position at which it was taken.
    async fn flip(&self, projection: Projection, from: Option<u64>, to: u64, digest: Option<DigestAt>) -> Result<Flipped, Error>;

    /// Writes down how a rebuild stands.
    async fn record(&self, rebuild: &Rebuild) -> Result<(), Error>;

    /// Marks the rebuilds of a projection that were at work as failed. The caller holds [`Lock::Rebuild`].
    async fn fail_interrupted(&self, projection: Projection, now: Timestamp) -> Result<(), Error>;
}
