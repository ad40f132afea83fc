//! A log into a file.

use std::collections::VecDeque;
use std::io::Write;

use super::{PAGE, checkpoints};
use crate::Position;
use crate::export::{Checkpoint, Footer, WriteError, Writer};
use crate::log::{Log, Query};
use crate::store;
use crate::tiles::Tiles;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log does not hold together, or the file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Writes the log as it is now, and gives the sink back. `progress` gets how many events of how many are written.
///
/// # Errors
/// What has been written then is no export.
pub async fn export<W: Write>(
    log: &dyn Log,
    tiles: &dyn Tiles,
    sink: W,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<(W, Footer), ExportError> {
    let head = log.head().await?;
    let mut writer = Writer::begin(sink, log.name(), log.origin())?;
    let mut due = Due { tiles, size: head.size, next: 0, held: VecDeque::new(), is_over: false };
    due.write(&mut writer, 0).await?;
    let mut next = 0;
    while next < head.size {
        let events = log.read(&Query { to: Some(Position(head.size - 1)), ..Query::from(Position(next), PAGE) }).await?;
        if events.is_empty() {
            return Err(store::Error::Corrupt(format!("{} is missing", log.name().at(Position(next)))).into());
        }
        for event in &events {
            writer.event(event)?;
            due.write(&mut writer, event.position.0 + 1).await?;
        }
        next += events.len() as u64;
        progress(next, head.size);
    }
    let (sink, footer) = writer.finish()?;
    if *footer.chain_hash != head.chain_hash.0 {
        return Err(store::Error::Corrupt(format!("the head of {} is not what its last event says", log.name())).into());
    }
    Ok((sink, footer))
}

/// The checkpoints that have not been written, a page at a time.
struct Due<'a> {
    tiles: &'a dyn Tiles,
    size: u64,
    next: u64,
    held: VecDeque<Checkpoint>,
    is_over: bool,
}

impl Due<'_> {
    /// Writes those of `size` events.
    async fn write<W: Write>(&mut self, writer: &mut Writer<W>, size: u64) -> Result<(), ExportError> {
        loop {
            if self.held.is_empty() && !self.is_over {
                self.held = checkpoints::read(self.tiles, self.next, self.size).await?.into();
                self.next += self.held.len() as u64;
                self.is_over = self.held.is_empty();
            }
            if self.held.front().is_none_or(|next| next.size > size) {
                return Ok(());
            }
            if let Some(checkpoint) = self.held.pop_front() {
                writer.checkpoint(&checkpoint)?;
            }
        }
    }
}
