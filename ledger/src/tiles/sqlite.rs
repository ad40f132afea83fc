//! Tiles and checkpoints on SQLite: in the log's file, which must be there.
//!
//! What is written is worked out before the write lock is taken, and written only if the tree still has the size that it was
//! worked out for: whoever appends waits for no more than the writing of a few tiles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use tokio::sync::OnceCell;

use super::{Published, Tiles};
use crate::chain::{self, Origin};
use crate::log;
use crate::store::Error;
use crate::store::sqlite::rows::{all, at_most, column, execute, integer, one, statements};
use crate::store::sqlite::{self as store, Access, Durability, OpenFile, Options, Shared};
use crate::tree::TreeSize;
use crate::tree::tile::{Level, Tile};
use crate::{LogName, Position};

const WRITER: Options = Options { access: Access::Existing, durability: Durability::Durable, cache_kib: 2 * 1024 };
const READER: Options = Options { access: Access::ReadOnly, durability: Durability::Durable, cache_kib: 2 * 1024 };

/// Tiles in a log's file.
pub struct Sqlite {
    log: LogName,
    origin: Origin,
    path: PathBuf,
    reader: OnceCell<Open>,
    writer: OnceCell<Open>,
}

#[derive(Clone)]
struct Open {
    connection: Shared,
    file: OpenFile,
}

impl Sqlite {
    /// Those of the log in `folder`, which has this origin.
    #[must_use]
    pub fn new(folder: &Path, log: LogName, origin: Origin) -> Sqlite {
        let path = log::sqlite::path(folder, &log);
        Sqlite { log, origin, path, reader: OnceCell::new(), writer: OnceCell::new() }
    }

    async fn on<T, F>(&self, cell: &OnceCell<Open>, options: Options, work: F) -> Result<T, Error>
    where
        F: FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let open = || async {
            let connection = store::connect(&self.path, options).await?;
            store::call(&connection, |connection| store::require_current(connection, &log::sqlite::migrations())).await?;
            Ok(Open { connection, file: OpenFile::at(&self.path)? })
        };
        let Open { connection, file } = cell.get_or_try_init(open).await?.clone();
        let work = move |connection: &mut Connection| {
            file.require()?;
            work(connection)
        };
        store::call(&connection, work).await
    }

    async fn reading<T, F>(&self, work: F) -> Result<T, Error>
    where
        F: FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        self.on(&self.reader, READER, work).await
    }
}

#[async_trait]
impl Tiles for Sqlite {
    fn log(&self) -> &LogName {
        &self.log
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    async fn size(&self) -> Result<TreeSize, Error> {
        self.reading(|connection| one(connection, sql::SELECT_TREE, [], |row| column(row, 0).map(TreeSize))).await?.ok_or_else(no_tree)
    }

    async fn read(&self, tiles: &[Tile]) -> Result<Vec<Option<Bytes>>, Error> {
        let tiles = tiles.to_vec();
        let read = move |connection: &mut Connection| {
            // One snapshot: a tile and the one that its root stands in are of one time.
            let snapshot = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Deferred).map_err(store::error)?;
            let tile =
                |tile: Tile| one(&snapshot, sql::SELECT_TILE, params![tile.level.stored(), integer(tile.index)], |row| hashes(row, 0));
            tiles.into_iter().map(tile).collect()
        };
        self.reading(read).await
    }

    async fn list(&self, after: Option<Tile>, limit: usize) -> Result<Vec<(Tile, Bytes)>, Error> {
        // No level is as low.
        let after = after.map_or((i16::MIN, 0), |tile| (tile.level.stored(), integer(tile.index)));
        let tile = |row: &Row<'_>| {
            let stored = column(row, 0)?;
            let level = Level::from_stored(stored).ok_or_else(|| Error::Corrupt(format!("tiles: there is no level {stored}")))?;
            Ok((Tile { level, index: column(row, 1)? }, hashes(row, 2)?))
        };
        self.reading(move |connection| all(connection, sql::SELECT_TILES, params![after.0, after.1, at_most(limit)], tile)).await
    }

    async fn event_hashes(&self, from: Position, limit: usize) -> Result<Vec<chain::Hash>, Error> {
        let hash = |row: &Row<'_>| Ok((column(row, 0)?, chain::Hash(column(row, 1)?)));
        let read =
            move |connection: &mut Connection| all(connection, sql::SELECT_EVENT_HASHES, params![integer(from.0), at_most(limit)], hash);
        dense(from, self.reading(read).await?)
    }

    async fn write(&self, from: TreeSize, to: TreeSize, tiles: &BTreeMap<Tile, Vec<u8>>) -> Result<bool, Error> {
        let tiles = tiles.clone();
        let write = move |connection: &mut Connection| {
            let transaction = connection.transaction().map_err(store::error)?;
            if execute(&transaction, sql::UPDATE_TREE, params![integer(from.0), integer(to.0)])? == 0 {
                return Ok(false);
            }
            for (tile, held) in tiles {
                execute(&transaction, sql::UPSERT_TILE, params![tile.level.stored(), integer(tile.index), held])?;
            }
            transaction.commit().map_err(store::error)?;
            Ok(true)
        };
        self.on(&self.writer, WRITER, write).await
    }

    async fn publish(&self, checkpoint: &Published) -> Result<bool, Error> {
        let Published { number: next, size, note } = checkpoint.clone();
        let publish = move |connection: &mut Connection| {
            let transaction = connection.transaction().map_err(store::error)?;
            let latest = one(&transaction, sql::SELECT_LAST_CHECKPOINT, [], published)?;
            if next != latest.map_or(0, |latest| latest.number + 1) {
                return Ok(false);
            }
            execute(&transaction, sql::INSERT_CHECKPOINT, params![integer(next), integer(size.0), note])?;
            transaction.commit().map_err(store::error)?;
            Ok(true)
        };
        self.on(&self.writer, WRITER, publish).await
    }

    async fn latest(&self) -> Result<Option<Published>, Error> {
        self.reading(|connection| one(connection, sql::SELECT_LAST_CHECKPOINT, [], published)).await
    }

    async fn checkpoints(&self, from: u64, limit: usize) -> Result<Vec<Published>, Error> {
        let bounds = (integer(from), at_most(limit));
        self.reading(move |connection| all(connection, sql::SELECT_CHECKPOINTS, params![bounds.0, bounds.1], published)).await
    }
}

