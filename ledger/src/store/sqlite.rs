//! What every SQLite file of ours shares: how it is opened, how it is migrated, and what its errors mean.
//!
//! Any number of processes on one host may open a file at once: WAL lets readers go on beside one writer, and who has to wait
//! waits at most [`BUSY_TIMEOUT`], then gets [`Error::Busy`]. Writers begin their transactions with `begin immediate`, for a
//! read that turns into a write is refused without any waiting.

mod readers;
pub(crate) mod rows;
mod shared;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rusqlite_migration::{Migrations, SchemaVersion};

use super::Error;
pub use readers::Readers;
pub use shared::{Closed, Shared};

/// How long one waits for another process's transaction.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What may become of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is made if it is missing.
    Create,
    /// It must be there ([`Error::NotMigrated`] otherwise).
    Existing,
    /// It must be there, and this connection cannot change it.
    ReadOnly,
}

/// When a commit counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut (`synchronous=FULL`).
    Durable,
    /// A power cut may take the newest commits back, never the file's consistency (`synchronous=NORMAL`): for what is derived.
    Derived,
}

/// How a connection is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What may become of the file.
    pub access: Access,
    /// When a commit counts as done.
    pub durability: Durability,
    /// The page cache's bound, in KiB.
    pub cache_kib: u32,
}

