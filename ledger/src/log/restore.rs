//! Writing what another log recorded: exactly as it is, batch by batch, each one durable transaction.
//!
//! It is how a log moves from one engine to another and comes back from a file. What appends to a log holds a [`Log`] and cannot do it.

use async_trait::async_trait;

use super::{Log, claimed, releases};
use crate::Stream;
use crate::event::Recorded;
use crate::planner::{Remembered, Restored, Unfit};
use crate::store::Error;

/// Why events were not written.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// They do not go on from the log as it is. Nothing was written.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The store failed. The batch is in the log or not; its head tells which, and either way one can go on from there.
    #[error(transparent)]
    Store(#[from] Error),
}

/// An engine whose log can be filled with what another log recorded.
#[async_trait]
pub trait Restore: Log {
    /// Commits events as they were recorded, with the unique keys that follow from them, in one durable transaction.
    ///
    /// They are written only where the log ends just before them, by position and by chain hash, under the lock that appends take:
    /// whoever else has appended is noticed, and nothing is written.
    async fn restore(&self, batch: Restored) -> Result<(), RestoreError>;

    /// Idempotency rows, oldest first and by key among those of one time, after `after`, at most `limit` and fewer only if there
    /// are no more. Rows that are forgotten meanwhile can bring others a second time.
    async fn remembered(&self, after: Option<&([u8; 32], Remembered)>, limit: usize) -> Result<Vec<([u8; 32], Remembered)>, Error>;

    /// Keeps idempotency rows of another log, so that a repeat is recognised here, too; handed in oldest first. Those that are
    /// there are replaced.
    async fn remember(&self, rows: Vec<([u8; 32], Remembered)>) -> Result<(), Error>;
}

impl Restored {
    /// Looks up in `log`, into which everything before `events` has been written, what is needed to release keys.
    ///
    /// # Errors
    /// The store failed.
    pub async fn into(log: &dyn Log, events: Vec<Recorded>) -> Result<Restored, Error> {
        let streams: Vec<Stream> = events.iter().filter(|event| releases(event)).map(|event| event.stream.clone()).collect();
        let first = if streams.is_empty() { Vec::new() } else { log.read_first(&streams).await? };
        // One whose payload cannot be read was refused when it was to be written.
        let claims = first.into_iter().filter_map(|event| Some((event.stream.clone(), claimed(&event).ok()??)));
        Ok(Restored { released: claims.collect(), events })
    }
}
