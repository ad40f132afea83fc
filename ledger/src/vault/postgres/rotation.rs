//! The rotation of the master key, on PostgreSQL.

use std::collections::BTreeSet;
use std::time::Instant;

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::copy::{array_type, bind, bytes, id, text, value};
use super::{Postgres, sql, store};
use crate::store::Error;
use crate::store::postgres::bounded;
use crate::vault::copy::{Kind, Value};
use crate::vault::master_key::ring::{Rotation, Stage, Standing};
use crate::vault::rotation::{After, Again, Cell, RotationGuard, Rotations, WRAPPED, Wrapped};
use crate::vault::rows::Keyring;

#[async_trait]
impl Rotations for Postgres {
    fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    async fn standing(&self) -> Result<(Standing, Instant), Error> {
        type Columns = (Vec<u8>, Option<String>, Option<String>, Option<String>);
        let read_at = Instant::now();
        let row: Option<Columns> = bounded(sqlx::query_as(sql::SELECT_STANDING).fetch_optional(&self.pool)).await?;
        let (lookup_keys, from, to, stage) = row.ok_or(Error::NotMigrated)?;
        Ok((Standing::from_columns(lookup_keys, from.as_deref(), to.as_deref(), stage.as_deref())?, read_at))
    }

    async fn set_rotation(&self, known: Option<&Rotation>, next: &Rotation) -> Result<bool, Error> {
        let set = match known {
            Some(Rotation { from, to, stage }) => {
                sqlx::query(sql::UPDATE_ROTATION).bind(from.to_string()).bind(to.to_string()).bind(Stage::as_str(*stage))
            }
            None => sqlx::query(sql::INSERT_ROTATION),
        };
        let set = set.bind(next.from.to_string()).bind(next.to.to_string()).bind(next.stage.as_str());
        Ok(bounded(set.execute(&self.pool)).await?.rows_affected() == 1)
    }

    /// An advisory lock of a session of its own, which ends with the guard or with the process.
    async fn rotation_guard(&self) -> Result<Option<RotationGuard>, Error> {
        let mut session = self.sessions.connect().await?;
        let is_mine: bool = bounded(sqlx::query_scalar(sql::LOCK_ROTATION).fetch_one(&mut session)).await?;
        Ok(is_mine.then(|| RotationGuard::holding(std::sync::Mutex::new(session))))
    }

    async fn count_wrapped(&self) -> Result<u64, Error> {
        let mut total = 0;
        for column in WRAPPED {
            let count: i64 = bounded(sqlx::query_scalar(AssertSqlSafe(column.count())).fetch_one(&self.pool)).await?;
            total += u64::try_from(count).unwrap_or_default();
        }
        Ok(total)
    }

    async fn select_wrapped(&self, column: &'static Wrapped, after: Option<After>) -> Result<Vec<Cell>, Error> {
        let kind = column.key.1;
        let select = sqlx::query(AssertSqlSafe(column.select(after.as_ref())));
        let select = match &after {
            None => select,
            Some(After(key)) => match kind {
                Kind::Id => select.bind(id(key).flatten()),
                Kind::Text => select.bind(text(key).flatten()),
                Kind::Bytes | Kind::Number => select.bind(bytes(key).flatten()),
            },
        };
        let cell = |row: &PgRow| {
            let also = column.also.map_or(Ok(Value::Null), |(_, kind)| value(row, 2, kind))?;
            Ok(Cell { key: value(row, 0, kind)?, wrapped: row.try_get(1).map_err(store::error)?, also })
        };
        bounded(select.fetch_all(&self.pool)).await?.iter().map(cell).collect()
    }

    async fn replace_wrapped(&self, column: &'static Wrapped, again: Vec<Again>) -> Result<u64, Error> {
        let Wrapped { table, column, key: (key, kind), .. } = column;
        let update = sqlx::query(AssertSqlSafe(format!(
            "update {table} set {column} = again.new from unnest($1::{}[], $2::bytea[], $3::bytea[]) as again (key, old, new) \
             where {table}.{key} = again.key and {table}.{column} = again.old",
            array_type(*kind)
        )));
        let other = || Error::Corrupt(format!("{table}.{key} holds what it cannot"));
        let update = bind(update, *kind, again.iter().map(|again| &again.cell.key)).ok_or_else(other)?;
        let (old, new): (Vec<&[u8]>, Vec<&[u8]>) =
            again.iter().map(|again| (again.cell.wrapped.as_slice(), again.wrapped.as_slice())).unzip();
        Ok(bounded(update.bind(old).bind(new).execute(&self.pool)).await?.rows_affected())
    }

    /// Whoever has this lock on a table has waited for all who were writing to it.
    async fn outlast_writers(&self) -> Result<(), Error> {
        let tables: BTreeSet<&str> = WRAPPED.iter().map(|column| column.table).collect();
        for table in tables {
            // One after the other, so that nobody waits for longer than one of them takes.
            let mut transaction = bounded(self.pool.begin()).await?;
            let lock = format!("lock table {table} in share row exclusive mode");
            bounded(sqlx::query(AssertSqlSafe(lock)).execute(&mut *transaction)).await?;
            bounded(transaction.commit()).await?;
        }
        Ok(())
    }
}
