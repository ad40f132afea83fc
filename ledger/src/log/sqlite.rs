//! The log on SQLite: one file a log, `<folder>/<log>.sqlite`, shared by any number of processes on one host.
//!
//! One connection writes, a few read beside it, and one looks whether anybody writes. The head is taken under `begin immediate`,
//! so that of all processes one at a time plans and writes. The log's clock is the process's, read under that lock. Triggers
//! refuse whatever would change an event, by whichever connection; `recorded_at` never decreases, so a time is found by halving,
//! without an index.
//!
//! A file that was deleted or moved under the running process is neither written to nor read from: what is acknowledged can be
//! found again.

mod restore;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use rusqlite_migration::{M, Migrations};

use super::{Append, CommitError, Head, KeyOwner, Listed, Log, Outcome, Query, UniqueKey, key, settled_before};
use crate::chain::{Hash, Origin};
use crate::event::Recorded;
use crate::planner::{self, Found, Plan, Remembered, Wanted};
use crate::store::Error;
use crate::store::sqlite::{self as store, Access, Durability, OpenFile, Options, Shared};
use crate::{Clock, LogName, Position, Stream, Timestamp, Version};

const READERS: usize = 3;
const WRITER: Options = Options { access: Access::Create, durability: Durability::Durable, cache_kib: 64 * 1024 };
const READER: Options = Options { access: Access::ReadOnly, durability: Durability::Durable, cache_kib: 8 * 1024 };
const PROBER: Options = Options { access: Access::Existing, durability: Durability::Durable, cache_kib: 256 };

const MIGRATIONS: [&str; 2] =
    [include_str!("../../../migrations/sqlite/log/0001_log.sql"), include_str!("../../../migrations/sqlite/log/0002_tree.sql")];

/// How far, by the log's clock, [`Head::now`] may stay behind before it is moved on: an appender that meets the lock which that
/// takes for some microseconds has to wait for a millisecond.
const PROBE: Duration = Duration::from_millis(200);

/// A log in a file.
pub struct Sqlite {
    name: LogName,
    origin: Origin,
    clock: Arc<dyn Clock>,
    file: OpenFile,
    writer: Shared,
    readers: Vec<Shared>,
    next_reader: AtomicUsize,
    /// Takes the write lock, to see that nobody holds it. It never waits and never writes.
    prober: Shared,
    /// The clock when the write lock was taken last, in microseconds.
    proved: AtomicU64,
    /// A commit of ours ended unknown: what it wrote may still stand behind the file's last commit.
    unsettled: Arc<AtomicBool>,
}

/// The log's file in `folder`.
#[must_use]
pub fn path(folder: &Path, name: &LogName) -> PathBuf {
    folder.join(format!("{name}.sqlite"))
}

/// Whether the log has been made: a file that has lost what its write-ahead log held is none.
///
/// # Errors
/// The file cannot be opened or read.
pub async fn exists(folder: &Path, name: &LogName) -> Result<bool, Error> {
    let path = path(folder, name);
    if !path.exists() {
        return Ok(false);
    }
    let connection = store::connect(&path, Options { access: Access::Existing, ..READER }).await?;
    store::call(&connection, |connection| {
        if !connection.table_exists(None, "head").map_err(store::error)? {
            return Ok(false);
        }
        match head_row(connection) {
            Ok(_) => Ok(true),
            Err(Error::NotMigrated) => Ok(false),
            Err(failed) => Err(failed),
        }
    })
    .await
}

/// The durable schema of a log.
#[must_use]
pub fn migrations() -> Migrations<'static> {
    Migrations::new(MIGRATIONS.iter().map(|step| M::up(step)).collect())
}