/// Which file a path names: another one after it was deleted and made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// `None` when there is no such file.
    #[must_use]
    pub fn of(path: &Path) -> Option<Identity> {
        fs::metadata(path).ok().map(|metadata| Identity { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Of an open file, whatever has become of its name.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of_open(file: &File) -> io::Result<Identity> {
        let metadata = file.metadata()?;
        Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// The file that connections have open. SQLite itself would go on writing to a file that nobody can open any more.
#[derive(Debug, Clone)]
pub struct OpenFile {
    path: PathBuf,
    identity: Identity,
}

impl OpenFile {
    /// The file that was just opened at `path`.
    ///
    /// # Errors
    /// It is gone already.
    pub fn at(path: &Path) -> Result<OpenFile, Error> {
        let identity = Identity::of(path).ok_or_else(gone)?;
        Ok(OpenFile { path: path.to_owned(), identity })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that the path still names the open file: what would be written to another one is lost when the last process
    /// closes it, and what would be read may have a successor.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it does not.
    pub fn require(&self) -> Result<(), Error> {
        if Identity::of(&self.path) == Some(self.identity) { Ok(()) } else { Err(gone()) }
    }
}

fn gone() -> Error {
    Error::Unavailable(io::Error::new(io::ErrorKind::NotFound, "the file was deleted or moved while it was open").into())
}

/// Opens a connection on this thread, which it blocks.
///
/// # Errors
/// The file cannot be opened, or its folder is missing.
pub fn open(path: &Path, options: Options) -> Result<Connection, Error> {
    let flags = match options.access {
        Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Access::Existing => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    if options.access != Access::Create && !path.exists() {
        return Err(Error::NotMigrated);
    }
    // Each connection is used by one thread at a time, so SQLite need not lock.
    let mut connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(error)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    connection.set_prepared_statement_cache_capacity(128);
    if options.access != Access::ReadOnly {
        use_wal(&connection)?;
    }
    let synchronous = match options.durability {
        Durability::Durable => "full",
        Durability::Derived => "normal",
    };
    // A commit that fills the write-ahead log moves it into the file, and all who wait for it, or for the disk beside it, wait for
    // that: where they are many, seldom and long is worse than often and short.
    // What is deleted is overwritten: it was deleted to be gone.
    let pragmas = format!(
        "pragma synchronous = {synchronous}; pragma foreign_keys = on; pragma temp_store = memory; pragma cache_size = -{}; \
         pragma wal_autocheckpoint = 1000; pragma secure_delete = on;",
        options.cache_kib
    );
    connection.execute_batch(&pragmas).map_err(error)?;
    Ok(connection)
}

/// Opens a connection with a thread of its own.
///
/// # Errors
/// As [`open`].
pub async fn connect(path: &Path, options: Options) -> Result<Shared, Error> {
    let path = path.to_owned();
    let open = move || {
        let connection = open(&path, options)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Shared::start(connection, &name).map_err(|failed| Error::Unavailable(failed.into()))
    };
    tokio::task::spawn_blocking(open).await.unwrap_or_else(|panicked| Err(Error::Failed(panicked.into())))
}

/// Runs `work` on the connection's thread. Dropping the future does not stop it.
///
/// # Errors
/// Those of `work`; [`Error::Failed`] if the connection is closed.
pub async fn call<T, F>(connection: &Shared, work: F) -> Result<T, Error>
where
    F: FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    T: Send + 'static,
{
    connection.call(work).await.unwrap_or_else(|closed| Err(Error::Failed(closed.into())))
}

/// The mode is kept in the file, so that only the first process changes it. SQLite does not wait for a lock here by itself.
fn use_wal(connection: &Connection) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0)).map_err(error) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(Error::Failed(format!("the file's journal mode is {mode} and cannot be changed to wal").into())),
            Err(Error::Busy) if started.elapsed() < BUSY_TIMEOUT => std::thread::sleep(Duration::from_millis(5)),
            Err(other) => return Err(other),
        }
    }
}

/// Brings the file's schema up to this program's.
///
/// # Errors
/// [`Error::NewerSchema`], and whatever keeps the statements from running.
pub fn migrate(connection: &mut Connection, migrations: &Migrations<'_>) -> Result<(), Error> {
    loop {
        let before = version(connection, migrations)?;
        match migrations.to_latest(connection) {
            Ok(()) => return Ok(()),
            // The version is read outside the migration's transaction, so another process may have run it in between.
            Err(_) if version(connection, migrations)? != before => {}
            Err(failed) => return Err(migration_error(failed)),
        }
    }
}

/// Holds the file's schema against this program's and changes nothing.
///
/// # Errors
/// [`Error::NotMigrated`] or [`Error::NewerSchema`].
pub fn require_current(connection: &Connection, migrations: &Migrations<'_>) -> Result<(), Error> {
    version(connection, migrations)?;
    match migrations.pending_migrations(connection).map_err(migration_error)? {
        0 => Ok(()),
        _ => Err(Error::NotMigrated),
    }
}

fn version(connection: &Connection, migrations: &Migrations<'_>) -> Result<SchemaVersion, Error> {
    match migrations.current_version(connection).map_err(migration_error)? {
        SchemaVersion::Outside(_) => Err(Error::NewerSchema),
        version => Ok(version),
    }
}

fn migration_error(failed: rusqlite_migration::Error) -> Error {
    match failed {
        rusqlite_migration::Error::RusqliteError { err, .. } => error(err),
        other => Error::Failed(other.into()),
    }
}

/// What an error of SQLite means to a caller.
#[must_use]
pub fn error(failed: rusqlite::Error) -> Error {
    match failed.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy,
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::DiskFull) => Error::Unavailable(failed.into()),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            Error::Denied(failed.into())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(failed.to_string()),
        _ => Error::Failed(failed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite_migration::M;

    const OPTIONS: Options = Options { access: Access::Create, durability: Durability::Durable, cache_kib: 1024 };

    #[test]
    fn a_file_is_made_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        assert!(matches!(open(&path, Options { access: Access::Existing, ..OPTIONS }), Err(Error::NotMigrated)));
        assert!(!path.exists());
        open(&path, OPTIONS).unwrap();
        open(&path, Options { access: Access::Existing, ..OPTIONS }).unwrap();
    }

    #[test]
    fn a_folder_that_is_missing_is_unavailable() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(open(&folder.path().join("missing/a.sqlite"), OPTIONS), Err(Error::Unavailable(_))));
    }

    #[test]
    fn a_file_that_is_no_database_is_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        std::fs::write(&path, "these bytes are no database, however many of them there are".repeat(99)).unwrap();
        assert!(matches!(open(&path, OPTIONS), Err(Error::Corrupt(_))));
    }

    #[test]
    fn an_open_file_is_known_to_be_gone_when_it_was_deleted_or_another_took_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let _connection = open(&path, OPTIONS).unwrap();
        let file = OpenFile::at(&path).unwrap();
        file.require().unwrap();
        let aside = folder.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        assert!(matches!(file.require(), Err(Error::Unavailable(_))));
        fs::write(&path, "").unwrap();
        assert!(matches!(file.require(), Err(Error::Unavailable(_))));
        fs::rename(&aside, &path).unwrap();
        file.require().unwrap();
    }

    #[test]
    fn a_read_only_connection_is_denied_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        open(&path, OPTIONS).unwrap().execute_batch("create table t (x integer)").unwrap();
        let reader = open(&path, Options { access: Access::ReadOnly, ..OPTIONS }).unwrap();
        assert!(matches!(reader.execute_batch("insert into t values (1)").map_err(error), Err(Error::Denied(_))));
    }

    #[test]
    fn a_schema_is_brought_up_once_however_many_open_it_and_a_newer_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let two = || Migrations::new(vec![M::up("create table a (x integer)"), M::up("create table b (x integer)")]);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut connection = open(&path, OPTIONS).unwrap();
                    migrate(&mut connection, &two()).unwrap();
                });
            }
        });
        let mut connection = open(&path, OPTIONS).unwrap();
        require_current(&connection, &two()).unwrap();
        let one = Migrations::new(vec![M::up("create table a (x integer)")]);
        assert!(matches!(migrate(&mut connection, &one), Err(Error::NewerSchema)));
        assert!(matches!(require_current(&connection, &one), Err(Error::NewerSchema)));
        let three = Migrations::new(vec![M::up(""), M::up(""), M::up("create table c (x integer)")]);
        assert!(matches!(require_current(&connection, &three), Err(Error::NotMigrated)));
    }
}
