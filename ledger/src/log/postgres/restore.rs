//! Filling the log with what another one recorded.

use async_trait::async_trait;

use super::{OutcomeUnknown, Postgres, bounded, signed, time, unsigned};
use crate::Position;
use crate::log::{Restore, RestoreError};
use crate::planner::{Remembered, Restored};
use crate::store::Error;

#[async_trait]
impl Restore for Postgres {
    async fn restore(&self, batch: Restored) -> Result<(), RestoreError> {
        let outcome = OutcomeUnknown(&self.unsettled);
        let restored = self.writer.restore(&batch).await;
        if !matches!(restored, Err(RestoreError::Store(_))) {
            std::mem::forget(outcome);
        }
        restored
    }

    async fn remembered(&self, after: Option<&([u8; 32], Remembered)>, limit: usize) -> Result<Vec<([u8; 32], Remembered)>, Error> {
        let (time, key) = after.map_or((-1, &[][..]), |(key, row)| (row.recorded_at.as_micros_i64(), &key[..]));
        let list = sqlx::query_as(include_str!("../../../sql/postgres/log/remembered.sql"));
        let list = list.bind(time).bind(key).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows: Vec<(Vec<u8>, Vec<u8>, i64, i64)> = bounded(list.fetch_all(&self.pool)).await?;
        rows.into_iter().map(|row| remembered(row).map_err(|what| Error::Corrupt(format!("an idempotency row: {what}")))).collect()
    }

    async fn remember(&self, rows: Vec<([u8; 32], Remembered)>) -> Result<(), Error> {
        let statement = sqlx::query(include_str!("../../../sql/postgres/log/remember.sql"))
            .bind(rows.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>())
            .bind(rows.iter().map(|(_, row)| row.stored_command()).collect::<Vec<_>>())
            .bind(rows.iter().map(|(_, row)| signed(row.position.0)).collect::<Vec<_>>())
            .bind(rows.iter().map(|(_, row)| row.recorded_at.as_micros_i64()).collect::<Vec<_>>());
        self.writer.run(statement).await
    }
}

fn remembered((key, command, position, recorded_at): (Vec<u8>, Vec<u8>, i64, i64)) -> Result<([u8; 32], Remembered), &'static str> {
    let hash = |bytes: Vec<u8>| bytes.try_into().map_err(|_| "a hash of another length");
    let row = Remembered::from_stored(&command, Position(unsigned(position)?), time(recorded_at)?).ok_or("a hash of another length")?;
    Ok((hash(key)?, row))
}
