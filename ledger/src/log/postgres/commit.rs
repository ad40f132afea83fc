//! How a batch gets into the log.
//!
//! Where the log is as this process left it, one statement does it all ([`unchanged`]). Otherwise:
//!
//! ```text
//! 1  begin; lock the head row          another process may have to be waited for
//! 2  fetch what the batch is judged by  with a snapshot, and a clock, younger than the lock
//!    plan                               pure, shared by all engines
//! 3  write everything                   one statement
//! 4  commit                             durable once it is answered; only then is anything acknowledged
//! ```
//!
//! A crash or a lost connection before the last of these was sent leaves nothing behind; while it is under way nobody knows. A
//! session is put back only after a transaction that ended well: whatever else happens, dropped futures included, it is closed,
//! and the server rolls back.

mod restored;
mod unchanged;

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use uuid::Uuid;

use self::unchanged::{Known, Margin};
use super::{hash, signed, time, unsigned};
use crate::event::Recorded;
use crate::log::{Append, CommitError, KeyOwner, Outcome, UniqueKey};
use crate::planner::{self, Found, Head, KeyChange, Plan, Remembered, Wanted};
use crate::store::Error;
use crate::store::postgres::{ANSWER_TIMEOUT, Sessions, bounded, error};
use crate::{Clock, Position, Version};

const BEGIN: &str = concat!("begin isolation level read committed; ", include_str!("../../../sql/postgres/log/lock_head.sql"));

/// Sessions kept when idle. One appender commits at a time; a second serves what else asks.
const IDLE_MAX: usize = 2;

/// The sessions that commit.
pub(super) struct Writer {
    sessions: Sessions,
    idle: Mutex<Vec<PgConnection>>,
    /// The log as the last commit left it; `None` while one is under way, and after one that failed.
    known: Mutex<Option<Known>>,
    margin: Margin,
}

/// An answer for each append, and the log's size if it grew.
type Committed = (Vec<Outcome>, Option<u64>);

impl Writer {
    pub(super) fn new(sessions: Sessions) -> Writer {
        let sessions = sessions
            // Whoever waits for the head longer than this is told that the store is busy.
            .with("lock_timeout", "5s")
            // A process that was frozen while it held the head must not stop all others.
            .with("idle_in_transaction_session_timeout", "10s")
            // A cancelled commit that waits for its standby reports success without having waited.
            .with("statement_timeout", "0");
        Writer { sessions, idle: Mutex::default(), known: Mutex::default(), margin: Margin::default() }
    }

    /// Commits a batch. An `injected` clock dates its events in place of the server's; it can be read under the lock only on the long
    /// way.
    pub(super) async fn commit(&self, batch: &[Append], injected: Option<&dyn Clock>) -> Result<Committed, CommitError> {
        let known = self.known().take();
        if let (Some(known), None) = (&known, injected)
            && let Some(committed) = self.append_if_unchanged(batch, known).await?
        {
            return Ok(committed);
        }
        self.append_locked(batch, known.as_ref(), injected).await
    }

    async fn append_locked(&self, batch: &[Append], known: Option<&Known>, injected: Option<&dyn Clock>) -> Result<Committed, CommitError> {
        let mut connection = self.begin().await.map_err(CommitError::NotCommitted)?;
        let (wanted, asked) = (planner::wanted(batch), Instant::now());
        let (mut head, found) = fetch(&mut connection, &wanted).await.map_err(CommitError::NotCommitted)?;
        let known = Known::after_fetching(&head, asked, known);
        head.now = injected.map_or(head.now, Clock::now);
        let plan = planner::plan(&head, found, batch);
        if plan.is_empty() {
            bounded(end("rollback", &mut connection)).await.map_err(CommitError::NotCommitted)?;
            self.put_back(connection, known);
            return Ok((plan.outcomes, None));
        }
        write(&mut connection, &head, &plan).await?;
        // From here on the batch may be in the log, whatever we hear.
        bounded_commit(Position(head.size), end("commit", &mut connection)).await?;
        self.put_back(connection, known.after(&plan));
        Ok((plan.outcomes, Some(plan.size)))
    }

