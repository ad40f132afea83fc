//! Moving generations on: rows and cursor in one transaction.

use async_trait::async_trait;
use credence_ledger::chain::Hash;
use credence_ledger::{Position, Timestamp, store};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::Mutex;

use super::statements as sql;
use super::{Postgres, bounded, copy, error};
use crate::digest::DigestAt;
use crate::fold::Batch;
use crate::generation::{Applied, Flipped, Generation, Held, Lock, Mode, Place, Pointer, Seen, Snapshot, Stage, Store};
use crate::projection::{Error, Projection};
use crate::read_store::Rebuild;
use crate::table::{self, Row, Rows, Table};

impl Postgres {
    /// Runs a statement that may be run twice.
    async fn ask<'q>(
        &self,
        projection: Projection,
        statement: impl Fn() -> Query<'q, sqlx::Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Error> {
        self.writers.fetch(statement).await.map_err(|failed| error(projection, failed))
    }

    async fn select_generations(&self, projection: Projection, number: Option<u64>) -> Result<Vec<Generation>, Error> {
        let rows = match self.ask(projection, || select_generations(projection, number)).await {
            Err(Error::Vanished(_)) => return Ok(Vec::new()),
            rows => rows?,
        };
        let generations = rows.iter().map(|row| sql::generation(projection, row));
        generations.collect::<Result<_, _>>().map_err(|failed| error(projection, failed))
    }

    async fn apply_batch(&self, place: Place, batch: &Batch, seen: Seen, mode: Mode) -> Result<Applied, sqlx::Error> {
        let Some((end, chain_hash)) = batch.end else { return Ok(Applied::Moved) };
        let mut transaction = self.writers.begin().await?;
        let moved = sqlx::query(sql::MOVE_CURSOR)
            .bind(place.projection.as_str())
            .bind(place.generation.cast_signed())
            .bind(stored(place.position))
            .bind(end.0.cast_signed())
            .bind(chain_hash.0)
            .bind(stored(seen.head))
            .bind(seen.confirmed_at.map(Timestamp::as_micros_i64))
            .execute(&mut *transaction)
            .await?;
        if moved.rows_affected() == 0 {
            return Ok(Applied::Fenced);
        }
        copy_in(&mut transaction, place.generation, &batch.rows).await?;
        let has = |table: &&str| batch.rows.iter().any(|(has, _)| has.name == *table);
        if mode == Mode::Live
            && !batch.rows.is_empty()
            && let Some(position) = check_and_settle(&mut transaction, place, has).await?
        {
            return Ok(Applied::Contradicted(position));
        }
        transaction.commit().await?;
        Ok(Applied::Moved)
    }

    async fn finish(&self, projection: Projection, number: u64) -> Result<Option<Position>, Error> {
        let failed = |failed| error(projection, failed);
        // Work over whole tables, whose plans are not those of the pools, and which may take long.
        let mut connection = self.sessions.connect().await?;
        let mut transaction = connection.begin().await.map_err(failed)?;
        sqlx::raw_sql(sql::at(sql::model(projection).indexes, number)).execute(&mut *transaction).await.map_err(failed)?;
        let place = Place { projection, generation: number, position: None };
        if let Some(position) = check_and_settle(&mut transaction, place, |_| true).await.map_err(failed)? {
            return Ok(Some(position));
        }
        let finish = sqlx::query(sql::FINISH_LOADING).bind(projection.as_str()).bind(number.cast_signed());
        finish.execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(None)
    }

    async fn discard_where(&self, projection: Projection, is_meant: impl Fn(u64) -> bool + Send + Sync) -> Result<(), Error> {
        // Whoever still reads from one of them is waited for.
        let mut connection = self.sessions.connect().await?;
        let discard = async {
            let numbers: Vec<i64> = sqlx::query_scalar(sql::SELECT_NUMBERS).bind(projection.as_str()).fetch_all(&mut connection).await?;
            for number in numbers.into_iter().filter(|number| is_meant(number.cast_unsigned())) {
                let mut transaction = connection.begin().await?;
                let delete = sqlx::query(sql::DELETE_CURSOR).bind(projection.as_str()).bind(number);
                delete.execute(&mut *transaction).await?;
                sqlx::raw_sql(sql::at(sql::model(projection).drop, number.cast_unsigned())).execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
            Ok(())
        };
        discard.await.map_err(|failed| error(projection, failed))
    }

    async fn flip_to(&self, projection: Projection, from: Option<u64>, to: u64, digest: Option<DigestAt>) -> Result<Flipped, sqlx::Error> {
        let mut transaction = self.writers.begin().await?;
        let Some(new) = lock_cursor(&mut transaction, projection, to).await? else { return Ok(Flipped::Fenced) };
        if let Some(from) = from {
            if let Some(old) = lock_cursor(&mut transaction, projection, from).await?
                && old.cursor.unhealthy.is_none()
                && old.cursor.position > new.cursor.position
            {
                return Ok(Flipped::Behind(old.cursor.position));
            }
            let retire = sqlx::query(sql::RETIRE_CURSOR).bind(projection.as_str()).bind(from.cast_signed());
            if retire.execute(&mut *transaction).await?.rows_affected() == 0 {
                return Ok(Flipped::Fenced);
            }
        }
        let serve = sqlx::query(sql::SERVE_CURSOR)
            .bind(projection.as_str())
            .bind(to.cast_signed())
            .bind(digest.map(|(hash, _)| hash))
            .bind(digest.and_then(|(_, position)| stored(position)));
        if serve.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(Flipped::Fenced);
        }
        transaction.commit().await?;
        Ok(Flipped::Done)
    }
}

