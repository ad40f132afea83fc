//! What another log recorded, written as a batch of appends is: under `begin immediate`, with the same statements.

use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{Sqlite, bound, find, head_row, remembered, sql, store, write};
use crate::log::{Restore, RestoreError};
use crate::planner::{Head, Remembered, Restored};
use crate::store::Error;
use crate::store::sqlite::OpenFile;

#[async_trait]
impl Restore for Sqlite {
    async fn restore(&self, batch: Restored) -> Result<(), RestoreError> {
        let file = self.file.clone();
        let restored = self.writer.call(move |connection| restore(connection, &file, &batch)).await;
        restored.unwrap_or_else(|closed| Err(Error::Failed(closed.into()).into()))
    }

    /// Rows lie in the order of their time.
    async fn remembered(&self, after: Option<&([u8; 32], Remembered)>, limit: usize) -> Result<Vec<([u8; 32], Remembered)>, Error> {
        let after = after.map(|(key, _)| *key);
        let list = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(sql::SELECT_REMEMBERED).map_err(store::error)?;
            let rows =
                statement.query_map(params![after, i64::try_from(limit).unwrap_or(i64::MAX)], |row| Ok((row.get(0)?, remembered(row, 1)?)));
            rows.and_then(Iterator::collect).map_err(store::error)
        };
        self.on_reader(list).await
    }

    async fn remember(&self, rows: Vec<([u8; 32], Remembered)>) -> Result<(), Error> {
        let remember = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store::error)?;
            {
                let mut replace = transaction.prepare_cached(sql::REPLACE_IDEMPOTENCY).map_err(store::error)?;
                for (key, row) in rows {
                    let row = params![key, row.stored_command(), bound(row.position), row.recorded_at.as_micros()];
                    replace.execute(row).map_err(store::error)?;
                }
            }
            transaction.commit().map_err(store::error)
        };
        self.on(&self.writer, remember).await
    }
}

fn restore(connection: &mut Connection, file: &OpenFile, batch: &Restored) -> Result<(), RestoreError> {
    let wanted = batch.wanted();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store::error)?;
    let row = head_row(&transaction)?;
    // Nothing is dated here.
    let head = Head { size: row.size, chain_hash: row.chain_hash, recorded_at: row.recorded_at, now: row.recorded_at };
    let plan = batch.plan(&head, find(&transaction, wanted)?)?;
    file.require()?;
    write(&transaction, head.size, &plan).map_err(store::error)?;
    transaction.commit().map_err(store::error)?;
    Ok(())
}