    /// Waits until no transaction holds the head, and until what is visible then is as durable as what is acknowledged: a server that was
    /// stopped shows commits which its synchronous standby never got. The lock stands in the write-ahead log behind them, so its commit waits
    /// for them, too.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        let mut connection = self.begin().await?;
        bounded(end("commit", &mut connection)).await?;
        self.keep(connection);
        Ok(())
    }

    /// A session in a transaction that holds the head.
    async fn begin(&self) -> Result<PgConnection, Error> {
        if let Some(mut connection) = self.take() {
            match lock(&mut connection).await {
                Ok(()) => return Ok(connection),
                // The server may have been restarted since: nothing was begun, so a new session can do as well.
                Err(Error::Unavailable(_)) => self.idle().clear(),
                Err(other) => return Err(other),
            }
        }
        let mut connection = self.sessions.connect().await?;
        lock(&mut connection).await?;
        Ok(connection)
    }

    fn take(&self) -> Option<PgConnection> {
        self.idle().pop()
    }

    /// After a transaction that ended well, which left the log like this.
    fn put_back(&self, connection: PgConnection, known: Known) {
        *self.known() = Some(known);
        self.keep(connection);
    }

    /// After a transaction that ended well.
    fn keep(&self, connection: PgConnection) {
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn lock(connection: &mut PgConnection) -> Result<(), Error> {
    bounded(sqlx::raw_sql(BEGIN).execute(connection)).await.map(|_| ())
}

async fn end(how: &'static str, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(how).execute(connection).await.map(|_| ())
}

/// An answer to what commits a batch, planned `from` a position on, that is no success tells for sure only when the server says that it rolled
/// back, or did not get the lock.
async fn bounded_commit<T>(from: Position, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, CommitError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(failed)) if is_constraint(&failed) => Err(contradiction(&failed)),
        Ok(Err(failed)) if is_rolled_back(&failed) => Err(CommitError::NotCommitted(error(failed))),
        Ok(Err(failed)) => Err(CommitError::Unknown { from, source: error(failed) }),
        Err(late) => Err(CommitError::Unknown { from, source: Error::Unavailable(late.into()) }),
    }
}

/// Class 40 of PostgreSQL's codes: transaction rollback; 55P03: lock not available.
fn is_rolled_back(failed: &sqlx::Error) -> bool {
    failed.as_database_error().and_then(|error| error.code()).is_some_and(|code| code.starts_with("40") || code == "55P03")
}

type Fetched = (
    i64,
    Vec<u8>,
    i64,
    i64,
    Option<Vec<Option<i64>>>,
    Option<Vec<Option<String>>>,
    Option<Vec<Option<i64>>>,
    Option<Vec<Option<Vec<u8>>>>,
    Option<Vec<Option<i64>>>,
    Option<Vec<Option<i64>>>,
);

async fn fetch(connection: &mut PgConnection, wanted: &Wanted) -> Result<(Head, Found), Error> {
    let streams: Vec<&str> = wanted.streams.iter().map(|stream| stream.as_str()).collect();
    let keys: Vec<&[u8]> = wanted.keys.iter().map(|key| key.0.as_slice()).collect();
    let idempotency: Vec<&[u8]> = wanted.idempotency.iter().map(|key| key.as_slice()).collect();
    let statement = sqlx::query_as(include_str!("../../../sql/postgres/log/fetch.sql")).bind(streams).bind(keys).bind(idempotency);
    let row: Option<Fetched> = bounded(statement.fetch_optional(&mut *connection)).await?;
    let row = row.ok_or_else(|| Error::Corrupt("the head is gone".to_owned()))?;
    let (head, mut found) = found(wanted, row).map_err(|what| Error::Corrupt(format!("head or keys: {what}")))?;
    if !wanted.subjects.is_empty() {
        // A statement of its own, sent only where there is such a table.
        let subjects: Vec<Uuid> = wanted.subjects.iter().copied().collect();
        let missing = sqlx::query_scalar(include_str!("../../../sql/postgres/log/missing_subjects.sql")).bind(subjects);
        found.gone = bounded(missing.fetch_all(connection)).await?.into_iter().collect();
    }
    Ok((head, found))
}

/// Pairs questions and answers, which stand in one order.
fn found(wanted: &Wanted, row: Fetched) -> Result<(Head, Found), &'static str> {
    let (size, chain_hash, recorded_at, now, versions, key_streams, key_positions, commands, positions, times) = row;
    let head = Head { size: unsigned(size)?, chain_hash: hash(&chain_hash)?, recorded_at: time(recorded_at)?, now: time(now)? };
    let mut found = Found::default();
    for (stream, version) in wanted.streams.iter().zip(versions.unwrap_or_default()) {
        if let Some(version) = version {
            found.versions.insert(stream.clone(), Version(unsigned(version)?));
        }
    }
    let owners = key_streams.unwrap_or_default().into_iter().zip(key_positions.unwrap_or_default());
    for (key, owner) in wanted.keys.iter().zip(owners) {
        if let (Some(stream), Some(position)) = owner {
            let stream = stream.parse().map_err(|_| "a key's stream is none")?;
            found.keys.insert(key.clone(), KeyOwner { stream, position: Position(unsigned(position)?) });
        }
    }
    let rows = commands.unwrap_or_default().into_iter().zip(positions.unwrap_or_default()).zip(times.unwrap_or_default());
    for (key, remembered) in wanted.idempotency.iter().zip(rows) {
        if let ((Some(command), Some(position)), Some(recorded_at)) = remembered {
            let row = Remembered::from_stored(&command, Position(unsigned(position)?), time(recorded_at)?);
            found.idempotency.insert(*key, row.ok_or("an idempotency row's command is no HMAC")?);
        }
    }
    Ok((head, found))
}