impl Sqlite {
    /// Opens the log, which is created if it is missing: then `origin_base` becomes, for ever, part of its origin.
    ///
    /// # Errors
    /// The file cannot be opened, made or migrated.
    pub async fn open(folder: &Path, name: LogName, origin_base: &str, clock: Arc<dyn Clock>) -> Result<Sqlite, Error> {
        std::fs::create_dir_all(folder).map_err(|failed| Error::Unavailable(failed.into()))?;
        let path = path(folder, &name);
        let writer = store::connect(&path, WRITER).await?;
        let wanted = Origin::new(origin_base, &name);
        let create = move |connection: &mut Connection| {
            store::migrate(connection, &migrations())?;
            connection.execute(sql::INSERT_HEAD, params![wanted.as_str(), wanted.genesis().0]).map_err(store::error)?;
            Ok(())
        };
        store::call(&writer, create).await?;
        Sqlite::with_writer(&path, name, writer, clock).await
    }

    /// Opens a log that is there, without changing its schema.
    ///
    /// # Errors
    /// [`Error::NotMigrated`] if it is not there or is older than this program; the file cannot be opened.
    pub async fn open_existing(folder: &Path, name: LogName, clock: Arc<dyn Clock>) -> Result<Sqlite, Error> {
        let path = path(folder, &name);
        let writer = store::connect(&path, Options { access: Access::Existing, ..WRITER }).await?;
        store::call(&writer, |connection| store::require_current(connection, &migrations())).await?;
        Sqlite::with_writer(&path, name, writer, clock).await
    }

    async fn with_writer(path: &Path, name: LogName, writer: Shared, clock: Arc<dyn Clock>) -> Result<Sqlite, Error> {
        let row = store::call(&writer, |connection| head_row(connection)).await?;
        let file = OpenFile::at(path)?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            readers.push(store::connect(path, READER).await?);
        }
        let prober = store::connect(path, PROBER).await?;
        store::call(&prober, |connection| connection.busy_timeout(Duration::ZERO).map_err(store::error)).await?;
        let (next_reader, proved, unsettled) = (AtomicUsize::new(0), AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
        Ok(Sqlite { name, origin: row.origin, clock, file, writer, readers, next_reader, prober, proved, unsettled })
    }

    /// The head, and the clock, at a moment when no commit was in flight; `None` if one was.
    async fn probe(&self) -> Result<Option<(HeadRow, Timestamp)>, Error> {
        let clock = self.clock.clone();
        self.on(&self.prober, move |connection| probe(connection, &*clock)).await
    }

    async fn on_reader<T, F>(&self, work: F) -> Result<T, Error>
    where
        F: FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let next = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        self.on(&self.readers[next], work).await
    }

    async fn on<T, F>(&self, connection: &Shared, work: F) -> Result<T, Error>
    where
        F: FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let file = self.file.clone();
        let work = move |connection: &mut Connection| {
            file.require()?;
            work(connection)
        };
        store::call(connection, work).await
    }
}