/// The hashes of rows that must follow one another from this position on.
pub(super) fn dense(from: Position, rows: Vec<(u64, chain::Hash)>) -> Result<Vec<chain::Hash>, Error> {
    let hash = |(expected, (position, hash)): (u64, (u64, chain::Hash))| {
        if position == expected { Ok(hash) } else { Err(Error::Corrupt(format!("position {expected} is missing"))) }
    };
    (from.0..).zip(rows).map(hash).collect()
}

pub(super) fn no_tree() -> Error {
    Error::Corrupt("tree: the row is missing".to_owned())
}

fn published(row: &Row<'_>) -> Result<Published, Error> {
    Ok(Published { number: column(row, 0)?, size: TreeSize(column(row, 1)?), note: column(row, 2)? })
}

fn hashes(row: &Row<'_>, at: usize) -> Result<Bytes, Error> {
    column::<Vec<u8>>(row, at).map(Bytes::from)
}

/// The statements, one a file.
mod sql {
    super::statements! { "tiles":
        INSERT_CHECKPOINT = "insert_checkpoint",
        SELECT_CHECKPOINTS = "select_checkpoints",
        SELECT_EVENT_HASHES = "select_event_hashes",
        SELECT_LAST_CHECKPOINT = "select_last_checkpoint",
        SELECT_TILE = "select_tile",
        SELECT_TILES = "select_tiles",
        SELECT_TREE = "select_tree",
        UPDATE_TREE = "update_tree",
        UPSERT_TILE = "upsert_tile",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::log::Log;
    use crate::tiles::contract::{Fixture, append};
    use crate::tiles_contract;

    struct Folder(tempfile::TempDir);

    #[async_trait]
    impl Fixture for Folder {
        async fn log(&self) -> Arc<dyn Log> {
            let clock = Arc::new(ManualClock::at(crate::Timestamp::from_micros(1)));
            Arc::new(log::sqlite::Sqlite::open(self.0.path(), LogName::LEDGER, "log.example", clock).await.unwrap())
        }

        async fn open(&self) -> Arc<dyn Tiles> {
            self.log().await;
            Arc::new(Sqlite::new(self.0.path(), LogName::LEDGER, Origin::new("log.example", &LogName::LEDGER)))
        }
    }

    async fn fresh() -> Folder {
        Folder(tempfile::TempDir::new().unwrap())
    }

    tiles_contract!(fresh);

    #[tokio::test]
    async fn tiles_and_checkpoints_stay_whoever_writes_to_the_file() {
        let folder = fresh().await;
        let tiles = folder.open().await;
        append(&*folder.log().await, 3).await;
        super::super::grow(&*tiles, &mut None).await.unwrap();
        tiles.publish(&Published { number: 0, size: TreeSize(3), note: "a note".to_owned() }).await.unwrap();
        let raw = rusqlite::Connection::open(folder.0.path().join("ledger.sqlite")).unwrap();
        for statement in [
            "update tiles set hashes = zeroblob(128)",
            "update tiles set hashes = substr(hashes, 1, 32)",
            "delete from tiles",
            "update checkpoints set note = 'x'",
            "delete from checkpoints",
            "insert or replace into checkpoints values (0, 3, 'x')",
            "insert into checkpoints values (2, 3, 'x')",
        ] {
            let refused = raw.execute(statement, []).unwrap_err().to_string();
            assert!(refused.contains("never") || refused.contains("dense"), "{statement}: {refused}");
        }
    }

    #[tokio::test]
    async fn every_statement_prepares_and_none_scans_what_grows() {
        let folder = fresh().await;
        folder.log().await;
        let raw = rusqlite::Connection::open(folder.0.path().join("ledger.sqlite")).unwrap();
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/sqlite/tiles")).unwrap();
        assert_eq!(files.count(), sql::ALL.len());
        for (name, text) in sql::ALL {
            let mut statement = raw.prepare(&format!("explain query plan {text}")).unwrap_or_else(|failed| panic!("{name}: {failed}"));
            let nulls = vec![rusqlite::types::Null; statement.parameter_count()];
            let plan: Vec<String> =
                statement.query_map(rusqlite::params_from_iter(nulls), |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            let newest_first = *name == "select_last_checkpoint";
            assert!(newest_first || !plan.iter().any(|step| step.starts_with("SCAN") || step.contains("TEMP B-TREE")), "{name}: {plan:?}");
        }
    }
}
