//! The read store on SQLite: a folder with a file for each generation, and a small one that says which of them serve.
//!
//! - `read-<projection>-<generation>.sqlite` holds a generation's rows and its cursor: both move in one transaction, which
//!   would not be so over attached files in WAL mode. Numbers are never used again while a file of that name is left.
//! - `read.sqlite` holds the pointers and the rebuilds. The pointer is committed durably before the generation that it leaves
//!   is retired, so that a power cut in between leaves a pointer to a whole generation.
//! - `read-<projection>.lock` and `read-<projection>-rebuild.lock` are held by whoever moves or builds generations; the death of
//!   the process frees them.
//!
//! Any file may be deleted at any time. An open file is compared with its path before it is written to, and at least every
//! 100 ms where it is read from: what is gone, or is no database any more, answers [`Error::Vanished`] until it has been built again.

mod files;
mod reads;
mod statements;
mod writes;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use credence_ledger::causes;
use credence_ledger::store;
use credence_ledger::store::sqlite::{Access, Durability, Identity, Options, Readers, Shared};
use tokio::sync::{Mutex, Notify};

use crate::generation::Pointer;
use crate::projection::{Error, Projection};
use files::Open;

/// How often pointers and open files are compared with what is on disk.
const REFRESH: Duration = Duration::from_millis(100);

/// The page cache of one connection, in KiB.
const CACHE_KIB: u32 = 16 * 1024;

/// How many connections read what serves: one for each processor, within these bounds.
const READERS_MIN: usize = 2;
const READERS_MAX: usize = 8;

const DERIVED: Options = Options { access: Access::Existing, durability: Durability::Derived, cache_kib: CACHE_KIB };

/// A read store in a folder.
pub struct Sqlite {
    folder: PathBuf,
    /// `read.sqlite`, once it is there.
    pointers: Mutex<Option<Open>>,
    /// What serves, as of the last refresh.
    serving: RwLock<HashMap<Projection, Arc<Serving>>>,
    /// One connection a generation that is being written to.
    writers: Mutex<HashMap<(Projection, u64), Open>>,
    moved: Notify,
}

/// The generation that serves a projection, with connections to read from it.
struct Serving {
    pointer: Pointer,
    path: PathBuf,
    identity: Identity,
    readers: Readers,
}

impl Sqlite {
    /// Opens the store in `folder`, which need not exist yet.
    ///
    /// # Errors
    /// What is there cannot be opened.
    pub async fn open(folder: &Path) -> Result<Arc<Sqlite>, store::Error> {
        let store = Arc::new(Sqlite {
            folder: folder.to_owned(),
            pointers: Mutex::new(None),
            serving: RwLock::new(HashMap::new()),
            writers: Mutex::new(HashMap::new()),
            moved: Notify::new(),
        });
        store.refresh().await?;
        tokio::spawn(keep_fresh(Arc::downgrade(&store)));
        Ok(store)
    }

    fn generation_path(&self, projection: Projection, number: u64) -> PathBuf {
        self.folder.join(format!("read-{projection}-{number}.sqlite"))
    }

    fn pointers_path(&self) -> PathBuf {
        self.folder.join("read.sqlite")
    }

    /// The connection to `read.sqlite`; `None` while there is no such file.
    async fn pointers(&self) -> Result<Option<Shared>, store::Error> {
        let mut pointers = self.pointers.lock().await;
        if pointers.as_ref().is_none_or(|open| !open.is_there()) {
            *pointers = Open::existing(&self.pointers_path(), Options { durability: Durability::Durable, ..DERIVED }).await?;
        }
        Ok(pointers.as_ref().map(|open| open.connection.clone()))
    }

    /// The connection to write to a generation; `None` if there is no such file (any more).
    async fn writer(&self, projection: Projection, number: u64) -> Result<Option<Shared>, store::Error> {
        let mut writers = self.writers.lock().await;
        writers.retain(|_, open| open.is_there());
        if let Some(open) = writers.get(&(projection, number)) {
            return Ok(Some(open.connection.clone()));
        }
        let Some(open) = Open::existing(&self.generation_path(projection, number), DERIVED).await? else { return Ok(None) };
        let connection = open.connection.clone();
        writers.insert((projection, number), open);
        Ok(Some(connection))
    }

    /// Follows the pointers and lets go of what is gone.
    async fn refresh(&self) -> Result<(), store::Error> {
        let pointers = self.read_pointers().await?;
        let mut fresh = HashMap::new();
        for (projection, (pointer, _)) in pointers {
            // Another version's tables cannot be read by this program's statements.
            if pointer.version != projection.version() {
                continue;
            }
            let held = self.held(projection).filter(|held| held.pointer == pointer && Identity::of(&held.path) == Some(held.identity));
            let serving = match held {
                Some(held) => Some(held),
                None => self.open_serving(projection, pointer).await?,
            };
            fresh.extend(serving.map(|serving| (projection, serving)));
        }
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn held(&self, projection: Projection) -> Option<Arc<Serving>> {
        self.serving.read().unwrap_or_else(PoisonError::into_inner).get(&projection).cloned()
    }

    async fn open_serving(&self, projection: Projection, pointer: Pointer) -> Result<Option<Arc<Serving>>, store::Error> {
        let path = self.generation_path(projection, pointer.generation);
        let Some(identity) = Identity::of(&path) else { return Ok(None) };
        let count = std::thread::available_parallelism().map_or(READERS_MIN, usize::from).clamp(READERS_MIN, READERS_MAX);
        match Readers::connect(&path, DERIVED, count).await {
            Ok(readers) => Ok(Some(Arc::new(Serving { pointer, path, identity, readers }))),
            Err(store::Error::NotMigrated | store::Error::Corrupt(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// What serves a projection.
    async fn serving(&self, projection: Projection) -> Result<Arc<Serving>, Error> {
        if let Some(held) = self.held(projection) {
            return Ok(held);
        }
        self.refresh().await?;
        self.held(projection).ok_or(Error::Vanished(projection))
    }
}

/// Ends when the store is dropped.
async fn keep_fresh(store: Weak<Sqlite>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let Some(store) = store.upgrade() else { return };
        if let Err(error) = store.refresh().await {
            tracing::warn!(reason = causes(&error), "the read store's pointers cannot be read");
        }
    }
}