#[async_trait]
impl Log for Sqlite {
    fn name(&self) -> &LogName {
        &self.name
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn schema(&self) -> usize {
        MIGRATIONS.len()
    }

    /// After a commit whose outcome is unknown this makes sure first that it is not in the log.
    async fn head(&self) -> Result<Head, Error> {
        if self.unsettled.load(Ordering::SeqCst) {
            store::call(&self.writer, settle).await?;
            self.unsettled.store(false, Ordering::SeqCst);
        }
        let proved = Timestamp::from_micros(self.proved.load(Ordering::SeqCst));
        let probed = if self.clock.now().since(proved) >= PROBE { self.probe().await? } else { None };
        let (row, now) = match probed {
            Some((row, now)) => {
                self.proved.fetch_max(now.as_micros(), Ordering::SeqCst);
                (row, now)
            }
            None => {
                let row = self.on_reader(|connection| head_row(connection)).await?;
                let now = proved.max(settled_before(row.recorded_at));
                (row, now)
            }
        };
        Ok(Head { size: row.size, chain_hash: row.chain_hash, recorded_at: row.recorded_at, now })
    }

    async fn commit(&self, batch: Vec<Append>) -> Result<Vec<Outcome>, CommitError> {
        let (clock, file, unsettled) = (self.clock.clone(), self.file.clone(), self.unsettled.clone());
        let commit = move |connection: &mut Connection| {
            let committed = commit(connection, &file, &*clock, &batch);
            if matches!(committed, Err(CommitError::Unknown(_))) {
                unsettled.store(true, Ordering::SeqCst);
            }
            committed
        };
        let committed = self.writer.call(commit).await;
        // The connection's thread ended in the middle of it: nobody knows how far it came.
        committed.unwrap_or_else(|closed| Err(CommitError::Unknown(Error::Failed(closed.into()))))
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>, Error> {
        let query = query.clone();
        self.on_reader(move |connection| read(connection, &query)).await
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<Recorded>, Error> {
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        positions.dedup();
        let read = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(sql::SELECT_EVENT).map_err(store::error)?;
            let mut events = Vec::with_capacity(positions.len());
            for position in positions {
                let mut rows = statement.query([bound(position)]).map_err(store::error)?;
                if let Some(row) = rows.next().map_err(store::error)? {
                    events.push(event(row)?);
                }
            }
            Ok(events)
        };
        self.on_reader(read).await
    }

    async fn read_first(&self, streams: &[Stream]) -> Result<Vec<Recorded>, Error> {
        let mut streams = streams.to_vec();
        streams.sort_unstable();
        streams.dedup();
        let read = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(sql::SELECT_FIRST_EVENT).map_err(store::error)?;
            let mut events = Vec::with_capacity(streams.len());
            for stream in streams {
                let mut rows = statement.query([stream.as_str()]).map_err(store::error)?;
                if let Some(row) = rows.next().map_err(store::error)? {
                    events.push(event(row)?);
                }
            }
            events.sort_unstable_by_key(|event| event.position);
            Ok(events)
        };
        self.on_reader(read).await
    }

    /// Read from the index alone, whose order the engine's own check holds it to.
    async fn versions(&self, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, Error> {
        let after = after.cloned();
        let list = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(sql::SELECT_VERSIONS).map_err(store::error)?;
            let mut rows = match &after {
                Some(after) => statement.query(params![after.stream.as_str(), after.version.0]),
                // No stream's name is as small.
                None => statement.query(params!["", 0]),
            }
            .map_err(store::error)?;
            let mut places = Vec::new();
            while places.len() < limit
                && let Some(row) = rows.next().map_err(store::error)?
            {
                places.extend(listed(row));
            }
            Ok(places)
        };
        self.on_reader(list).await
    }

    async fn key_owner(&self, key: &UniqueKey) -> Result<Option<KeyOwner>, Error> {
        let key = key.clone();
        self.on_reader(move |connection| key_owner(connection, &key)).await
    }

    async fn keys(&self, after: Option<&UniqueKey>, limit: usize) -> Result<Vec<(UniqueKey, KeyOwner)>, Error> {
        let from = key::least_after(after);
        let list = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(sql::SELECT_KEYS).map_err(store::error)?;
            let mut rows = statement.query(params![from, i64::try_from(limit).unwrap_or(i64::MAX)]).map_err(store::error)?;
            let mut keys = Vec::new();
            while let Some(row) = rows.next().map_err(store::error)? {
                let owner = KeyOwner { stream: stream(row, 1)?, position: Position(column(row, 2)?) };
                keys.push((UniqueKey(column(row, 0)?), owner));
            }
            Ok(keys)
        };
        self.on_reader(list).await
    }

