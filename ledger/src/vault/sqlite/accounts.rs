//! Accounts, on SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, Params, Row, params};
use uuid::Uuid;

use super::rows::{changes, optional_time, query, query_one, run, time, uuid};
use super::{Sqlite, sql};
use crate::Timestamp;
use crate::store::Error;
use crate::vault::accounts::{Account, Accounts, Change, Login, NewAccount, Profile};
use crate::vault::master_key::Secret;
use crate::vault::rows::Keyring;
use crate::vault::{Reference, Roles, Rotations};

#[async_trait]
impl Accounts for Sqlite {
    async fn insert_account(&self, new: &NewAccount, forget_before: Timestamp) -> Result<bool, Error> {
        self.keep_up().await?;
        let NewAccount { account, username, email, password } = new;
        let (account, username, email) = (account.clone(), *username, *email);
        let profile = self.keyring.wrap_profile(account.id, &account.profile);
        let password = self.keyring.wrap_text(Secret::AccountPassword(account.id), password);
        self.write(move |connection, _| {
            run(connection, sql::FORGET_UNRECORDED_ACCOUNTS, params![username, email, forget_before.as_micros_i64()])?;
            let Account { id, issuer, roles, created_at, .. } = &account;
            let row = params![
                id.as_bytes(),
                issuer.as_bytes(),
                roles.to_string(),
                username,
                email,
                profile,
                password,
                created_at.as_micros_i64()
            ];
            changes(connection, sql::INSERT_ACCOUNT, row)
        })
        .await
    }

    async fn confirm_account(&self, id: Uuid) -> Result<bool, Error> {
        self.write(move |connection, _| changes(connection, sql::CONFIRM_ACCOUNT, params![id.as_bytes()])).await
    }

    async fn withdraw_account(&self, id: Uuid) -> Result<(), Error> {
        self.write(move |connection, _| run(connection, sql::WITHDRAW_ACCOUNT, params![id.as_bytes()])).await
    }

    async fn account(&self, id: Uuid) -> Result<Option<Account>, Error> {
        self.read(move |connection, keyring| select_account(connection, keyring, id)).await
    }

    async fn accounts(&self, issuer: Option<Uuid>, before: Option<Uuid>, limit: u32) -> Result<Vec<Account>, Error> {
        self.read(move |connection, keyring| {
            let wanted = params![issuer.map(Uuid::into_bytes), before.map(Uuid::into_bytes), limit];
            let rows = query(connection, sql::SELECT_ACCOUNTS, wanted, stored)?;
            rows.into_iter().map(|row| row.open(keyring)).collect()
        })
        .await
    }

    async fn find_login(&self, identifier: Reference) -> Result<Option<Login>, Error> {
        self.read(move |connection, keyring| select_login(connection, keyring, sql::SELECT_LOGIN, params![identifier])).await
    }

    async fn login_of(&self, id: Uuid) -> Result<Option<Login>, Error> {
        self.read(move |connection, keyring| select_login(connection, keyring, sql::SELECT_LOGIN_OF, params![id.as_bytes()])).await
    }

    async fn set_profile(&self, id: Uuid, decided: &Profile, profile: &Profile, email: Reference) -> Result<Change, Error> {
        self.keep_up().await?;
        let (decided, profile) = (decided.clone(), self.keyring.wrap_profile(id, profile));
        self.write(move |connection, keyring| {
            let stored: Option<Vec<u8>> =
                query_one(connection, sql::SELECT_ACCOUNT, params![id.as_bytes()], |row| row.get("wrapped_profile"))?;
            let Some(stored) = stored else { return Ok(Change::Missing) };
            if keyring.profile(id, &stored)? != decided {
                return Ok(Change::Stale);
            }
            let taken = query_one(connection, sql::SELECT_EMAIL_TAKEN, params![email, id.as_bytes()], |row| row.get(0))?;
            if taken == Some(true) {
                return Ok(Change::Taken);
            }
            let changed = changes(connection, sql::SET_PROFILE, params![id.as_bytes(), stored, profile, email])?;
            Ok(if changed { Change::Done } else { Change::Stale })
        })
        .await
    }

