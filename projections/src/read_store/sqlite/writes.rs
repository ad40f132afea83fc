//! Moving generations on: rows and cursor in one transaction.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use credence_ledger::chain::Hash;
use credence_ledger::store::sqlite::{Access, Durability, Options, Shared, connect, open};
use credence_ledger::{Position, Timestamp, store};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::files::{self, FileLock};
use super::reads::error;
use super::statements as sql;
use super::{DERIVED, Sqlite};
use crate::digest::DigestAt;
use crate::fold::Batch;
use crate::generation::{Applied, Flipped, Generation, Held, Lock, Mode, Place, Pointer, Seen, Snapshot, Stage, Store};
use crate::projection::{Error, Projection};
use crate::read_store::Rebuild;
use crate::table::{self, Row, Rows, Table};

impl Sqlite {
    /// Runs `work` on a generation's writing connection.
    async fn write<T, F>(&self, projection: Projection, number: u64, work: F) -> Result<T, Error>
    where
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let connection = self.writer(projection, number).await?.ok_or(Error::Vanished(projection))?;
        match connection.call(work).await {
            Ok(done) => done.map_err(|failed| error(projection, failed)),
            Err(closed) => Err(store::Error::Failed(closed.into()).into()),
        }
    }

    /// Runs `work`, which touches files, on a thread that may block.
    async fn on_disk<T, F>(&self, work: F) -> Result<T, store::Error>
    where
        F: FnOnce(PathBuf) -> Result<T, store::Error> + Send + 'static,
        T: Send + 'static,
    {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || work(folder)).await.unwrap_or_else(|panicked| Err(store::Error::Failed(panicked.into())))
    }

    async fn discard_where(&self, projection: Projection, is_meant: impl Fn(u64) -> bool + Send + 'static) -> Result<(), Error> {
        self.writers.lock().await.retain(|(of, number), _| *of != projection || !is_meant(*number));
        Ok(self.on_disk(move |folder| files::delete_generations(&folder, projection, is_meant).map_err(unavailable)).await?)
    }

    async fn on_pointers(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<()> + Send + 'static) -> Result<(), Error> {
        let connection = self.pointers().await?.ok_or(store::Error::NotMigrated)?;
        Ok(store::sqlite::call(&connection, |connection| work(connection).map_err(store::sqlite::error)).await?)
    }
}

/// Deletes what belongs to a database file that is gone, and may still be open in another process.
fn forget_side_files(path: &Path) -> Result<(), store::Error> {
    for suffix in ["sqlite-wal", "sqlite-shm"] {
        files::delete(&path.with_extension(suffix)).map_err(unavailable)?;
    }
    Ok(())
}

fn unavailable(failed: io::Error) -> store::Error {
    store::Error::Unavailable(failed.into())
}

#[async_trait]
impl Store for Sqlite {
    async fn prepare(&self) -> Result<(), Error> {
        self.on_disk(|folder| {
            std::fs::create_dir_all(&folder).map_err(unavailable)?;
            let path = folder.join("read.sqlite");
            let lock =
                std::fs::File::options().create(true).truncate(false).write(true).open(folder.join("read.lock")).map_err(unavailable)?;
            lock.lock().map_err(unavailable)?;
            if !path.exists() {
                forget_side_files(&path)?;
            }
            let make = || {
                let connection = open(&path, Options { access: Access::Create, durability: Durability::Durable, cache_kib: 1024 })?;
                connection.execute_batch(sql::READ).map_err(store::sqlite::error)
            };
            match make() {
                Err(store::Error::Corrupt(reason)) => {
                    tracing::warn!(reason, "read.sqlite is no database any more: it is made anew, and the read models are built again");
                    files::delete(&path).map_err(unavailable)?;
                    forget_side_files(&path)?;
                    make()
                }
                made => made,
            }
        })
        .await?;
        Ok(self.refresh().await?)
    }

    async fn try_lock(&self, lock: Lock) -> Result<Option<Box<dyn Held>>, store::Error> {
        let name = match lock {
            Lock::Runner(projection) => format!("read-{projection}.lock"),
            Lock::Rebuild(projection) => format!("read-{projection}-rebuild.lock"),
        };
        self.on_disk(move |folder| {
            std::fs::create_dir_all(&folder).map_err(unavailable)?;
            let lock = FileLock::take(&folder.join(name)).map_err(unavailable)?;
            Ok(lock.map(|lock| Box::new(lock) as Box<dyn Held>))
        })
        .await
    }