    async fn damages(&self) -> Result<Vec<String>, Error> {
        let check = |connection: &mut Connection| {
            let mut statement = connection.prepare(sql::CHECK_INTEGRITY).map_err(store::error)?;
            let lines = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect::<rusqlite::Result<Vec<String>>>);
            let mut lines = lines.map_err(store::error)?;
            // No query of ours asks for a position before the first.
            let first: Option<i64> = connection.query_row(sql::SELECT_FIRST_POSITION, [], |row| row.get(0)).map_err(store::error)?;
            lines.extend(first.filter(|first| *first < 0).map(|first| format!("an event stands at {first}, before the first position")));
            Ok(lines)
        };
        // A connection of its own: readers would wait for as long as it takes.
        let checked = match store::connect(self.file.path(), READER).await {
            Ok(connection) => self.on(&connection, check).await,
            Err(failed) => Err(failed),
        };
        match checked {
            Ok(lines) => Ok(lines.into_iter().filter(|line| line != "ok").collect()),
            // So much is damaged that the check itself cannot go on.
            Err(Error::Corrupt(what)) => Ok(vec![what]),
            Err(failed) => Err(failed),
        }
    }

    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64, Error> {
        let mut forgotten = 0;
        loop {
            let piece = move |connection: &mut Connection| {
                let mut statement = connection.prepare_cached(sql::DELETE_OLD_IDEMPOTENCY).map_err(store::error)?;
                statement.execute([before.as_micros()]).map_err(store::error)
            };
            match store::call(&self.writer, piece).await? {
                0 => return Ok(forgotten),
                rows => forgotten += rows as u64,
            }
        }
    }

    async fn forget_commands(&self, positions: &[Position]) -> Result<u64, Error> {
        let positions = serde_json::Value::from_iter(positions.iter().map(|position| position.0)).to_string();
        let select = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(sql::SELECT_COMMANDS).map_err(store::error)?;
            statement
                .query_map([positions], |row| row.get(0))
                .and_then(Iterator::collect::<rusqlite::Result<Vec<i64>>>)
                .map_err(store::error)
        };
        let rows = self.on_reader(select).await?;
        let forget = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store::error)?;
            let mut forgotten = 0;
            {
                let mut statement = transaction.prepare_cached(sql::FORGET_COMMAND).map_err(store::error)?;
                for row in rows {
                    forgotten += statement.execute([row]).map_err(store::error)? as u64;
                }
            }
            transaction.commit().map_err(store::error)?;
            Ok(forgotten)
        };
        self.on(&self.writer, forget).await
    }
}

/// A position as a bound of a query. No event lies beyond what SQLite's integers hold.
fn bound(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

fn commit(connection: &mut Connection, file: &OpenFile, clock: &dyn Clock, batch: &[Append]) -> Result<Vec<Outcome>, CommitError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|failed| CommitError::NotCommitted(store::error(failed)))?;
    let row = head_row(&transaction).map_err(CommitError::NotCommitted)?;
    let head = planner::Head { size: row.size, chain_hash: row.chain_hash, recorded_at: row.recorded_at, now: clock.now() };
    let found = find(&transaction, planner::wanted(batch)).map_err(CommitError::NotCommitted)?;
    let plan = planner::plan(&head, found, batch);
    file.require().map_err(CommitError::NotCommitted)?;
    if plan.events.is_empty() {
        return Ok(plan.outcomes);
    }
    write(&transaction, head.size, &plan).map_err(|failed| match failed.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => CommitError::Contradiction(failed.to_string()),
        _ => CommitError::NotCommitted(store::error(failed)),
    })?;
    // Once this returns the batch is on the disk. If it fails, the batch may be: no reader sees it, but a commit whose last fsync
    // failed can come back when the file is recovered, unless it is settled before.
    transaction.commit().map_err(|failed| CommitError::Unknown(store::error(failed)))?;
    Ok(plan.outcomes)
}

/// A commit takes its time under the write lock and is visible when it gives it back: whoever gets the lock sees every event that
/// has its time already, and reads the clock before all others will.
fn probe(connection: &mut Connection, clock: &dyn Clock) -> Result<Option<(HeadRow, Timestamp)>, Error> {
    match connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store::error) {
        Ok(transaction) => Ok(Some((head_row(&transaction)?, clock.now()))),
        // Whoever may only read the file cannot know.
        Err(Error::Busy | Error::Denied(_)) => Ok(None),
        Err(failed) => Err(failed),
    }
}

