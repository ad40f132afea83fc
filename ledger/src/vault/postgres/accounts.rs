//! Accounts, on PostgreSQL.

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Postgres, Statement, optional_time, roles, sql, time};
use crate::Timestamp;
use crate::store::Error;
use crate::store::postgres::{bounded, error};
use crate::vault::accounts::{Account, Accounts, Change, Login, NewAccount, Profile};
use crate::vault::master_key::Secret;
use crate::vault::rows::Keyring;
use crate::vault::{Reference, Roles, Rotations};

impl Postgres {
    /// Changes an account and ends its sessions but one, in one transaction, or does neither. The sessions are looked for by a statement of their own, after
    /// the account's row is locked: whoever begins one meanwhile holds that row, and has committed by then.
    async fn change_and_end(&self, change: Statement<'_>, id: Uuid, kept: Option<Uuid>, now: Timestamp) -> Result<bool, Error> {
        let mut transaction = bounded(self.pool.begin()).await?;
        if bounded(change.execute(&mut *transaction)).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let end = sqlx::query(sql::END_SESSIONS).bind(id).bind(now.as_micros_i64()).bind(kept);
        bounded(end.execute(&mut *transaction)).await?;
        bounded(transaction.commit()).await?;
        Ok(true)
    }
}

#[async_trait]
impl Accounts for Postgres {
    async fn insert_account(&self, new: &NewAccount, forget_before: Timestamp) -> Result<bool, Error> {
        let NewAccount { account, username, email, password } = new;
        let forget = sqlx::query(sql::FORGET_UNRECORDED_ACCOUNTS).bind(username.to_vec()).bind(email.to_vec());
        bounded(forget.bind(forget_before.as_micros_i64()).execute(&self.pool)).await?;
        self.keep_up().await?;
        let Account { id, issuer, roles, profile, created_at, .. } = account;
        let insert = sqlx::query(sql::INSERT_ACCOUNT).bind(id).bind(issuer).bind(roles.to_string());
        let insert = insert.bind(username.to_vec()).bind(email.to_vec()).bind(self.keyring.wrap_profile(*id, profile));
        let insert = insert.bind(self.keyring.wrap_text(Secret::AccountPassword(*id), password)).bind(created_at.as_micros_i64());
        Ok(self.sent(bounded(insert.execute(&self.pool))).await?.rows_affected() == 1)
    }

    async fn confirm_account(&self, id: Uuid) -> Result<bool, Error> {
        Ok(bounded(sqlx::query(sql::CONFIRM_ACCOUNT).bind(id).execute(&self.pool)).await?.rows_affected() == 1)
    }

    async fn withdraw_account(&self, id: Uuid) -> Result<(), Error> {
        bounded(sqlx::query(sql::WITHDRAW_ACCOUNT).bind(id).execute(&self.pool)).await.map(drop)
    }

    async fn account(&self, id: Uuid) -> Result<Option<Account>, Error> {
        self.keep_up().await?;
        let row = bounded(sqlx::query(sql::SELECT_ACCOUNT).bind(id).fetch_optional(&self.pool)).await?;
        row.map(|row| account(&row, &self.keyring)).transpose()
    }

    async fn accounts(&self, issuer: Option<Uuid>, before: Option<Uuid>, limit: u32) -> Result<Vec<Account>, Error> {
        self.keep_up().await?;
        let select = sqlx::query(sql::SELECT_ACCOUNTS).bind(issuer).bind(before).bind(i64::from(limit));
        bounded(select.fetch_all(&self.pool)).await?.iter().map(|row| account(row, &self.keyring)).collect()
    }

    async fn find_login(&self, identifier: Reference) -> Result<Option<Login>, Error> {
        self.keep_up().await?;
        let row = bounded(sqlx::query(sql::SELECT_LOGIN).bind(identifier.to_vec()).fetch_optional(&self.pool)).await?;
        row.map(|row| login(&row, &self.keyring)).transpose()
    }

