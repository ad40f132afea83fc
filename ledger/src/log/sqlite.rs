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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use rusqlite_migration::{M, Migrations};

use super::{Append, CommitError, Head, KeyOwner, Listed, Log, Outcome, Query, UniqueKey, key, settled_before};
use crate::chain::{Hash, Origin};
use crate::event::Recorded;
use crate::planner::{self, Found, KeyChange, Plan, Remembered, Wanted};
use crate::store::Error;
use crate::store::sqlite::rows::{all, at_most, column, execute, integer, one, place, statements};
use crate::store::sqlite::{self as store, Access, Durability, OpenFile, Options, Readers, Shared};
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
    readers: Readers,
    /// Takes the write lock, to see that nobody holds it. It never waits and never writes.
    prober: Shared,
    /// The clock when the write lock was taken last, in microseconds.
    proved: AtomicU64,
    /// A commit of ours ended unknown: what it wrote may still stand behind the file's last commit. Changed by the writer's thread only.
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
        let readers = Readers::connect(path, READER, READERS).await?;
        let prober = store::connect(path, PROBER).await?;
        store::call(&prober, |connection| connection.busy_timeout(Duration::ZERO).map_err(store::error)).await?;
        let (proved, unsettled) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
        Ok(Sqlite { name, origin: row.origin, clock, file, writer, readers, prober, proved, unsettled })
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
        self.on(self.readers.next(), work).await
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
            let unsettled = self.unsettled.clone();
            let settle = move |connection: &mut Connection| {
                settle(connection)?;
                // On the thread that commits: none can have ended unknown since.
                unsettled.store(false, Ordering::SeqCst);
                Ok(())
            };
            self.on(&self.writer, settle).await?;
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
        let planned = Arc::new(OnceLock::new());
        let committing = planned.clone();
        let commit = move |connection: &mut Connection| {
            let committed = commit(connection, &file, &*clock, &batch, &committing);
            if matches!(committed, Err(CommitError::Unknown { .. })) {
                unsettled.store(true, Ordering::SeqCst);
            }
            committed
        };
        let committed = self.writer.call(commit).await;
        // The connection's thread ended, before it came to it or in the middle.
        committed.unwrap_or_else(|closed| {
            let source = Error::Failed(closed.into());
            Err(match planned.get() {
                Some(from) => CommitError::Unknown { from: *from, source },
                None => CommitError::NotCommitted(source),
            })
        })
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
            let found = positions.iter().map(|position| one(connection, sql::SELECT_EVENT, [integer(position.0)], event));
            found.filter_map(Result::transpose).collect()
        };
        self.on_reader(read).await
    }

    async fn read_first(&self, streams: &[Stream]) -> Result<Vec<Recorded>, Error> {
        let mut streams = streams.to_vec();
        streams.sort_unstable();
        streams.dedup();
        let read = move |connection: &mut Connection| {
            let found = streams.iter().map(|stream| one(connection, sql::SELECT_FIRST_EVENT, [stream.as_str()], event));
            let mut events = found.filter_map(Result::transpose).collect::<Result<Vec<Recorded>, Error>>()?;
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
        let key = |row: &Row<'_>| Ok((UniqueKey(column(row, 0)?), owner(row, 1)?));
        self.on_reader(move |connection| all(connection, sql::SELECT_KEYS, params![from, at_most(limit)], key)).await
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
            let piece = move |connection: &mut Connection| execute(connection, sql::DELETE_OLD_IDEMPOTENCY, [before.as_micros()]);
            match self.on(&self.writer, piece).await? {
                0 => return Ok(forgotten),
                rows => forgotten += rows as u64,
            }
        }
    }

    async fn forget_commands(&self, positions: &[Position]) -> Result<u64, Error> {
        let positions = serde_json::Value::from_iter(positions.iter().map(|position| position.0)).to_string();
        let select = move |connection: &mut Connection| all(connection, sql::SELECT_COMMANDS, [positions], |row| column::<i64>(row, 0));
        let rows = self.on_reader(select).await?;
        let forget = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store::error)?;
            let mut forgotten = 0;
            for row in rows {
                forgotten += execute(&transaction, sql::FORGET_COMMAND, [row])? as u64;
            }
            transaction.commit().map_err(store::error)?;
            Ok(forgotten)
        };
        self.on(&self.writer, forget).await
    }
}

