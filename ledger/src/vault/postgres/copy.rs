//! All rows of the vault's schema, read in one snapshot, written in one transaction.

use futures::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use super::{Postgres, SCHEMA, STEPS, Statement, settings, sql, store};
use crate::store::Error;
use crate::store::postgres::{Durability, Sessions, bounded};
use crate::vault::copy::{CHUNK, Kind, Onto, Receiver, Rows, Sender, TABLES, Table, Value};
use crate::vault::rows::Settings;

/// The settings of the vault in this database; `None` where there is none.
pub(in crate::vault) async fn stored_settings(url: &str) -> Result<Option<Settings>, Error> {
    settings(&Sessions::new(url, SCHEMA, Durability::UnsafeAllowed)?.pool(1).await?).await
}

/// Sends every row, or why not.
pub(in crate::vault) async fn read_all(url: &str, sender: Sender) {
    if let Err(failed) = read(url, &sender).await {
        let _ = sender.send(Err(failed)).await;
    }
}

async fn read(url: &str, sender: &Sender) -> Result<(), Error> {
    let sessions = Sessions::new(url, SCHEMA, Durability::UnsafeAllowed)?;
    store::require_current(&sessions.pool(1).await?, SCHEMA, STEPS).await?;
    let mut connection = sessions.connect().await?;
    let mut snapshot = bounded(connection.begin_with("begin isolation level repeatable read read only")).await?;
    for table in TABLES {
        let mut found = sqlx::query(AssertSqlSafe(table.select())).fetch(&mut *snapshot);
        let mut rows = Rows::of(table);
        while let Some(row) = bounded(found.try_next()).await? {
            rows.rows.push((0..).zip(table.columns).map(|(at, (_, kind))| value(&row, at, *kind)).collect::<Result<_, Error>>()?);
            if rows.rows.len() == CHUNK && sender.send(Ok(std::mem::replace(&mut rows, Rows::of(table)))).await.is_err() {
                return Ok(());
            }
        }
        if sender.send(Ok(rows)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

pub(super) fn value(row: &PgRow, at: usize, kind: Kind) -> Result<Value, Error> {
    let value = match kind {
        Kind::Id => row.try_get::<Option<Uuid>, _>(at).map(|id| id.map(|id| Value::Bytes(id.as_bytes().to_vec()))),
        Kind::Bytes => row.try_get::<Option<Vec<u8>>, _>(at).map(|bytes| bytes.map(Value::Bytes)),
        Kind::Text => row.try_get::<Option<String>, _>(at).map(|text| text.map(Value::Text)),
        Kind::Number => row.try_get::<Option<i64>, _>(at).map(|number| number.map(Value::Number)),
    };
    Ok(value.map_err(store::error)?.unwrap_or(Value::Null))
}

/// Puts the rows that are sent in the place of all that are there, and answers how many.
pub(in crate::vault) async fn write_all(url: &str, mut receiver: Receiver, onto: Onto) -> Result<u64, Error> {
    Postgres::migrate(url).await?;
    let mut connection = Sessions::new(url, SCHEMA, Durability::UnsafeAllowed)?.connect().await?;
    let mut transaction = bounded(connection.begin()).await?;
    // Whoever makes a vault at the same moment is met by the constraint that there is one row of settings.
    let settings: Option<(String, Vec<u8>)> = bounded(sqlx::query_as(sql::SELECT_SETTINGS).fetch_optional(&mut *transaction)).await?;
    if onto == Onto::Nothing && settings.is_some() {
        return Err(Error::Failed("a vault has been made there meanwhile".into()));
    }
    for table in TABLES.iter().rev() {
        bounded(sqlx::query(AssertSqlSafe(table.delete())).execute(&mut *transaction)).await?;
    }
    let (mut written, mut seen) = (0, 0);
    while let Some(sent) = receiver.recv().await {
        let Rows { table, rows } = sent?;
        // Without its last table a vault is none: whoever sent has ended early.
        seen = TABLES.iter().position(|each| each.name == table.name).unwrap_or(seen);
        written += rows.len() as u64;
        put(&mut transaction, table, &rows).await?;
    }
    if seen + 1 != TABLES.len() {
        return Err(Error::Failed("the vault was not read to its end".into()));
    }
    bounded(transaction.commit()).await?;
    Ok(written)
}

/// One statement for all rows, with an array for each column.
async fn put(connection: &mut PgConnection, table: &Table, rows: &[Vec<Value>]) -> Result<(), Error> {
    let arrays = (1..).zip(table.columns).map(|(at, (_, kind))| format!("${at}::{}[]", array_type(*kind)));
    let values = format!("select * from unnest({})", arrays.collect::<Vec<_>>().join(", "));
    let mut insert = sqlx::query(AssertSqlSafe(table.insert(&values)));
    for (at, (name, kind)) in table.columns.iter().enumerate() {
        let other = || Error::Corrupt(format!("{}.{name} holds what it cannot", table.name));
        insert = bind(insert, *kind, rows.iter().map(|row| &row[at])).ok_or_else(other)?;
    }
    bounded(insert.execute(connection)).await.map(drop)
}

/// Binds a column's values as an array; `None` where one of them is of another type.
pub(super) fn bind<'q>(query: Statement<'q>, kind: Kind, column: impl Iterator<Item = &'q Value>) -> Option<Statement<'q>> {
    Some(match kind {
        Kind::Id => query.bind(column.map(id).collect::<Option<Vec<_>>>()?),
        Kind::Bytes => query.bind(column.map(bytes).collect::<Option<Vec<_>>>()?),
        Kind::Text => query.bind(column.map(text).collect::<Option<Vec<_>>>()?),
        Kind::Number => query.bind(column.map(number).collect::<Option<Vec<_>>>()?),
    })
}

pub(super) fn array_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Id => "uuid",
        Kind::Bytes => "bytea",
        Kind::Text => "text",
        // An integer's column takes it, as long as it fits.
        Kind::Number => "bigint",
    }
}

/// As these four: the value as its column takes it, null included; `None` for one of another type.
pub(super) fn id(value: &Value) -> Option<Option<Uuid>> {
    bytes(value)?.map(|bytes| Uuid::from_slice(bytes).ok()).map_or(Some(None), |id| id.map(Some))
}

pub(super) fn bytes(value: &Value) -> Option<Option<&[u8]>> {
    match value {
        Value::Null => Some(None),
        Value::Bytes(bytes) => Some(Some(bytes)),
        _ => None,
    }
}

pub(super) fn text(value: &Value) -> Option<Option<&str>> {
    match value {
        Value::Null => Some(None),
        Value::Text(text) => Some(Some(text)),
        _ => None,
    }
}

fn number(value: &Value) -> Option<Option<i64>> {
    match value {
        Value::Null => Some(None),
        Value::Number(number) => Some(Some(*number)),
        _ => None,
    }
}
