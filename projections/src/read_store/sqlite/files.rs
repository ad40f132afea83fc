//! The files of the folder: which file a path names, which generations there are, and locks.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use credence_ledger::store;
use credence_ledger::store::sqlite::{Identity, Options, Shared, connect};

use crate::generation::Held;
use crate::projection::Projection;

/// A connection that knows which file it has open.
pub(super) struct Open {
    pub(super) connection: Shared,
    path: PathBuf,
    identity: Identity,
}

impl Open {
    /// Opens a file that exists. One that is no database (any more) counts as gone: what it held can be built again.
    pub(super) async fn existing(path: &Path, options: Options) -> Result<Option<Open>, store::Error> {
        let Some(identity) = Identity::of(path) else { return Ok(None) };
        match connect(path, options).await {
            Ok(connection) => Ok(Some(Open { connection, path: path.to_owned(), identity })),
            Err(store::Error::NotMigrated | store::Error::Corrupt(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Whether the path still names the open file.
    pub(super) fn is_there(&self) -> bool {
        Identity::of(&self.path) == Some(self.identity)
    }
}

/// The numbers of a projection's generations of which any file is left, in order, each once.
pub(super) fn numbers(folder: &Path, projection: Projection) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in files_of(folder, projection)? {
        numbers.push(entry.1);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Deletes all files of those of a projection's generations that are meant.
pub(super) fn delete_generations(folder: &Path, projection: Projection, is_meant: impl Fn(u64) -> bool) -> io::Result<()> {
    for (path, number) in files_of(folder, projection)? {
        if is_meant(number) {
            delete(&path)?;
        }
    }
    Ok(())
}

/// Deletes a file that may be gone already.
pub(super) fn delete(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn files_of(folder: &Path, projection: Projection) -> io::Result<Vec<(PathBuf, u64)>> {
    let prefix = format!("read-{projection}-");
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)).and_then(|rest| rest.split_once(".sqlite"));
        if let Some(number) = number.and_then(|(number, _)| number.parse().ok()) {
            files.push((entry.path(), number));
        }
    }
    Ok(files)
}

/// A lock on a file, held until dropped.
pub(super) struct FileLock {
    path: PathBuf,
    identity: Identity,
    _file: File,
}

impl FileLock {
    /// `None` when somebody else holds it.
    pub(super) fn take(path: &Path) -> io::Result<Option<FileLock>> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        let lock = FileLock { path: path.to_owned(), identity: Identity::of_open(&file)?, _file: file };
        // A file that was deleted between opening and locking locks nobody out.
        Ok(if lock.is_there() { Some(lock) } else { None })
    }

    fn is_there(&self) -> bool {
        Identity::of(&self.path) == Some(self.identity)
    }
}

#[async_trait]
impl Held for FileLock {
    async fn is_held(&mut self) -> bool {
        self.is_there()
    }

    async fn release(self: Box<Self>) {}
}
