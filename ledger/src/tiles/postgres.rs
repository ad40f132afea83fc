//! Tiles and checkpoints on PostgreSQL: in the log's schema, which must be there.
//!
//! The tree's row serialises those who write tiles, however many processes there are; appends never wait for it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::postgres::PgPool;

use super::sqlite::{dense, no_tree};
use super::{Published, Tiles};
use crate::chain::{self, Origin};
use crate::store::Error;
use crate::store::postgres::{Durability, Sessions, bounded};
use crate::tree::TreeSize;
use crate::tree::tile::{Level, Tile};
use crate::{LogName, Position};

const SESSIONS_MAX: u32 = 3;

/// Tiles in a log's schema.
pub struct Postgres {
    log: LogName,
    origin: Origin,
    pool: PgPool,
}

impl Postgres {
    /// Those of the log `log`, which has this origin.
    ///
    /// # Errors
    /// The URL is malformed.
    pub fn new(url: &str, log: LogName, origin: Origin, durability: Durability) -> Result<Postgres, Error> {
        let sessions = Sessions::new(url, crate::log::postgres::schema(&log), durability)?.by_index();
        Ok(Postgres { log, origin, pool: sessions.lazy_pool(SESSIONS_MAX) })
    }
}

#[async_trait]
impl Tiles for Postgres {
    fn log(&self) -> &LogName {
        &self.log
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    async fn size(&self) -> Result<TreeSize, Error> {
        let statement = sqlx::query_scalar(include_str!("../../sql/postgres/tiles/tree.sql"));
        let size: Option<i64> = bounded(statement.fetch_optional(&self.pool)).await?;
        unsigned("tree", size.ok_or_else(no_tree)?).map(TreeSize)
    }

    async fn read(&self, tiles: &[Tile]) -> Result<Vec<Option<Bytes>>, Error> {
        let (levels, numbers): (Vec<i16>, Vec<i64>) = tiles.iter().map(|tile| (tile.level.stored(), signed(tile.index))).unzip();
        let statement = sqlx::query_as(include_str!("../../sql/postgres/tiles/read.sql")).bind(levels).bind(numbers);
        let rows: Vec<(i16, i64, Vec<u8>)> = bounded(statement.fetch_all(&self.pool)).await?;
        let held: BTreeMap<Tile, Bytes> = rows.into_iter().map(tile).collect::<Result<_, _>>()?;
        Ok(tiles.iter().map(|tile| held.get(tile).cloned()).collect())
    }

    async fn list(&self, after: Option<Tile>, limit: usize) -> Result<Vec<(Tile, Bytes)>, Error> {
        // No level is as low.
        let (level, number) = after.map_or((i16::MIN, 0), |tile| (tile.level.stored(), signed(tile.index)));
        let statement = sqlx::query_as(include_str!("../../sql/postgres/tiles/list.sql")).bind(level).bind(number).bind(count(limit));
        let rows: Vec<(i16, i64, Vec<u8>)> = bounded(statement.fetch_all(&self.pool)).await?;
        rows.into_iter().map(tile).collect()
    }

    async fn event_hashes(&self, from: Position, limit: usize) -> Result<Vec<chain::Hash>, Error> {
        let statement = sqlx::query_as(include_str!("../../sql/postgres/tiles/event_hashes.sql"));
        let statement = statement.bind(signed(from.0)).bind(count(limit));
        let (positions, hashes): (Vec<i64>, Vec<Vec<u8>>) = bounded(statement.fetch_one(&self.pool)).await?;
        let row = |(position, hash): (i64, Vec<u8>)| {
            let corrupt = || Error::Corrupt(format!("position {position}: the event's hash has another length"));
            Ok((unsigned("position", position)?, chain::Hash::from_slice(&hash).ok_or_else(corrupt)?))
        };
        dense(from, positions.into_iter().zip(hashes).map(row).collect::<Result<_, Error>>()?)
    }

    async fn write(&self, from: TreeSize, to: TreeSize, tiles: &BTreeMap<Tile, Vec<u8>>) -> Result<bool, Error> {
        let (mut levels, mut numbers, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for (tile, held) in tiles {
            levels.push(tile.level.stored());
            numbers.push(signed(tile.index));
            hashes.push(held.as_slice());
        }
        let mut transaction = bounded(self.pool.begin()).await?;
        let grown = sqlx::query(include_str!("../../sql/postgres/tiles/grow.sql")).bind(signed(from.0)).bind(signed(to.0));
        if bounded(grown.execute(&mut *transaction)).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let write = sqlx::query(include_str!("../../sql/postgres/tiles/write.sql")).bind(levels).bind(numbers).bind(hashes);
        bounded(write.execute(&mut *transaction)).await?;
        bounded(transaction.commit()).await?;
        Ok(true)
    }

    async fn publish(&self, checkpoint: &Published) -> Result<bool, Error> {
        let statement = sqlx::query(include_str!("../../sql/postgres/tiles/publish.sql"));
        let statement = statement.bind(signed(checkpoint.number)).bind(signed(checkpoint.size.0)).bind(&checkpoint.note);
        Ok(bounded(statement.execute(&self.pool)).await?.rows_affected() == 1)
    }

    async fn latest(&self) -> Result<Option<Published>, Error> {
        let statement = sqlx::query_as(include_str!("../../sql/postgres/tiles/last_checkpoint.sql"));
        bounded(statement.fetch_optional(&self.pool)).await?.map(published).transpose()
    }

    async fn checkpoints(&self, from: u64, limit: usize) -> Result<Vec<Published>, Error> {
        let statement = sqlx::query_as(include_str!("../../sql/postgres/tiles/checkpoints.sql")).bind(signed(from)).bind(count(limit));
        bounded(statement.fetch_all(&self.pool)).await?.into_iter().map(published).collect()
    }
}

fn tile((level, number, hashes): (i16, i64, Vec<u8>)) -> Result<(Tile, Bytes), Error> {
    let corrupt = || Error::Corrupt(format!("tiles: there is no level {level}"));
    let level = Level::from_stored(level).ok_or_else(corrupt)?;
    Ok((Tile { level, index: unsigned("tiles", number)? }, hashes.into()))
}

fn published((number, size, note): (i64, i64, String)) -> Result<Published, Error> {
    Ok(Published { number: unsigned("checkpoints", number)?, size: TreeSize(unsigned("checkpoints", size)?), note })
}

/// No event, tile or checkpoint lies beyond what the server's integers hold.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn unsigned(what: &str, number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::Corrupt(format!("{what}: {number} is less than nothing")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::log::Log;
    use crate::testing::postgres::{Database, prepare_all};
    use crate::tiles::contract::{Fixture, append};
    use crate::tiles_contract;

    #[async_trait]
    impl Fixture for Database {
        async fn log(&self) -> Arc<dyn Log> {
            let base = Some("log.example");
            Arc::new(crate::log::postgres::Postgres::open(&self.url, LogName::LEDGER, base, None, Durability::Durable).await.unwrap())
        }

        async fn open(&self) -> Arc<dyn Tiles> {
            self.log().await;
            let origin = Origin::new("log.example", &LogName::LEDGER);
            Arc::new(Postgres::new(&self.url, LogName::LEDGER, origin, Durability::Durable).unwrap())
        }
    }

    tiles_contract!(Database::create);

    #[tokio::test]
    async fn every_statement_is_one_that_postgres_takes() {
        let database = Database::create().await;
        database.log().await;
        prepare_all(&database.url, "ledger", "tiles").await;
    }

    #[tokio::test]
    async fn tiles_and_checkpoints_stay_even_to_their_owner() {
        let database = Database::create().await;
        let tiles = database.open().await;
        append(&*database.log().await, 3).await;
        super::super::grow(&*tiles, &mut None).await.unwrap();
        tiles.publish(&Published { number: 0, size: TreeSize(3), note: "a note".to_owned() }).await.unwrap();
        for statement in [
            "update ledger.tiles set hashes = decode(repeat('00', 128), 'hex')",
            "update ledger.tiles set hashes = substr(hashes, 1, 32)",
            "delete from ledger.tiles",
            "truncate ledger.tiles",
            "update ledger.checkpoints set note = 'x'",
            "delete from ledger.checkpoints",
            "truncate ledger.checkpoints",
        ] {
            let mut session =
                crate::store::postgres::connect(&database.url, "ledger", Durability::Durable).await.unwrap().acquire().await.unwrap();
            let refused = sqlx::query(statement).execute(&mut *session).await.unwrap_err().to_string();
            assert!(refused.contains("never"), "{statement}: {refused}");
        }
    }
}
