//! Sessions and the keys of access tokens, on SQLite.

use async_trait::async_trait;
use rusqlite::{Row, params};
use uuid::Uuid;

use super::rows::{changes, optional_time, query, query_one, run, time, uuid};
use super::{Sqlite, sql};
use crate::Timestamp;
use crate::signing::SigningKey;
use crate::store::Error;
use crate::vault::Rotations;
use crate::vault::master_key::Secret;
use crate::vault::sessions::{NewSession, Refreshed, Seen, Session, SessionStore, TokenKey};

#[async_trait]
impl SessionStore for Sqlite {
    async fn insert_session(&self, new: &NewSession) -> Result<bool, Error> {
        self.keep_up().await?;
        let NewSession { id, account, checked, agent, token, created_at, expires_at } = new;
        let checked = checked.clone();
        let (id, account, token, created_at, expires_at) = (*id, *account, *token, created_at.as_micros_i64(), expires_at.as_micros_i64());
        let agent = agent.as_ref().map(|agent| self.keyring.wrap_text(Secret::SessionAgent(id), agent));
        self.write(move |connection, _| {
            let row = params![id.as_bytes(), account.as_bytes(), agent, created_at, expires_at, checked];
            let is_begun = changes(connection, sql::INSERT_SESSION, row)?;
            if is_begun {
                run(connection, sql::INSERT_REFRESH_TOKEN, params![token, id.as_bytes(), created_at])?;
            }
            Ok(is_begun)
        })
        .await
    }

    async fn session(&self, id: Uuid) -> Result<Option<Session>, Error> {
        self.read(move |connection, _| query_one(connection, sql::SELECT_SESSION, params![id.as_bytes()], session)).await
    }

    async fn sessions(&self, account: Uuid, now: Timestamp) -> Result<Vec<Seen>, Error> {
        self.read(move |connection, keyring| {
            let row = |row: &Row<'_>| Ok((row.get::<_, Option<Vec<u8>>>(1)?, uuid(row, 0)?, time(row, 2)?, time(row, 3)?, time(row, 4)?));
            let rows = query(connection, sql::SELECT_SESSIONS, params![account.as_bytes(), now.as_micros_i64()], row)?;
            let seen = rows.into_iter().map(|(agent, id, created_at, refreshed_at, expires_at)| {
                let agent = agent.map(|agent| keyring.text(Secret::SessionAgent(id), &agent)).transpose()?;
                Ok(Seen { id, agent: agent.map(|agent| agent.to_string()), created_at, refreshed_at, expires_at })
            });
            seen.collect()
        })
        .await
    }

    async fn refresh(&self, token: [u8; 32], next: [u8; 32], now: Timestamp, expires_at: Timestamp) -> Result<Refreshed, Error> {
        let (now, expires_at) = (now.as_micros_i64(), expires_at.as_micros_i64());
        self.write(move |connection, _| {
            let row = |row: &Row<'_>| Ok((uuid(row, 0)?, row.get(1)?));
            let Some((id, is_over)) = query_one(connection, sql::SELECT_REFRESH_TOKEN, params![token, now], row)? else {
                return Ok(Refreshed::Unknown);
            };
            if is_over {
                return Ok(Refreshed::Again(id));
            }
            if !changes(connection, sql::REFRESH_SESSION, params![id.as_bytes(), now, expires_at])? {
                return Ok(Refreshed::Deactivated);
            }
            run(connection, sql::USE_REFRESH_TOKEN, params![token, now])?;
            run(connection, sql::INSERT_REFRESH_TOKEN, params![next, id.as_bytes(), now])?;
            let refreshed = query_one(connection, sql::SELECT_SESSION, params![id.as_bytes()], session)?;
            refreshed.map(Refreshed::Yes).ok_or_else(|| Error::Corrupt("a session just refreshed is gone".to_owned()))
        })
        .await
    }

    async fn end_session(&self, account: Uuid, id: Uuid, now: Timestamp) -> Result<bool, Error> {
        let row = move || (account.into_bytes(), id.into_bytes(), now.as_micros_i64());
        self.write(move |connection, _| changes(connection, sql::END_SESSION, row())).await
    }

    async fn forget_sessions(&self, before: Timestamp) -> Result<u64, Error> {
        self.write(move |connection, _| {
            run(connection, sql::FORGET_SESSIONS, params![before.as_micros_i64()])?;
            Ok(connection.changes())
        })
        .await
    }

    async fn token_keys(&self) -> Result<Vec<TokenKey>, Error> {
        let key = |row: &Row<'_>| {
            Ok(TokenKey { kid: row.get(0)?, public: row.get(1)?, created_at: time(row, 2)?, retired_at: optional_time(row, 3)? })
        };
        self.read(move |connection, _| query(connection, sql::SELECT_TOKEN_KEYS, [], key)).await
    }

    async fn token_signing_key(&self, kid: &str) -> Result<Option<SigningKey>, Error> {
        let kid = kid.to_owned();
        self.read(move |connection, keyring| {
            let row = |row: &Row<'_>| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Vec<u8>>(1)?));
            let stored = query_one(connection, sql::SELECT_TOKEN_SIGNING_KEY, params![kid], row)?;
            stored.map(|(public, wrapped)| keyring.token_key(&public, &wrapped)).transpose()
        })
        .await
    }

    async fn add_token_key(&self, unless_since: Timestamp, now: Timestamp) -> Result<(), Error> {
        self.write(move |connection, keyring| {
            let new = keyring.new_token_key();
            let row = params![new.kid, new.public, new.wrapped, now.as_micros_i64(), unless_since.as_micros_i64()];
            run(connection, sql::ADD_TOKEN_KEY, row)
        })
        .await
    }

    async fn replace_token_keys(&self, now: Timestamp) -> Result<(), Error> {
        self.write(move |connection, keyring| {
            run(connection, sql::RETIRE_TOKEN_KEYS, params![now.as_micros_i64()])?;
            let new = keyring.new_token_key();
            run(connection, sql::ADD_TOKEN_KEY, params![new.kid, new.public, new.wrapped, now.as_micros_i64(), now.as_micros_i64()])
        })
        .await
    }

    async fn forget_token_keys(&self, before: Timestamp) -> Result<(), Error> {
        self.write(move |connection, _| run(connection, sql::FORGET_TOKEN_KEYS, params![before.as_micros_i64()])).await
    }
}

fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: uuid(row, 0)?,
        account: uuid(row, 1)?,
        issuer: uuid(row, 2)?,
        roles: row.get(3)?,
        of_active: row.get(4)?,
        expires_at: time(row, 5)?,
        ended_at: optional_time(row, 6)?,
    })
}
