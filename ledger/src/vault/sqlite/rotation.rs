//! The rotation of the master key, on SQLite.

use std::fs::{OpenOptions, TryLockError};
use std::time::Instant;

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::copy::value;
use super::rows::{changes, query, query_one};
use super::{Sqlite, sql, store};
use crate::store::Error;
use crate::vault::master_key::ring::{Rotation, Stage, Standing};
use crate::vault::rotation::{After, Again, Cell, RotationGuard, Rotations, WRAPPED, Wrapped};
use crate::vault::rows::Keyring;

#[async_trait]
impl Rotations for Sqlite {
    fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    async fn standing(&self) -> Result<(Standing, Instant), Error> {
        let read_at = Instant::now();
        let select = |connection: &mut Connection| query_one(connection, sql::SELECT_STANDING, [], |row| Ok(standing(row)));
        let found = store::call(&self.reader, select).await?.ok_or(Error::NotMigrated)?;
        Ok((found?, read_at))
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

    async fn select_wrapped(&self, column: &'static Wrapped, after: Option<After>) -> Result<Vec<Cell>, Error> {
        let cells = move |connection: &Connection, _: &Keyring| {
            let select = column.select(after.as_ref());
            let cells = match after {
                Some(After(key)) => query(connection, &select, params![key], |row| Ok(cell(row)))?,
                None => query(connection, &select, [], |row| Ok(cell(row)))?,
            };
            cells.into_iter().collect()
        };
        self.read(cells).await
    }

    async fn replace_wrapped(&self, column: &'static Wrapped, again: Vec<Again>) -> Result<u64, Error> {
        let Wrapped { table, column, key: (key, _), .. } = column;
        let update = format!("update {table} set {column} = ?3 where {key} = ?1 and {column} = ?2");
        let replace = move |connection: &Connection, _: &Keyring| {
            let mut changed = 0;
            for Again { cell, wrapped } in again {
                changed += u64::from(changes(connection, &update, params![cell.key, cell.wrapped, wrapped])?);
            }
            Ok(changed)
        };
        self.write(replace).await
    }

    /// Who writes holds the file's one lock: whoever gets it has waited for all before.
    async fn outlast_writers(&self) -> Result<(), Error> {
        self.write(|_, _| Ok(())).await
    }
}

fn cell(row: &Row<'_>) -> Result<Cell, Error> {
    Ok(Cell { key: value(row, 0)?, wrapped: row.get(1).map_err(store::error)?, also: value(row, 2)? })
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
