//! How large the stored tree is: what its row says, or what its tiles say where they agree on something else.

use crate::causes;
use crate::store::Error;
use crate::tiles::Tiles;
use crate::tree::TreeSize;
use crate::tree::tile::{HASH_LENGTH, Level, Tile, WIDTH};

/// What a tree that grows meanwhile is read for, until it stands still for a moment.
const TRIES: usize = 5;

/// How many events the tree stands for.
pub(super) struct Told {
    /// `None` if nothing can be told.
    pub(super) size: Option<TreeSize>,
    /// What is wrong with it.
    pub(super) wrong: Option<String>,
}

/// Of three that tell the size - the row, the entries and the leaves - one may be wrong.
pub(super) async fn told(tiles: &dyn Tiles) -> Result<Told, Error> {
    let mut row = match read(tiles).await? {
        Err(what) => return Ok(Told { size: None, wrong: Some(what) }),
        Ok(row) => row,
    };
    for _ in 0..TRIES {
        let hint = row.as_ref().map_or(TreeSize::EMPTY, |size| *size);
        let (entries, leaves) = (held(tiles, Level::Entries, hint).await?, held(tiles, Level::Hashes(0), hint).await?);
        if let Ok(size) = row
            && [entries, leaves].contains(&Some(size))
        {
            return Ok(Told { size: Some(size), wrong: None });
        }
        let before = std::mem::replace(&mut row, read(tiles).await?.unwrap_or_else(Err));
        if before == row {
            let agreed = entries.filter(|_| entries == leaves);
            let wrong = match (&row, agreed) {
                (Err(what), _) => Some(what.clone()),
                (Ok(size), Some(held)) => Some(format!("its row says that it stands for {size} events, its tiles hold {held}")),
                // What is wrong with the tiles is told of them.
                (Ok(_), None) => None,
            };
            return Ok(Told { size: agreed.or(row.ok()), wrong });
        }
    }
    Ok(Told { size: row.ok(), wrong: None })
}

/// What the row says, or why it says nothing; outside that, why nothing can be read of the tree at all.
async fn read(tiles: &dyn Tiles) -> Result<Result<Result<TreeSize, String>, String>, Error> {
    match tiles.size().await {
        Ok(size) => Ok(Ok(Ok(size))),
        Err(Error::Corrupt(what)) => Ok(Ok(Err(what))),
        // The log could be opened and its events be read: what is wrong is the table.
        Err(wrong @ (Error::NotMigrated | Error::Failed(_))) => Ok(Err(format!("it cannot be read: {}", causes(&wrong)))),
        Err(failed) => Err(failed),
    }
}

/// How many hashes the tiles of a level hold, if each but the last is full. Looks first whether it is as many as it should be.
async fn held(tiles: &dyn Tiles, level: Level, hint: TreeSize) -> Result<Option<TreeSize>, Error> {
    let width = async |index: u64| -> Result<Option<usize>, Error> {
        match tiles.read(&[Tile { level, index }]).await {
            Ok(stored) => Ok(stored.first().and_then(Option::as_ref).map(|held| held.len() / HASH_LENGTH)),
            Err(Error::Corrupt(_) | Error::NotMigrated | Error::Failed(_)) => Ok(None),
            Err(failed) => Err(failed),
        }
    };
    let full = WIDTH as u64;
    let (last, within) = (hint.0 / full, hint.0 % full);
    let as_it_should = width(last).await?.unwrap_or(0) as u64 == within
        && width(last + 1).await?.is_none()
        && (last == 0 || width(last - 1).await? == Some(WIDTH));
    if as_it_should {
        return Ok(Some(hint));
    }
    // The number of the first that is not there.
    let (mut low, mut high) = (0, 1);
    while high < TreeSize::MAX.0 / full && width(high - 1).await?.is_some() {
        (low, high) = (high, high * 2);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if width(middle).await?.is_some() { low = middle + 1 } else { high = middle }
    }
    match low.checked_sub(1) {
        None => Ok(Some(TreeSize::EMPTY)),
        Some(last) => Ok(width(last).await?.map(|width| TreeSize(last * full + width as u64))),
    }
}