/// Commits a head that is what it was. A failed commit's frames stand behind the last good one in the write-ahead log, where
/// recovery would take them for a commit; these frames take their place.
fn settle(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store::error)?;
    let HeadRow { size, chain_hash, recorded_at, .. } = head_row(&transaction)?;
    // There and back again: an update that changes nothing is not written.
    for (from, to) in [(size, size + 1), (size + 1, size)] {
        let head = params![from, to, chain_hash.0, recorded_at.as_micros()];
        transaction.prepare_cached(sql::UPDATE_HEAD).and_then(|mut update| update.execute(head)).map_err(store::error)?;
    }
    transaction.commit().map_err(store::error)
}

fn find(transaction: &Transaction<'_>, wanted: Wanted) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut versions = transaction.prepare_cached(sql::SELECT_LAST_VERSION).map_err(store::error)?;
    for stream in wanted.streams {
        let last: Option<u64> = versions.query_row([stream.as_str()], |row| row.get(0)).map_err(store::error)?;
        if let Some(last) = last {
            found.versions.insert(stream, Version(last));
        }
    }
    for key in wanted.keys {
        if let Some(owner) = key_owner(transaction, &key)? {
            found.keys.insert(key, owner);
        }
    }
    let mut idempotency = transaction.prepare_cached(sql::SELECT_IDEMPOTENCY).map_err(store::error)?;
    for key in wanted.idempotency {
        let remembered = idempotency.query_row([key], |row| remembered(row, 0));
        if let Some(remembered) = remembered.optional().map_err(store::error)? {
            found.idempotency.insert(key, remembered);
        }
    }
    Ok(found)
}

fn write(transaction: &Transaction<'_>, size: u64, plan: &Plan) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(sql::INSERT_EVENT)?;
    for event in &plan.events {
        insert.execute(params![
            event.position.0,
            event.stream.as_str(),
            event.version.0,
            event.kind,
            event.schema,
            event.recorded_at.as_micros(),
            &event.metadata[..],
            &event.payload[..],
            event.event_hash.0,
            event.chain_hash.0,
        ])?;
    }
    let mut delete = transaction.prepare_cached(sql::DELETE_KEY)?;
    let mut upsert = transaction.prepare_cached(sql::UPSERT_KEY)?;
    for (key, owner) in &plan.keys {
        match owner {
            Some(owner) => upsert.execute(params![key.0, owner.stream.as_str(), owner.position.0])?,
            None => delete.execute([&key.0])?,
        };
    }
    let mut remember = transaction.prepare_cached(sql::REPLACE_IDEMPOTENCY)?;
    for (key, row) in &plan.idempotency {
        remember.execute(params![key, row.stored_command(), row.position.0, row.recorded_at.as_micros()])?;
    }
    let head = params![size, plan.size, plan.chain_hash.0, plan.recorded_at.as_micros()];
    match transaction.prepare_cached(sql::UPDATE_HEAD)?.execute(head)? {
        1 => Ok(()),
        rows => Err(rusqlite::Error::StatementChangedRows(rows)),
    }
}

/// A row's command, position and time, from column `at` on.
fn remembered(row: &Row<'_>, at: usize) -> rusqlite::Result<Remembered> {
    let (position, recorded_at) = (Position(row.get(at + 1)?), Timestamp::from_micros(row.get(at + 2)?));
    let command = row.get_ref(at)?.as_blob()?;
    Remembered::from_stored(command, position, recorded_at)
        .ok_or(rusqlite::types::FromSqlError::InvalidBlobSize { expected_size: 32, blob_size: command.len() }.into())
}

struct HeadRow {
    origin: Origin,
    size: u64,
    chain_hash: Hash,
    recorded_at: Timestamp,
}