async fn write(connection: &mut PgConnection, head: &Head, plan: &Plan) -> Result<(), CommitError> {
    let claimed = claimed(plan);
    let moved: Vec<(&UniqueKey, &KeyOwner)> =
        plan.keys.iter().filter_map(|(key, change)| if let KeyChange::Moved(owner) = change { Some((key, owner)) } else { None }).collect();
    let released: Vec<&[u8]> =
        plan.keys.iter().filter(|(_, change)| **change == KeyChange::Released).map(|(key, _)| key.0.as_slice()).collect();
    let statement = bind_events(sqlx::query(include_str!("../../../sql/postgres/log/append.sql")), head.size, plan)
        .bind(claimed.iter().map(|(key, _)| key.0.as_slice()).collect::<Vec<_>>())
        .bind(claimed.iter().map(|(_, owner)| owner.stream.as_str()).collect::<Vec<_>>())
        .bind(claimed.iter().map(|(_, owner)| signed(owner.position.0)).collect::<Vec<_>>())
        .bind(moved.iter().map(|(key, _)| key.0.as_slice()).collect::<Vec<_>>())
        .bind(moved.iter().map(|(_, owner)| owner.stream.as_str()).collect::<Vec<_>>())
        .bind(moved.iter().map(|(_, owner)| signed(owner.position.0)).collect::<Vec<_>>())
        .bind(released)
        .bind(plan.idempotency.keys().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
        .bind(plan.idempotency.values().map(|row| row.stored_command()).collect::<Vec<_>>())
        .bind(plan.idempotency.values().map(|row| signed(row.position.0)).collect::<Vec<_>>())
        .bind(plan.idempotency.values().map(|row| row.recorded_at.as_micros_i64()).collect::<Vec<_>>());
    match tokio::time::timeout(ANSWER_TIMEOUT, statement.execute(connection)).await {
        Ok(Ok(done)) if done.rows_affected() == 1 => Ok(()),
        Ok(Ok(_)) => Err(CommitError::Contradiction("the head moved while it was locked".to_owned())),
        Ok(Err(failed)) if is_constraint(&failed) => Err(contradiction(&failed)),
        Ok(Err(failed)) => Err(CommitError::NotCommitted(error(failed))),
        Err(late) => Err(CommitError::NotCommitted(Error::Unavailable(late.into()))),
    }
}

fn claimed(plan: &Plan) -> Vec<(&UniqueKey, &KeyOwner)> {
    plan.keys.iter().filter_map(|(key, change)| if let KeyChange::Claimed(owner) = change { Some((key, owner)) } else { None }).collect()
}

/// The first parameters of a statement that appends: the head that was built on and the new one, and the events.
fn bind_events<'q>(statement: Query<'q, Postgres, PgArguments>, size: u64, plan: &Plan) -> Query<'q, Postgres, PgArguments> {
    let events: Vec<&Recorded> = plan.events().collect();
    statement
        .bind(signed(size))
        .bind(plan.chain_hash.0.as_slice())
        .bind(plan.recorded_at.as_micros_i64())
        .bind(events.iter().map(|event| signed(event.position.0)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.stream.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| signed(event.version.0)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| i32::from(event.schema)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.recorded_at.as_micros_i64()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| &event.metadata[..]).collect::<Vec<_>>())
        .bind(events.iter().map(|event| &event.payload[..]).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.event_hash.0.as_slice()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.chain_hash.0.as_slice()).collect::<Vec<_>>())
}

/// Class 23 of PostgreSQL's codes: an integrity constraint.
fn is_constraint(failed: &sqlx::Error) -> bool {
    failed.as_database_error().and_then(|error| error.code()).is_some_and(|code| code.starts_with("23"))
}

fn contradiction(failed: &sqlx::Error) -> CommitError {
    let constraint = failed.as_database_error().and_then(|error| error.constraint());
    CommitError::Contradiction(constraint.unwrap_or("a constraint without a name").to_owned())
}
