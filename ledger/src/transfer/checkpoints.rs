//! A log's checkpoints, as they are moved with it.

use super::PAGE;
use crate::export::Checkpoint;
use crate::store::Error;
use crate::tiles::{self, Published, Tiles};
use crate::tree::TreeSize;

/// The checkpoints of sizes up to `size`, in order, from the `from`th on, at most a page; none when there are no more.
pub(super) async fn read(tiles: &dyn Tiles, from: u64, size: u64) -> Result<Vec<Checkpoint>, Error> {
    let page = tiles.checkpoints(from, PAGE).await?;
    let covered = page.into_iter().take_while(|published| published.size.0 <= size);
    Ok(covered.map(|published| Checkpoint { note: published.note, size: published.size.0 }).collect())
}

/// Keeps checkpoints, in order, the first of which is the `from`th. Those that are there must be the same.
pub(super) async fn write(tiles: &dyn Tiles, from: u64, checkpoints: &[Checkpoint]) -> Result<(), Error> {
    if checkpoints.is_empty() {
        return Ok(());
    }
    // As where they were made: no checkpoint is of more than the tree has.
    grow(tiles).await?;
    let held = tiles.checkpoints(from, checkpoints.len()).await?;
    for (number, Checkpoint { note, size }) in (from..).zip(checkpoints) {
        let published = Published { number, size: TreeSize(*size), note: note.clone() };
        let is_there = held.iter().find(|held| held.number == number).map(|held| *held == published);
        let is_kept = match is_there {
            Some(same) => same,
            None => tiles.publish(&published).await?,
        };
        if !is_kept {
            let what = format!("checkpoint {number} of {} is another one than that of {size} events that would be written", tiles.log());
            return Err(Error::Corrupt(what));
        }
    }
    Ok(())
}

/// Lets the tree grow to the log, so that whoever opens it finds it whole.
pub(super) async fn grow(tiles: &dyn Tiles) -> Result<(), Error> {
    tiles::grow(tiles, &mut None).await.map(drop)
}
