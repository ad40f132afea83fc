//! The statements, each in a file of its own, and how rows become values.

use credence_ledger::chain::Hash;
use credence_ledger::{Position, Timestamp};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row as _};
use uuid::Uuid;

use crate::digest::DigestAt;
use crate::generation::{Generation, Pointer, Stage};
use crate::projection::{Cursor, Projection};
use crate::read_store::{Phase, Rebuild};
use crate::table::{Kind, Row, Table, Value};
use crate::verification::{Credential, Erased, Found, OfSubject, State};

macro_rules! sql {
    ($($name:ident = $file:literal;)+) => {
        $(pub(super) const $name: &str = include_str!(concat!("../../../sql/postgres/", $file, ".sql"));)+
    };
}

sql! {
    READ = "read";
    IS_PREPARED = "is_prepared";
    CREATE_SCHEMA = "create_schema";
    LOCK_FOR_PREPARING = "lock_for_preparing";
    IS_LOCK_FREE = "is_lock_free";
    TRY_LOCK = "try_lock";
    UNLOCK = "unlock";
    IS_ALIVE = "is_alive";
    BEGIN_SNAPSHOT = "begin_snapshot";
    LAST_GENERATION = "last_generation";
    INSERT_CURSOR = "insert_cursor";
    DELETE_CURSOR = "delete_cursor";
    SELECT_CURSOR = "select_cursor";
    SELECT_GENERATIONS = "select_generations";
    SELECT_NUMBERS = "select_numbers";
    MOVE_CURSOR = "move_cursor";
    CONFIRM_CURSOR = "confirm_cursor";
    STOP_CURSOR = "stop_cursor";
    FINISH_LOADING = "finish_loading";
    LOCK_CURSOR = "lock_cursor";
    RETIRE_CURSOR = "retire_cursor";
    SERVE_CURSOR = "serve_cursor";
    VERIFICATION_TABLES = "verification_tables";
    VERIFICATION_DROP = "verification_drop";
    VERIFICATION_INDEXES = "verification_indexes";
    VERIFICATION_CONTRADICTION = "verification_contradiction";
    VERIFICATION_ERASE = "verification_erase";
    VERIFICATION_SETTLE = "verification_settle";
    HISTORY_TABLES = "history_tables";
    HISTORY_DROP = "history_drop";
    HISTORY_INDEXES = "history_indexes";
    COPY_ISSUERS = "copy_issuers";
    COPY_CREDENTIALS = "copy_credentials";
    COPY_STATUS_CHANGES = "copy_status_changes";
    COPY_ERASURES = "copy_erasures";
    COPY_VERIFICATIONS = "copy_verifications";
    SELECT_ISSUERS = "select_issuers";
    SELECT_CREDENTIALS = "select_credentials";
    SELECT_STATUS_CHANGES = "select_status_changes";
    SELECT_ERASURES = "select_erasures";
    SELECT_ERASED_CREDENTIALS = "select_erased_credentials";
    SELECT_VERIFICATIONS = "select_verifications";
    FIND_BY_ID = "find_by_id";
    FIND_BY_IDS = "find_by_ids";
    FIND_BY_DOCUMENT = "find_by_document";
    FIND_BY_SECRET = "find_by_secret";
    CREDENTIALS_OF = "credentials_of";
    LIST = "list";
    LIST_VERIFICATIONS = "list_verifications";
    DECIDED_BY = "decided_by";
    POSITION_AT = "position_at";
    UPSERT_REBUILD = "upsert_rebuild";
    SELECT_REBUILD = "select_rebuild";
    FAIL_INTERRUPTED_REBUILDS = "fail_interrupted_rebuilds";
}

/// A projection's own statements.
pub(super) struct Model {
    pub(super) tables: &'static str,
    pub(super) drop: &'static str,
    pub(super) indexes: &'static str,
    /// Finds the first event that cannot be applied, where one can be told.
    pub(super) contradiction: Option<&'static str>,
    /// Bring rows up to date with rows inserted beside them, in this order.
    pub(super) settle: &'static [Settle],
}

/// A statement that brings rows up to date.
pub(super) struct Settle {
    pub(super) statement: &'static str,
    /// The tables whose new rows it looks at: where none has any it changes nothing.
    pub(super) after: &'static [&'static str],
}

