//! Sessions for short statements that many ask for, and for short transactions.
//!
//! A pool of sqlx's asks the server whether a session still lives before each use and after it, which makes three round trips of
//! every statement. Here a session goes straight from one caller to the next; one that turns out to be dead is replaced, and the
//! statement is sent again. So it must be one that may be run twice: a read, or a write that finds its work done. Of a transaction
//! that is what begins it.
//!
//! What does not end well, dropped futures included, closes its session: whatever a server that fell silent still owes is waited for
//! by nobody.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, Sessions};

/// At most so many sessions, opened when they are needed.
pub struct Kept {
    sessions: Sessions,
    idle: Mutex<Vec<PgConnection>>,
    permits: Semaphore,
}

impl Kept {
    /// Over such sessions.
    #[must_use]
    pub fn new(sessions: Sessions, sessions_max: usize) -> Kept {
        Kept { sessions, idle: Mutex::default(), permits: Semaphore::new(sessions_max) }
    }

    /// Runs a statement that may be run twice. Dropping the future closes the session it runs on.
    ///
    /// # Errors
    /// The server's; a session that cannot begin is a [`sqlx::Error::Configuration`] around its [`Error`](crate::store::Error).
    pub async fn fetch<'q>(&self, statement: impl Fn() -> Query<'q, Postgres, PgArguments>) -> Result<Vec<PgRow>, sqlx::Error> {
        let _permit = self.permit().await?;
        loop {
            let (mut session, is_fresh) = self.session().await?;
            match in_time(statement().fetch_all(&mut session)).await? {
                Ok(rows) => {
                    self.idle().push(session);
                    return Ok(rows);
                }
                Err(failed) if is_fresh || !is_lost(&failed) => return Err(failed),
                // Sessions die together, when the server is restarted or fails over.
                Err(_) => self.idle().clear(),
            }
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// As [`Kept::fetch`].
    pub async fn begin(&self) -> Result<Transaction<'_>, sqlx::Error> {
        let permit = self.permit().await?;
        loop {
            let (mut session, is_fresh) = self.session().await?;
            match in_time(sqlx::raw_sql("begin").execute(&mut session)).await? {
                Ok(_) => return Ok(Transaction { session, kept: self, _permit: permit }),
                Err(failed) if is_fresh || !is_lost(&failed) => return Err(failed),
                Err(_) => self.idle().clear(),
            }
        }
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        let permit = timeout(CONNECT_TIMEOUT, self.permits.acquire()).await;
        permit.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)
    }

    /// A session, and whether it has just begun.
    async fn session(&self) -> Result<(PgConnection, bool), sqlx::Error> {
        let idle = self.idle().pop();
        match idle {
            Some(session) => Ok((session, false)),
            None => Ok((self.sessions.connect().await.map_err(|refused| sqlx::Error::Configuration(refused.into()))?, true)),
        }
    }

    /// Nothing panics while the lock is held.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session in a transaction. Dropping it closes the session, and the server rolls back. Its statements are bounded by whoever sends
/// them.
pub struct Transaction<'k> {
    session: PgConnection,
    kept: &'k Kept,
    _permit: SemaphorePermit<'k>,
}

impl Transaction<'_> {
    /// Commits. Where that fails nobody knows whether it did.
    ///
    /// # Errors
    /// The server's.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("commit").execute(&mut self.session).await?;
        self.kept.idle().push(self.session);
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.session
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.session
    }
}

/// The server's answer, or that there was none in time.
async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<Result<T, sqlx::Error>, sqlx::Error> {
    timeout(ANSWER_TIMEOUT, answer).await.map_err(|late| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, late)))
}

/// Whether the session is of no use any more, rather than the statement.
fn is_lost(failed: &sqlx::Error) -> bool {
    match failed {
        // operator intervention, such as a shutdown; connection exceptions
        sqlx::Error::Database(refused) => refused.code().is_some_and(|code| code.starts_with("57") || code.starts_with("08")),
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::Durability;
    use crate::testing::postgres::Database;
    use sqlx::{Connection, Row};

    #[tokio::test]
    async fn a_caller_whose_session_was_ended_is_served_on_another() {
        let database = Database::create().await;
        let kept = Kept::new(Sessions::new(&database.url, "read", Durability::Derived).unwrap(), 2);
        let pid = || async {
            let rows = kept.fetch(|| sqlx::query("select pg_backend_pid()")).await.unwrap();
            rows[0].get::<i32, _>(0)
        };
        let first = pid().await;
        assert_eq!(pid().await, first, "a session is used again");
        let mut other = PgConnection::connect(&database.url).await.unwrap();
        sqlx::query("select pg_terminate_backend($1)").bind(first).execute(&mut other).await.unwrap();
        assert_ne!(pid().await, first);
        assert!(matches!(kept.fetch(|| sqlx::query("select no_such_column")).await, Err(sqlx::Error::Database(_))));
    }

    #[tokio::test]
    async fn a_transaction_begins_on_a_session_that_lives_and_one_that_is_dropped_is_rolled_back() {
        let database = Database::create().await;
        let kept = Kept::new(Sessions::new(&database.url, "public", Durability::Derived).unwrap(), 1);
        let count = || async { kept.fetch(|| sqlx::query("select count(*) from numbers")).await.unwrap()[0].get::<i64, _>(0) };
        let mut transaction = kept.begin().await.unwrap();
        sqlx::raw_sql("create table numbers (number integer); insert into numbers values (1)").execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let pid: i32 = kept.fetch(|| sqlx::query("select pg_backend_pid()")).await.unwrap()[0].get(0);
        let mut other = PgConnection::connect(&database.url).await.unwrap();
        sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(&mut other).await.unwrap();
        let mut transaction = kept.begin().await.unwrap();
        sqlx::raw_sql("insert into numbers values (2)").execute(&mut *transaction).await.unwrap();
        drop(transaction);
        assert_eq!(count().await, 1);
        let mut transaction = kept.begin().await.unwrap();
        sqlx::raw_sql("insert into numbers values (3)").execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(count().await, 2);
    }

    #[tokio::test]
    async fn callers_wait_for_one_another_when_there_are_more_than_sessions() {
        let database = Database::create().await;
        let kept = Kept::new(Sessions::new(&database.url, "read", Durability::Derived).unwrap(), 2);
        let reads = (0..20).map(|_| kept.fetch(|| sqlx::query("select pg_backend_pid()")));
        let answers = futures::future::join_all(reads).await;
        let pids: std::collections::HashSet<i32> = answers.into_iter().map(|rows| rows.unwrap()[0].get(0)).collect();
        assert!(pids.len() <= 2);
    }
}