    async fn set_password(&self, id: Uuid, checked: &[u8], password: &str, kept: Option<Uuid>, now: Timestamp) -> Result<bool, Error> {
        self.keep_up().await?;
        let checked = checked.to_vec();
        let password = self.keyring.wrap_text(Secret::AccountPassword(id), password);
        self.write(move |connection, _| {
            let row = params![id.as_bytes(), checked, password, kept.map(Uuid::into_bytes), now.as_micros_i64()];
            let changed = changes(connection, sql::SET_PASSWORD, row)?;
            if changed {
                end_sessions(connection, id, kept, now)?;
            }
            Ok(changed)
        })
        .await
    }

    async fn rehash_password(&self, id: Uuid, stored: &[u8], password: &str) -> Result<(), Error> {
        self.keep_up().await?;
        let stored = stored.to_vec();
        let password = self.keyring.wrap_text(Secret::AccountPassword(id), password);
        self.write(move |connection, _| run(connection, sql::REHASH_PASSWORD, params![id.as_bytes(), stored, password])).await
    }

    async fn set_roles(&self, id: Uuid, decided: Roles, roles: Roles) -> Result<bool, Error> {
        let row = move || (id.into_bytes(), decided.to_string(), roles.to_string());
        self.write(move |connection, _| changes(connection, sql::SET_ROLES, row())).await
    }

    async fn set_active(&self, id: Uuid, active: bool, now: Timestamp) -> Result<bool, Error> {
        self.write(move |connection, _| {
            if active {
                return changes(connection, sql::ACTIVATE_ACCOUNT, params![id.as_bytes()]);
            }
            end_sessions(connection, id, None, now)?;
            changes(connection, sql::DEACTIVATE_ACCOUNT, params![id.as_bytes(), now.as_micros_i64()])
        })
        .await
    }
}

fn end_sessions(connection: &Connection, account: Uuid, kept: Option<Uuid>, now: Timestamp) -> Result<(), Error> {
    run(connection, sql::END_SESSIONS, params![account.as_bytes(), now.as_micros_i64(), kept.map(Uuid::into_bytes)])
}

fn select_account(connection: &Connection, keyring: &Keyring, id: Uuid) -> Result<Option<Account>, Error> {
    query_one(connection, sql::SELECT_ACCOUNT, params![id.as_bytes()], stored)?.map(|row| row.open(keyring)).transpose()
}

fn select_login(connection: &Connection, keyring: &Keyring, sql: &str, by: impl Params) -> Result<Option<Login>, Error> {
    let login = |row: &Row<'_>| Ok((stored(row)?, row.get::<_, Vec<u8>>(6)?, row.get(7)?));
    let Some((account, stored, of_active)) = query_one(connection, sql, by, login)? else { return Ok(None) };
    let account = account.open(keyring)?;
    let password = keyring.text(Secret::AccountPassword(account.id), &stored)?;
    Ok(Some(Login { account, of_active, password, stored }))
}

/// An account's row, still wrapped.
struct Stored {
    id: Uuid,
    issuer: Uuid,
    roles: Roles,
    profile: Vec<u8>,
    created_at: Timestamp,
    deactivated_at: Option<Timestamp>,
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: uuid(row, 0)?,
        issuer: uuid(row, 1)?,
        roles: row.get(2)?,
        profile: row.get(3)?,
        created_at: time(row, 4)?,
        deactivated_at: optional_time(row, 5)?,
    })
}

impl Stored {
    fn open(self, keyring: &Keyring) -> Result<Account, Error> {
        let Stored { id, issuer, roles, profile, created_at, deactivated_at } = self;
        Ok(Account { id, issuer, roles, profile: keyring.profile(id, &profile)?, created_at, deactivated_at })
    }
}
