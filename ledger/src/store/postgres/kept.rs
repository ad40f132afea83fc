//! Sessions for short statements that many ask for.
//!
//! A pool of sqlx's asks the server whether a session still lives before each use and after it, which makes three round trips of
//! every statement. Here a session goes straight from one caller to the next; one that turns out to be dead is replaced, and the
//! statement is sent again. So it must be one that may be run twice: a read, or a write that finds its work done.

use std::sync::{Mutex, PoisonError};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};
use tokio::sync::Semaphore;
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
        let permit = timeout(CONNECT_TIMEOUT, self.permits.acquire()).await;
        let _permit = permit.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        loop {
            let idle = self.idle().pop();
            let is_fresh = idle.is_none();
            let mut session = match idle {
                Some(session) => session,
                None => self.sessions.connect().await.map_err(|refused| sqlx::Error::Configuration(refused.into()))?,
            };
            match timeout(ANSWER_TIMEOUT, statement().fetch_all(&mut session)).await {
                Err(late) => return Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, late))),
                Ok(Ok(rows)) => {
                    self.idle().push(session);
                    return Ok(rows);
                }
                Ok(Err(failed)) if is_fresh || !is_lost(&failed) => return Err(failed),
                // Sessions die together, when the server is restarted or fails over.
                Ok(Err(_)) => self.idle().clear(),
            }
        }
    }

    /// Nothing panics while the lock is held.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    async fn callers_wait_for_one_another_when_there_are_more_than_sessions() {
        let database = Database::create().await;
        let kept = Kept::new(Sessions::new(&database.url, "read", Durability::Derived).unwrap(), 2);
        let reads = (0..20).map(|_| kept.fetch(|| sqlx::query("select pg_backend_pid()")));
        let answers = futures::future::join_all(reads).await;
        let pids: std::collections::HashSet<i32> = answers.into_iter().map(|rows| rows.unwrap()[0].get(0)).collect();
        assert!(pids.len() <= 2);
    }
}