pub(super) fn model(projection: Projection) -> Model {
    match projection {
        Projection::Verification => Model {
            tables: VERIFICATION_TABLES,
            drop: VERIFICATION_DROP,
            indexes: VERIFICATION_INDEXES,
            contradiction: Some(VERIFICATION_CONTRADICTION),
            settle: &[
                Settle { statement: VERIFICATION_ERASE, after: &["credentials", "status_changes", "erasures"] },
                Settle { statement: VERIFICATION_SETTLE, after: &["status_changes"] },
            ],
        },
        Projection::History => {
            Model { tables: HISTORY_TABLES, drop: HISTORY_DROP, indexes: HISTORY_INDEXES, contradiction: None, settle: &[] }
        }
    }
}

/// The statement that copies rows into a table, where folds make any for it, and the one that pages through it.
#[expect(clippy::unreachable, reason = "tables are this crate's own constants, and a test goes through all of them")]
pub(super) fn of(table: &Table) -> (Option<&'static str>, &'static str) {
    match table.name {
        "issuers" => (Some(COPY_ISSUERS), SELECT_ISSUERS),
        "credentials" => (Some(COPY_CREDENTIALS), SELECT_CREDENTIALS),
        "status_changes" => (Some(COPY_STATUS_CHANGES), SELECT_STATUS_CHANGES),
        "erasures" => (Some(COPY_ERASURES), SELECT_ERASURES),
        "erased_credentials" => (None, SELECT_ERASED_CREDENTIALS),
        "verifications" => (Some(COPY_VERIFICATIONS), SELECT_VERIFICATIONS),
        other => unreachable!("no statements for the table {other}"),
    }
}

/// A statement with a generation's number in it. Numbers are all that is ever put into a text.
pub(super) fn at(statement: &str, generation: u64) -> AssertSqlSafe<String> {
    AssertSqlSafe(statement.replace("{generation}", &generation.to_string()))
}

/// Asks for the serving generation's cursor, if these of its tables are there.
pub(super) fn select_cursor<'q>(projection: Projection, tables: &'q [&'q str]) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(SELECT_CURSOR).bind(projection.as_str()).bind(tables)
}

/// A row as a table's statement selects it.
pub(super) fn row(table: &Table, row: &PgRow) -> Result<Row, sqlx::Error> {
    let values = table.columns.iter().enumerate().map(|(index, column)| {
        Ok(match column.kind {
            Kind::Integer => row.try_get::<Option<i64>, _>(index)?.into(),
            Kind::Uuid => row.try_get::<Option<Uuid>, _>(index)?.into(),
            Kind::Bytes => row.try_get::<Option<Vec<u8>>, _>(index)?.map_or(Value::Null, Value::Bytes),
            Kind::Text => row.try_get::<Option<String>, _>(index)?.into(),
        })
    });
    Ok(Row(values.collect::<Result<_, sqlx::Error>>()?))
}

/// The first seven columns of every reading statement, with the generation's stage.
pub(super) fn cursor(projection: Projection, row: &PgRow) -> Result<(Cursor, Stage), sqlx::Error> {
    let stage = Stage::from_stored(row.try_get(1)?).ok_or_else(|| damaged(1))?;
    let cursor = Cursor {
        projection,
        generation: unsigned(row, 0)?,
        position: position(row, 2)?,
        chain_hash: Hash(row.try_get(3)?),
        head_seen: position(row, 4)?,
        confirmed_at: time(row, 5)?,
        unhealthy: row.try_get(6)?,
    };
    Ok((cursor, stage))
}

/// What [`SELECT_GENERATIONS`] and [`LOCK_CURSOR`] answer.
pub(super) fn generation(projection: Projection, row: &PgRow) -> Result<Generation, sqlx::Error> {
    let (cursor, stage) = cursor(projection, row)?;
    Ok(Generation { cursor, stage, version: version(row)? })
}

/// What [`SELECT_CURSOR`] answers.
pub(super) fn pointer(row: &PgRow) -> Result<Pointer, sqlx::Error> {
    Ok(Pointer { generation: unsigned(row, 0)?, version: version(row)? })
}

fn version(row: &PgRow) -> Result<u32, sqlx::Error> {
    u32::try_from(row.try_get::<i64, _>(7)?).map_err(|_| damaged(7))
}

/// What [`SELECT_CURSOR`] says of the last rebuild.
pub(super) fn digest(row: &PgRow) -> Result<Option<DigestAt>, sqlx::Error> {
    let digest: Option<[u8; 32]> = row.try_get(8)?;
    Ok(match digest {
        Some(digest) => Some((digest, position(row, 9)?)),
        None => None,
    })
}

