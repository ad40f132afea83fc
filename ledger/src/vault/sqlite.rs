//! The vault in a file, `vault.sqlite`.
//!
//! One connection writes, another reads, so that a look-up never waits for a commit to reach the disk. The file is for its owner only. Whatever is made once, under races, is made in a
//! transaction that looks for it first while it holds the write lock.

mod accounts;
mod copy;
mod erasures;
mod issuers;
mod log_keys;
mod rotation;
mod rows;
mod sessions;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use rusqlite_migration::{M, Migrations};
use uuid::Uuid;
use zeroize::Zeroizing;

pub(super) use self::copy::{read_all, stored_settings, write_all};
use self::rows::{api_key, issuer, query, query_one, run, uuid, worker};
use super::api_key::{self, NewApiKey, Terms, Wanted};
use super::master_key::source::create_private;
use super::rows::{Keyring, NewSubject, Settings};
use super::{
    ApiKey, FIRST_START_WAIT, FirstStart, Issuer, IssuerKey, KeyState, LookupKeys, MonthForgotten, OpenError, Reference, Rotations,
    Subject, SubjectRefs, Vault, Worker, fingerprints_to_text,
};
use crate::Timestamp;
use crate::sealing::{KeyId, SealingKey};
use crate::signing::SigningKey;
use crate::store::Error;
use crate::store::sqlite::{self as store, Access, Durability, OpenFile, Options, Shared};

const WRITER: Options = Options { access: Access::Create, durability: Durability::Durable, cache_kib: 16 * 1024 };
const READER: Options = Options { access: Access::ReadOnly, durability: Durability::Durable, cache_kib: 8 * 1024 };

/// A vault in a file.
pub struct Sqlite {
    folder: PathBuf,
    file: OpenFile,
    keyring: Arc<Keyring>,
    lookup: LookupKeys,
    origin_base: String,
    writer: Shared,
    reader: Shared,
}

/// The vault's file in `folder`. Where there is none, a fresh master key may be made.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join("vault.sqlite")
}

/// The vault's durable schema.
#[must_use]
pub fn migrations() -> Migrations<'static> {
    Migrations::new(vec![
        M::up(include_str!("../../../migrations/sqlite/vault/0001_vault.sql")),
        M::up(include_str!("../../../migrations/sqlite/vault/0002_issuer_keys.sql")),
        M::up(include_str!("../../../migrations/sqlite/vault/0003_log_keys.sql")),
        M::up(include_str!("../../../migrations/sqlite/vault/0004_accounts.sql")),
        M::up(include_str!("../../../migrations/sqlite/vault/0005_erasures.sql")),
        M::up(include_str!("../../../migrations/sqlite/vault/0006_master_key_rotation.sql")),
    ])
}

impl Sqlite {
    /// Opens the vault, which is made if it is missing: then `origin_base`, or a random one, is its own for ever.
    ///
    /// # Errors
    /// [`OpenError::WrongMasterKey`], before anything is written; the file cannot be opened, made or migrated.
    pub async fn open(folder: &Path, keyring: Keyring, origin_base: Option<&str>) -> Result<Sqlite, OpenError> {
        let path = path(folder);
        std::fs::create_dir_all(folder).and_then(|()| make_private(&path)).map_err(|failed| Error::Unavailable(failed.into()))?;
        let origin_base = origin_base.map(str::to_owned);
        Sqlite::with_writer(folder, WRITER, keyring, move |connection, keyring| {
            match store::require_current(connection, &migrations()) {
                Ok(()) => {}
                Err(Error::NotMigrated) => {
                    // Whose key this is not must not be brought up to date either.
                    if query_one(connection, sql::SELECT_HAS_SETTINGS, [], |row| row.get(0))?.unwrap_or(false)
                        && let Some(settings) = settings(connection)?
                    {
                        keyring.lookup_keys(&settings)?;
                    }
                    store::migrate(connection, &migrations())?;
                }
                Err(other) => return Err(other.into()),
            }
            let transaction = connection.transaction().map_err(store::error)?;
            if let Some(settings) = settings(&transaction)? {
                return Ok(settings);
            }
            let settings = keyring.new_settings(origin_base.as_deref());
            run(&transaction, sql::INSERT_SETTINGS, params![settings.origin_base, settings.lookup_keys])?;
            transaction.commit().map_err(store::error)?;
            Ok(settings)
        })
        .await
    }

