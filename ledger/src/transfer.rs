//! Moves a log into a file, out of a file, and from store to store: same positions, same hashes, same times.
//!
//! What is moved is checked on the way, event by event, and the target takes a batch only where it ends just before it. So a move
//! that is interrupted is gone on with by doing it again: what is there is recognised by its chain hash, and a log that goes
//! another way is left alone.

mod checkpoints;
mod copy;
mod export;
mod import;
#[cfg(test)]
mod tests;

pub use copy::{Copied, copy, require_room};
pub use export::{ExportError, export};
pub use import::{Verified, import, verify};

use std::sync::Arc;

use crate::chain::Hash;
use crate::export::ReadError;
use crate::log::{Head, Restore, RestoreError};
use crate::tiles::Tiles;
use crate::{LogName, Position, store};

/// A log of one store, with its tree and checkpoints.
#[derive(Clone)]
pub struct Kept {
    /// Its events.
    pub log: Arc<dyn Restore>,
    /// Its tree and checkpoints.
    pub tiles: Arc<dyn Tiles>,
}

/// How many events are read, and written, at a time.
const PAGE: usize = 1000;

/// How many bytes of events are written at a time, give or take the last event.
const PAGE_BYTES: usize = 8 << 20;

/// Why a log was not filled, or not to its end. What has been written is a beginning of what was to be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file does not hold, or cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The target holds events that are not those at the same positions of the source.
    #[error("the log that is there is another one: its events up to {log}@{position} are not those that would be written")]
    Different {
        /// The log.
        log: LogName,
        /// The target's last event.
        position: Position,
    },
    /// The target holds more than the source.
    #[error("the log that is there goes on beyond what would be written: it has {held} events, not {size}")]
    Longer {
        /// How many the target holds.
        held: u64,
        /// How many the source holds.
        size: u64,
    },
    /// The target was appended to meanwhile, or an event does not follow from what the target holds.
    #[error("{0} was not written")]
    Restore(String, #[source] RestoreError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Whether what `held` ends is a beginning of a source of `size` events, whose chain hash at that end is `theirs`.
fn require_beginning(log: &LogName, held: &Head, size: u64, theirs: Option<Hash>) -> Result<(), Error> {
    match held.last() {
        None => Ok(()),
        Some(_) if held.size > size => Err(Error::Longer { held: held.size, size }),
        Some(_) if theirs == Some(held.chain_hash) => Ok(()),
        Some(position) => Err(Error::Different { log: log.clone(), position }),
    }
}