fn head_row(connection: &Connection) -> Result<HeadRow, Error> {
    let mut statement = connection.prepare_cached(sql::SELECT_HEAD).map_err(store::error)?;
    let mut rows = statement.query([]).map_err(store::error)?;
    let Some(row) = rows.next().map_err(store::error)? else { return Err(no_head(connection)) };
    Ok(HeadRow {
        origin: Origin::from_stored(column(row, 0)?),
        size: column(row, 1)?,
        chain_hash: hash(row, 2)?,
        recorded_at: Timestamp::from_micros(column(row, 3)?),
    })
}

/// A log without a head has not been made yet, unless it has events: then the head is lost.
fn no_head(connection: &Connection) -> Error {
    match connection.query_row(sql::SELECT_FIRST_POSITION, [], |row| row.get::<_, Option<i64>>(0)) {
        Ok(Some(_)) => super::lost_head(),
        Ok(None) => Error::NotMigrated,
        Err(failed) => store::error(failed),
    }
}

fn key_owner(connection: &Connection, key: &UniqueKey) -> Result<Option<KeyOwner>, Error> {
    let mut statement = connection.prepare_cached(sql::SELECT_KEY_OWNER).map_err(store::error)?;
    let mut rows = statement.query([&key.0]).map_err(store::error)?;
    match rows.next().map_err(store::error)? {
        Some(row) => Ok(Some(KeyOwner { stream: stream(row, 0)?, position: Position(column(row, 1)?) })),
        None => Ok(None),
    }
}

fn read(connection: &mut Connection, query: &Query) -> Result<Vec<Recorded>, Error> {
    // One snapshot: an event that is appended between the search for `until` and the read must not slip in.
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(store::error)?;
    let positions = positions(&snapshot, query)?;
    let text = if query.stream.is_some() { sql::SELECT_STREAM_EVENTS } else { sql::SELECT_EVENTS };
    let mut statement = snapshot.prepare_cached(text).map_err(store::error)?;
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let (from, to) = (bound(Position(positions.start)), bound(Position(positions.end)));
    let mut rows = match &query.stream {
        Some(stream) => statement.query(params![from, to, query.kind, limit, stream.as_str()]),
        None => statement.query(params![from, to, query.kind, limit]),
    }
    .map_err(store::error)?;
    let mut events = Vec::new();
    while let Some(row) = rows.next().map_err(store::error)? {
        events.push(event(row)?);
    }
    Ok(events)
}

/// The positions between which a query's events lie.
fn positions(snapshot: &Transaction<'_>, query: &Query) -> Result<Range<u64>, Error> {
    let mut positions = query.from.0..query.to.map_or(u64::MAX, |to| to.0.saturating_add(1));
    if query.since.is_some() || query.until.is_some() {
        let size = head_row(snapshot)?.size;
        positions.end = positions.end.min(size);
        if let Some(since) = query.since {
            positions.start = positions.start.max(first_recorded_at(snapshot, since, size)?);
        }
        if let Some(until) = query.until {
            positions.end = positions.end.min(first_recorded_at(snapshot, until, size)?);
        }
    }
    Ok(positions)
}

/// The first position that was recorded at `time` or later; `size` if there is none.
fn first_recorded_at(snapshot: &Transaction<'_>, time: Timestamp, size: u64) -> Result<u64, Error> {
    let mut statement = snapshot.prepare_cached(sql::SELECT_RECORDED_AT).map_err(store::error)?;
    let mut span = 0..size;
    while !span.is_empty() {
        let middle = span.start + (span.end - span.start) / 2;
        let recorded_at: u64 = statement.query_row([middle], |row| row.get(0)).map_err(|failed| match failed {
            rusqlite::Error::QueryReturnedNoRows => Error::Corrupt(format!("position {middle} is missing")),
            other => store::error(other),
        })?;
        if recorded_at < time.as_micros() { span.start = middle + 1 } else { span.end = middle }
    }
    Ok(span.start)
}