    /// Opens a vault that is there, without changing its schema.
    ///
    /// # Errors
    /// [`OpenError::WrongMasterKey`]; [`Error::NotMigrated`] if it is not there or is older than this program; the file cannot be
    /// opened.
    pub async fn open_existing(folder: &Path, keyring: Keyring) -> Result<Sqlite, OpenError> {
        Sqlite::with_writer(folder, Options { access: Access::Existing, ..WRITER }, keyring, |connection, _| {
            store::require_current(connection, &migrations())?;
            Ok(settings(connection)?.ok_or(Error::NotMigrated)?)
        })
        .await
    }

    async fn with_writer<F>(folder: &Path, options: Options, keyring: Keyring, prepare: F) -> Result<Sqlite, OpenError>
    where
        F: FnOnce(&mut Connection, &Keyring) -> Result<Settings, OpenError> + Send + 'static,
    {
        let path = path(folder);
        let keyring = Arc::new(keyring);
        let writer = store::connect(&path, options).await?;
        let ring = Arc::clone(&keyring);
        let prepared = store::call(&writer, move |connection| {
            Ok(prepare(connection, &ring).and_then(|settings| Ok((ring.lookup_keys(&settings)?, settings.origin_base))))
        });
        let (lookup, origin_base) = prepared.await??;
        let reader = store::connect(&path, READER).await?;
        let opened = Sqlite { folder: folder.to_owned(), file: OpenFile::at(&path)?, keyring, lookup, origin_base, writer, reader };
        let (standing, read_at) = opened.standing().await?;
        opened.keyring.ring().follow(standing, read_at).await?;
        Ok(opened)
    }

    async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        F: FnOnce(&Connection, &Keyring) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        self.keep_up().await?;
        let (keyring, file) = (Arc::clone(&self.keyring), self.file.clone());
        let work = move |connection: &mut Connection| {
            let found = work(connection, &keyring)?;
            // What another file in its place says by now, such as that a key is revoked, is not known here.
            file.require()?;
            Ok(found)
        };
        store::call(&self.reader, work).await
    }

    async fn change_key(&self, change: &'static str, id: Uuid, time: Timestamp) -> Result<Option<ApiKey>, Error> {
        self.write(move |connection, _| {
            run(connection, change, params![id.as_bytes(), time.as_micros_i64()])?;
            query_one(connection, sql::SELECT_API_KEY, params![id.as_bytes()], api_key)
        })
        .await
    }

    /// Empties the write-ahead log, which still holds pages with what was destroyed. Where another process reads it stays until a later
    /// checkpoint.
    async fn empty_log(&self) -> Result<(), Error> {
        let truncate =
            |connection: &mut Connection| connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).map_err(store::error);
        match store::call(&self.writer, truncate).await {
            Ok(()) | Err(Error::Busy) => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    /// Runs `work` in one transaction that holds the write lock from the beginning, and commits it.
    async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        F: FnOnce(&Connection, &Keyring) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        self.keep_up().await?;
        let (keyring, file) = (Arc::clone(&self.keyring), self.file.clone());
        let work = move |connection: &mut Connection| {
            let transaction = connection.transaction().map_err(store::error)?;
            let done = work(&transaction, &keyring)?;
            // A sealing key in a file that nobody can open any more is lost with what is sealed under it.
            file.require()?;
            transaction.commit().map_err(store::error)?;
            Ok(done)
        };
        store::call(&self.writer, work).await
    }
}

#[async_trait]
impl Vault for Sqlite {
    fn lookup(&self) -> &LookupKeys {
        &self.lookup
    }

    fn origin_base(&self) -> &str {
        &self.origin_base
    }