/// The credential that follows the cursor's columns; `None` where nothing was joined.
pub(super) fn credential(row: &PgRow) -> Result<Option<Credential>, sqlx::Error> {
    let Some(position) = position(row, 7)? else { return Ok(None) };
    Ok(Some(Credential {
        id: row.try_get(8)?,
        credential_type: row.try_get(9)?,
        issuer: row.try_get(10)?,
        issuer_name: row.try_get(11)?,
        subject_id: row.try_get(12)?,
        digest: row.try_get(13)?,
        valid_from: optional_time(row, 14)?,
        valid_until: optional_time(row, 15)?,
        issued_at: time(row, 16)?,
        issued_by: row.try_get(17)?,
        position,
        state: State::from_code(row.try_get(18)?).ok_or_else(|| damaged(18))?,
        status_changed_at: optional_time(row, 19)?,
    }))
}

/// The credential that follows the cursor's columns, or what is left of it, which follows the credential's.
pub(super) fn found(row: &PgRow) -> Result<Option<Found>, sqlx::Error> {
    if let Some(credential) = credential(row)? {
        return Ok(Some(Found::Credential(credential)));
    }
    let Some(position) = position(row, 20)? else { return Ok(None) };
    Ok(Some(Found::Erased(Erased {
        id: row.try_get(21)?,
        issuer: row.try_get(22)?,
        issuer_name: row.try_get(23)?,
        subject_id: row.try_get(24)?,
        digest: row.try_get(25)?,
        position,
    })))
}

/// What [`CREDENTIALS_OF`] answers; `None` where nothing was joined.
pub(super) fn of_subject(row: &PgRow) -> Result<Option<OfSubject>, sqlx::Error> {
    let Some(position) = position(row, 7)? else { return Ok(None) };
    Ok(Some(OfSubject { id: row.try_get(8)?, subject_id: row.try_get(9)?, position, is_erased: row.try_get(10)? }))
}

/// What [`SELECT_REBUILD`] answers.
pub(super) fn rebuild(row: &PgRow) -> Result<Rebuild, sqlx::Error> {
    Ok(Rebuild {
        id: row.try_get(0)?,
        projection: row.try_get::<&str, _>(1)?.parse().map_err(|_| damaged(1))?,
        phase: Phase::from_stored(row.try_get(2)?).ok_or_else(|| damaged(2))?,
        done: unsigned(row, 3)?,
        total: unsigned(row, 4)?,
        events_per_second: unsigned(row, 5)?,
        equal: row.try_get(6)?,
        updated_at: time(row, 7)?,
        failure: row.try_get(8)?,
    })
}

pub(super) fn position(row: &PgRow, index: usize) -> Result<Option<Position>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(index)?.map(|position| Position(position.cast_unsigned())))
}

fn unsigned(row: &PgRow, index: usize) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(index)?.cast_unsigned())
}

fn time(row: &PgRow, index: usize) -> Result<Timestamp, sqlx::Error> {
    unsigned(row, index).map(Timestamp::from_micros)
}

fn optional_time(row: &PgRow, index: usize) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(index)?.map(|micros| Timestamp::from_micros(micros.cast_unsigned())))
}

