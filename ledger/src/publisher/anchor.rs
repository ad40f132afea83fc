//! Where the last signed checkpoint is kept outside the ledger's server: in a file, or by a witness.
//!
//! A ledger and its vault that are restored together from one backup agree with each other. What is kept elsewhere tells that they
//! are not what they were.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::LogName;
use crate::checkpoint::{Checkpoint, VerifierKey};

/// Where the last signed checkpoint is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// In a file a log: this path, a dot, and the log's name.
    File(PathBuf),
    /// By the witness with this key, which keeps the largest size that it cosigned and refuses every other history. It is one of
    /// those that cosign, and the publisher wants its cosignature whatever the quorum is: nothing is kept by it here.
    Witness(VerifierKey),
}

/// The file can be neither read nor written.
#[derive(Debug, thiserror::Error)]
#[error("the anchor file {}", .0.display())]
pub struct Error(PathBuf, #[source] io::Error);

impl Anchor {
    /// The note that is kept of a log; none by a witness, which tells when it is asked to cosign.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read(&self, log: &LogName) -> Result<Option<String>, Error> {
        let Anchor::File(path) = self else { return Ok(None) };
        let path = of(path, log);
        on_file(path, |path| match fs::read_to_string(path) {
            Ok(note) => Ok(Some(note)),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(failed) => Err(failed),
        })
        .await
    }

    /// Keeps a checkpoint, unless a larger one is kept already.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep(&self, checkpoint: &Checkpoint, log: &LogName) -> Result<(), Error> {
        let Anchor::File(path) = self else { return Ok(()) };
        let checkpoint = checkpoint.clone();
        on_file(of(path, log), move |path| keep(path, &checkpoint)).await
    }
}

fn of(path: &Path, log: &LogName) -> PathBuf {
    beside(path, log.as_str())
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(format!(".{extension}"));
    path.into()
}

/// The file may lie on another machine's disk, which may hang for ever: it is waited for no longer than this.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Threads that may be at a file at the same time. One that hangs keeps its place, so that no more than these are ever lost.
static PLACES: Semaphore = Semaphore::const_new(8);

async fn on_file<T, F>(path: PathBuf, work: F) -> Result<T, Error>
where
    F: FnOnce(&Path) -> io::Result<T> + Send + 'static,
    T: Send + 'static,
{
    let named = path.clone();
    let worked = async {
        let place = PLACES.acquire().await.map_err(io::Error::other)?;
        let work = move || {
            let done = work(&path);
            drop(place);
            done
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
    };
    let worked = tokio::time::timeout(ANSWER_MAX, worked).await;
    worked.unwrap_or_else(|late| Err(io::Error::new(io::ErrorKind::TimedOut, late))).map_err(|failed| Error(named, failed))
}

/// Whole or not at all: a crash leaves the old note, or the new one.
fn keep(path: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (lock, temporary) = (beside(path, "lock"), beside(path, "new"));
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock)?;
    // Freed when it is closed.
    lock.lock()?;
    let kept = fs::read_to_string(path).ok().and_then(|note| Checkpoint::parse(&note).ok());
    if kept.is_some_and(|kept| kept.head().size > checkpoint.head().size || kept.note() == checkpoint.note()) {
        return Ok(());
    }
    let mut file = File::create(&temporary)?;
    file.write_all(checkpoint.note().as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}