/// Tells `planned`, before anything can have been committed, where the batch will stand.
fn commit(
    connection: &mut Connection,
    file: &OpenFile,
    clock: &dyn Clock,
    batch: &[Append],
    planned: &OnceLock<Position>,
) -> Result<Vec<Outcome>, CommitError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|failed| CommitError::NotCommitted(store::error(failed)))?;
    let row = head_row(&transaction).map_err(CommitError::NotCommitted)?;
    let head = planner::Head { size: row.size, chain_hash: row.chain_hash, recorded_at: row.recorded_at, now: clock.now() };
    let found = find(&transaction, planner::wanted(batch)).map_err(CommitError::NotCommitted)?;
    let plan = planner::plan(&head, found, batch);
    file.require().map_err(CommitError::NotCommitted)?;
    if plan.is_empty() {
        return Ok(plan.outcomes);
    }
    write(&transaction, head.size, &plan).map_err(|failed| match failed.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => CommitError::Contradiction(failed.to_string()),
        _ => CommitError::NotCommitted(store::error(failed)),
    })?;
    // Once this returns the batch is on the disk. If it fails, the batch may be: no reader sees it, but a commit whose last fsync
    // failed can come back when the file is recovered, unless it is settled before. So can one that found the disk full where overwriting
    // takes new room: the end of its last frame, which was not written, may be what stands there already.
    let from = *planned.get_or_init(|| Position(head.size));
    transaction.commit().map_err(|failed| CommitError::Unknown { from, source: store::error(failed) })?;
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
        execute(&transaction, sql::UPDATE_HEAD, params![from, to, chain_hash.0, recorded_at.as_micros()])?;
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
    for event in plan.events() {
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
    for (key, change) in &plan.keys {
        match change {
            KeyChange::Claimed(owner) | KeyChange::Moved(owner) => {
                upsert.execute(params![key.0, owner.stream.as_str(), owner.position.0])?
            }
            KeyChange::Released => delete.execute([&key.0])?,
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
    let read = |row: &Row<'_>| {
        Ok(HeadRow {
            origin: Origin::from_stored(column(row, 0)?),
            size: column(row, 1)?,
            chain_hash: hash(row, 2)?,
            recorded_at: Timestamp::from_micros(column(row, 3)?),
        })
    };
    one(connection, sql::SELECT_HEAD, [], read)?.ok_or_else(|| no_head(connection))
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
    one(connection, sql::SELECT_KEY_OWNER, [&key.0], |row| owner(row, 0))
}

/// A row's stream and position, from column `at` on.
fn owner(row: &Row<'_>, at: usize) -> Result<KeyOwner, Error> {
    Ok(KeyOwner { stream: stream(row, at)?, position: Position(column(row, at + 1)?) })
}

fn read(connection: &mut Connection, query: &Query) -> Result<Vec<Recorded>, Error> {
    // One snapshot: an event that is appended between the search for `until` and the read must not slip in.
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(store::error)?;
    let positions = positions(&snapshot, query)?;
    let (from, to, limit) = (integer(positions.start), integer(positions.end), at_most(query.limit));
    match &query.stream {
        Some(stream) => all(&snapshot, sql::SELECT_STREAM_EVENTS, params![from, to, query.kind, limit, stream.as_str()], event),
        None => all(&snapshot, sql::SELECT_EVENTS, params![from, to, query.kind, limit], event),
    }
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
    let mut span = 0..size;
    while !span.is_empty() {
        let middle = span.start + (span.end - span.start) / 2;
        let recorded_at = one(snapshot, sql::SELECT_RECORDED_AT, [integer(middle)], |row| column::<u64>(row, 0))?;
        let recorded_at = recorded_at.ok_or_else(|| Error::Corrupt(format!("position {middle} is missing")))?;
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

/// The statements, one a file.
mod sql {
    super::statements! { "log":
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
