//! Look-ups by id for many callers at once: one statement for all of them.
//!
//! What befalls the store, or the whole model, is told to all who asked together. Any other error may be one row's: then each
//! asks alone, and gets an error of its own.

use std::sync::Arc;

use credence_ledger::batcher::{Batcher, Refused};
use credence_ledger::store;
use uuid::Uuid;

use crate::projection::{Cursor, Error};
use crate::read_store::ReadStore;
use crate::verification::{At, Found, Lookup};

type Answer = (Option<Found>, Cursor);

/// What one of those who asked together is told; `None` has it ask alone.
type Told = Option<Result<Answer, Error>>;

/// The way to the task, which ends when all its clones are dropped.
#[derive(Clone)]
pub struct Lookups<S: ?Sized> {
    store: Arc<S>,
    batcher: Batcher<Uuid, Told>,
}

impl<S: ReadStore + ?Sized> Lookups<S> {
    /// Starts the task, which needs a tokio runtime.
    #[must_use]
    pub fn start(store: Arc<S>) -> Lookups<S> {
        let asked = Arc::clone(&store);
        let batcher = Batcher::start(move |ids: Vec<Uuid>| {
            let store = Arc::clone(&asked);
            async move {
                match store.find_by_ids(&ids).await {
                    Ok((found, cursor)) => found.into_iter().map(|found| Some(Ok((found, cursor.clone())))).collect(),
                    Err(failed) => vec![Some(failed).filter(concerns_all).map(Err); ids.len()],
                }
            }
        });
        Lookups { store, batcher }
    }

    /// The credential with this id in its newest state, or what is left of it, and the cursor of the same snapshot.
    ///
    /// # Errors
    /// As [`ReadStore::find`].
    pub async fn by_id(&self, id: Uuid) -> Result<Answer, Error> {
        match self.batcher.ask(id).await {
            Ok(Some(told)) => told,
            Ok(None) => self.store.find(&Lookup::Id(id), At::Newest).await,
            Err(refused @ (Refused::Full | Refused::Stopped)) => Err(store::Error::Unavailable(refused.into()).into()),
        }
    }
}

fn concerns_all(failed: &Error) -> bool {
    match failed {
        Error::Store(failed) => failed.is_transient(),
        Error::Vanished(_) | Error::Unhealthy { .. } | Error::Stale { .. } | Error::NotCaughtUp { .. } => true,
    }
}
