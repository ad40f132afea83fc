//! Where a log's tree and its checkpoints are kept: beside its events, in the same store.
//!
//! [`Tiles`] is what an engine must be; the suite in `tiles/contract.rs` holds every engine to it. What a tile holds is arithmetic
//! ([`crate::tree`]); what a checkpoint says is [`crate::checkpoint`]'s. [`grow`] brings the tiles up to the log: after the
//! append, in any process, any number of times, since positions are dense and events never change.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod memory;
pub mod postgres;
pub mod sqlite;

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use crate::chain::{self, Origin};
use crate::checkpoint::Checkpoint;
use crate::store::Error;
use crate::tree::growth::Edge;
use crate::tree::proof::{Question, Unanswered};
use crate::tree::tile::Tile;
use crate::tree::{Hash, TreeSize};
use crate::{LogName, Position};

/// How many events one step of [`grow`] takes: on SQLite appends wait for what it writes, so that often and short is better than
/// seldom and long.
const STEP: usize = 4096;

/// A checkpoint that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its number: dense, from 0.
    pub number: u64,
    /// The size that it was stored with.
    pub size: TreeSize,
    /// The signed note.
    pub note: String,
}

impl Published {
    /// What it says. The size that it was stored with is its own.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let corrupt = |what: &str| Error::Corrupt(format!("checkpoint {}: {what}", self.number));
        let read = Checkpoint::parse(&self.note).map_err(|_| corrupt("its note is none"))?;
        if read.head().size == self.size { Ok(read) } else { Err(corrupt("it is stored with another size")) }
    }
}

/// An engine that keeps a log's tiles and checkpoints.
///
/// What always holds, whichever process asks: a tile only grows, and what it held stays; the tiles are those of a tree of exactly
/// [`Tiles::size`] leaves; checkpoints are numbered densely and never change. What a call answered, having written it, is durable.
///
/// Nothing is opened before it is needed: a process that has no events to read can serve what else it has while this store is down.
#[async_trait]
pub trait Tiles: Send + Sync + 'static {
    /// Of which log.
    fn log(&self) -> &LogName;

    /// The log's origin.
    fn origin(&self) -> &Origin;

    /// How many events the tiles stand for.
    async fn size(&self) -> Result<TreeSize, Error>;

    /// What these tiles hold now, each in its place; `None` for one that is not there.
    async fn read(&self, tiles: &[Tile]) -> Result<Vec<Option<Bytes>>, Error>;

    /// All tiles by level and number, after `after`, at most `limit`: for the self-check.
    async fn list(&self, after: Option<Tile>, limit: usize) -> Result<Vec<(Tile, Bytes)>, Error>;

    /// The hashes of the events from this position on, at most `limit`.
    async fn event_hashes(&self, from: Position, limit: usize) -> Result<Vec<chain::Hash>, Error>;

    /// Writes tiles that changed when the tree grew from one size to another, in one transaction; false, and nothing written, when
    /// the tree no longer has the first size.
    async fn write(&self, from: TreeSize, to: TreeSize, tiles: &BTreeMap<Tile, Vec<u8>>) -> Result<bool, Error>;

    /// Adds a checkpoint; false, and nothing added, when its number is not the next.
    async fn publish(&self, checkpoint: &Published) -> Result<bool, Error>;

    /// The newest checkpoint.
    async fn latest(&self) -> Result<Option<Published>, Error>;

    /// Checkpoints from this number on, in their order, at most `limit`.
    async fn checkpoints(&self, from: u64, limit: usize) -> Result<Vec<Published>, Error>;
}

/// Brings the tiles up to the log and answers how many events they stand for. `edge` is kept from one call to the next, so that it need not be
/// read again; [`None`] at first. Others may do the same at the same time.
///
/// # Errors
/// The store's; [`Error::Corrupt`] when the tiles are not whole.
pub async fn grow(tiles: &dyn Tiles, edge: &mut Option<Edge>) -> Result<TreeSize, Error> {
    loop {
        let mut growing = match edge.take() {
            Some(edge) => edge,
            None => load(tiles).await?,
        };
        let from = growing.size();
        let events = tiles.event_hashes(Position(from.0), STEP).await?;
        if events.is_empty() {
            *edge = Some(growing);
            return Ok(from);
        }
        let changed = growing.grow(&events);
        // Where another was quicker, what it wrote is read.
        if tiles.write(from, growing.size(), &changed).await? {
            let is_end = events.len() < STEP;
            let size = growing.size();
            *edge = Some(growing);
            if is_end {
                return Ok(size);
            }
        }
    }
}

async fn load(tiles: &dyn Tiles) -> Result<Edge, Error> {
    let size = tiles.size().await?;
    let stored = tiles.read(&Tile::growing(size)).await?;
    Edge::load(size, &stored).map_err(|missing| Error::Corrupt(missing.to_string()))
}

/// Asks the tree.
///
/// # Errors
/// The store's; [`Error::Corrupt`] when a tile that the answer needs is not there, as when more is asked than the tree has.
pub async fn ask(tiles: &dyn Tiles, question: Question) -> Result<Vec<Hash>, Error> {
    let beyond = |unanswered: Unanswered| Error::Corrupt(format!("{question:?} of the tree of {}: {unanswered}", tiles.log()));
    let needed = question.tiles().map_err(beyond)?;
    let stored = tiles.read(&needed).await?;
    let held: BTreeMap<Tile, Bytes> = needed.into_iter().zip(stored).filter_map(|(tile, held)| Some((tile, held?))).collect();
    question.answer(&held).map_err(beyond)
}

/// The root that the tree had at this size, which it has reached.
///
/// # Errors
/// As [`ask`].
pub async fn root(tiles: &dyn Tiles, size: TreeSize) -> Result<Hash, Error> {
    let answer = ask(tiles, Question::Root(size)).await?;
    answer.first().copied().ok_or_else(|| Error::Corrupt(format!("the tree of {} has no root", tiles.log())))
}
