//! Statements as they are run and rows as they are read, where what this program cannot have written is corruption.

use rusqlite::types::FromSql;
use rusqlite::{Connection, Params, Row};

use super::error;
use crate::store::Error;

/// The constants of an engine's statements, one a file of `ledger/sql/sqlite/FOLDER`, and for tests all of them.
macro_rules! statements {
    ($folder:literal: $($name:ident = $file:literal),+ $(,)?) => {
        $(pub(super) const $name: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/sqlite/", $folder, "/", $file, ".sql"));)+

        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$(($file, $name)),+];
    };
}

pub(crate) use statements;

/// Every row, in the statement's order.
pub(crate) fn all<T>(
    connection: &Connection,
    text: &str,
    values: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = connection.prepare_cached(text).map_err(error)?;
    let mut rows = statement.query(values).map_err(error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(error)? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The first row.
pub(crate) fn one<T>(
    connection: &Connection,
    text: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut statement = connection.prepare_cached(text).map_err(error)?;
    let mut rows = statement.query(values).map_err(error)?;
    rows.next().map_err(error)?.map(read).transpose()
}

/// Runs a statement without rows; answers how many it changed.
pub(crate) fn execute(connection: &Connection, text: &str, values: impl Params) -> Result<usize, Error> {
    connection.prepare_cached(text).and_then(|mut statement| statement.execute(values)).map_err(error)
}

/// A value of another type or out of its range was not written by us.
pub(crate) fn column<T: FromSql>(row: &Row<'_>, at: usize) -> Result<T, Error> {
    row.get(at).map_err(|failed| Error::Corrupt(format!("{} {failed}", place(row, at))))
}

/// Where a value stands, as a message begins.
pub(crate) fn place(row: &Row<'_>, at: usize) -> String {
    let name = row.as_ref().column_name(at).unwrap_or("?");
    match row.get::<_, u64>("position") {
        Ok(position) => format!("position {position}, column {name}:"),
        Err(_) => format!("column {name}:"),
    }
}

/// A number as SQLite keeps it. No event, tile or checkpoint lies beyond what its integers hold.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How many rows are wanted at most, as SQLite takes it.
pub(crate) fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
