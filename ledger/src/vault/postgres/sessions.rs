//! Sessions and the keys of access tokens, on PostgreSQL.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

use super::{Postgres, optional_time, roles, sql, time};
use crate::Timestamp;
use crate::signing::SigningKey;
use crate::store::Error;
use crate::store::postgres::{bounded, error};
use crate::vault::Rotations;
use crate::vault::master_key::Secret;
use crate::vault::sessions::{NewSession, Refreshed, Seen, Session, SessionStore, TokenKey};

#[async_trait]
impl SessionStore for Postgres {
    async fn insert_session(&self, new: &NewSession) -> Result<bool, Error> {
        self.keep_up().await?;
        let NewSession { id, account, checked, agent, token, created_at, expires_at } = new;
        let agent = agent.as_ref().map(|agent| self.keyring.wrap_text(Secret::SessionAgent(*id), agent));
        let insert = sqlx::query(sql::INSERT_SESSION).bind(id).bind(account).bind(agent).bind(created_at.as_micros_i64());
        let insert = insert.bind(expires_at.as_micros_i64()).bind(token.to_vec()).bind(checked);
        Ok(self.sent(bounded(insert.execute(&self.pool))).await?.rows_affected() == 1)
    }

    async fn session(&self, id: Uuid) -> Result<Option<Session>, Error> {
        bounded(sqlx::query_as(sql::SELECT_SESSION).bind(id).fetch_optional(&self.pool)).await
    }

    async fn sessions(&self, account: Uuid, now: Timestamp) -> Result<Vec<Seen>, Error> {
        self.keep_up().await?;
        let select = sqlx::query(sql::SELECT_SESSIONS).bind(account).bind(now.as_micros_i64());
        let seen = |row: &PgRow| {
            let id = row.try_get("id").map_err(error)?;
            let agent: Option<Vec<u8>> = row.try_get("wrapped_agent").map_err(error)?;
            let agent = agent.map(|agent| self.keyring.text(Secret::SessionAgent(id), &agent)).transpose()?;
            Ok(Seen {
                id,
                agent: agent.map(|agent| agent.to_string()),
                created_at: time(row, "created_at").map_err(error)?,
                refreshed_at: time(row, "refreshed_at").map_err(error)?,
                expires_at: time(row, "expires_at").map_err(error)?,
            })
        };
        bounded(select.fetch_all(&self.pool)).await?.iter().map(seen).collect()
    }

    async fn refresh(&self, token: [u8; 32], next: [u8; 32], now: Timestamp, expires_at: Timestamp) -> Result<Refreshed, Error> {
        let using = sqlx::query_as(sql::USE_REFRESH_TOKEN).bind(token.to_vec()).bind(next.to_vec());
        let using = using.bind(now.as_micros_i64()).bind(expires_at.as_micros_i64());
        if let Some(session) = bounded(using.fetch_optional(&self.pool)).await? {
            return Ok(Refreshed::Yes(session));
        }
        let select = sqlx::query_as(sql::SELECT_REFRESH_TOKEN).bind(token.to_vec()).bind(now.as_micros_i64());
        Ok(match bounded(select.fetch_optional(&self.pool)).await? {
            None => Refreshed::Unknown,
            Some((session, true)) => Refreshed::Again(session),
            Some((_, false)) => Refreshed::Deactivated,
        })
    }

    async fn end_session(&self, account: Uuid, id: Uuid, now: Timestamp) -> Result<bool, Error> {
        let end = sqlx::query(sql::END_SESSION).bind(account).bind(id).bind(now.as_micros_i64());
        Ok(bounded(end.execute(&self.pool)).await?.rows_affected() == 1)
    }

    async fn forget_sessions(&self, before: Timestamp) -> Result<u64, Error> {
        let forget = sqlx::query(sql::FORGET_SESSIONS).bind(before.as_micros_i64());
        Ok(bounded(forget.execute(&self.pool)).await?.rows_affected())
    }

    async fn token_keys(&self) -> Result<Vec<TokenKey>, Error> {
        bounded(sqlx::query_as(sql::SELECT_TOKEN_KEYS).fetch_all(&self.pool)).await
    }

    async fn token_signing_key(&self, kid: &str) -> Result<Option<SigningKey>, Error> {
        self.keep_up().await?;
        let select = sqlx::query_as(sql::SELECT_TOKEN_SIGNING_KEY).bind(kid);
        let row: Option<(Vec<u8>, Vec<u8>)> = bounded(select.fetch_optional(&self.pool)).await?;
        let open = |(public, wrapped): (Vec<u8>, Vec<u8>)| self.keyring.token_key(&whole(&public)?, &wrapped);
        row.map(open).transpose()
    }

    async fn add_token_key(&self, unless_since: Timestamp, now: Timestamp) -> Result<(), Error> {
        self.keep_up().await?;
        let new = self.keyring.new_token_key();
        let add = sqlx::query(sql::ADD_TOKEN_KEY).bind(new.kid).bind(new.public.to_vec()).bind(new.wrapped);
        let add = add.bind(now.as_micros_i64()).bind(unless_since.as_micros_i64());
        self.sent(bounded(add.execute(&self.pool))).await.map(drop)
    }

    async fn replace_token_keys(&self, now: Timestamp) -> Result<(), Error> {
        bounded(sqlx::query(sql::RETIRE_TOKEN_KEYS).bind(now.as_micros_i64()).execute(&self.pool)).await?;
        self.add_token_key(now, now).await
    }

    async fn forget_token_keys(&self, before: Timestamp) -> Result<(), Error> {
        bounded(sqlx::query(sql::FORGET_TOKEN_KEYS).bind(before.as_micros_i64()).execute(&self.pool)).await.map(drop)
    }
}

fn whole(public: &[u8]) -> Result<[u8; 32], Error> {
    public.try_into().map_err(|_| Error::Corrupt("token_keys: a key has another length".to_owned()))
}

impl FromRow<'_, PgRow> for Session {
    fn from_row(row: &PgRow) -> Result<Session, sqlx::Error> {
        Ok(Session {
            id: row.try_get("id")?,
            account: row.try_get("account")?,
            issuer: row.try_get("issuer")?,
            roles: roles(row)?,
            of_active: row.try_get("of_active")?,
            expires_at: time(row, "expires_at")?,
            ended_at: optional_time(row, "ended_at")?,
        })
    }
}

impl FromRow<'_, PgRow> for TokenKey {
    fn from_row(row: &PgRow) -> Result<TokenKey, sqlx::Error> {
        let public: Vec<u8> = row.try_get("public_key")?;
        Ok(TokenKey {
            kid: row.try_get("kid")?,
            public: whole(&public).map_err(|other| sqlx::Error::Decode(other.into()))?,
            created_at: time(row, "created_at")?,
            retired_at: optional_time(row, "retired_at")?,
        })
    }
}
