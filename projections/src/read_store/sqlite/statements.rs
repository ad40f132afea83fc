//! The statements, each in a file of its own, and how rows become values and values become rows.

use credence_ledger::chain::Hash;
use credence_ledger::{Position, Timestamp};
use rusqlite::types::{ToSqlOutput, Type, ValueRef};
use rusqlite::{Row as SqlRow, ToSql};
use uuid::Uuid;

use crate::generation::{Generation, Stage};
use crate::projection::{Cursor, Projection};
use crate::read_store::{Phase, Rebuild};
use crate::table::{Kind, Row, Table, Value};
use crate::verification::{Credential, Erased, Found, OfSubject, State};

macro_rules! sql {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)+) => {
        $($(#[$doc])* pub(super) const $name: &str = include_str!(concat!("../../../sql/sqlite/", $file, ".sql"));)+
    };
}

sql! {
    READ = "read";
    CURSOR = "cursor";
    INSERT_CURSOR = "insert_cursor";
    SELECT_CURSOR = "select_cursor";
    MOVE_CURSOR = "move_cursor";
    CONFIRM_CURSOR = "confirm_cursor";
    STOP_CURSOR = "stop_cursor";
    SET_STAGE = "set_stage";
    VERIFICATION_TABLES = "verification_tables";
    VERIFICATION_INDEXES = "verification_indexes";
    VERIFICATION_CONTRADICTION = "verification_contradiction";
    VERIFICATION_SETTLE = "verification_settle";
    SUBJECTS_TO_ERASE = "subjects_to_erase";
    INSERT_ERASED_CREDENTIALS = "insert_erased_credentials";
    DELETE_CREDENTIALS = "delete_credentials";
    DELETE_STATUS_CHANGES = "delete_status_changes";
    HISTORY_TABLES = "history_tables";
    HISTORY_INDEXES = "history_indexes";
    INSERT_ISSUER = "insert_issuer";
    INSERT_CREDENTIAL = "insert_credential";
    INSERT_STATUS_CHANGE = "insert_status_change";
    INSERT_ERASURE = "insert_erasure";
    INSERT_VERIFICATION = "insert_verification";
    SELECT_ISSUERS = "select_issuers";
    SELECT_CREDENTIALS = "select_credentials";
    SELECT_STATUS_CHANGES = "select_status_changes";
    SELECT_ERASURES = "select_erasures";
    SELECT_ERASED_CREDENTIALS = "select_erased_credentials";
    SELECT_VERIFICATIONS = "select_verifications";
    FIND_BY_ID = "find_by_id";
    FIND_BY_DOCUMENT = "find_by_document";
    FIND_BY_SECRET = "find_by_secret";
    CREDENTIALS_OF = "credentials_of";
    LIST = "list";
    LIST_OF_SUBJECTS = "list_of_subjects";
    LIST_OF_STATE = "list_of_state";
    LIST_OF_TYPE = "list_of_type";
    LIST_OF_ISSUER = "list_of_issuer";
    LIST_VERIFICATIONS = "list_verifications";
    DECIDED_BY = "decided_by";
    POSITION_AT = "position_at";
    SELECT_SERVING = "select_serving";
    INSERT_SERVING = "insert_serving";
    FLIP_SERVING = "flip_serving";
    UPSERT_REBUILD = "upsert_rebuild";
    SELECT_REBUILD = "select_rebuild";
    FAIL_INTERRUPTED_REBUILDS = "fail_interrupted_rebuilds";
}

/// A projection's own statements.
pub(super) struct Model {
    pub(super) tables: &'static str,
    pub(super) indexes: &'static str,
    /// Finds the first event that cannot be applied, where one can be told.
    pub(super) contradiction: Option<&'static str>,
    /// Takes rows away because of rows inserted beside them, where there are such.
    pub(super) erase: Option<Erase>,
    /// Brings rows up to date with rows inserted beside them, where there are such.
    pub(super) settle: Option<&'static str>,
}

/// What SQLite cannot do in one statement.
pub(super) struct Erase {
    /// Finds whose rows are to be taken away.
    pub(super) whose: &'static str,
    /// Take away one's, in this order.
    pub(super) steps: [&'static str; 3],
}

pub(super) fn model(projection: Projection) -> Model {
    match projection {
        Projection::Verification => Model {
            tables: VERIFICATION_TABLES,
            indexes: VERIFICATION_INDEXES,
            contradiction: Some(VERIFICATION_CONTRADICTION),
            erase: Some(Erase { whose: SUBJECTS_TO_ERASE, steps: [INSERT_ERASED_CREDENTIALS, DELETE_CREDENTIALS, DELETE_STATUS_CHANGES] }),
            settle: Some(VERIFICATION_SETTLE),
        },
        Projection::History => Model { tables: HISTORY_TABLES, indexes: HISTORY_INDEXES, contradiction: None, erase: None, settle: None },
    }
}

/// The statement that inserts a row of a table, where folds make any for it, and the one that pages through it.
#[expect(clippy::unreachable, reason = "tables are this crate's own constants, and a test goes through all of them")]
pub(super) fn of(table: &Table) -> (Option<&'static str>, &'static str) {
    match table.name {
        "issuers" => (Some(INSERT_ISSUER), SELECT_ISSUERS),
        "credentials" => (Some(INSERT_CREDENTIAL), SELECT_CREDENTIALS),
        "status_changes" => (Some(INSERT_STATUS_CHANGE), SELECT_STATUS_CHANGES),
        "erasures" => (Some(INSERT_ERASURE), SELECT_ERASURES),
        "erased_credentials" => (None, SELECT_ERASED_CREDENTIALS),
        "verifications" => (Some(INSERT_VERIFICATION), SELECT_VERIFICATIONS),
        other => unreachable!("no statements for the table {other}"),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Uuid(id) => ValueRef::Blob(id.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// A row as a table's statement selects it.
pub(super) fn row(table: &Table, row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let values = table.columns.iter().enumerate().map(|(index, column)| {
        Ok(match column.kind {
            Kind::Integer => row.get::<_, Option<i64>>(index)?.into(),
            Kind::Uuid => optional_uuid(row, index)?.into(),
            Kind::Bytes => row.get::<_, Option<Vec<u8>>>(index)?.map_or(Value::Null, Value::Bytes),
            Kind::Text => row.get::<_, Option<String>>(index)?.into(),
        })
    });
    Ok(Row(values.collect::<rusqlite::Result<_>>()?))
}

/// The first seven columns of every reading statement, and whether the generation was replaced.
pub(super) fn cursor(projection: Projection, row: &SqlRow<'_>) -> rusqlite::Result<(Cursor, Stage)> {
    let stage = row.get_ref(1)?.as_str()?;
    let cursor = Cursor {
        projection,
        generation: unsigned(row, 0)?,
        position: position(row, 2)?,
        chain_hash: Hash(row.get(3)?),
        head_seen: position(row, 4)?,
        confirmed_at: time(row, 5)?,
        unhealthy: row.get(6)?,
    };
    Ok((cursor, Stage::from_stored(stage).ok_or_else(|| damaged(1, Type::Text))?))
}

/// What [`SELECT_CURSOR`] answers.
pub(super) fn generation(projection: Projection, row: &SqlRow<'_>) -> rusqlite::Result<Generation> {
    let (cursor, stage) = cursor(projection, row)?;
    Ok(Generation { cursor, stage, version: row.get(7)? })
}

/// The credential that follows the cursor's columns; `None` where nothing was joined.
pub(super) fn credential(row: &SqlRow<'_>) -> rusqlite::Result<Option<Credential>> {
    let Some(position) = position(row, 7)? else { return Ok(None) };
    Ok(Some(Credential {
        id: Uuid::from_bytes(row.get(8)?),
        credential_type: row.get(9)?,
        issuer: Uuid::from_bytes(row.get(10)?),
        issuer_name: row.get(11)?,
        subject_id: optional_uuid(row, 12)?,
        digest: row.get(13)?,
        valid_from: optional_time(row, 14)?,
        valid_until: optional_time(row, 15)?,
        issued_at: time(row, 16)?,
        issued_by: row.get(17)?,
        position,
        state: State::from_code(row.get(18)?).ok_or_else(|| damaged(18, Type::Integer))?,
        status_changed_at: optional_time(row, 19)?,
    }))
}

/// The credential that follows the cursor's columns, or what is left of it, which follows the credential's.
pub(super) fn found(row: &SqlRow<'_>) -> rusqlite::Result<Option<Found>> {
    if let Some(credential) = credential(row)? {
        return Ok(Some(Found::Credential(credential)));
    }
    let Some(position) = position(row, 20)? else { return Ok(None) };
    Ok(Some(Found::Erased(Erased {
        id: Uuid::from_bytes(row.get(21)?),
        issuer: Uuid::from_bytes(row.get(22)?),
        issuer_name: row.get(23)?,
        subject_id: Uuid::from_bytes(row.get(24)?),
        digest: row.get(25)?,
        position,
    })))
}

/// What [`CREDENTIALS_OF`] answers; `None` where nothing was joined.
pub(super) fn of_subject(row: &SqlRow<'_>) -> rusqlite::Result<Option<OfSubject>> {
    let Some(position) = position(row, 7)? else { return Ok(None) };
    let (id, subject_id) = (Uuid::from_bytes(row.get(8)?), Uuid::from_bytes(row.get(9)?));
    Ok(Some(OfSubject { id, subject_id, position, is_erased: row.get(10)? }))
}

/// What [`SELECT_REBUILD`] answers.
pub(super) fn rebuild(row: &SqlRow<'_>) -> rusqlite::Result<Rebuild> {
    Ok(Rebuild {
        id: Uuid::from_bytes(row.get(0)?),
        projection: row.get_ref(1)?.as_str()?.parse().map_err(|_| damaged(1, Type::Text))?,
        phase: Phase::from_stored(row.get_ref(2)?.as_str()?).ok_or_else(|| damaged(2, Type::Text))?,
        done: unsigned(row, 3)?,
        total: unsigned(row, 4)?,
        events_per_second: unsigned(row, 5)?,
        equal: row.get(6)?,
        updated_at: time(row, 7)?,
        failure: row.get(8)?,
    })
}

pub(super) fn position(row: &SqlRow<'_>, index: usize) -> rusqlite::Result<Option<Position>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(|position| Position(position.cast_unsigned())))
}

pub(super) fn unsigned(row: &SqlRow<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(index)?.cast_unsigned())
}

fn time(row: &SqlRow<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    unsigned(row, index).map(Timestamp::from_micros)
}

fn optional_time(row: &SqlRow<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(|micros| Timestamp::from_micros(micros.cast_unsigned())))
}

fn optional_uuid(row: &SqlRow<'_>, index: usize) -> rusqlite::Result<Option<Uuid>> {
    Ok(row.get::<_, Option<[u8; 16]>>(index)?.map(Uuid::from_bytes))
}

/// A stored value that this program cannot have written.
pub(super) fn damaged(column: usize, found: Type) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, found, "a value that cannot be".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn every_statement_is_prepared_by_the_engine() {
        for projection in Projection::ALL {
            let connection = rusqlite::Connection::open_in_memory().unwrap();
            let model = model(projection);
            connection.execute_batch(READ).unwrap();
            connection.execute_batch(CURSOR).unwrap();
            connection.execute_batch(model.tables).unwrap();
            connection.execute_batch(model.indexes).unwrap();
            let common = [
                INSERT_CURSOR,
                SELECT_CURSOR,
                MOVE_CURSOR,
                CONFIRM_CURSOR,
                STOP_CURSOR,
                SET_STAGE,
                SELECT_SERVING,
                INSERT_SERVING,
                FLIP_SERVING,
                UPSERT_REBUILD,
                SELECT_REBUILD,
                FAIL_INTERRUPTED_REBUILDS,
            ];
            let own: &[&str] = match projection {
                Projection::Verification => &[
                    FIND_BY_ID,
                    FIND_BY_DOCUMENT,
                    FIND_BY_SECRET,
                    CREDENTIALS_OF,
                    LIST,
                    LIST_OF_SUBJECTS,
                    LIST_OF_STATE,
                    LIST_OF_TYPE,
                    LIST_OF_ISSUER,
                    DECIDED_BY,
                    POSITION_AT,
                ],
                Projection::History => &[LIST_VERIFICATIONS],
            };
            let tables = table::of(projection).iter().flat_map(|table| of(table).0.into_iter().chain([of(table).1]));
            let erase = model.erase.iter().flat_map(|erase| erase.steps.into_iter().chain([erase.whose]));
            let settled = model.contradiction.into_iter().chain(erase).chain(model.settle);
            for statement in common.into_iter().chain(own.iter().copied()).chain(tables).chain(settled) {
                connection.prepare(statement).unwrap_or_else(|error| panic!("{error}: {statement}"));
            }
        }
    }

    #[test]
    fn a_tables_columns_are_those_of_its_statements() {
        for projection in Projection::ALL {
            let connection = rusqlite::Connection::open_in_memory().unwrap();
            connection.execute_batch(model(projection).tables).unwrap();
            for table in table::of(projection) {
                let (insert, select) = of(table);
                let names: Vec<_> = table.columns.iter().map(|column| column.name).collect();
                assert_eq!(connection.prepare(select).unwrap().column_names(), names);
                if let Some(insert) = insert {
                    assert_eq!(connection.prepare(insert).unwrap().parameter_count(), names.len());
                }
            }
        }
    }
}
