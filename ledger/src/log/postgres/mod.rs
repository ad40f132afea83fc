//! The log on PostgreSQL: a schema named as the log, which any number of processes on any number of hosts may share.
//!
//! The head row serialises appends, however many processes there are; a batch takes one round trip where the log is as this process
//! left it, else four (`commit`). A commit that is visible to others is durable before, so nothing that is read here can be taken back.
//!
//! Reads go through sessions that are kept; commits through sessions of their own, which are closed whenever a commit did not end well.

mod commit;
mod restore;
#[cfg(test)]
mod tests;
mod wake;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query as Statement;
use sqlx::{FromRow, Row};
use tokio::sync::watch;

use self::commit::Writer;
use self::wake::Wakeups;
use super::{Append, CommitError, Head, KeyOwner, Listed, Log, Outcome, Query, UniqueKey, key, settled_before};
use crate::chain::{Hash, Origin};
use crate::event::Recorded;
use crate::store::Error;
use crate::store::postgres::{self as store, Durability, Kept, SESSIONS_MAX, Sessions, Step, bounded};
use crate::{Clock, LogName, Position, Stream, Timestamp, Version};

const STEPS: &[Step] = &[
    (1, "events", include_str!("../../../../migrations/postgres/log/0001_events.sql")),
    (2, "append_if_unchanged", include_str!("../../../../migrations/postgres/log/0002_append_if_unchanged.sql")),
    (3, "tree", include_str!("../../../../migrations/postgres/log/0003_tree.sql")),
];

/// Sessions for what is read all the time.
const READERS_MAX: usize = 4;
/// Sessions for what else is read.
const POOL_MAX: u32 = SESSIONS_MAX - 4;

const HEAD: &str = include_str!("../../../sql/postgres/log/head.sql");

/// A log in a schema of a PostgreSQL database.
pub struct Postgres {
    name: LogName,
    origin: Origin,
    clock: Option<Arc<dyn Clock>>,
    pool: PgPool,
    /// For what is read all the time.
    readers: Kept,
    writer: Writer,
    wakeups: Wakeups,
    unsettled: Unsettled,
}

impl Postgres {
    /// Brings the schema of the log `name` up to this program's, making it where it is missing.
    ///
    /// # Errors
    /// As [`store::migrate`].
    pub async fn migrate(url: &str, name: &LogName) -> Result<(), Error> {
        store::migrate(url, schema(name), STEPS).await
    }

