//! The read store on PostgreSQL: the schema `read`, with tables of its own for each generation.
//!
//! - `cursors` has a row for each generation: how far it has come, and whether it serves. A generation's tables carry its number,
//!   as in `credentials_3`. Rows and cursor move in one transaction.
//! - A reading statement joins the cursor's row and asks it to be the serving one, so that the first statement after a flip finds
//!   nothing and follows the pointer: no answer comes from a generation that was replaced.
//! - Locks are advisory locks, each on a session of its own: a lost session is a lost lock.
//!
//! Commits are asynchronous, for everything here is derived: a crash of the server may take back the newest ones, rows and
//! cursor together. Tables or the whole schema may be dropped at any time; what is gone answers [`Error::Vanished`] until it has
//! been built again. Opening the store makes nothing, so that a login which may only read can use it.

mod copy;
mod reads;
mod statements;
mod writes;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use credence_ledger::batcher::Batcher;
use credence_ledger::store;
use credence_ledger::store::postgres::{ANSWER_TIMEOUT, Durability, Kept, Sessions};
use sqlx::Connection as _;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::generation::Pointer;
use crate::projection::{Error, Projection};

/// The schema that holds everything.
const SCHEMA: &str = "read";

/// Sessions for those who write: each projection has one runner, and perhaps a rebuild.
const WRITERS_MAX: usize = 4;

/// Sessions for lookups.
const READERS_MAX: usize = 10;

/// Sessions for lists.
const LISTERS_MAX: usize = 4;

/// A read store in a database.
pub struct Postgres {
    /// For lookups.
    readers: Arc<Kept>,
    /// For lists: which index serves best depends on what is asked for.
    listers: Kept,
    /// For those who write. Nobody who reads takes one of these away.
    writers: Kept,
    /// For work over whole tables, and for sessions that hold something.
    sessions: Sessions,
    /// What served when it was last looked up.
    pointers: RwLock<HashMap<Projection, Pointer>>,
    /// Looks that up, for all who ask at once: where a model is not there, that is everybody.
    followed: Batcher<Projection, Result<Option<Pointer>, Error>>,
    moved: Notify,
}

impl Postgres {
    /// Opens the store in the database at `url`. The schema need not exist yet.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn open(url: &str) -> Result<Arc<Postgres>, store::Error> {
        // What a projector's login makes belongs to the schema's owner: the other roles may read it, other logins replace it.
        let sessions = Sessions::new(url, SCHEMA, Durability::Derived)?.as_owner().with("synchronous_commit", "off").with("jit", "off");
        // Readers and writers touch a few rows by an index, always. A plan made while a table was small, or before it was
        // analysed, must not scan it whole once it has grown.
        let point = ["enable_seqscan", "enable_hashjoin", "enable_mergejoin"];
        let point = point.into_iter().fold(sessions.clone(), |sessions, setting| sessions.with(setting, "off"));
        // So there is one good plan for each statement, whatever is looked up or written. Left to itself the server makes one anew for every
        // batch of a projector, which takes longer than the batch. A list's depends on how many there are of what is asked for.
        let planned_once = point.clone().with("plan_cache_mode", "force_generic_plan");
        let planned_anew = point.with("plan_cache_mode", "force_custom_plan");
        // A process that was frozen, or cut off, in the middle of a batch must not stop the one that takes over.
        let writing = planned_once.clone().with("idle_in_transaction_session_timeout", "10s");
        let _ = sessions.connect().await?.close().await;
        let readers = Arc::new(Kept::new(planned_once, READERS_MAX));
        let follow = Arc::clone(&readers);
        Ok(Arc::new(Postgres {
            writers: Kept::new(writing, WRITERS_MAX),
            readers,
            followed: Batcher::start(move |asked| reads::follow(Arc::clone(&follow), asked)),
            listers: Kept::new(planned_anew, LISTERS_MAX),
            sessions,
            pointers: RwLock::new(HashMap::new()),
            moved: Notify::new(),
        }))
    }

    fn known(&self, projection: Projection) -> Option<Pointer> {
        self.pointers.read().unwrap_or_else(PoisonError::into_inner).get(&projection).copied()
    }

    fn know(&self, projection: Projection, pointer: Option<Pointer>) {
        let mut pointers = self.pointers.write().unwrap_or_else(PoisonError::into_inner);
        match pointer {
            Some(pointer) => pointers.insert(projection, pointer),
            None => pointers.remove(&projection),
        };
    }
}

/// What an error of a projection's tables means: without its tables it is not there (any more).
fn error(projection: Projection, failed: sqlx::Error) -> Error {
    match failed {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => store::Error::Corrupt(format!("{projection}: {failed}")).into(),
        failed => match store::postgres::error(failed) {
            store::Error::NotMigrated => Error::Vanished(projection),
            other => other.into(),
        },
    }
}

/// Waits for an answer about a projection's tables, at most [`ANSWER_TIMEOUT`].
async fn bounded<T>(projection: Projection, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(|failed| error(projection, failed)),
        Err(late) => Err(store::Error::Unavailable(late.into()).into()),
    }
}
