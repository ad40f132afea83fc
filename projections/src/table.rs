//! The shape of the read models' rows, one for both engines.
//!
//! A read model is a set of tables, each with the primary key `position`: the place of the event that made the row. What the
//! engines store, compare and hash is a [`Row`] of [`Value`]s in the order of its table's columns, so that a digest is the same
//! on every engine and does not depend on how an engine lays out its pages.

use std::fmt;

use credence_ledger::{LogName, Position, Timestamp};
use uuid::Uuid;

use crate::projection::Projection;
use crate::{history, verification};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A position, a time in microseconds or a small code.
    Integer,
    /// A UUID.
    Uuid,
    /// Bytes, such as a digest.
    Bytes,
    /// Text.
    Text,
}

/// A column. It may be null.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, the same on every engine.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// A table. Its first column is `position`, its primary key.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name; an engine may add the generation's number.
    pub name: &'static str,
    /// All its columns, `position` first.
    pub columns: &'static [Column],
    /// The column by which people know a row; `None` when they know it by its position.
    pub known_by: Option<usize>,
}

/// The tables of a projection, in the order in which they are hashed and compared.
#[must_use]
pub fn of(projection: Projection) -> &'static [&'static Table] {
    static VERIFICATION: [&Table; 5] = [
        &verification::ISSUERS,
        &verification::CREDENTIALS,
        &verification::STATUS_CHANGES,
        &verification::ERASURES,
        &verification::ERASED_CREDENTIALS,
    ];
    static HISTORY: [&Table; 1] = [&history::VERIFICATIONS];
    match projection {
        Projection::Verification => &VERIFICATION,
        Projection::History => &HISTORY,
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// See [`Kind::Integer`].
    Integer(i64),
    /// See [`Kind::Uuid`].
    Uuid(Uuid),
    /// See [`Kind::Bytes`].
    Bytes(Vec<u8>),
    /// See [`Kind::Text`].
    Text(String),
}

impl Value {
    /// Feeds the value to `hasher`, so that no two rows give it the same bytes.
    pub(crate) fn hash(&self, hasher: &mut blake3::Hasher) {
        let mut tagged = |tag: u8, bytes: &[u8]| {
            hasher.update(&[tag]);
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        match self {
            Value::Null => tagged(0, &[]),
            Value::Integer(number) => tagged(1, &number.to_be_bytes()),
            Value::Uuid(id) => tagged(2, id.as_bytes()),
            Value::Bytes(bytes) => tagged(3, bytes),
            Value::Text(text) => tagged(4, text.as_bytes()),
        }
    }
}

/// As it is shown to whoever repairs a read model.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Integer(number) => number.fmt(f),
            Value::Uuid(id) => id.fmt(f),
            Value::Bytes(bytes) => f.write_str(&hex::encode(bytes)),
            Value::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(number)
    }
}

impl From<Position> for Value {
    fn from(position: Position) -> Value {
        Value::Integer(position.0.cast_signed())
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Value {
        Value::Integer(time.as_micros_i64())
    }
}

impl From<Uuid> for Value {
    fn from(id: Uuid) -> Value {
        Value::Uuid(id)
    }
}

impl From<[u8; 32]> for Value {
    fn from(bytes: [u8; 32]) -> Value {
        Value::Bytes(bytes.to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// The values of a row, in the order of its table's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// Its primary key. Engines hand out no row without one.
    #[must_use]
    pub fn position(&self) -> Position {
        match self.0.first() {
            Some(Value::Integer(position)) => Position(position.cast_unsigned()),
            _ => Position::FIRST,
        }
    }

    /// What people know the row by.
    #[must_use]
    pub fn name(&self, table: &Table, log: &LogName) -> String {
        table.known_by.and_then(|column| self.0.get(column)).map_or_else(|| log.at(self.position()).to_string(), ToString::to_string)
    }
}

/// Rows to insert, each with its table.
pub type Rows = Vec<(&'static Table, Vec<Row>)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_begins_with_its_position() {
        for table in Projection::ALL.into_iter().flat_map(of) {
            assert_eq!(table.columns.first(), Some(&Column { name: "position", kind: Kind::Integer }), "{}", table.name);
            assert!(table.known_by.is_none_or(|column| column < table.columns.len()), "{}", table.name);
        }
    }

    #[test]
    fn no_two_rows_are_hashed_alike() {
        let rows = [
            vec![Value::Text("ab".to_owned()), Value::Text("c".to_owned())],
            vec![Value::Text("a".to_owned()), Value::Text("bc".to_owned())],
            vec![Value::Bytes(b"ab".to_vec()), Value::Text("c".to_owned())],
            vec![Value::Null, Value::Text("abc".to_owned())],
            vec![Value::Text(String::new()), Value::Text("abc".to_owned())],
        ];
        let digests: std::collections::HashSet<_> = rows
            .iter()
            .map(|row| {
                let mut hasher = blake3::Hasher::new();
                row.iter().for_each(|value| value.hash(&mut hasher));
                hasher.finalize()
            })
            .collect();
        assert_eq!(digests.len(), rows.len());
    }
}