    /// The names of the steps that [`Postgres::migrate`] would take.
    ///
    /// # Errors
    /// As [`store::pending`].
    pub async fn pending(url: &str, name: &LogName) -> Result<Vec<&'static str>, Error> {
        store::pending(url, schema(name), STEPS).await
    }

    /// Whether the log has been made.
    ///
    /// # Errors
    /// [`Error::Denied`] when it is there but not for this login; the server's.
    pub async fn exists(url: &str, name: &LogName) -> Result<bool, Error> {
        let pool = Sessions::new(url, schema(name), Durability::UnsafeAllowed)?.pool(1).await?;
        if !store::schema_exists(&pool, schema(name)).await? {
            return Ok(false);
        }
        match head(&pool).await {
            Ok(head) => Ok(head.is_some()),
            Err(Error::NotMigrated) => Ok(false),
            Err(failed) => Err(failed),
        }
    }

    /// Opens the log `name`. With an `origin_base` (host and optional path) it is made or migrated as far as the login may;
    /// without one it is taken as it is. A log keeps the origin with which it was made. Without a `clock` the server's is used.
    ///
    /// # Errors
    /// [`Error::NotMigrated`], also when the login may not migrate; [`Error::NewerSchema`]; [`Error::UnsafeDurability`];
    /// [`Error::Denied`]; [`Error::Unavailable`] at once, without any retry.
    pub async fn open(
        url: &str,
        name: LogName,
        origin_base: Option<&str>,
        clock: Option<Arc<dyn Clock>>,
        durability: Durability,
    ) -> Result<Postgres, Error> {
        let sessions = Sessions::new(url, schema(&name), durability)?.by_index();
        let pool = sessions.pool(POOL_MAX).await?;
        match origin_base {
            Some(_) => store::migrate_if_allowed(url, schema(&name), STEPS).await?,
            None => store::require_current(&pool, schema(&name), STEPS).await?,
        }
        let stored = match (head(&pool).await?, origin_base) {
            (None, Some(base)) => {
                let origin = Origin::new(base, &name);
                let insert = sqlx::query(include_str!("../../../sql/postgres/log/create_head.sql"));
                bounded(insert.bind(origin.as_str()).bind(origin.genesis().0).execute(&pool)).await?;
                // Another process may have been faster, with another base: what stands there counts.
                head(&pool).await?
            }
            (stored, _) => stored,
        };
        let origin = match stored {
            Some(stored) => stored.origin,
            None => return Err(no_head(&pool).await),
        };
        let wakeups = Wakeups::new(&sessions, &name);
        let (readers, writer) = (Kept::new(sessions.clone(), READERS_MAX), Writer::new(sessions));
        Ok(Postgres { name, origin, clock, pool, readers, writer, wakeups, unsettled: Unsettled::default() })
    }

    /// The server's setting by which acknowledged commits can be lost, if there is one: for readiness.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn unsafe_setting(&self) -> Result<Option<String>, Error> {
        store::unsafe_setting(&self.pool).await
    }

    /// Makes sure that no commit of ours whose outcome is unknown is under way any more.
    async fn settle(&self) -> Result<(), Error> {
        let unknown = self.unsettled.unknown.load(Ordering::SeqCst);
        let (mut settled, waited) = match self.unsettled.settled.try_lock() {
            Ok(settled) => (settled, false),
            Err(_) => (self.unsettled.settled.lock().await, true),
        };
        if *settled >= unknown {
            return Ok(());
        }
        if waited {
            // Whoever was waited for could not, and took as long as one waits.
            return Err(Error::Busy);
        }
        self.writer.settle().await?;
        *settled = unknown;
        Ok(())
    }

    fn now(&self, stored: Timestamp) -> Timestamp {
        self.clock.as_ref().map_or(stored, |clock| clock.now())
    }

    /// The first position recorded at `time` or later, the log's size if there is none; and that size.
    async fn first_since(&self, time: Timestamp) -> Result<(i64, i64), Error> {
        let search = sqlx::query_as(include_str!("../../../sql/postgres/log/first_since.sql")).bind(time.as_micros_i64());
        bounded(search.fetch_one(&self.pool)).await
    }

    /// The positions, both inclusive, within which everything lies that `query` can want; `None` if there are none.
    async fn bounds(&self, query: &Query) -> Result<Option<(i64, i64)>, Error> {
        let mut from = i64::try_from(query.from.0).unwrap_or(i64::MAX);
        let mut to = query.to.map_or(i64::MAX, |to| i64::try_from(to.0).unwrap_or(i64::MAX));
        if let Some(since) = query.since {
            let (first, size) = self.first_since(since).await?;
            // What is appended after the search was not judged by it.
            (from, to) = (from.max(first), to.min(size - 1));
        }
        if let Some(until) = query.until {
            let (first, _) = self.first_since(until).await?;
            to = to.min(first - 1);
        }
        Ok((from <= to).then_some((from, to)))
    }

    async fn events<'q>(&self, statement: impl Fn() -> Statement<'q, sqlx::Postgres, PgArguments>) -> Result<Vec<Recorded>, Error> {
        let rows = self.readers.fetch(statement).await.map_err(store::error)?;
        rows.iter().map(|row| self.event(row)).collect()
    }

    fn event(&self, row: &PgRow) -> Result<Recorded, Error> {
        let position: i64 = row.try_get(0).map_err(store::error)?;
        recorded(row).map_err(|what| Error::Corrupt(format!("{}@{position}: {what}", self.name)))
    }
}

