//! The contract on this engine, and what is SQLite's alone.

use std::sync::Arc;

use rusqlite::types::ValueRef;

use super::*;
use crate::random::SystemRandom;
use crate::vault::Erasures as _;
use crate::vault::MasterKey;
use crate::vault::contract::Fixture;
use crate::vault::master_key::MasterKeys;

struct Folder(tempfile::TempDir);

async fn fresh() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

fn keyring(key: u8) -> Keyring {
    Keyring::new(MasterKey::from_bytes([key; 32]), Arc::new(SystemRandom))
}

#[async_trait]
impl Fixture for Folder {
    async fn open(&self, master_keys: MasterKeys, origin_base: Option<&str>) -> Result<Arc<dyn Vault>, OpenError> {
        let keyring = Keyring::new(master_keys, Arc::new(SystemRandom));
        Ok(Arc::new(Sqlite::open(self.0.path(), keyring, origin_base).await?))
    }

    async fn stored(&self) -> Vec<u8> {
        let connection = Connection::open(path(self.0.path())).unwrap();
        let tables = "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%' order by name";
        let mut stored = Vec::new();
        for table in query(&connection, tables, [], |row| row.get::<_, String>(0)).unwrap() {
            let mut statement = connection.prepare(&format!("select * from {table}")).unwrap();
            let columns = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                for column in 0..columns {
                    match row.get_ref(column).unwrap() {
                        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => stored.extend_from_slice(bytes),
                        ValueRef::Integer(number) => stored.extend_from_slice(&number.to_be_bytes()),
                        ValueRef::Null => {}
                        ValueRef::Real(_) => panic!("{table} holds a double"),
                    }
                }
            }
        }
        stored
    }
}

/// The files themselves, the write-ahead log included.
struct Files(Folder);

#[async_trait]
impl Fixture for Files {
    async fn open(&self, master_keys: MasterKeys, origin_base: Option<&str>) -> Result<Arc<dyn Vault>, OpenError> {
        self.0.open(master_keys, origin_base).await
    }

    async fn stored(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.0.0.path()).unwrap().map(|file| file.unwrap().path());
        files.flat_map(|file| std::fs::read(file).unwrap_or_default()).collect()
    }
}

#[tokio::test]
async fn nothing_secret_is_in_the_files() {
    crate::vault::contract::nothing_secret_is_stored_in_clear(&Files(fresh().await)).await;
}

crate::vault_contract!(fresh);

