//! Forgetting subjects, on SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::rows::{changes, query, run, time, uuid};
use super::{Sqlite, sql};
use crate::Timestamp;
use crate::store::Error;
use crate::vault::erasures::{Erasures, Noted};
use crate::vault::rows::Keyring;

#[async_trait]
impl Erasures for Sqlite {
    async fn note_erasures(&self, subjects: &[Uuid], now: Timestamp) -> Result<(), Error> {
        let subjects = subjects.to_vec();
        let note = move |connection: &Connection, _: &Keyring| {
            subjects.iter().try_for_each(|id| run(connection, sql::INSERT_ERASURE, params![id.as_bytes(), now.as_micros_i64()]))
        };
        self.write(note).await
    }

    async fn noted_erasures(&self) -> Result<Vec<Noted>, Error> {
        let noted = |connection: &Connection, _: &Keyring| {
            query(connection, sql::SELECT_ERASURES, [], |row| Ok(Noted { subject: uuid(row, 0)?, noted_at: time(row, 1)? }))
        };
        self.read(noted).await
    }

    async fn forget_subjects(&self, subjects: &[Uuid]) -> Result<u64, Error> {
        let subjects = subjects.to_vec();
        let forget = move |connection: &Connection, _: &Keyring| {
            subjects
                .iter()
                .try_fold(0, |forgotten, id| Ok(forgotten + u64::from(changes(connection, sql::DELETE_SUBJECT, params![id.as_bytes()])?)))
        };
        let forgotten = self.write(forget).await?;
        self.empty_log().await?;
        Ok(forgotten)
    }

    async fn settle_erasures(&self, subjects: &[Uuid]) -> Result<(), Error> {
        let subjects = subjects.to_vec();
        let settle = move |connection: &Connection, _: &Keyring| {
            subjects.iter().try_for_each(|id| run(connection, sql::DELETE_ERASURE, params![id.as_bytes()]))
        };
        self.write(settle).await
    }
}