fn stored(position: Option<Position>) -> Option<i64> {
    position.map(|position| position.0.cast_signed())
}

fn select_generations(projection: Projection, number: Option<u64>) -> Query<'static, sqlx::Postgres, PgArguments> {
    let tables: Vec<&str> = table::of(projection).iter().map(|table| table.name).collect();
    sqlx::query(sql::SELECT_GENERATIONS).bind(projection.as_str()).bind(number.map(u64::cast_signed)).bind(tables)
}

async fn lock_cursor(transaction: &mut PgConnection, projection: Projection, number: u64) -> Result<Option<Generation>, sqlx::Error> {
    let query = sqlx::query(sql::LOCK_CURSOR).bind(projection.as_str()).bind(number.cast_signed());
    query.fetch_optional(transaction).await?.map(|row| sql::generation(projection, &row)).transpose()
}

#[expect(clippy::unreachable, reason = "no fold makes a row of a table that the store fills by itself")]
async fn copy_in(transaction: &mut PgConnection, generation: u64, rows: &Rows) -> Result<(), sqlx::Error> {
    for (table, rows) in rows {
        let Some(copy) = sql::of(table).0 else { unreachable!("a folded row of {}", table.name) };
        let mut copying = transaction.copy_in_raw(&sql::at(copy, generation).0).await?;
        copying.send(copy::encode(rows)).await?;
        copying.finish().await?;
    }
    Ok(())
}

/// Looks at the rows after a position, which stand in tables that `has` says: answers the first that cannot be, else settles what
/// follows from them.
async fn check_and_settle(
    transaction: &mut PgConnection,
    after: Place,
    has: impl Fn(&&str) -> bool,
) -> Result<Option<Position>, sqlx::Error> {
    let model = sql::model(after.projection);
    let position = stored(after.position).unwrap_or(-1);
    if let Some(contradiction) = model.contradiction {
        let query = sqlx::query(sql::at(contradiction, after.generation)).bind(position);
        let first = sql::position(&query.fetch_one(&mut *transaction).await?, 0)?;
        if first.is_some() {
            return Ok(first);
        }
    }
    for settle in model.settle.iter().filter(|settle| settle.after.iter().any(&has)) {
        sqlx::query(sql::at(settle.statement, after.generation)).bind(position).execute(&mut *transaction).await?;
    }
    Ok(None)
}

/// What a statement says that answers one row.
fn says(rows: &[PgRow], column: usize) -> Result<bool, store::Error> {
    rows.first().map_or(Ok(false), |row| row.try_get(column)).map_err(store::postgres::error)
}

/// The key of an advisory lock: the same in every process, another for each purpose.
fn key(purpose: &str) -> i64 {
    let hash = blake3::hash(format!("credence read store: {purpose}").as_bytes());
    hash.as_bytes().iter().take(8).fold(0_i64, |key, byte| (key << 8) | i64::from(*byte))
}