    async fn pointer(&self, projection: Projection) -> Result<Option<Pointer>, Error> {
        Ok(self.read_pointers().await?.get(&projection).map(|(pointer, _)| *pointer))
    }

    async fn generation(&self, projection: Projection, number: u64) -> Result<Option<Generation>, Error> {
        let select = move |connection: &mut Connection| {
            for table in table::of(projection) {
                if !connection.table_exists(None, table.name)? {
                    return Ok(None);
                }
            }
            select_generation(connection, projection)
        };
        let read = self.write(projection, number, select).await;
        match read {
            Ok(generation) => Ok(generation),
            Err(Error::Vanished(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn generations(&self, projection: Projection) -> Result<Vec<Generation>, Error> {
        let numbers = self.on_disk(move |folder| files::numbers(&folder, projection).map_err(unavailable)).await?;
        let mut generations = Vec::with_capacity(numbers.len());
        for number in numbers {
            generations.extend(self.generation(projection, number).await?);
        }
        Ok(generations)
    }

    async fn create(&self, projection: Projection, stage: Stage, genesis: Hash) -> Result<Generation, Error> {
        let pointed = self.pointer(projection).await?.map(|pointer| pointer.generation);
        let number = self
            .on_disk(move |folder| {
                let last = files::numbers(&folder, projection).map_err(unavailable)?.into_iter().chain(pointed).max();
                let number = last.map_or(1, |last| last + 1);
                let path = folder.join(format!("read-{projection}-{number}.sqlite"));
                let mut connection = open(&path, Options { access: Access::Create, ..DERIVED })?;
                let mut create = || {
                    let transaction = connection.transaction()?;
                    transaction.execute_batch(sql::CURSOR)?;
                    transaction.execute_batch(sql::model(projection).tables)?;
                    let values = params![number.cast_signed(), projection.version(), stage.as_str(), genesis.0];
                    transaction.execute(sql::INSERT_CURSOR, values)?;
                    transaction.commit()
                };
                create().map_err(store::sqlite::error)?;
                Ok(number)
            })
            .await?;
        self.generation(projection, number).await?.ok_or(Error::Vanished(projection))
    }

    async fn discard_except(&self, projection: Projection, keep: &[u64]) -> Result<(), Error> {
        let keep = keep.to_vec();
        self.discard_where(projection, move |number| !keep.contains(&number)).await
    }

    async fn discard(&self, projection: Projection, numbers: &[u64]) -> Result<(), Error> {
        let numbers = numbers.to_vec();
        self.discard_where(projection, move |number| numbers.contains(&number)).await
    }

    async fn apply(&self, place: Place, batch: Batch, seen: Seen, mode: Mode) -> Result<Applied, Error> {
        let applied = self
            .write(place.projection, place.generation, move |connection| {
                let transaction = connection.transaction()?;
                let applied = apply(&transaction, place, &batch, seen, mode)?;
                if applied == Applied::Moved {
                    transaction.commit()?;
                }
                Ok(applied)
            })
            .await?;
        if mode == Mode::Live {
            self.moved.notify_waiters();
        }
        Ok(applied)
    }

    async fn finish_load(&self, projection: Projection, number: u64) -> Result<Option<Position>, Error> {
        self.write(projection, number, move |connection| {
            let transaction = connection.transaction()?;
            let model = sql::model(projection);
            transaction.execute_batch(model.indexes)?;
            if let Some(position) = check_and_settle(&transaction, projection, None)? {
                return Ok(Some(position));
            }
            let stage = select_generation(&transaction, projection)?.map(|generation| generation.stage);
            if stage == Some(Stage::Loading) {
                transaction.execute(sql::SET_STAGE, [Stage::Ready.as_str()])?;
            }
            transaction.commit()?;
            connection.execute_batch("pragma optimize = 0x10002")?;
            Ok(None)
        })
        .await
    }

    async fn confirm(&self, place: Place, seen: Seen) -> Result<bool, Error> {
        let confirmed = self
            .write(place.projection, place.generation, move |connection| {
                let values = params![stored(place.position), stored(seen.head), seen.confirmed_at.map(Timestamp::as_micros_i64)];
                Ok(connection.prepare_cached(sql::CONFIRM_CURSOR)?.execute(values)? == 1)
            })
            .await?;
        self.moved.notify_waiters();
        Ok(confirmed)
    }

    async fn stop(&self, place: Place, reason: Option<&str>) -> Result<bool, Error> {
        let reason = reason.map(str::to_owned);
        let stopped = self
            .write(place.projection, place.generation, move |connection| {
                Ok(connection.execute(sql::STOP_CURSOR, params![stored(place.position), reason])? == 1)
            })
            .await?;
        self.moved.notify_waiters();
        Ok(stopped)
    }

    async fn snapshot(&self, projection: Projection, number: u64) -> Result<Box<dyn Snapshot>, Error> {
        let connection = match connect(&self.generation_path(projection, number), DERIVED).await {
            Err(store::Error::NotMigrated) => return Err(Error::Vanished(projection)),
            connection => connection?,
        };
        let begin = move |connection: &mut Connection| {
            connection.execute_batch("begin deferred")?;
            select_generation(connection, projection)
        };
        match connection.call(begin).await {
            Ok(Ok(Some(generation))) => Ok(Box::new(ReadTransaction { connection, generation })),
            Ok(Ok(None)) => Err(Error::Vanished(projection)),
            Ok(Err(failed)) => Err(error(projection, failed)),
            Err(closed) => Err(store::Error::Failed(closed.into()).into()),
        }
    }

    async fn flip(&self, projection: Projection, from: Option<u64>, to: u64, digest: Option<DigestAt>) -> Result<Flipped, Error> {
        let (pointers, new) = (self.pointers_path(), self.generation_path(projection, to));
        let old = from.map(|from| self.generation_path(projection, from));
        let flipped = self.on_disk(move |_| flip(projection, &pointers, old, (from, &new, to), digest)).await?;
        self.refresh().await?;
        self.moved.notify_waiters();
        Ok(flipped)
    }

    async fn record(&self, rebuild: &Rebuild) -> Result<(), Error> {
        let rebuild = rebuild.clone();
        self.on_pointers(move |connection| {
            let values = params![
                rebuild.id.as_bytes(),
                rebuild.projection.as_str(),
                rebuild.phase.as_str(),
                rebuild.done.cast_signed(),
                rebuild.total.cast_signed(),
                rebuild.events_per_second.cast_signed(),
                rebuild.equal,
                rebuild.updated_at.as_micros_i64(),
                rebuild.failure,
            ];
            connection.execute(sql::UPSERT_REBUILD, values).map(drop)
        })
        .await
    }

    async fn fail_interrupted(&self, projection: Projection, now: Timestamp) -> Result<(), Error> {
        self.on_pointers(move |connection| {
            let values = params![projection.as_str(), now.as_micros_i64()];
            connection.execute(sql::FAIL_INTERRUPTED_REBUILDS, values).map(drop)
        })
        .await
    }
}

fn stored(position: Option<Position>) -> Option<i64> {
    position.map(|position| position.0.cast_signed())
}

fn select_generation(connection: &Connection, projection: Projection) -> rusqlite::Result<Option<Generation>> {
    connection.prepare_cached(sql::SELECT_CURSOR)?.query_row([], |row| sql::generation(projection, row)).optional()
}

fn apply(transaction: &Transaction<'_>, place: Place, batch: &Batch, seen: Seen, mode: Mode) -> rusqlite::Result<Applied> {
    let Some((end, chain_hash)) = batch.end else { return Ok(Applied::Moved) };
    let values = params![
        stored(place.position),
        end.0.cast_signed(),
        chain_hash.0,
        stored(seen.head),
        seen.confirmed_at.map(Timestamp::as_micros_i64)
    ];
    if transaction.prepare_cached(sql::MOVE_CURSOR)?.execute(values)? == 0 {
        return Ok(Applied::Fenced);
    }
    insert(transaction, &batch.rows)?;
    if mode == Mode::Live
        && !batch.rows.is_empty()
        && let Some(position) = check_and_settle(transaction, place.projection, place.position)?
    {
        return Ok(Applied::Contradicted(position));
    }
    Ok(Applied::Moved)
}

#[expect(clippy::unreachable, reason = "no fold makes a row of a table that the store fills by itself")]
fn insert(transaction: &Transaction<'_>, rows: &Rows) -> rusqlite::Result<()> {
    for (table, rows) in rows {
        let Some(insert) = sql::of(table).0 else { unreachable!("a folded row of {}", table.name) };
        let mut statement = transaction.prepare_cached(insert)?;
        for row in rows {
            statement.execute(rusqlite::params_from_iter(&row.0))?;
        }
    }
    Ok(())
}

/// Looks at the rows after a position: answers the first that cannot be, else settles what follows from them.
fn check_and_settle(transaction: &Transaction<'_>, projection: Projection, after: Option<Position>) -> rusqlite::Result<Option<Position>> {
    let model = sql::model(projection);
    let after = stored(after).unwrap_or(-1);
    if let Some(contradiction) = model.contradiction {
        let first = transaction.prepare_cached(contradiction)?.query_row([after], |row| sql::position(row, 0))?;
        if first.is_some() {
            return Ok(first);
        }
    }
    if let Some(erase) = model.erase {
        let mut whose = transaction.prepare_cached(erase.whose)?;
        let subjects = whose.query_map([after], |row| row.get(0))?.collect::<rusqlite::Result<Vec<[u8; 16]>>>()?;
        for subject in subjects {
            for step in erase.steps {
                transaction.prepare_cached(step)?.execute([subject])?;
            }
        }
    }
    if let Some(settle) = model.settle {
        transaction.prepare_cached(settle)?.execute([after])?;
    }
    Ok(None)
}

fn flip(
    projection: Projection,
    pointers: &std::path::Path,
    old: Option<PathBuf>,
    (from, new, to): (Option<u64>, &std::path::Path, u64),
    digest: Option<DigestAt>,
) -> Result<Flipped, store::Error> {
    let failed = store::sqlite::error;
    let corrupt = |generation: u64| store::Error::Corrupt(format!("generation {generation} of {projection} has no cursor"));
    let new = open(new, DERIVED)?;
    let mut old = match old {
        Some(path) => match open(&path, DERIVED) {
            Ok(old) => Some(old),
            // Deleted, or no database any more: nothing is left to be compared or retired.
            Err(store::Error::NotMigrated | store::Error::Corrupt(_)) => None,
            Err(other) => return Err(other),
        },
        None => None,
    };
    // Nobody moves the old generation on from here until its retirement is committed.
    let old = old.as_mut().map(|old| old.transaction_with_behavior(TransactionBehavior::Immediate)).transpose().map_err(failed)?;
    let new = select_generation(&new, projection).map_err(failed)?.ok_or_else(|| corrupt(to))?;
    if let (Some(old), Some(from)) = (&old, from) {
        let old = select_generation(old, projection).map_err(failed)?.ok_or_else(|| corrupt(from))?;
        if old.cursor.unhealthy.is_none() && old.cursor.position > new.cursor.position {
            return Ok(Flipped::Behind(old.cursor.position));
        }
    }
    let pointers = open(pointers, Options { durability: Durability::Durable, ..DERIVED })?;
    let (hash, position) = (digest.map(|(hash, _)| hash), digest.and_then(|(_, position)| stored(position)));
    let changed = match from {
        None => pointers.execute(sql::INSERT_SERVING, params![projection.as_str(), to.cast_signed(), projection.version(), hash, position]),
        Some(from) => {
            let values = params![projection.as_str(), to.cast_signed(), projection.version(), hash, position, from.cast_signed()];
            pointers.execute(sql::FLIP_SERVING, values)
        }
    };
    if changed.map_err(failed)? == 0 {
        return Ok(Flipped::Fenced);
    }
    // The new generation serves from here on, durably; a crash before the next commit leaves an old one that nobody reads.
    if let Some(old) = old {
        old.execute(sql::SET_STAGE, [Stage::Retired.as_str()]).map_err(failed)?;
        old.commit().map_err(failed)?;
    }
    Ok(Flipped::Done)
}

/// A connection within a read transaction; dropping it ends both.
struct ReadTransaction {
    connection: Shared,
    generation: Generation,
}

#[async_trait]
impl Snapshot for ReadTransaction {
    fn generation(&self) -> &Generation {
        &self.generation
    }

    async fn rows(&mut self, table: &'static Table, after: Option<Position>, limit: usize) -> Result<Vec<Row>, Error> {
        let projection = self.generation.cursor.projection;
        let read = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(sql::of(table).1)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map([stored(after).unwrap_or(-1), limit], |row| sql::row(table, row))?;
            rows.collect::<rusqlite::Result<Vec<Row>>>()
        };
        match self.connection.call(read).await {
            Ok(rows) => rows.map_err(|failed| error(projection, failed)),
            Err(closed) => Err(store::Error::Failed(closed.into()).into()),
        }
    }
}
