//! The logs' keys and guard, on PostgreSQL.

use async_trait::async_trait;
use sqlx::FromRow as _;
use sqlx::postgres::PgRow;

use super::{Postgres, sql};
use crate::chain::Origin;
use crate::checkpoint::LogKey;
use crate::store::Error;
use crate::store::postgres::bounded;
use crate::vault::Rotations;
use crate::vault::log_keys::{LogKeys, PublicKey};
use crate::{LogName, Timestamp};

impl Postgres {
    /// The number and the key that the log signs with.
    async fn newest_log_key(&self, log: &LogName) -> Result<Option<(u32, LogKey)>, Error> {
        self.keep_up().await?;
        let select = sqlx::query_as(sql::SELECT_LOG_SIGNING_KEY).bind(log.as_str());
        let row: Option<(i64, Vec<u8>, Vec<u8>)> = bounded(select.fetch_optional(&self.pool)).await?;
        let key = |(number, public, wrapped): (i64, Vec<u8>, Vec<u8>)| {
            let key = self.keyring.log_key(log, Origin::new(&self.origin_base, log), &whole(&public)?, &wrapped)?;
            Ok((unsigned(number)?, key))
        };
        row.map(key).transpose()
    }

    async fn insert_log_key(&self, log: &LogName, number: u32, now: Timestamp) -> Result<(), Error> {
        self.keep_up().await?;
        let new = self.keyring.new_log_key(log, Origin::new(&self.origin_base, log));
        let insert = sqlx::query(sql::INSERT_LOG_KEY).bind(log.as_str()).bind(i64::from(number)).bind(new.key.verifier().public().to_vec());
        self.sent(bounded(insert.bind(new.wrapped).bind(now.as_micros_i64()).execute(&self.pool))).await.map(drop)
    }
}

#[async_trait]
impl LogKeys for Postgres {
    async fn log_keys(&self, log: &LogName) -> Result<Vec<PublicKey>, Error> {
        let rows: Vec<PgRow> = bounded(sqlx::query(sql::SELECT_LOG_KEYS).bind(log.as_str()).fetch_all(&self.pool)).await?;
        rows.iter().map(public_key).collect()
    }

    async fn log_key(&self, log: &LogName, now: Timestamp) -> Result<LogKey, Error> {
        if let Some((_, key)) = self.newest_log_key(log).await? {
            return Ok(key);
        }
        self.insert_log_key(log, 0, now).await?;
        let (_, key) = self.newest_log_key(log).await?.ok_or_else(gone)?;
        Ok(key)
    }

    async fn rotate_log_key(&self, log: &LogName, now: Timestamp) -> Result<LogKey, Error> {
        let next = self.newest_log_key(log).await?.map_or(0, |(newest, _)| newest + 1);
        // Where another was quicker the log has had another key meanwhile, which is what was asked for.
        self.insert_log_key(log, next, now).await?;
        let (_, key) = self.newest_log_key(log).await?.ok_or_else(gone)?;
        Ok(key)
    }

    async fn guard(&self, log: &LogName) -> Result<Option<String>, Error> {
        bounded(sqlx::query_scalar(sql::SELECT_GUARD).bind(log.as_str()).fetch_optional(&self.pool)).await
    }

    async fn advance_guard(&self, log: &LogName, known: Option<&str>, note: &str) -> Result<bool, Error> {
        let advance = match known {
            Some(known) => sqlx::query(sql::UPDATE_GUARD).bind(log.as_str()).bind(known).bind(note),
            None => sqlx::query(sql::INSERT_GUARD).bind(log.as_str()).bind(note),
        };
        Ok(bounded(advance.execute(&self.pool)).await?.rows_affected() == 1)
    }
}

fn gone() -> Error {
    Error::Corrupt("a log's key just made is gone".to_owned())
}

fn public_key(row: &PgRow) -> Result<PublicKey, Error> {
    let (number, public, created_at) = <(i64, Vec<u8>, i64)>::from_row(row).map_err(crate::store::postgres::error)?;
    let created_at = u64::try_from(created_at).map_err(|_| Error::Corrupt("log_keys: a time before the epoch".to_owned()))?;
    Ok(PublicKey { number: unsigned(number)?, public: whole(&public)?, created_at: Timestamp::from_micros(created_at) })
}

fn whole(public: &[u8]) -> Result<[u8; 32], Error> {
    public.try_into().map_err(|_| Error::Corrupt("log_keys: a key has another length".to_owned()))
}

fn unsigned(number: i64) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| Error::Corrupt(format!("log_keys: {number} is no number of a key")))
}
