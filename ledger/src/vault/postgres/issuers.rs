//! Issuers as organisations, on PostgreSQL.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

use super::{Postgres, column, optional_time, reference, sql};
use crate::Timestamp;
use crate::store::Error;
use crate::store::postgres::bounded;
use crate::vault::issuers::{Organisation, Organisations, ProfileChange};
use crate::vault::{Issuer, Reference};

#[async_trait]
impl Organisations for Postgres {
    async fn organisation(&self, id: Uuid) -> Result<Option<Organisation>, Error> {
        bounded(sqlx::query_as(sql::SELECT_ORGANISATION).bind(id).fetch_optional(&self.pool)).await
    }

    async fn organisations(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Organisation>, Error> {
        let select = sqlx::query_as(sql::SELECT_ORGANISATIONS).bind(before).bind(i64::from(limit));
        bounded(select.fetch_all(&self.pool)).await
    }

    async fn change_organisation(&self, id: Uuid, change: &ProfileChange) -> Result<bool, Error> {
        let ProfileChange { display_name, url } = change;
        let update = sqlx::query(sql::CHANGE_ORGANISATION)
            .bind(id)
            .bind(display_name.is_some())
            .bind(display_name.as_ref().and_then(Option::as_ref));
        let update = update.bind(url.is_some()).bind(url.as_ref().and_then(Option::as_ref));
        Ok(bounded(update.execute(&self.pool)).await?.rows_affected() == 1)
    }

    async fn deactivate_organisation(&self, id: Uuid, since: Option<Timestamp>) -> Result<bool, Error> {
        let update = sqlx::query(sql::DEACTIVATE_ORGANISATION).bind(id).bind(since.map(|time| time.as_micros_i64()));
        Ok(bounded(update.execute(&self.pool)).await?.rows_affected() == 1)
    }

    async fn owners(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Uuid>, Error> {
        let owners: Vec<(Uuid, Uuid)> = bounded(sqlx::query_as(sql::SELECT_OWNERS).bind(ids).fetch_all(&self.pool)).await?;
        Ok(owners.into_iter().collect())
    }

    async fn owners_of_logins(&self, identifiers: &[Reference]) -> Result<HashMap<Reference, Uuid>, Error> {
        let identifiers: Vec<&[u8]> = identifiers.iter().map(<[u8; 32]>::as_slice).collect();
        let rows = bounded(sqlx::query(sql::SELECT_OWNERS_OF_LOGINS).bind(identifiers).fetch_all(&self.pool)).await?;
        rows.iter().map(|row| Ok((reference(row, 0)?, column(row, 1)?))).collect()
    }
}

impl FromRow<'_, PgRow> for Organisation {
    fn from_row(row: &PgRow) -> Result<Organisation, sqlx::Error> {
        Ok(Organisation {
            issuer: Issuer::from_row(row)?,
            display_name: row.try_get("display_name")?,
            url: row.try_get("url")?,
            deactivated_at: optional_time(row, "deactivated_at")?,
        })
    }
}
