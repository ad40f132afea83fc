//! The rotation of the master key, on SQLite.

use std::fs::{OpenOptions, TryLockError};
use std::time::Instant;

use async_trait::async_trait;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::rows::{changes, query, query_one};
use super::{Sqlite, sql, store};
use crate::store::Error;
use crate::vault::copy::Value;
use crate::vault::master_key::ring::{Ring, Rotation, Stage, Standing};
use crate::vault::rotation::{After, PAGE, Page, RotationGuard, Rotations, WRAPPED, Wrapped};
use crate::vault::rows::Keyring;

impl Sqlite {
    /// What the vault says of its master key, and a moment before it was asked.
    pub(super) async fn standing(&self) -> Result<(Standing, Instant), Error> {
        let read_at = Instant::now();
        let select = |connection: &mut Connection| query_one(connection, sql::SELECT_STANDING, [], |row| Ok(standing(row)));
        let found = store::call(&self.reader, select).await?.ok_or(Error::NotMigrated)?;
        Ok((found?, read_at))
    }

    /// Before a secret is wrapped or opened.
    pub(super) async fn keep_up(&self) -> Result<(), Error> {
        if self.keyring.ring().is_current() { Ok(()) } else { self.follow_master_key().await }
    }
}

#[async_trait]
impl Rotations for Sqlite {
    fn ring(&self) -> &Ring {
        self.keyring.ring()
    }

    async fn follow_master_key(&self) -> Result<(), Error> {
        let (standing, read_at) = self.standing().await?;
        self.keyring.ring().follow(standing, read_at).await.map_err(|missing| Error::Failed(missing.into()))
    }

    async fn rotation(&self) -> Result<Option<Rotation>, Error> {
        Ok(self.standing().await?.0.rotation)
    }

    async fn set_rotation(&self, known: Option<&Rotation>, next: &Rotation) -> Result<bool, Error> {
        let (known, next) = (known.map(texts), texts(next));
        let set = move |connection: &Connection, _: &Keyring| match known {
            Some((from, to, stage)) => changes(connection, sql::UPDATE_ROTATION, params![from, to, stage, next.0, next.1, next.2]),
            None => changes(connection, sql::INSERT_ROTATION, params![next.0, next.1, next.2]),
        };
        self.write(set).await
    }

    /// A lock on `vault.rotation.lock`, which the system frees when the process ends, however it ends.
    async fn rotation_guard(&self) -> Result<Option<RotationGuard>, Error> {
        let path = self.folder.join("vault.rotation.lock");
        let unavailable = |failed: std::io::Error| Error::Unavailable(failed.into());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(unavailable)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(RotationGuard::holding(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(failed)) => Err(unavailable(failed)),
        }
    }

    async fn count_wrapped(&self) -> Result<u64, Error> {
        let count = |connection: &Connection, _: &Keyring| {
            let counts = WRAPPED.iter().map(|column| query_one(connection, &column.count(), [], |row| row.get::<_, u64>(0)));
            Ok(counts.collect::<Result<Vec<_>, Error>>()?.into_iter().flatten().sum())
        };
        self.read(count).await
    }

    async fn rewrap_page(&self, column: &'static Wrapped, after: Option<After>) -> Result<Page, Error> {
        self.write(move |connection, keyring| page(connection, keyring, column, after)).await
    }

    /// Who writes holds the file's one lock: whoever gets it has waited for all before.
    async fn outlast_writers(&self) -> Result<(), Error> {
        self.write(|_, _| Ok(())).await
    }
}

fn page(connection: &Connection, keyring: &Keyring, column: &Wrapped, after: Option<After>) -> Result<Page, Error> {
    let row = |row: &Row<'_>| Ok((value(row, 0)?, row.get::<_, Vec<u8>>(1)?, value(row, 2)?));
    let rows = match &after {
        Some(After(key)) => query(connection, &column.select(Some("?1")), params![key], row)?,
        None => query(connection, &column.select(None), [], row)?,
    };
    let Wrapped { table, column: name, key: (by, _), .. } = column;
    let update = format!("update {table} set {name} = ?3 where {by} = ?1 and {name} = ?2");
    let mut changed = 0;
    for (key, old, also) in &rows {
        if let Some(new) = keyring.rewrap(column.secret_of(key, also)?, old)? {
            changed += u64::from(changes(connection, &update, params![key, old, new])?);
        }
    }
    let count = rows.len();
    let next = rows.into_iter().next_back().filter(|_| count == PAGE).map(|(key, ..)| After(key));
    Ok(Page { rows: count as u64, changed, next })
}

fn value(row: &Row<'_>, at: usize) -> rusqlite::Result<Value> {
    Ok(match row.get_ref(at)? {
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        _ => Value::Null,
    })
}

fn standing(row: &Row<'_>) -> Result<Standing, Error> {
    let columns =
        || Ok((row.get(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<String>>(2)?, row.get::<_, Option<String>>(3)?));
    let (lookup_keys, from, to, stage) = columns().map_err(store::error)?;
    Standing::from_columns(lookup_keys, from.as_deref(), to.as_deref(), stage.as_deref())
}

/// As it is stored.
fn texts(rotation: &Rotation) -> (String, String, &'static str) {
    let Rotation { from, to, stage } = rotation;
    (from.to_string(), to.to_string(), Stage::as_str(*stage))
}