#[async_trait]
impl Store for Postgres {
    async fn prepare(&self) -> Result<(), Error> {
        let prepared = self.writers.fetch(|| sqlx::query(sql::IS_PREPARED)).await.map_err(store::postgres::error)?;
        if says(&prepared, 1)? {
            return Ok(());
        }
        let prepare = async {
            let mut transaction = self.writers.begin().await?;
            sqlx::query(sql::LOCK_FOR_PREPARING).bind(key("preparing")).execute(&mut *transaction).await?;
            let (schema, _): (bool, bool) = sqlx::query_as(sql::IS_PREPARED).fetch_one(&mut *transaction).await?;
            if !schema {
                // Not "if not exists": that asks for the right to create schemas even where there is nothing to do.
                sqlx::query(sql::CREATE_SCHEMA).execute(&mut *transaction).await?;
            }
            sqlx::raw_sql(sql::READ).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        Ok(store::postgres::bounded(prepare).await?)
    }

    async fn try_lock(&self, lock: Lock) -> Result<Option<Box<dyn Held>>, store::Error> {
        let key = match lock {
            Lock::Runner(projection) => key(&format!("runner of {projection}")),
            Lock::Rebuild(projection) => key(&format!("rebuild of {projection}")),
        };
        // Looking costs less than the session that is needed to take it.
        let free = self.writers.fetch(|| sqlx::query(sql::IS_LOCK_FREE).bind(key)).await.map_err(store::postgres::error)?;
        if !says(&free, 0)? {
            return Ok(None);
        }
        let mut connection = self.sessions.connect().await?;
        let taken: bool = store::postgres::bounded(sqlx::query_scalar(sql::TRY_LOCK).bind(key).fetch_one(&mut connection)).await?;
        Ok(if taken { Some(Box::new(SessionLock(Mutex::new(connection)))) } else { None })
    }

    async fn pointer(&self, projection: Projection) -> Result<Option<Pointer>, Error> {
        let rows = match self.ask(projection, || sql::select_cursor(projection, &[])).await {
            Err(Error::Vanished(_)) => return Ok(None),
            rows => rows?,
        };
        rows.first().map(sql::pointer).transpose().map_err(|failed| error(projection, failed))
    }

    async fn generation(&self, projection: Projection, number: u64) -> Result<Option<Generation>, Error> {
        Ok(self.select_generations(projection, Some(number)).await?.pop())
    }

    async fn generations(&self, projection: Projection) -> Result<Vec<Generation>, Error> {
        self.select_generations(projection, None).await
    }

    async fn create(&self, projection: Projection, stage: Stage, genesis: Hash) -> Result<Generation, Error> {
        let create = async {
            let mut transaction = self.writers.begin().await?;
            let last = sqlx::query_scalar(sql::LAST_GENERATION).bind(projection.as_str());
            let last: Option<i64> = last.fetch_one(&mut *transaction).await?;
            let number = last.map_or(1, |last| last + 1);
            sqlx::raw_sql(sql::at(sql::model(projection).tables, number.cast_unsigned())).execute(&mut *transaction).await?;
            let insert = sqlx::query(sql::INSERT_CURSOR)
                .bind(projection.as_str())
                .bind(number)
                .bind(i64::from(projection.version()))
                .bind(stage.as_str())
                .bind(genesis.0);
            insert.execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(number.cast_unsigned())
        };
        let number = bounded(projection, create).await?;
        self.generation(projection, number).await?.ok_or(Error::Vanished(projection))
    }

    async fn discard_except(&self, projection: Projection, keep: &[u64]) -> Result<(), Error> {
        self.discard_where(projection, |number| !keep.contains(&number)).await
    }

    async fn discard(&self, projection: Projection, numbers: &[u64]) -> Result<(), Error> {
        self.discard_where(projection, |number| numbers.contains(&number)).await
    }

    async fn apply(&self, place: Place, batch: Batch, seen: Seen, mode: Mode) -> Result<Applied, Error> {
        let applied = bounded(place.projection, self.apply_batch(place, &batch, seen, mode)).await?;
        if mode == Mode::Live {
            self.moved.notify_waiters();
        }
        Ok(applied)
    }

    async fn finish_load(&self, projection: Projection, number: u64) -> Result<Option<Position>, Error> {
        self.finish(projection, number).await
    }

    async fn confirm(&self, place: Place, seen: Seen) -> Result<bool, Error> {
        let confirm = || {
            sqlx::query(sql::CONFIRM_CURSOR)
                .bind(place.projection.as_str())
                .bind(place.generation.cast_signed())
                .bind(stored(place.position))
                .bind(stored(seen.head))
                .bind(seen.confirmed_at.map(Timestamp::as_micros_i64))
        };
        let confirmed = self.ask(place.projection, confirm).await?;
        self.moved.notify_waiters();
        Ok(!confirmed.is_empty())
    }

    async fn stop(&self, place: Place, reason: Option<&str>) -> Result<bool, Error> {
        let stop = || {
            sqlx::query(sql::STOP_CURSOR)
                .bind(place.projection.as_str())
                .bind(place.generation.cast_signed())
                .bind(stored(place.position))
                .bind(reason)
        };
        let stopped = self.ask(place.projection, stop).await?;
        self.moved.notify_waiters();
        Ok(!stopped.is_empty())
    }

    async fn snapshot(&self, projection: Projection, number: u64) -> Result<Box<dyn Snapshot>, Error> {
        let failed = |failed| error(projection, failed);
        let mut connection = self.sessions.connect().await?;
        sqlx::query(sql::BEGIN_SNAPSHOT).execute(&mut connection).await.map_err(failed)?;
        let row = select_generations(projection, Some(number)).fetch_optional(&mut connection).await.map_err(failed)?;
        let generation = sql::generation(projection, &row.ok_or(Error::Vanished(projection))?).map_err(failed)?;
        Ok(Box::new(ReadTransaction { connection: Mutex::new(connection), generation }))
    }

    async fn flip(&self, projection: Projection, from: Option<u64>, to: u64, digest: Option<DigestAt>) -> Result<Flipped, Error> {
        let flipped = bounded(projection, self.flip_to(projection, from, to, digest)).await?;
        self.know(projection, None);
        self.moved.notify_waiters();
        Ok(flipped)
    }

    async fn record(&self, rebuild: &Rebuild) -> Result<(), Error> {
        let upsert = || {
            sqlx::query(sql::UPSERT_REBUILD)
                .bind(rebuild.id)
                .bind(rebuild.projection.as_str())
                .bind(rebuild.phase.as_str())
                .bind(rebuild.done.cast_signed())
                .bind(rebuild.total.cast_signed())
                .bind(rebuild.events_per_second.cast_signed())
                .bind(rebuild.equal)
                .bind(rebuild.updated_at.as_micros_i64())
                .bind(rebuild.failure.as_deref())
        };
        self.ask(rebuild.projection, upsert).await?;
        Ok(())
    }

    async fn fail_interrupted(&self, projection: Projection, now: Timestamp) -> Result<(), Error> {
        let fail = || sqlx::query(sql::FAIL_INTERRUPTED_REBUILDS).bind(projection.as_str()).bind(now.as_micros_i64());
        self.ask(projection, fail).await?;
        Ok(())
    }
}

/// An advisory lock, which ends with its session. The mutex is there because a session is no `Sync`; nobody shares it.
struct SessionLock(Mutex<PgConnection>);

#[async_trait]
impl Held for SessionLock {
    async fn is_held(&mut self) -> bool {
        store::postgres::bounded(sqlx::query(sql::IS_ALIVE).execute(self.0.get_mut())).await.is_ok()
    }

    async fn release(self: Box<Self>) {
        let mut connection = self.0.into_inner();
        // Where that fails the session is ending, and the lock with it.
        let _ = store::postgres::bounded(sqlx::query(sql::UNLOCK).execute(&mut connection)).await;
        let _ = store::postgres::bounded(connection.close()).await;
    }
}

/// A session within a read transaction; dropping it ends both.
struct ReadTransaction {
    connection: Mutex<PgConnection>,
    generation: Generation,
}

#[async_trait]
impl Snapshot for ReadTransaction {
    fn generation(&self) -> &Generation {
        &self.generation
    }

    async fn rows(&mut self, table: &'static Table, after: Option<Position>, limit: usize) -> Result<Vec<Row>, Error> {
        let (projection, number) = (self.generation.cursor.projection, self.generation.cursor.generation);
        let query =
            sqlx::query(sql::at(sql::of(table).1, number)).bind(stored(after).unwrap_or(-1)).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.fetch_all(self.connection.get_mut()).await.map_err(|failed| error(projection, failed))?;
        rows.iter().map(|row| sql::row(table, row)).collect::<Result<_, _>>().map_err(|failed| error(projection, failed))
    }
}
