//! Rows as they are read, and statements as they are run.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Type, ValueRef};
use rusqlite::{Connection, Params, Row};
use uuid::Uuid;

use crate::Timestamp;
use crate::store::Error;
use crate::store::sqlite as store;
use crate::store::sqlite::rows::{all, execute, one};
use crate::vault::api_key::{Terms, types_from_text};
use crate::vault::{ApiKey, Fingerprint, Issuer, Roles, Worker, fingerprints_from_text};

pub(super) fn issuer(row: &Row<'_>) -> rusqlite::Result<Issuer> {
    Ok(Issuer { id: uuid(row, 0)?, name: row.get(1)?, did: row.get(2)?, is_active: row.get(3)? })
}

pub(super) fn api_key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    let types = types_from_text(row.get(4)?).map_err(|failed| rusqlite::Error::FromSqlConversionFailure(4, Type::Text, failed.into()))?;
    Ok(ApiKey {
        id: uuid(row, 0)?,
        prefix: row.get(1)?,
        terms: Terms { roles: row.get(2)?, issuer: uuid(row, 3)?, types, name: row.get(5)?, expires_at: optional_time(row, 7)? },
        created_at: time(row, 6)?,
        last_used_at: optional_time(row, 8)?,
        revoked_at: optional_time(row, 9)?,
        of_active: row.get(10)?,
    })
}

pub(super) fn worker(row: &Row<'_>) -> rusqlite::Result<Worker> {
    Ok(Worker {
        instance: uuid(row, 0)?,
        name: row.get(1)?,
        role: row.get(2)?,
        version: row.get(3)?,
        started_at: time(row, 4)?,
        last_seen_at: time(row, 5)?,
        cursors: row.get(6)?,
        master_keys: master_keys(row, 7)?,
    })
}

fn master_keys(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<Fingerprint>> {
    let text: Option<String> = row.get(at)?;
    fingerprints_from_text(text.as_deref()).map_err(|failed| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, failed.into()))
}

pub(super) fn uuid(row: &Row<'_>, at: usize) -> rusqlite::Result<Uuid> {
    Ok(Uuid::from_bytes(row.get(at)?))
}

pub(super) fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Timestamp> {
    Ok(row.get::<_, Micros>(at)?.0)
}

pub(super) fn optional_time(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<Micros>>(at)?.map(|micros| micros.0))
}

/// A time as it is stored.
struct Micros(Timestamp);

impl FromSql for Micros {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Micros> {
        let micros = value.as_i64()?;
        u64::try_from(micros).map(|micros| Micros(Timestamp::from_micros(micros))).map_err(|_| FromSqlError::OutOfRange(micros))
    }
}

impl FromSql for Roles {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Roles> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}

pub(super) fn run(connection: &Connection, sql: &str, params: impl Params) -> Result<(), Error> {
    execute(connection, sql, params).map(drop)
}

/// As [`run`]; whether a row was changed.
pub(super) fn changes(connection: &Connection, sql: &str, params: impl Params) -> Result<bool, Error> {
    Ok(execute(connection, sql, params)? > 0)
}

pub(super) fn query<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Error> {
    all(connection, sql, params, |row| read(row).map_err(store::error))
}

pub(super) fn query_one<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
    one(connection, sql, params, |row| read(row).map_err(store::error))
}
