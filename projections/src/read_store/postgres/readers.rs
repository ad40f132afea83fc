//! Sessions for point lookups.
//!
//! A pool of sqlx's asks the server whether a session still lives before each use and after it, which makes three round trips of
//! every lookup. Here a session goes straight from one reader to the next; one that turns out to be dead is replaced, and since
//! these statements only read, they are sent again.

use std::sync::{Mutex, PoisonError};

use credence_ledger::store::postgres::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, Sessions};
use sqlx::PgConnection;
use sqlx::postgres::{PgArguments, PgRow};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::statements as sql;

/// At most so many sessions, opened when they are needed.
pub(super) struct Readers {
    sessions: Sessions,
    idle: Mutex<Vec<PgConnection>>,
    permits: Semaphore,
}

impl Readers {
    pub(super) fn new(sessions: Sessions, sessions_max: usize) -> Readers {
        Readers { sessions, idle: Mutex::new(Vec::new()), permits: Semaphore::new(sessions_max) }
    }

    /// Runs a reading statement of the generation `generation`. Dropping the future closes the session it runs on.
    pub(super) async fn fetch(&self, statement: &str, generation: u64, arguments: &PgArguments) -> Result<Vec<PgRow>, sqlx::Error> {
        let permit = timeout(CONNECT_TIMEOUT, self.permits.acquire()).await;
        let _permit = permit.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        loop {
            let idle = self.idle().pop();
            let is_fresh = idle.is_none();
            let mut session = match idle {
                Some(session) => session,
                None => self.sessions.connect().await.map_err(|refused| sqlx::Error::Configuration(refused.into()))?,
            };
            let query = sqlx::query_with(sql::at(statement, generation), arguments.clone());
            match timeout(ANSWER_TIMEOUT, query.fetch_all(&mut session)).await {
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
    use credence_ledger::store::postgres::Durability;
    use credence_ledger::testing::postgres::Database;
    use sqlx::{Connection, Row};

    #[tokio::test]
    async fn a_reader_whose_session_was_ended_reads_on_another() {
        let database = Database::create().await;
        let readers = Readers::new(Sessions::new(&database.url, "read", Durability::Derived).unwrap(), 2);
        let pid = || async {
            let rows = readers.fetch("select pg_backend_pid()", 0, &PgArguments::default()).await.unwrap();
            rows[0].get::<i32, _>(0)
        };
        let first = pid().await;
        assert_eq!(pid().await, first, "a session is used again");
        let mut other = PgConnection::connect(&database.url).await.unwrap();
        sqlx::query("select pg_terminate_backend($1)").bind(first).execute(&mut other).await.unwrap();
        assert_ne!(pid().await, first);
        assert!(matches!(readers.fetch("select no_such_column", 0, &PgArguments::default()).await, Err(sqlx::Error::Database(_))));
    }

    #[tokio::test]
    async fn readers_wait_for_one_another_when_there_are_more_than_sessions() {
        let database = Database::create().await;
        let readers = Readers::new(Sessions::new(&database.url, "read", Durability::Derived).unwrap(), 2);
        let none = PgArguments::default();
        let reads = (0..20).map(|_| readers.fetch("select pg_backend_pid()", 0, &none));
        let answers = futures::future::join_all(reads).await;
        let pids: std::collections::HashSet<i32> = answers.into_iter().map(|rows| rows.unwrap()[0].get(0)).collect();
        assert!(pids.len() <= 2);
    }
}