    /// A lock on `vault.lock`, which the system frees when the process ends, however it ends.
    async fn first_start(&self) -> Result<FirstStart, Error> {
        let unavailable = |failed: io::Error| Error::Unavailable(failed.into());
        let path = self.folder.join("vault.lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(unavailable)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(FirstStart::holding(file)),
                Err(TryLockError::WouldBlock) if started.elapsed() < FIRST_START_WAIT => {
                    tokio::time::sleep(Duration::from_millis(20)).await
                }
                Err(TryLockError::WouldBlock) => return Err(Error::Busy),
                Err(TryLockError::Error(failed)) => return Err(unavailable(failed)),
            }
        }
    }

    async fn subjects(&self, wanted: &[SubjectRefs], now: Timestamp) -> Result<Vec<Subject>, Error> {
        self.keep_up().await?;
        // For those, too, that turn out to be there, as on PostgreSQL: so that with randomness from a test both engines draw alike.
        let prepared: Vec<(SubjectRefs, NewSubject)> = wanted.iter().map(|refs| (*refs, self.keyring.new_subject(now))).collect();
        // Where all are there nothing is written, and the commit costs nothing.
        let ensure = move |connection: &Connection, keyring: &Keyring| {
            prepared.into_iter().map(|(refs, new)| ensure_subject(connection, keyring, &refs, new)).collect()
        };
        self.write(ensure).await
    }

    async fn find_subjects(&self, names: Option<&[Reference]>, emails: Option<&[Reference]>) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let (names, emails) = (names.map(<[Reference]>::to_vec), emails.map(<[Reference]>::to_vec));
        let of_issuer = |row: &Row<'_>| Ok((uuid(row, 0)?, uuid(row, 1)?));
        let find = move |connection: &Connection, _: &Keyring| {
            let mut found = Vec::new();
            match (names, emails) {
                (Some(names), Some(emails)) => {
                    for (name, email) in names.iter().zip(&emails) {
                        found.extend(query(connection, sql::SELECT_SUBJECTS_BY_BOTH, params![email, name], of_issuer)?);
                    }
                }
                (None, Some(emails)) => {
                    for email in &emails {
                        found.extend(query(connection, sql::SELECT_SUBJECTS_BY_EMAIL, params![email], of_issuer)?);
                    }
                }
                (Some(names), None) => {
                    for name in &names {
                        found.extend(query(connection, sql::SELECT_SUBJECTS_BY_NAME, params![name], of_issuer)?);
                    }
                }
                (None, None) => {}
            }
            Ok(found)
        };
        self.read(find).await
    }

    async fn subject_refs(&self, ids: &[Uuid]) -> Result<Vec<Option<SubjectRefs>>, Error> {
        let ids = ids.to_vec();
        let refs = |row: &Row<'_>| Ok(SubjectRefs { issuer: uuid(row, 0)?, name: row.get(1)?, email: row.get(2)? });
        let find = move |connection: &Connection, _: &Keyring| {
            ids.iter().map(|id| query_one(connection, sql::SELECT_SUBJECT_REFS, params![id.as_bytes()], refs)).collect()
        };
        self.read(find).await
    }

    async fn open_keys(&self, ids: &[KeyId]) -> Result<HashMap<KeyId, SealingKey>, Error> {
        let ids = ids.to_vec();
        let open = move |connection: &Connection, keyring: &Keyring| {
            let opened = ids.into_iter().map(|id| Ok(sealing_key(connection, keyring, &id)?.map(|key| (id, key))));
            opened.filter_map(Result::transpose).collect()
        };
        self.read(open).await
    }

    async fn month_key(&self, month: &str) -> Result<SealingKey, Error> {
        let id = KeyId::Month(month.to_owned());
        let asked = id.clone();
        if let Some(key) = self.read(move |connection, keyring| sealing_key(connection, keyring, &asked)).await? {
            return Ok(key);
        }
        let month = month.to_owned();
        let ensure = move |connection: &Connection, keyring: &Keyring| {
            if let Some(key) = sealing_key(connection, keyring, &id)? {
                return Ok(key);
            }
            let (_, wrapped) = keyring.new_month_key(&month);
            run(connection, sql::INSERT_MONTH_KEY, params![month, wrapped])?;
            sealing_key(connection, keyring, &id)?.ok_or_else(|| Error::Failed(MonthForgotten(month).into()))
        };
        self.write(ensure).await
    }

    async fn months(&self) -> Result<Vec<String>, Error> {
        self.read(|connection, _| query(connection, sql::SELECT_MONTHS, [], |row| row.get(0))).await
    }

    async fn forget_months(&self, months: &[String]) -> Result<(), Error> {
        let months = months.to_vec();
        let forget = move |connection: &Connection, _: &Keyring| {
            months.iter().try_for_each(|month| run(connection, sql::FORGET_MONTH, params![month]))
        };
        self.write(forget).await?;
        self.empty_log().await
    }

    async fn ensure_issuer(&self, name: &str, now: Timestamp) -> Result<Issuer, Error> {
        let name = name.to_owned();
        let ensure = move |connection: &Connection, keyring: &Keyring| {
            if let Some(issuer) = query_one(connection, sql::SELECT_ISSUER, params![name], issuer)? {
                return Ok(issuer);
            }
            let new = keyring.new_issuer(&name, now);
            let id = new.issuer.id.as_bytes();
            run(connection, sql::INSERT_ISSUER, params![id, new.issuer.name, new.issuer.did, new.wrapped_sealing_key])?;
            run(connection, sql::INSERT_FIRST_ISSUER_KEY, params![new.issuer.did, id, new.wrapped_signing_key])?;
            Ok(new.issuer)
        };
        self.write(ensure).await
    }

    async fn signing_key(&self, did: &str) -> Result<Option<SigningKey>, Error> {
        let did = did.to_owned();
        let open = move |connection: &Connection, keyring: &Keyring| {
            let row = |row: &Row<'_>| Ok((uuid(row, 0)?, row.get::<_, Vec<u8>>(1)?));
            let stored = query_one(connection, sql::SELECT_SIGNING_KEY, params![did], row)?;
            stored.map(|(issuer, wrapped)| keyring.signing_key(issuer, &did, &wrapped)).transpose()
        };
        self.read(open).await
    }

    async fn next_issuer_key(&self, issuer: Uuid) -> Result<Option<String>, Error> {
        let ensure = move |connection: &Connection, keyring: &Keyring| {
            let select = || query_one(connection, sql::SELECT_NEXT_ISSUER_KEY, params![issuer.as_bytes()], |row| row.get(0));
            if let Some(did) = select()? {
                return Ok(Some(did));
            }
            let new = keyring.new_signing_key(issuer);
            run(connection, sql::INSERT_NEXT_ISSUER_KEY, params![issuer.as_bytes(), new.did, new.wrapped])?;
            select()
        };
        self.write(ensure).await
    }

    async fn use_issuer_key(&self, issuer: Uuid, did: &str) -> Result<(), Error> {
        let did = did.to_owned();
        self.write(move |connection, _| run(connection, sql::USE_ISSUER_KEY, params![issuer.as_bytes(), did])).await
    }

    async fn issuer_keys(&self, issuer: Uuid) -> Result<Vec<IssuerKey>, Error> {
        let key = |row: &Row<'_>| Ok(IssuerKey { did: row.get(0)?, state: KeyState::at(row.get(1)?) });
        self.read(move |connection, _| query(connection, sql::SELECT_ISSUER_KEYS, params![issuer.as_bytes()], key)).await
    }

    async fn find_issuer(&self, name: &str) -> Result<Option<Issuer>, Error> {
        let name = name.to_owned();
        self.read(move |connection, _| query_one(connection, sql::SELECT_ISSUER, params![name], issuer)).await
    }

    async fn issuers(&self) -> Result<Vec<Issuer>, Error> {
        self.read(|connection, _| query(connection, sql::SELECT_ISSUERS, [], issuer)).await
    }

    async fn issuer_key(&self, id: Uuid) -> Result<Option<SealingKey>, Error> {
        self.read(move |connection, keyring| sealing_key(connection, keyring, &KeyId::Issuer(id))).await
    }

    async fn create_key(&self, terms: &Terms, now: Timestamp) -> Result<(ApiKey, Zeroizing<String>), Error> {
        let NewApiKey { row, hash, text } = NewApiKey::generate(terms, now, self.keyring.random());
        let key = row.clone();
        let insert = move |connection: &Connection, _: &Keyring| {
            let ApiKey { id, terms: Terms { roles, issuer, types, name, expires_at }, prefix, created_at, .. } = &key;
            let (types, expires_at) = (api_key::types_to_text(types.as_deref()), expires_at.map(|time| time.as_micros_i64()));
            let row = params![
                id.as_bytes(),
                hash,
                prefix,
                roles.to_string(),
                issuer.as_bytes(),
                types,
                name,
                created_at.as_micros_i64(),
                expires_at
            ];
            run(connection, sql::INSERT_API_KEY, row)
        };
        self.write(insert).await?;
        Ok((row, text))
    }

    async fn find_key(&self, text: &str) -> Result<Option<ApiKey>, Error> {
        let Some(hash) = api_key::hash(text) else { return Ok(None) };
        self.read(move |connection, _| query_one(connection, sql::SELECT_API_KEY_BY_HASH, params![hash], api_key)).await
    }

    async fn key(&self, id: Uuid) -> Result<Option<ApiKey>, Error> {
        self.read(move |connection, _| query_one(connection, sql::SELECT_API_KEY, params![id.as_bytes()], api_key)).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, Error> {
        self.read(|connection, _| query(connection, sql::SELECT_API_KEYS, [], api_key)).await
    }

    async fn select_keys(&self, wanted: &Wanted) -> Result<Vec<ApiKey>, Error> {
        let Wanted { issuer, prefix, before, limit } = wanted.clone();
        self.read(move |connection, _| {
            let wanted = params![issuer.map(Uuid::into_bytes), prefix, before.map(Uuid::into_bytes), limit];
            query(connection, sql::SELECT_SOME_API_KEYS, wanted, api_key)
        })
        .await
    }

    async fn revoke_key(&self, id: Uuid, now: Timestamp) -> Result<Option<ApiKey>, Error> {
        self.change_key(sql::REVOKE_API_KEY, id, now).await
    }

    async fn expire_key(&self, id: Uuid, at: Timestamp) -> Result<Option<ApiKey>, Error> {
        self.change_key(sql::EXPIRE_API_KEY, id, at).await
    }

    async fn touch_keys(&self, used: &[(Uuid, Timestamp)]) -> Result<(), Error> {
        let used = used.to_vec();
        let touch = move |connection: &Connection, _: &Keyring| {
            used.into_iter().try_for_each(|(id, used)| {
                run(connection, sql::TOUCH_API_KEY, params![id.as_bytes(), api_key::to_the_minute(used).as_micros_i64()])
            })
        };
        self.write(touch).await
    }

    async fn heartbeat(&self, worker: &Worker, forget_before: Timestamp) -> Result<(), Error> {
        let worker = worker.clone();
        let beat = move |connection: &Connection, _: &Keyring| {
            let Worker { instance, name, role, version, started_at, last_seen_at, cursors, master_keys } = worker;
            let (started_at, last_seen_at) = (started_at.as_micros_i64(), last_seen_at.as_micros_i64());
            let master_keys = fingerprints_to_text(&master_keys);
            let row = params![instance.as_bytes(), name, role, version, started_at, last_seen_at, cursors, master_keys];
            run(connection, sql::UPSERT_WORKER, row)?;
            run(connection, sql::DELETE_OLD_WORKERS, params![forget_before.as_micros_i64()])
        };
        self.write(beat).await
    }

    async fn goodbye(&self, instance: Uuid) -> Result<(), Error> {
        self.write(move |connection, _| run(connection, sql::DELETE_WORKER, params![instance.as_bytes()])).await
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<Worker>, Error> {
        self.read(move |connection, _| query(connection, sql::SELECT_WORKERS, params![since.as_micros_i64()], worker)).await
    }

    /// Also notices that the file was deleted under the running process.
    async fn ping(&self) -> Result<(), Error> {
        self.read(|connection, _| settings(connection)?.map(drop).ok_or(Error::NotMigrated)).await
    }
}

/// SQLite gives the files beside it (`-wal`, `-shm`) the same rights.
fn make_private(path: &Path) -> io::Result<()> {
    match create_private(path) {
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn settings(connection: &Connection) -> Result<Option<Settings>, Error> {
    let settings = |row: &Row<'_>| Ok(Settings { origin_base: row.get(0)?, lookup_keys: row.get(1)? });
    query_one(connection, sql::SELECT_SETTINGS, [], settings)
}

fn subject(connection: &Connection, keyring: &Keyring, refs: &SubjectRefs) -> Result<Option<Subject>, Error> {
    let refs = params![refs.email, refs.name, refs.issuer.as_bytes()];
    let stored = query_one(connection, sql::SELECT_SUBJECT, refs, |row| Ok((uuid(row, 0)?, row.get::<_, Vec<u8>>(1)?)))?;
    stored.map(|(id, wrapped_key)| keyring.subject(id, &wrapped_key)).transpose()
}

fn ensure_subject(connection: &Connection, keyring: &Keyring, refs: &SubjectRefs, new: NewSubject) -> Result<Subject, Error> {
    let row = params![new.subject.id.as_bytes(), refs.issuer.as_bytes(), refs.name, refs.email, new.wrapped_key];
    let mut insert = connection.prepare_cached(sql::INSERT_SUBJECT).map_err(store::error)?;
    match insert.execute(row).map_err(store::error)? {
        0 => subject(connection, keyring, refs)?.ok_or_else(|| Error::Corrupt("a subject that is there cannot be found".to_owned())),
        _ => Ok(new.subject),
    }
}

fn sealing_key(connection: &Connection, keyring: &Keyring, id: &KeyId) -> Result<Option<SealingKey>, Error> {
    let wrapped = |row: &Row<'_>| row.get::<_, Vec<u8>>(0);
    let stored = match id {
        KeyId::Subject(id) => query_one(connection, sql::SELECT_SUBJECT_KEY, params![id.as_bytes()], wrapped),
        KeyId::Issuer(id) => query_one(connection, sql::SELECT_ISSUER_SEALING_KEY, params![id.as_bytes()], wrapped),
        KeyId::Month(month) => query_one(connection, sql::SELECT_MONTH_KEY, params![month], wrapped),
    };
    stored?.map(|wrapped| keyring.open(id, &wrapped)).transpose()
}
