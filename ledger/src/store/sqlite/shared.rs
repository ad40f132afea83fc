//! A connection with a thread of its own, for any number of callers that must not block.
//!
//! The thread sleeps between two calls. (The channel of tokio-rusqlite spins and yields first, which took a twelfth of the
//! processor at ten thousand requests a second.) Calls are run one by one in the order in which they were made.

use std::io;
use std::thread;

use tokio::sync::{mpsc, oneshot};

type Work = Box<dyn FnOnce(&mut rusqlite::Connection) + Send>;

/// The way to the thread, which closes the connection and ends when all clones are dropped.
#[derive(Clone, Debug)]
pub struct Shared {
    work: mpsc::UnboundedSender<Work>,
}

/// The thread has ended, which only a panic makes it do before its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread of a SQLite connection has ended")]
pub struct Closed;

impl Shared {
    /// Moves a connection to a thread called `name`.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(mut connection: rusqlite::Connection, name: &str) -> io::Result<Shared> {
        let (work, mut waiting) = mpsc::unbounded_channel::<Work>();
        let serve = move || {
            while let Some(work) = waiting.blocking_recv() {
                work(&mut connection);
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(serve)?;
        Ok(Shared { work })
    }

    /// Runs `work` on the thread. Dropping the future does not stop it.
    ///
    /// # Errors
    /// [`Closed`]; then whether `work` was run is unknown.
    pub async fn call<T, F>(&self, work: F) -> Result<T, Closed>
    where
        F: FnOnce(&mut rusqlite::Connection) -> T + Send + 'static,
        T: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work = move |connection: &mut rusqlite::Connection| {
            // Whoever asked may have gone.
            let _ = answer.send(work(connection));
        };
        self.work.send(Box::new(work)).map_err(|_| Closed)?;
        answered.await.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Shared {
        Shared::start(rusqlite::Connection::open_in_memory().unwrap(), "test").unwrap()
    }

    #[tokio::test]
    async fn calls_are_run_in_their_order_on_one_connection() {
        let connection = connection();
        connection.call(|connection| connection.execute_batch("create table t (x integer)")).await.unwrap().unwrap();
        let inserts = (0..100).map(|x| connection.call(move |connection| connection.execute("insert into t values (?1)", [x])));
        for inserted in futures::future::join_all(inserts).await {
            assert_eq!(inserted.unwrap(), Ok(1));
        }
        let rows = connection.call(|connection| connection.query_row("select group_concat(x) from t", [], |row| row.get::<_, String>(0)));
        let expected: Vec<String> = (0..100).map(|x| x.to_string()).collect();
        assert_eq!(rows.await.unwrap(), Ok(expected.join(",")));
    }

    #[tokio::test]
    async fn a_call_that_panics_closes_the_connection() {
        let connection = connection();
        assert_eq!(connection.call(|_| panic!("as this test wants")).await, Err::<(), _>(Closed));
        assert_eq!(connection.call(|_| ()).await, Err(Closed));
    }
}
