//! What another log recorded, on the long way: under the head's lock, planned from what is fetched there, written by one statement.

use super::{Writer, bounded_commit, end, fetch, write};
use crate::Position;
use crate::log::{CommitError, RestoreError};
use crate::planner::Restored;
use crate::store::Error;
use crate::store::postgres::bounded;

impl Writer {
    /// Commits a batch as it was recorded.
    pub(in crate::log::postgres) async fn restore(&self, batch: &Restored) -> Result<(), RestoreError> {
        let wanted = batch.wanted();
        // What is known of the log is not true any more.
        self.known().take();
        let mut connection = self.begin().await?;
        let (head, found) = fetch(&mut connection, &wanted).await?;
        let plan = batch.plan(&head, found)?;
        write(&mut connection, &head, &plan).await.map_err(failed)?;
        // From here on the batch may be in the log, whatever we hear.
        bounded_commit(Position(head.size), end("commit", &mut connection)).await.map_err(failed)?;
        self.keep(connection);
        Ok(())
    }

    /// Runs what is no append, in a session that commits durably.
    pub(in crate::log::postgres) async fn run(
        &self,
        statement: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<(), Error> {
        let mut connection = self.begin().await?;
        bounded(statement.execute(&mut connection)).await?;
        bounded(end("commit", &mut connection)).await?;
        self.keep(connection);
        Ok(())
    }
}

/// Whoever restores looks at the head and goes on from there, whether the batch is in the log or not.
fn failed(error: CommitError) -> RestoreError {
    RestoreError::Store(match error {
        CommitError::NotCommitted(source) | CommitError::Unknown { source, .. } => source,
        CommitError::Contradiction(what) => Error::Corrupt(what),
    })
}
