//! The rotation of the master key, on PostgreSQL.

use std::collections::BTreeSet;
use std::time::Instant;

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::copy::{bytes, id, text};
use super::{Postgres, sql, store};
use crate::store::Error;
use crate::store::postgres::bounded;
use crate::vault::copy::{Kind, Value};
use crate::vault::master_key::ring::{Ring, Rotation, Stage, Standing};
use crate::vault::rotation::{After, PAGE, Page, RotationGuard, Rotations, WRAPPED, Wrapped};

impl Postgres {
    /// What the vault says of its master key, and a moment before it was asked.
    pub(super) async fn standing(&self) -> Result<(Standing, Instant), Error> {
        type Columns = (Vec<u8>, Option<String>, Option<String>, Option<String>);
        let read_at = Instant::now();
        let row: Option<Columns> = bounded(sqlx::query_as(sql::SELECT_STANDING).fetch_optional(&self.pool)).await?;
        let (lookup_keys, from, to, stage) = row.ok_or(Error::NotMigrated)?;
        Ok((Standing::from_columns(lookup_keys, from.as_deref(), to.as_deref(), stage.as_deref())?, read_at))
    }

    /// Before a secret is wrapped or opened.
    pub(super) async fn keep_up(&self) -> Result<(), Error> {
        if self.keyring.ring().is_current() { Ok(()) } else { self.follow_master_key().await }
    }
}

#[async_trait]
impl Rotations for Postgres {
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

    async fn rewrap_page(&self, column: &'static Wrapped, after: Option<After>) -> Result<Page, Error> {
        self.keep_up().await?;
        let (key_kind, cast) = (column.key.1, kind_name(column.key.1));
        let select = sqlx::query(AssertSqlSafe(column.select(after.as_ref().map(|_| "$1"))));
        let select = match &after {
            None => select,
            Some(After(key)) => match key_kind {
                Kind::Id => select.bind(id(key).flatten()),
                Kind::Text => select.bind(text(key).flatten()),
                Kind::Bytes | Kind::Number => select.bind(bytes(key).flatten()),
            },
        };
        let rows = bounded(select.fetch_all(&self.pool)).await?;
        let (mut keys, mut olds, mut news) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let key = value(row, 0, key_kind)?;
            let also = column.also.map_or(Ok(Value::Null), |(_, kind)| value(row, 2, kind))?;
            let old: Vec<u8> = row.try_get(1).map_err(store::error)?;
            if let Some(new) = self.keyring.rewrap(column.secret_of(&key, &also)?, &old)? {
                keys.push(key);
                olds.push(old);
                news.push(new);
            }
        }
        let mut changed = 0;
        if !keys.is_empty() {
            let Wrapped { table, column: name, key: (by, _), .. } = column;
            let update = sqlx::query(AssertSqlSafe(format!(
                "update {table} set {name} = again.new from unnest($1::{cast}[], $2::bytea[], $3::bytea[]) as again (key, old, new) \
                 where {table}.{by} = again.key and {table}.{name} = again.old"
            )));
            let update = match key_kind {
                Kind::Id => update.bind(keys.iter().filter_map(|key| id(key).flatten()).collect::<Vec<Uuid>>()),
                Kind::Text => update.bind(keys.iter().filter_map(|key| text(key).flatten()).collect::<Vec<&str>>()),
                Kind::Bytes | Kind::Number => update.bind(keys.iter().filter_map(|key| bytes(key).flatten()).collect::<Vec<&[u8]>>()),
            };
            changed = bounded(update.bind(olds).bind(news).execute(&self.pool)).await?.rows_affected();
        }
        let last = rows.last().filter(|_| rows.len() == PAGE).map(|row| value(row, 0, key_kind)).transpose()?;
        Ok(Page { rows: rows.len() as u64, changed, next: last.map(After) })
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

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Id => "uuid",
        Kind::Text => "text",
        Kind::Bytes | Kind::Number => "bytea",
    }
}

fn value(row: &PgRow, at: usize, kind: Kind) -> Result<Value, Error> {
    match kind {
        Kind::Id => row.try_get::<Uuid, _>(at).map(|id| Value::Bytes(id.as_bytes().to_vec())),
        Kind::Text => row.try_get(at).map(Value::Text),
        Kind::Bytes | Kind::Number => row.try_get(at).map(Value::Bytes),
    }
    .map_err(store::error)
}
