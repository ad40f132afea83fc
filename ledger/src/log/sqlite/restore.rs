//! What another log recorded, written as a batch of appends is: under `begin immediate`, with the same statements.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{Sqlite, at_most, find, head_row, integer, remembered, sql, store, write};
use crate::log::{Restore, RestoreError};
use crate::planner::{Head, Remembered, Restored};
use crate::store::Error;
use crate::store::sqlite::OpenFile;

#[async_trait]
impl Restore for Sqlite {
    async fn restore(&self, batch: Restored) -> Result<(), RestoreError> {
        let (file, unsettled) = (self.file.clone(), self.unsettled.clone());
        let restore = move |connection: &mut Connection| {
            let restored = restore(connection, &file, &batch);
            if matches!(restored, Err(RestoreError::Store(_))) {
                unsettled.store(true, Ordering::SeqCst);
            }
            restored
        };
        let restored = self.writer.call(restore).await;
        restored.unwrap_or_else(|closed| Err(Error::Failed(closed.into()).into()))
    }

    /// Rows lie in the order of their time.
    async fn remembered(&self, after: Option<&([u8; 32], Remembered)>, limit: usize) -> Result<Vec<([u8; 32], Remembered)>, Error> {
        let after = after.map(|(key, _)| *key);
        let list = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(sql::SELECT_REMEMBERED).map_err(store::error)?;
            let rows = statement.query_map(params![after, at_most(limit)], |row| Ok((row.get(0)?, remembered(row, 1)?)));
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
                    let row = params![key, row.stored_command(), integer(row.position.0), row.recorded_at.as_micros()];
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
