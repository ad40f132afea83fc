//! Look-ups by id for many callers at once: one statement for all of them.
//!
//! What a batch cannot be told, each of its callers asks for alone, and gets an error of its own.

use std::sync::Arc;

use credence_ledger::batcher::{Batcher, Refused};
use credence_ledger::store;
use uuid::Uuid;

use crate::projection::{Cursor, Error};
use crate::read_store::ReadStore;
use crate::verification::{At, Found, Lookup};

type Answer = (Option<Found>, Cursor);

/// The way to the task, which ends when all its clones are dropped.
#[derive(Clone)]
pub struct Lookups<S: ?Sized> {
    store: Arc<S>,
    batcher: Batcher<Uuid, Option<Answer>>,
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
                    Ok((found, cursor)) => found.into_iter().map(|found| Some((found, cursor.clone()))).collect(),
                    Err(_) => vec![None; ids.len()],
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
            Ok(Some(found)) => Ok(found),
            Ok(None) => self.store.find(&Lookup::Id(id), At::Newest).await,
            Err(refused @ (Refused::Full | Refused::Stopped)) => Err(store::Error::Unavailable(refused.into()).into()),
        }
    }
}
