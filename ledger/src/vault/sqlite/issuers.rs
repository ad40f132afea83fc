//! Issuers as organisations, on SQLite.

use std::collections::HashMap;

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::rows::{changes, issuer, optional_time, query, query_one, uuid};
use super::{Sqlite, sql};
use crate::Timestamp;
use crate::store::Error;
use crate::vault::Reference;
use crate::vault::issuers::{Organisation, Organisations, ProfileChange};
use crate::vault::rows::Keyring;

#[async_trait]
impl Organisations for Sqlite {
    async fn organisation(&self, id: Uuid) -> Result<Option<Organisation>, Error> {
        self.read(move |connection, _| query_one(connection, sql::SELECT_ORGANISATION, params![id.as_bytes()], organisation)).await
    }

    async fn organisations(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Organisation>, Error> {
        let before = before.map(Uuid::into_bytes);
        self.read(move |connection, _| query(connection, sql::SELECT_ORGANISATIONS, params![before, limit], organisation)).await
    }

    async fn change_organisation(&self, id: Uuid, change: &ProfileChange) -> Result<bool, Error> {
        let ProfileChange { display_name, url } = change.clone();
        self.write(move |connection, _| {
            let row = params![id.as_bytes(), display_name.is_some(), display_name.flatten(), url.is_some(), url.flatten()];
            changes(connection, sql::CHANGE_ORGANISATION, row)
        })
        .await
    }

    async fn deactivate_organisation(&self, id: Uuid, since: Option<Timestamp>) -> Result<bool, Error> {
        let since = since.map(|time| time.as_micros_i64());
        self.write(move |connection, _| changes(connection, sql::DEACTIVATE_ORGANISATION, params![id.as_bytes(), since])).await
    }

    async fn owners(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Uuid>, Error> {
        let ids = ids.to_vec();
        let find = move |connection: &Connection, _: &Keyring| {
            let owner = |id: &Uuid| query_one(connection, sql::SELECT_OWNER, params![id.as_bytes()], |row| uuid(row, 0));
            ids.iter().filter_map(|id| owner(id).transpose().map(|owner| Ok((*id, owner?)))).collect()
        };
        self.read(find).await
    }

    async fn owners_of_logins(&self, identifiers: &[Reference]) -> Result<HashMap<Reference, Uuid>, Error> {
        let identifiers = identifiers.to_vec();
        let find = move |connection: &Connection, _: &Keyring| {
            let owner = |identifier: &Reference| query_one(connection, sql::SELECT_OWNER_OF_LOGIN, params![identifier], |row| uuid(row, 0));
            identifiers.iter().filter_map(|identifier| owner(identifier).transpose().map(|owner| Ok((*identifier, owner?)))).collect()
        };
        self.read(find).await
    }
}

fn organisation(row: &Row<'_>) -> rusqlite::Result<Organisation> {
    Ok(Organisation { issuer: issuer(row)?, display_name: row.get(4)?, url: row.get(5)?, deactivated_at: optional_time(row, 6)? })
}
