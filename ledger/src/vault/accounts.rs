//! Accounts: people with a username, an address and a password.
//!
//! Username and e-mail address are found by keyed hashes ([`LookupKeys::account`](super::LookupKeys::account)) of what they are in
//! lower case; the texts themselves, and the password's hash, are wrapped by the master key. An account is nobody's until it is
//! [confirmed](Accounts::confirm_account): nobody registers without a record of it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Reference, Roles};
use crate::Timestamp;
use crate::store::Error;

/// What an account tells of its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// As it was written when it was registered.
    pub username: String,
    /// In normal form.
    pub email: String,
    /// A given name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// A family name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
}

/// An account's row, without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id, a UUID of version 7; also its stream in the audit log.
    pub id: Uuid,
    /// The organisation it belongs to.
    pub issuer: Uuid,
    /// What its owner may do.
    pub roles: Roles,
    /// Its owner.
    pub profile: Profile,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when nobody may log in to it.
    pub deactivated_at: Option<Timestamp>,
}

/// An account that waits to be stored.
#[derive(Debug)]
pub struct NewAccount {
    /// Its row.
    pub account: Account,
    /// Its username's reference.
    pub username: Reference,
    /// Its address's reference.
    pub email: Reference,
    /// Its password's hash, in the PHC string format.
    pub password: Zeroizing<String>,
}

/// What a login is judged by.
#[derive(Debug)]
pub struct Login {
    /// The account.
    pub account: Account,
    /// Whether the organisation it belongs to is active.
    pub of_active: bool,
    /// Its password's hash, in the PHC string format.
    pub password: Zeroizing<String>,
    /// The hash as it is stored, by which another login's change of it is noticed.
    pub stored: Vec<u8>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is made.
    Done,
    /// Another account has that name or address.
    Taken,
    /// What it was decided by is not so any more.
    Stale,
    /// There is no such account.
    Missing,
}

/// What the vault keeps of accounts.
#[async_trait]
pub trait Accounts {
    /// Stores an account that is not confirmed yet; false, and nothing stored, when its name or address is taken. One not confirmed
    /// since before `forget_before` takes nothing.
    async fn insert_account(&self, new: &NewAccount, forget_before: Timestamp) -> Result<bool, Error>;

    /// From now on the account is its owner's. False when it has made way meanwhile.
    async fn confirm_account(&self, id: Uuid) -> Result<bool, Error>;

    /// Takes an account away that is not confirmed.
    async fn withdraw_account(&self, id: Uuid) -> Result<(), Error>;

    /// A confirmed account.
    async fn account(&self, id: Uuid) -> Result<Option<Account>, Error>;

    /// Confirmed accounts, newest first: of one organisation or of all, made before the account `before`, at most `limit`.
    async fn accounts(&self, issuer: Option<Uuid>, before: Option<Uuid>, limit: u32) -> Result<Vec<Account>, Error>;

    /// The confirmed account with this username or address.
    async fn find_login(&self, identifier: Reference) -> Result<Option<Login>, Error>;

    /// The same by its id.
    async fn login_of(&self, id: Uuid) -> Result<Option<Login>, Error>;

    /// Changes what an account tells of its owner from what it was `decided` by, and the address that it is found by.
    async fn set_profile(&self, id: Uuid, decided: &Profile, profile: &Profile, email: Reference) -> Result<Change, Error>;

    /// Changes the password that was `checked` ([`Login::stored`]) and ends every session but one, at once. False, and nothing is changed,
    /// when the account has another password by now, or the session that is kept is over; or there is no such account.
    async fn set_password(&self, id: Uuid, checked: &[u8], password: &str, kept: Option<Uuid>, now: Timestamp) -> Result<bool, Error>;

    /// Puts another hash of the same password in the place of the one that is `stored`, if that still stands there.
    async fn rehash_password(&self, id: Uuid, stored: &[u8], password: &str) -> Result<(), Error>;

    /// Changes the roles from those that it was `decided` by. False when there is no such account, or it has others by now.
    async fn set_roles(&self, id: Uuid, decided: Roles, roles: Roles) -> Result<bool, Error>;

    /// Deactivates an account and ends its sessions, at once, or activates it. One that is deactivated keeps its time. False when there
    /// is no such account.
    async fn set_active(&self, id: Uuid, active: bool, now: Timestamp) -> Result<bool, Error>;
}