/// A stored value that this program cannot have written.
fn damaged(column: usize) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_string(), source: "a value that cannot be".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;
    use credence_ledger::testing::postgres::Database;
    use sqlx::{Connection as _, Executor as _, PgConnection, SqlSafeStr as _};

    /// A database with one generation of everything.
    async fn prepared(database: &Database) -> PgConnection {
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        for statement in [CREATE_SCHEMA, "set search_path = read", READ] {
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        }
        for projection in Projection::ALL {
            let model = model(projection);
            for statement in [model.tables, model.indexes] {
                sqlx::raw_sql(at(statement, 1)).execute(&mut connection).await.unwrap();
            }
        }
        connection
    }

    #[tokio::test]
    async fn every_statement_is_prepared_by_the_engine() {
        let database = Database::create().await;
        let mut connection = prepared(&database).await;
        let all = [
            IS_PREPARED,
            LOCK_FOR_PREPARING,
            IS_LOCK_FREE,
            TRY_LOCK,
            UNLOCK,
            IS_ALIVE,
            LAST_GENERATION,
            INSERT_CURSOR,
            DELETE_CURSOR,
            SELECT_CURSOR,
            SELECT_GENERATIONS,
            SELECT_NUMBERS,
            MOVE_CURSOR,
            CONFIRM_CURSOR,
            STOP_CURSOR,
            FINISH_LOADING,
            LOCK_CURSOR,
            RETIRE_CURSOR,
            SERVE_CURSOR,
            VERIFICATION_CONTRADICTION,
            VERIFICATION_ERASE,
            VERIFICATION_SETTLE,
            SELECT_ISSUERS,
            SELECT_CREDENTIALS,
            SELECT_STATUS_CHANGES,
            SELECT_ERASURES,
            SELECT_ERASED_CREDENTIALS,
            SELECT_VERIFICATIONS,
            FIND_BY_ID,
            FIND_BY_IDS,
            FIND_BY_DOCUMENT,
            FIND_BY_SECRET,
            CREDENTIALS_OF,
            LIST,
            LIST_VERIFICATIONS,
            DECIDED_BY,
            POSITION_AT,
            UPSERT_REBUILD,
            SELECT_REBUILD,
            FAIL_INTERRUPTED_REBUILDS,
        ];
        for statement in all {
            let prepared = (&mut connection).prepare(at(statement, 1).into_sql_str()).await;
            prepared.unwrap_or_else(|error| panic!("{error}: {statement}"));
        }
    }

    #[tokio::test]
    async fn a_list_is_read_by_the_index_that_suits_what_is_asked_for() {
        let database = Database::create().await;
        let mut connection = prepared(&database).await;
        // One organisation, one type and one subject with three credentials each, of which one is revoked, beside many of others.
        let fill = "insert into credentials_1
            select n, ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, case when rare then 'rare' else 'common' end,
                ('00000000-0000-0000-0000-' || case when rare then '000000000001' else '000000000002' end)::uuid,
                ('00000000-0000-0000-0000-' || lpad((case when rare then 1 else n end)::text, 12, '0'))::uuid,
                decode(md5(n::text), 'hex'), null, null, n, 'w', case when n = 7 then 2 else 0 end, null
            from (select n, n in (7, 8, 9) as rare from generate_series(1, 20000) n) numbered;
            analyze credentials_1";
        sqlx::raw_sql(fill).execute(&mut connection).await.unwrap();
        let store = super::super::Postgres::open(&database.url).await.unwrap();
        let rare = Some(Uuid::from_u128(1));
        let asked = [
            (None, None, None, None, "credentials_1_pkey"),
            (rare, None, None, None, "credentials_1_issuer"),
            (None, Some("rare"), None, None, "credentials_1_type"),
            (None, None, Some(vec![Uuid::from_u128(1)]), None, "credentials_1_subject_id"),
            (None, None, None, Some(State::Revoked), "credentials_1_state"),
        ];
        for (issuer, kind, subjects, state, index) in asked {
            let explained = at(LIST, 1).0.split_once("select").map(|(_, rest)| format!("explain select{rest}")).unwrap();
            let explain = || {
                let query = sqlx::query(AssertSqlSafe(explained.clone())).bind(issuer).bind(kind).bind(subjects.clone());
                let status = state.map(|_| "revoked");
                query.bind(status).bind(state.map(|_| 0_i64)).bind(i64::MAX).bind(20_i64).bind(state.map(State::code))
            };
            let rows = store.listers.fetch(explain).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index), "not by {index}:\n{plan}");
        }
    }

    #[tokio::test]
    async fn a_tables_columns_are_those_of_its_statements() {
        let database = Database::create().await;
        let mut connection = prepared(&database).await;
        for table in Projection::ALL.into_iter().flat_map(table::of) {
            let (copy, select) = of(table);
            let names: Vec<_> = table.columns.iter().map(|column| column.name).collect();
            let described = (&mut connection).prepare(at(select, 1).into_sql_str()).await.unwrap();
            let columns: Vec<_> = sqlx::Statement::columns(&described).iter().map(|column| sqlx::Column::name(column).to_owned()).collect();
            assert_eq!(columns, names);
            let Some(copy) = copy else { continue };
            let copying = connection.copy_in_raw(&at(copy, 1).0).await.unwrap();
            assert_eq!(copying.num_columns(), names.len());
            copying.abort("only looked at").await.unwrap();
        }
    }
}
