//! The logs' keys and guard, on SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::rows::{query, query_one, run, time};
use super::{Sqlite, sql};
use crate::chain::Origin;
use crate::checkpoint::LogKey;
use crate::store::Error;
use crate::vault::log_keys::{LogKeys, PublicKey};
use crate::vault::rows::{Keyring, NewLogKey};
use crate::{LogName, Timestamp};

#[async_trait]
impl LogKeys for Sqlite {
    async fn log_keys(&self, log: &LogName) -> Result<Vec<PublicKey>, Error> {
        let log = log.clone();
        let keys = move |connection: &Connection, _: &Keyring| Ok(keys(connection, &log)?.into_iter().map(|(key, _)| key).collect());
        self.read(keys).await
    }

    async fn log_key(&self, log: &LogName, now: Timestamp) -> Result<LogKey, Error> {
        let (log, origin) = (log.clone(), Origin::new(&self.origin_base, log));
        self.write(move |connection, keyring| match keys(connection, &log)?.pop() {
            Some((key, wrapped)) => keyring.log_key(&log, origin, &key.public, &wrapped),
            None => insert(connection, &log, 0, keyring.new_log_key(&log, origin), now),
        })
        .await
    }

    async fn rotate_log_key(&self, log: &LogName, now: Timestamp) -> Result<LogKey, Error> {
        let (log, origin) = (log.clone(), Origin::new(&self.origin_base, log));
        self.write(move |connection, keyring| {
            let next = keys(connection, &log)?.pop().map_or(0, |(newest, _)| newest.number + 1);
            insert(connection, &log, next, keyring.new_log_key(&log, origin), now)
        })
        .await
    }

    async fn guard(&self, log: &LogName) -> Result<Option<String>, Error> {
        let log = log.clone();
        self.read(move |connection, _| guard(connection, &log)).await
    }

    async fn advance_guard(&self, log: &LogName, known: Option<&str>, note: &str) -> Result<bool, Error> {
        let (log, known, note) = (log.clone(), known.map(str::to_owned), note.to_owned());
        self.write(move |connection, _| {
            let is_known = guard(connection, &log)? == known;
            if is_known {
                run(connection, sql::UPSERT_GUARD, params![log.as_str(), note])?;
            }
            Ok(is_known)
        })
        .await
    }
}

fn keys(connection: &Connection, log: &LogName) -> Result<Vec<(PublicKey, Vec<u8>)>, Error> {
    let key = |row: &Row<'_>| {
        let key = PublicKey { number: row.get(0)?, public: row.get(1)?, created_at: time(row, 3)? };
        Ok((key, row.get(2)?))
    };
    query(connection, sql::SELECT_LOG_KEYS, params![log.as_str()], key)
}

fn insert(connection: &Connection, log: &LogName, number: u32, new: NewLogKey, now: Timestamp) -> Result<LogKey, Error> {
    let row = params![log.as_str(), number, new.key.verifier().public(), new.wrapped, now.as_micros_i64()];
    run(connection, sql::INSERT_LOG_KEY, row)?;
    Ok(new.key)
}

fn guard(connection: &Connection, log: &LogName) -> Result<Option<String>, Error> {
    query_one(connection, sql::SELECT_GUARD, params![log.as_str()], |row| row.get(0))
}