#[async_trait]
impl Log for Postgres {
    fn name(&self) -> &LogName {
        &self.name
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn schema(&self) -> usize {
        STEPS.len()
    }

    /// After a commit whose outcome is unknown this waits until the server is done with it, or answers [`Error::Busy`].
    async fn head(&self) -> Result<Head, Error> {
        self.settle().await?;
        // Our clock is read before the query, as the server's is before the row is looked at.
        let ours = self.now(Timestamp::EPOCH);
        let rows = self.readers.fetch(|| sqlx::query(HEAD)).await.map_err(store::error)?;
        let head = rows.first().map(stored_head).transpose()?.ok_or(Error::NotMigrated)?;
        let now = match (head.in_flight, &self.clock) {
            (true, _) => settled_before(head.recorded_at),
            (false, Some(_)) => ours,
            (false, None) => head.now,
        };
        Ok(Head { size: head.size, chain_hash: head.chain_hash, recorded_at: head.recorded_at, now })
    }

    async fn commit(&self, batch: Vec<Append>) -> Result<Vec<Outcome>, CommitError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let outcome = OutcomeUnknown(&self.unsettled);
        let committed = self.writer.commit(&batch, self.clock.as_deref()).await;
        if !matches!(committed, Err(CommitError::Unknown { .. })) {
            std::mem::forget(outcome);
        }
        let (outcomes, size) = committed?;
        if let Some(size) = size {
            self.wakeups.announce(size);
        }
        Ok(outcomes)
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>, Error> {
        let Some((from, to)) = self.bounds(query).await? else { return Ok(Vec::new()) };
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let bounds = |text| sqlx::query::<sqlx::Postgres>(text).bind(from).bind(to).bind(query.kind.as_deref()).bind(limit);
        match &query.stream {
            None => self.events(|| bounds(include_str!("../../../sql/postgres/log/read.sql"))).await,
            Some(stream) => self.events(|| bounds(include_str!("../../../sql/postgres/log/read_stream.sql")).bind(stream.as_str())).await,
        }
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<Recorded>, Error> {
        let positions: Vec<i64> = positions.iter().filter_map(|position| i64::try_from(position.0).ok()).collect();
        self.events(|| sqlx::query(include_str!("../../../sql/postgres/log/read_at.sql")).bind(&positions)).await
    }

    async fn read_first(&self, streams: &[Stream]) -> Result<Vec<Recorded>, Error> {
        let streams: Vec<&str> = streams.iter().map(Stream::as_str).collect();
        let mut events = self.events(|| sqlx::query(include_str!("../../../sql/postgres/log/read_first.sql")).bind(&streams)).await?;
        events.sort_unstable_by_key(|event| event.position);
        Ok(events)
    }

    async fn versions(&self, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, Error> {
        // No stream's name is as small as none.
        let mut after = after.map_or_else(|| (String::new(), 0), |after| (after.stream.to_string(), signed(after.version.0)));
        let mut listed = Vec::new();
        loop {
            let missing = limit - listed.len();
            let statement = sqlx::query_as(include_str!("../../../sql/postgres/log/versions.sql"));
            let statement = statement.bind(&after.0).bind(after.1).bind(i64::try_from(missing).unwrap_or(i64::MAX));
            let (streams, versions, positions, grows): (Vec<String>, Vec<i64>, Vec<i64>, bool) =
                bounded(statement.fetch_one(&self.pool)).await?;
            if !grows {
                let what = format!("events_stream_version is not in its order after {} version {}", after.0, after.1);
                return Err(Error::Corrupt(what));
            }
            let places = streams.iter().zip(versions.iter().zip(&positions));
            listed.extend(places.filter_map(|(stream, (version, position))| place(stream, *version, *position)));
            let full = streams.len() == missing;
            if !full || listed.len() == limit {
                return Ok(listed);
            }
            after = streams.into_iter().zip(versions).next_back().unwrap_or_default();
        }
    }

    async fn key_owner(&self, key: &UniqueKey) -> Result<Option<KeyOwner>, Error> {
        let statement = sqlx::query_as(include_str!("../../../sql/postgres/log/key_owner.sql")).bind(&key.0);
        let row: Option<(String, i64)> = bounded(statement.fetch_optional(&self.pool)).await?;
        row.map(|(stream, position)| key_owner(&stream, position)).transpose()
    }

    async fn keys(&self, after: Option<&UniqueKey>, limit: usize) -> Result<Vec<(UniqueKey, KeyOwner)>, Error> {
        let from = key::least_after(after);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let statement = sqlx::query_as(include_str!("../../../sql/postgres/log/keys.sql")).bind(from).bind(limit);
        let (keys, streams, positions): (Vec<Vec<u8>>, Vec<String>, Vec<i64>) = bounded(statement.fetch_one(&self.pool)).await?;
        let owners = streams.iter().zip(positions).map(|(stream, position)| key_owner(stream, position));
        keys.into_iter().zip(owners).map(|(key, owner)| Ok((UniqueKey(key), owner?))).collect()
    }

    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64, Error> {
        let statement = sqlx::query(include_str!("../../../sql/postgres/log/forget_idempotency.sql")).bind(before.as_micros_i64());
        Ok(bounded(statement.execute(&self.pool)).await?.rows_affected())
    }

    async fn forget_commands(&self, positions: &[Position]) -> Result<u64, Error> {
        let positions: Vec<i64> = positions.iter().map(|position| signed(position.0)).collect();
        let statement = sqlx::query(include_str!("../../../sql/postgres/log/forget_commands.sql")).bind(positions);
        Ok(bounded(statement.execute(&self.pool)).await?.rows_affected())
    }

    fn wakeups(&self) -> Option<watch::Receiver<u64>> {
        Some(self.wakeups.subscribe())
    }
}

/// Commits of ours that ended unknown: the server may still be at them.
#[derive(Default)]
struct Unsettled {
    /// How many there have been.
    unknown: AtomicU64,
    /// How many of them are known to be no longer under way. Locked by who is finding that out, while all others wait.
    settled: tokio::sync::Mutex<u64>,
}

/// Notes when dropped that a commit's outcome is unknown, as it also is when the commit's future was dropped.
struct OutcomeUnknown<'a>(&'a Unsettled);

impl Drop for OutcomeUnknown<'_> {
    fn drop(&mut self) {
        self.0.unknown.fetch_add(1, Ordering::SeqCst);
    }
}

/// Each log has a schema of its name.
pub(crate) fn schema(name: &LogName) -> &'static str {
    if *name == LogName::AUDIT { "audit" } else { "ledger" }
}