#[test]
fn every_statement_prepares() {
    let mut connection = Connection::open_in_memory().unwrap();
    migrations().to_latest(&mut connection).unwrap();
    for sql in sql::ALL {
        connection.prepare(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
}

#[tokio::test]
async fn an_existing_vault_opens_only_where_there_is_one() {
    let folder = fresh().await;
    let opened = Sqlite::open_existing(folder.0.path(), keyring(7)).await;
    assert!(matches!(opened.err(), Some(OpenError::Store(Error::NotMigrated))));
    assert!(!path(folder.0.path()).exists());
    let made = Sqlite::open(folder.0.path(), keyring(7), None).await.unwrap();
    let opened = Sqlite::open_existing(folder.0.path(), keyring(7)).await.unwrap();
    assert_eq!(opened.origin_base(), made.origin_base());
    assert!(matches!(Sqlite::open_existing(folder.0.path(), keyring(8)).await.err(), Some(OpenError::WrongMasterKey)));
}

/// As the version before kept them.
#[tokio::test]
async fn the_keys_of_issuers_that_had_one_alone_carry_over() {
    let (folder, ring) = (fresh().await, keyring(7));
    let mut connection = Connection::open(path(folder.0.path())).unwrap();
    migrations().to_version(&mut connection, 1).unwrap();
    let settings = ring.new_settings(Some("ledger.example"));
    connection.execute(sql::INSERT_SETTINGS, params![settings.origin_base, settings.lookup_keys]).unwrap();
    let old: Vec<_> = ["default", "other"].map(|name| ring.new_issuer(name, Timestamp::EPOCH)).into();
    for new in &old {
        let insert = "insert into issuers (id, name, did, wrapped_signing_key, wrapped_sealing_key) values (?1, ?2, ?3, ?4, ?5)";
        let (issuer, signing, sealing) = (&new.issuer, &new.wrapped_signing_key, &new.wrapped_sealing_key);
        connection.execute(insert, params![issuer.id.as_bytes(), issuer.name, issuer.did, signing, sealing]).unwrap();
    }
    drop(connection);
    let vault = Sqlite::open(folder.0.path(), keyring(7), None).await.unwrap();
    crate::vault::contract::issuers_are_whole(&vault, &old, &ring).await;
}

#[tokio::test]
async fn a_newer_vault_is_refused() {
    let folder = fresh().await;
    drop(Sqlite::open(folder.0.path(), keyring(7), None).await.unwrap());
    Connection::open(path(folder.0.path())).unwrap().execute_batch("pragma user_version = 99").unwrap();
    assert!(matches!(Sqlite::open(folder.0.path(), keyring(7), None).await.err(), Some(OpenError::Store(Error::NewerSchema))));
}

/// An older vault is only brought up to date by whom it belongs to.
#[tokio::test]
async fn another_master_key_does_not_migrate_a_vault() {
    let folder = fresh().await;
    drop(Sqlite::open(folder.0.path(), keyring(7), None).await.unwrap());
    let version = |set: Option<i64>| {
        let connection = Connection::open(path(folder.0.path())).unwrap();
        if let Some(version) = set {
            connection.pragma_update(None, "user_version", version).unwrap();
        }
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(version(Some(0)), 0);
    assert!(matches!(Sqlite::open(folder.0.path(), keyring(8), None).await.err(), Some(OpenError::WrongMasterKey)));
    assert_eq!(version(None), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = fresh().await;
    let vault = Sqlite::open(folder.0.path(), keyring(7), None).await.unwrap();
    vault.month_key("2026-01").await.unwrap();
    for name in ["vault.sqlite", "vault.sqlite-wal", "vault.sqlite-shm"] {
        let mode = std::fs::metadata(folder.0.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_neither_read_nor_written() {
    let folder = fresh().await;
    let vault = Sqlite::open(folder.0.path(), keyring(7), None).await.unwrap();
    let issuer = vault.ensure_issuer("default", Timestamp::EPOCH).await.unwrap();
    let (key, text) = vault.create_key(&Terms::of(crate::vault::Role::Admin, issuer.id), Timestamp::EPOCH).await.unwrap();
    let aside = folder.0.path().join("aside");
    std::fs::rename(path(folder.0.path()), &aside).unwrap();
    // Whether anything has taken its place or not: what it says by now may be otherwise.
    for successor in [None, Some("another")] {
        if let Some(successor) = successor {
            std::fs::write(path(folder.0.path()), successor).unwrap();
        }
        assert!(matches!(vault.find_key(&text).await, Err(Error::Unavailable(_))));
        assert!(matches!(vault.revoke_key(key.id, Timestamp::EPOCH).await, Err(Error::Unavailable(_))));
        assert!(matches!(vault.ping().await, Err(Error::Unavailable(_))));
    }
    std::fs::rename(aside, path(folder.0.path())).unwrap();
    assert_eq!(vault.find_key(&text).await.unwrap(), Some(key));
}

#[tokio::test]
async fn what_is_deleted_is_overwritten() {
    let folder = fresh().await;
    let vault = Sqlite::open(folder.0.path(), keyring(7), None).await.unwrap();
    let worker = Worker {
        instance: Uuid::from_u128(1),
        name: "a name that nobody else has".to_owned(),
        role: String::new(),
        version: String::new(),
        started_at: Timestamp::EPOCH,
        last_seen_at: Timestamp::EPOCH,
        cursors: String::new(),
        master_keys: Vec::new(),
    };
    vault.heartbeat(&worker, Timestamp::EPOCH).await.unwrap();
    vault.goodbye(worker.instance).await.unwrap();
    drop(vault);
    Connection::open(path(folder.0.path())).unwrap().execute_batch("pragma wal_checkpoint(truncate)").unwrap();
    let stored = Files(folder).stored().await;
    assert!(!stored.windows(worker.name.len()).any(|window| window == worker.name.as_bytes()));
}

/// While it is open, too: nobody waits for a stop.
#[tokio::test]
async fn a_forgotten_months_key_is_in_no_file() {
    let folder = fresh().await;
    let vault = Sqlite::open(folder.0.path(), keyring(7), None).await.unwrap();
    let months = ["2025-12", "2026-01", "2026-02"].map(str::to_owned);
    for month in &months {
        vault.month_key(month).await.unwrap();
    }
    let connection = Connection::open(path(folder.0.path())).unwrap();
    let wrapped: Vec<Vec<u8>> = query(&connection, "select wrapped_key from month_keys", [], |row| row.get(0)).unwrap();
    let files = Files(folder);
    let found = async |key: &Vec<u8>| files.stored().await.windows(key.len()).any(|window| window == key);
    assert!(wrapped.len() == 3 && found(&wrapped[0]).await, "the search would find it");
    vault.forget_months(&months).await.unwrap();
    for key in &wrapped {
        assert!(!found(key).await);
    }
}

/// With the vault open, and nobody having done anything but to forget.
#[tokio::test]
async fn a_forgotten_subjects_key_is_in_no_file() {
    let folder = fresh().await;
    let vault = Sqlite::open(folder.0.path(), keyring(7), None).await.unwrap();
    let refs = |number: u8| SubjectRefs { issuer: Uuid::from_u128(1), name: [number; 32], email: [number; 32] };
    let made = vault.subjects(&[refs(1), refs(2), refs(3)], Timestamp::EPOCH).await.unwrap();
    let wrapped = |id: Uuid| -> Vec<u8> {
        let connection = Connection::open(path(folder.0.path())).unwrap();
        connection.query_row("select wrapped_key from subjects where id = ?1", [id.as_bytes()], |row| row.get(0)).unwrap()
    };
    let keys: Vec<Vec<u8>> = made.iter().map(|subject| wrapped(subject.id)).collect();
    let found = || {
        let files = std::fs::read_dir(folder.0.path()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let bytes: Vec<u8> = files.flatten().collect();
        keys.iter().map(|key| bytes.windows(key.len()).any(|window| window == key)).collect::<Vec<_>>()
    };
    assert_eq!(found(), [true; 3]);
    vault.forget_subjects(&[made[0].id, made[2].id]).await.unwrap();
    assert_eq!(found(), [false, true, false]);
}

#[tokio::test]
async fn a_vault_whose_file_vanished_does_not_answer_and_takes_nothing() {
    let folder = fresh().await;
    let vault = Sqlite::open(folder.0.path(), keyring(7), None).await.unwrap();
    vault.ping().await.unwrap();
    std::fs::remove_file(path(folder.0.path())).unwrap();
    assert!(vault.ping().await.unwrap_err().is_transient());
    assert!(vault.touch_keys(&[]).await.unwrap_err().is_transient());
}
