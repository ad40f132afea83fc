//! Forgetting subjects, on PostgreSQL.

use async_trait::async_trait;
use uuid::Uuid;

use super::{Postgres, column, sql, time};
use crate::Timestamp;
use crate::store::Error;
use crate::store::postgres::{self as store, bounded};
use crate::vault::erasures::{Erasures, Noted};

#[async_trait]
impl Erasures for Postgres {
    async fn note_erasures(&self, subjects: &[Uuid], now: Timestamp) -> Result<(), Error> {
        let note = sqlx::query(sql::INSERT_ERASURES).bind(subjects).bind(now.as_micros_i64());
        bounded(note.execute(&self.pool)).await.map(drop)
    }

    async fn noted_erasures(&self) -> Result<Vec<Noted>, Error> {
        let rows = bounded(sqlx::query(sql::SELECT_ERASURES).fetch_all(&self.pool)).await?;
        rows.iter().map(|row| Ok(Noted { subject: column(row, 0)?, noted_at: time(row, "noted_at").map_err(store::error)? })).collect()
    }

    async fn forget_subjects(&self, subjects: &[Uuid]) -> Result<u64, Error> {
        Ok(bounded(sqlx::query(sql::DELETE_SUBJECTS).bind(subjects).execute(&self.pool)).await?.rows_affected())
    }

    async fn settle_erasures(&self, subjects: &[Uuid]) -> Result<(), Error> {
        bounded(sqlx::query(sql::DELETE_ERASURES).bind(subjects).execute(&self.pool)).await.map(drop)
    }
}