    async fn login_of(&self, id: Uuid) -> Result<Option<Login>, Error> {
        self.keep_up().await?;
        let row = bounded(sqlx::query(sql::SELECT_LOGIN_OF).bind(id).fetch_optional(&self.pool)).await?;
        row.map(|row| login(&row, &self.keyring)).transpose()
    }

    async fn set_profile(&self, id: Uuid, decided: &Profile, profile: &Profile, email: Reference) -> Result<Change, Error> {
        self.keep_up().await?;
        let row = bounded(sqlx::query(sql::SELECT_ACCOUNT).bind(id).fetch_optional(&self.pool)).await?;
        let Some(row) = row else { return Ok(Change::Missing) };
        let stored: Vec<u8> = row.try_get("wrapped_profile").map_err(error)?;
        if self.keyring.profile(id, &stored)? != *decided {
            return Ok(Change::Stale);
        }
        self.keep_up().await?;
        let profile = self.keyring.wrap_profile(id, profile);
        let set = sqlx::query(sql::SET_PROFILE).bind(id).bind(stored).bind(profile).bind(email.to_vec());
        let set = async {
            match set.execute(&self.pool).await {
                Ok(done) if done.rows_affected() == 1 => Ok(Change::Done),
                Ok(_) => Ok(Change::Stale),
                Err(failed) if failed.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation) => Ok(Change::Taken),
                Err(failed) => Err(failed),
            }
        };
        self.sent(bounded(set)).await
    }

    async fn set_password(&self, id: Uuid, checked: &[u8], password: &str, kept: Option<Uuid>, now: Timestamp) -> Result<bool, Error> {
        self.keep_up().await?;
        let password = self.keyring.wrap_text(Secret::AccountPassword(id), password);
        let set = sqlx::query(sql::SET_PASSWORD).bind(id).bind(checked.to_vec()).bind(password).bind(kept).bind(now.as_micros_i64());
        self.sent(self.change_and_end(set, id, kept, now)).await
    }

    async fn rehash_password(&self, id: Uuid, stored: &[u8], password: &str) -> Result<(), Error> {
        self.keep_up().await?;
        let password = self.keyring.wrap_text(Secret::AccountPassword(id), password);
        let rehash = sqlx::query(sql::REHASH_PASSWORD).bind(id).bind(stored.to_vec()).bind(password);
        self.sent(bounded(rehash.execute(&self.pool))).await.map(drop)
    }

    async fn set_roles(&self, id: Uuid, decided: Roles, roles: Roles) -> Result<bool, Error> {
        let set = sqlx::query(sql::SET_ROLES).bind(id).bind(decided.to_string()).bind(roles.to_string());
        Ok(bounded(set.execute(&self.pool)).await?.rows_affected() == 1)
    }

    async fn set_active(&self, id: Uuid, active: bool, now: Timestamp) -> Result<bool, Error> {
        if active {
            return Ok(bounded(sqlx::query(sql::ACTIVATE_ACCOUNT).bind(id).execute(&self.pool)).await?.rows_affected() == 1);
        }
        self.change_and_end(sqlx::query(sql::DEACTIVATE_ACCOUNT).bind(id).bind(now.as_micros_i64()), id, None, now).await
    }
}

fn account(row: &PgRow, keyring: &Keyring) -> Result<Account, Error> {
    let id = row.try_get("id").map_err(error)?;
    let profile: Vec<u8> = row.try_get("wrapped_profile").map_err(error)?;
    Ok(Account {
        id,
        issuer: row.try_get("issuer").map_err(error)?,
        roles: roles(row).map_err(error)?,
        profile: keyring.profile(id, &profile)?,
        created_at: time(row, "created_at").map_err(error)?,
        deactivated_at: optional_time(row, "deactivated_at").map_err(error)?,
    })
}

fn login(row: &PgRow, keyring: &Keyring) -> Result<Login, Error> {
    let account = account(row, keyring)?;
    let stored: Vec<u8> = row.try_get("wrapped_password").map_err(error)?;
    let password = keyring.text(Secret::AccountPassword(account.id), &stored)?;
    Ok(Login { account, of_active: row.try_get("of_active").map_err(error)?, password, stored })
}
