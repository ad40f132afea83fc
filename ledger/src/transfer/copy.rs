//! A log from one store to another, with what makes a repeat recognised.

use super::import::restore;
use super::{Error, Kept, PAGE, checkpoints, require_beginning};
use crate::Position;
use crate::chain::Hash;
use crate::event::Recorded;
use crate::log::{Head, Log, Query, Restore};
use crate::tiles::Tiles;

/// How far two logs are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// How many events both have.
    pub size: u64,
    /// The chain hash of the last of them.
    pub chain_hash: Hash,
}

/// Brings `to` to where `from` is now. Idempotency rows of events before `known`, which an earlier call brought, are left out.
/// `progress` gets how many events of how many are there.
///
/// # Errors
/// `to` is no beginning of `from`, `from` does not hold together, or a store failed.
pub async fn copy(from: &Kept, to: &Kept, known: u64, progress: &mut (dyn FnMut(u64, u64) + Send)) -> Result<Copied, Error> {
    let (Kept { log: from, tiles }, Kept { log: to, tiles: their_tiles }) = (from, to);
    let (from, to) = (&**from, &**to);
    let (source, held) = heads(from, to).await?;
    let mut next = page(from, held.size, &source).await?;
    while !next.is_empty() {
        let end = next.last().map_or(source.size, |last| last.position.0 + 1);
        // The next page is read while this one is written.
        let (after, written) = tokio::join!(page(from, end, &source), restore(to, next));
        written?;
        next = after?;
        progress(end, source.size);
    }
    copy_checkpoints(&**tiles, &**their_tiles, source.size).await?;
    checkpoints::grow(&**their_tiles).await?;
    remember(from, to, known, source.size).await?;
    let end = to.head().await?;
    // A source that does not hold together has been found on the way, unless its end is missing or its head is another one.
    if (end.size, end.chain_hash) != (source.size, source.chain_hash) {
        let what = format!("the copy of {} ends at {} events, its head says {}", from.name(), end.size, source.size);
        return Err(crate::store::Error::Corrupt(what).into());
    }
    Ok(Copied { size: end.size, chain_hash: end.chain_hash })
}

/// Whether `to` is a beginning of `from`, so that [`copy`] would go on from its end.
///
/// # Errors
/// It is none; a store failed.
pub async fn require_room(from: &dyn Log, to: &dyn Log) -> Result<(), Error> {
    heads(from, to).await.map(drop)
}

/// Where both logs end, the one being a beginning of the other.
async fn heads(from: &dyn Log, to: &dyn Log) -> Result<(Head, Head), Error> {
    let (source, held) = (from.head().await?, to.head().await?);
    let theirs = match held.last() {
        Some(last) => from.read_at(&[last]).await?.first().map(|event| event.chain_hash),
        None => None,
    };
    require_beginning(from.name(), &held, source.size, theirs)?;
    Ok((source, held))
}

async fn page(from: &dyn Log, next: u64, source: &Head) -> Result<Vec<Recorded>, Error> {
    match source.last() {
        Some(last) if next <= last.0 => Ok(from.read(&Query { to: Some(last), ..Query::from(Position(next), PAGE) }).await?),
        _ => Ok(Vec::new()),
    }
}

async fn copy_checkpoints(from: &dyn Tiles, to: &dyn Tiles, size: u64) -> Result<(), Error> {
    let mut next = 0;
    loop {
        let page = checkpoints::read(from, next, size).await?;
        if page.is_empty() {
            return Ok(());
        }
        checkpoints::write(to, next, &page).await?;
        next += page.len() as u64;
    }
}

/// Rows of events that have not been copied, or were before, are left out.
async fn remember(from: &dyn Restore, to: &dyn Restore, known: u64, size: u64) -> Result<(), Error> {
    let mut after = None;
    loop {
        let page = from.remembered(after.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        after = page.last().cloned();
        let rows: Vec<_> = page.into_iter().filter(|(_, row)| (known..size).contains(&row.position.0)).collect();
        if !rows.is_empty() {
            to.remember(rows).await?;
        }
        if is_last {
            return Ok(());
        }
    }
}