struct StoredHead {
    origin: Origin,
    size: u64,
    chain_hash: Hash,
    recorded_at: Timestamp,
    now: Timestamp,
    /// A commit may have taken its time before `now` and not be counted; on a standby always.
    in_flight: bool,
}

async fn head(pool: &PgPool) -> Result<Option<StoredHead>, Error> {
    bounded(sqlx::query(HEAD).fetch_optional(pool)).await?.as_ref().map(stored_head).transpose()
}

/// A log without a head has not been made yet, unless it has events: then the head is lost.
async fn no_head(pool: &PgPool) -> Error {
    match bounded(sqlx::query_scalar(include_str!("../../../sql/postgres/log/has_events.sql")).fetch_one(pool)).await {
        Ok(true) => super::lost_head(),
        Ok(false) => Error::NotMigrated,
        Err(failed) => failed,
    }
}

fn stored_head(row: &PgRow) -> Result<StoredHead, Error> {
    type Columns = (String, i64, Vec<u8>, i64, i64, bool);
    let (origin, size, chain_hash, recorded_at, now, in_flight) = Columns::from_row(row).map_err(store::error)?;
    let read = || {
        Ok(StoredHead {
            origin: Origin::from_stored(origin),
            size: unsigned(size)?,
            chain_hash: hash(&chain_hash)?,
            recorded_at: time(recorded_at)?,
            now: time(now)?,
            in_flight,
        })
    };
    read().map_err(|what: &str| Error::Corrupt(format!("head: {what}")))
}

/// A row of the event table, in the order of its columns.
fn recorded(row: &PgRow) -> Result<Recorded, String> {
    type Columns = (i64, String, i64, String, i32, i64, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);
    let (position, stream, version, kind, schema, recorded_at, metadata, payload, event_hash, chain_hash) =
        Columns::from_row(row).map_err(|undecodable| undecodable.to_string())?;
    Ok(Recorded {
        position: Position(unsigned(position)?),
        stream: stream.parse::<Stream>().map_err(|malformed| malformed.to_string())?,
        version: Version(unsigned(version)?),
        kind,
        schema: u16::try_from(schema).map_err(|_| "the schema version is out of range")?,
        recorded_at: time(recorded_at)?,
        metadata: metadata.into(),
        payload: payload.into(),
        event_hash: hash(&event_hash)?,
        chain_hash: hash(&chain_hash)?,
    })
}

fn key_owner(stream: &str, position: i64) -> Result<KeyOwner, Error> {
    let corrupt = |what: &str| Error::Corrupt(format!("unique key: {what}"));
    let stream = stream.parse().map_err(|_| corrupt("its stream is none"))?;
    Ok(KeyOwner { stream, position: Position(unsigned(position).map_err(corrupt)?) })
}

/// `None` for a row that is none of ours.
fn place(stream: &str, version: i64, position: i64) -> Option<Listed> {
    Some(Listed { stream: stream.parse().ok()?, version: Version(unsigned(version).ok()?), position: Position(unsigned(position).ok()?) })
}

fn unsigned(number: i64) -> Result<u64, &'static str> {
    u64::try_from(number).map_err(|_| "a negative number")
}

fn signed(number: u64) -> i64 {
    // Positions are counted one by one: none will ever be larger.
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn time(micros: i64) -> Result<Timestamp, &'static str> {
    unsigned(micros).map(Timestamp::from_micros)
}

fn hash(bytes: &[u8]) -> Result<Hash, &'static str> {
    Hash::from_slice(bytes).ok_or("a hash of another length")
}