/// `None` for a row that is none of ours.
fn listed(row: &Row<'_>) -> Option<Listed> {
    let stream = row.get_ref(0).ok()?.as_str().ok()?.parse().ok()?;
    Some(Listed { stream, version: Version(row.get(1).ok()?), position: Position(row.get(2).ok()?) })
}

/// Takes the columns as the `select_*event*` statements list them.
fn event(row: &Row<'_>) -> Result<Recorded, Error> {
    Ok(Recorded {
        position: Position(column(row, 0)?),
        stream: stream(row, 1)?,
        version: Version(column(row, 2)?),
        kind: column(row, 3)?,
        schema: column(row, 4)?,
        recorded_at: Timestamp::from_micros(column(row, 5)?),
        metadata: column::<Vec<u8>>(row, 6)?.into(),
        payload: column::<Vec<u8>>(row, 7)?.into(),
        event_hash: hash(row, 8)?,
        chain_hash: hash(row, 9)?,
    })
}

/// A value of another type or out of its range was not written by us.
fn column<T: rusqlite::types::FromSql>(row: &Row<'_>, at: usize) -> Result<T, Error> {
    row.get(at).map_err(|failed| Error::Corrupt(format!("{} {failed}", place(row, at))))
}

fn hash(row: &Row<'_>, at: usize) -> Result<Hash, Error> {
    column(row, at).map(Hash)
}

fn stream(row: &Row<'_>, at: usize) -> Result<Stream, Error> {
    // Read where it lies; what is no text is told as of every column.
    let parsed = match row.get_ref(at).ok().and_then(|text| text.as_str().ok()) {
        Some(text) => text.parse(),
        None => column::<String>(row, at)?.parse(),
    };
    parsed.map_err(|malformed| Error::Corrupt(format!("{} {malformed}", place(row, at))))
}

fn place(row: &Row<'_>, at: usize) -> String {
    let name = row.as_ref().column_name(at).unwrap_or("?");
    match row.get::<_, u64>("position") {
        Ok(position) => format!("position {position}, column {name}:"),
        Err(_) => format!("column {name}:"),
    }
}

/// The statements, one a file.
mod sql {
    macro_rules! statements {
        ($($name:ident = $file:literal),+ $(,)?) => {
            $(pub(super) const $name: &str = include_str!(concat!("../../sql/sqlite/log/", $file, ".sql"));)+

            #[cfg(test)]
            pub(super) const ALL: &[(&str, &str)] = &[$(($file, $name)),+];
        };
    }

    statements! {
        CHECK_INTEGRITY = "check_integrity",
        DELETE_KEY = "delete_key",
        DELETE_OLD_IDEMPOTENCY = "delete_old_idempotency",
        FORGET_COMMAND = "forget_command",
        INSERT_EVENT = "insert_event",
        INSERT_HEAD = "insert_head",
        REPLACE_IDEMPOTENCY = "replace_idempotency",
        SELECT_COMMANDS = "select_commands",
        SELECT_EVENT = "select_event",
        SELECT_EVENTS = "select_events",
        SELECT_FIRST_EVENT = "select_first_event",
        SELECT_FIRST_POSITION = "select_first_position",
        SELECT_HEAD = "select_head",
        SELECT_IDEMPOTENCY = "select_idempotency",
        SELECT_KEYS = "select_keys",
        SELECT_KEY_OWNER = "select_key_owner",
        SELECT_LAST_VERSION = "select_last_version",
        SELECT_RECORDED_AT = "select_recorded_at",
        SELECT_REMEMBERED = "select_remembered",
        SELECT_STREAM_EVENTS = "select_stream_events",
        SELECT_VERSIONS = "select_versions",
        UPDATE_HEAD = "update_head",
        UPSERT_KEY = "upsert_key",
    }
}

#[cfg(test)]
mod tests;
