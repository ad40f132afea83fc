//! Issuers as organisations: what they tell of themselves, whether they are active, and what is theirs.
//!
//! An issuer's name, did and keys are the [vault's](super::Vault) own affair. What belongs to an issuer that is not active holds no longer: API keys and
//! sessions say so themselves ([`ApiKey::of_active`](super::ApiKey::of_active), [`Session::of_active`](super::Session::of_active)).

use std::collections::HashMap;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Issuer, Reference};
use crate::Timestamp;
use crate::store::Error;

/// An issuer with what it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// Its row.
    pub issuer: Issuer,
    /// What it is called, besides its name.
    pub display_name: Option<String>,
    /// Its web site.
    pub url: Option<String>,
    /// Since when its keys and sessions hold no longer.
    pub deactivated_at: Option<Timestamp>,
}

/// What an issuer tells of itself otherwise from now on: `None` stays as it is, `Some(None)` is told no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// What it is called.
    pub display_name: Option<Option<String>>,
    /// Its web site.
    pub url: Option<Option<String>>,
}

/// What the vault keeps of issuers as organisations.
#[async_trait]
pub trait Organisations {
    /// The organisation with this id.
    async fn organisation(&self, id: Uuid) -> Result<Option<Organisation>, Error>;

    /// Organisations, newest first: those made before the one called `before`, at most `limit`.
    async fn organisations(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Organisation>, Error>;

    /// Changes what an organisation tells of itself. False when there is no such one.
    async fn change_organisation(&self, id: Uuid, change: &ProfileChange) -> Result<bool, Error>;

    /// Since when the organisation is not active; `None` makes it active. One that is deactivated keeps its time. False when there is no
    /// such one.
    async fn deactivate_organisation(&self, id: Uuid, since: Option<Timestamp>) -> Result<bool, Error>;

    /// The organisations that these API keys and accounts belong to, whether they hold or not; what is neither is left out.
    async fn owners(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Uuid>, Error>;

    /// The organisations of the accounts with these usernames or addresses ([`LookupKeys::account`](super::LookupKeys::account)).
    async fn owners_of_logins(&self, identifiers: &[Reference]) -> Result<HashMap<Reference, Uuid>, Error>;
}
