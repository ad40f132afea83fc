//! All rows of the vault's file, read in one snapshot, written in one transaction.

use std::path::Path;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, Statement, ToSql, TransactionBehavior};

use super::{READER, WRITER, make_private, migrations, path, settings, store};
use crate::store::Error;
use crate::vault::copy::{CHUNK, Onto, Receiver, Rows, Sender, TABLES, Value};
use crate::vault::rows::Settings;

/// The settings of the vault in `folder`; `None` where there is no vault, though there may be its file.
pub(in crate::vault) async fn stored_settings(folder: &Path) -> Result<Option<Settings>, Error> {
    let path = path(folder);
    if !path.exists() {
        return Ok(None);
    }
    let connection = store::connect(&path, READER).await?;
    let read = |connection: &mut Connection| match connection.table_exists(None, "settings").map_err(store::error)? {
        true => settings(connection),
        false => Ok(None),
    };
    store::call(&connection, read).await
}

/// Sends every row, or why not.
pub(in crate::vault) async fn read_all(folder: &Path, sender: Sender) {
    let connection = match store::connect(&path(folder), READER).await {
        Ok(connection) => connection,
        Err(failed) => return drop(sender.send(Err(failed)).await),
    };
    let rows = sender.clone();
    if let Err(failed) = store::call(&connection, move |connection| read(connection, &rows)).await {
        let _ = sender.send(Err(failed)).await;
    }
}

fn read(connection: &mut Connection, sender: &Sender) -> Result<(), Error> {
    store::require_current(connection, &migrations())?;
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(store::error)?;
    for table in TABLES {
        let mut statement = snapshot.prepare(&table.select()).map_err(store::error)?;
        let mut found = statement.query([]).map_err(store::error)?;
        let mut rows = Rows::of(table);
        while let Some(row) = found.next().map_err(store::error)? {
            rows.rows.push((0..table.columns.len()).map(|at| value(row, at)).collect::<Result<_, Error>>()?);
            if rows.rows.len() == CHUNK && sender.blocking_send(Ok(std::mem::replace(&mut rows, Rows::of(table)))).is_err() {
                return Ok(());
            }
        }
        if sender.blocking_send(Ok(rows)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

pub(super) fn value(row: &Row<'_>, at: usize) -> Result<Value, Error> {
    Ok(match row.get_ref(at).map_err(store::error)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Number(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8(text.to_vec()).map_err(|failed| Error::Corrupt(failed.to_string()))?),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(Error::Corrupt("a table of the vault holds a double".to_owned())),
    })
}

/// Puts the rows that are sent in the place of all that are there, and answers how many.
pub(in crate::vault) async fn write_all(folder: &Path, receiver: Receiver, onto: Onto) -> Result<u64, Error> {
    let path = path(folder);
    std::fs::create_dir_all(folder).and_then(|()| make_private(&path)).map_err(|failed| Error::Unavailable(failed.into()))?;
    let writer = store::connect(&path, WRITER).await?;
    store::call(&writer, move |connection| write(connection, receiver, onto)).await
}

fn write(connection: &mut Connection, mut receiver: Receiver, onto: Onto) -> Result<u64, Error> {
    store::migrate(connection, &migrations())?;
    let transaction = connection.transaction().map_err(store::error)?;
    if onto == Onto::Nothing && settings(&transaction)?.is_some() {
        return Err(Error::Failed("a vault has been made there meanwhile".into()));
    }
    for table in TABLES.iter().rev() {
        transaction.execute(&table.delete(), []).map_err(store::error)?;
    }
    let (mut written, mut seen) = (0, 0);
    while let Some(sent) = receiver.blocking_recv() {
        let Rows { table, rows } = sent?;
        // Without its last table a vault is none: whoever sent has ended early.
        seen = TABLES.iter().position(|each| each.name == table.name).unwrap_or(seen);
        let values = vec!["?"; table.columns.len()].join(", ");
        let mut insert = transaction.prepare_cached(&table.insert(&format!("values ({values})"))).map_err(store::error)?;
        written += rows.len() as u64;
        rows.iter().try_for_each(|row| put(&mut insert, row))?;
    }
    if seen + 1 != TABLES.len() {
        return Err(Error::Failed("the vault was not read to its end".into()));
    }
    transaction.commit().map_err(store::error)?;
    Ok(written)
}

fn put(insert: &mut Statement<'_>, row: &[Value]) -> Result<(), Error> {
    insert.execute(rusqlite::params_from_iter(row)).map(drop).map_err(store::error)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Number(number) => ValueRef::Integer(*number),
        }))
    }
}
