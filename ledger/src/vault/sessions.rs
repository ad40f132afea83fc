//! Sessions of accounts: refresh tokens, as hashes, and the keys that sign access tokens.
//!
//! A refresh token is used once. One that was used is remembered as long as its session, so that a second use is told from a text that
//! never was one.

use async_trait::async_trait;
use uuid::Uuid;

use super::Roles;
use crate::Timestamp;
use crate::signing::SigningKey;
use crate::store::Error;

/// A session, with what its account may do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id, a UUID of version 7; also its stream in the audit log.
    pub id: Uuid,
    /// Whose it is.
    pub account: Uuid,
    /// The organisation that the account belongs to.
    pub issuer: Uuid,
    /// What the account's owner may do.
    pub roles: Roles,
    /// Whether account and organisation are active.
    pub of_active: bool,
    /// Unless it is refreshed, it ends then.
    pub expires_at: Timestamp,
    /// When it was ended.
    pub ended_at: Option<Timestamp>,
}

impl Session {
    /// Whether it goes on at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && self.of_active && now < self.expires_at
    }
}

/// A session as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: Uuid,
    /// With which program it was begun.
    pub agent: Option<String>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it was last refreshed.
    pub refreshed_at: Timestamp,
    /// Unless it is refreshed, it ends then.
    pub expires_at: Timestamp,
}

/// A session that waits to be stored.
#[derive(Debug)]
pub struct NewSession {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub account: Uuid,
    /// What its account's password was hashed to when it was checked ([`Login::stored`](super::accounts::Login::stored)).
    pub checked: Vec<u8>,
    /// With which program it was begun.
    pub agent: Option<String>,
    /// The hash of its first refresh token.
    pub token: [u8; 32],
    /// Now.
    pub created_at: Timestamp,
    /// Unless it is refreshed, it ends then.
    pub expires_at: Timestamp,
}

/// What a refresh token was good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// It is used now, and the next one stands in its place. Of this session, as it is from now on.
    Yes(Session),
    /// It had been used before, or its session is over. Of this session.
    Again(Uuid),
    /// It is good, but not while its organisation is deactivated: it was not used.
    Deactivated,
    /// It never was one.
    Unknown,
}

/// A key that signs access tokens, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// Its name in tokens.
    pub kid: String,
    /// The Ed25519 key.
    pub public: [u8; 32],
    /// Since when it is published.
    pub created_at: Timestamp,
    /// Since when nothing that it signed holds.
    pub retired_at: Option<Timestamp>,
}

/// What the vault keeps of sessions.
#[async_trait]
pub trait SessionStore {
    /// Stores a session and its first refresh token; false, and nothing stored, when the account has another password by now, or is
    /// deactivated: who changes either ends every session, and none that is being begun meanwhile escapes.
    async fn insert_session(&self, new: &NewSession) -> Result<bool, Error>;

    /// A session, ended ones included.
    async fn session(&self, id: Uuid) -> Result<Option<Session>, Error>;

    /// An account's sessions that go on at `now`, newest first.
    async fn sessions(&self, account: Uuid, now: Timestamp) -> Result<Vec<Seen>, Error>;

    /// Uses a refresh token of an active organisation's: once, however many try at once. A session that goes on then goes on until
    /// `expires_at`.
    async fn refresh(&self, token: [u8; 32], next: [u8; 32], now: Timestamp, expires_at: Timestamp) -> Result<Refreshed, Error>;

    /// Ends a session of an account; false when there is none that goes on.
    async fn end_session(&self, account: Uuid, id: Uuid, now: Timestamp) -> Result<bool, Error>;

    /// Forgets sessions that ended or expired before this. Answers how many.
    async fn forget_sessions(&self, before: Timestamp) -> Result<u64, Error>;

    /// The keys that sign access tokens, or did, oldest first.
    async fn token_keys(&self) -> Result<Vec<TokenKey>, Error>;

    /// A signing key by its name.
    async fn token_signing_key(&self, kid: &str) -> Result<Option<SigningKey>, Error>;

    /// Makes one more key, unless there is one made after `unless_since` that is not retired.
    async fn add_token_key(&self, unless_since: Timestamp, now: Timestamp) -> Result<(), Error>;

    /// Nothing that a key made before `now` signed holds any longer, and what follows is signed by another one, which this makes.
    async fn replace_token_keys(&self, now: Timestamp) -> Result<(), Error>;

    /// Forgets keys made before this, but never the newest.
    async fn forget_token_keys(&self, before: Timestamp) -> Result<(), Error>;
}
