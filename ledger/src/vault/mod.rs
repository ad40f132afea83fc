//! The vault: what must be forgettable or secret. Mutable, durable, and never part of a log.
//!
//! It holds subjects and their sealing keys, issuers' signing and sealing keys, month keys, API keys (hashed), the keys for
//! look-ups, and the workers' heartbeats. Every secret in it is wrapped by the master key, which lives outside; what is only
//! compared is hashed.

pub mod master_key;
pub mod postgres;
pub mod sqlite;

use std::collections::HashMap;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Timestamp;
use crate::sealing::{KeyId, SealingKey};
use crate::store::Error;

/// An HMAC-SHA256 under one of the vault's look-up keys.
pub type Reference = [u8; 32];

/// The keys under which things are looked up that must not be kept in clear. Made once, never rotated.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct LookupKeys {
    subjects: [u8; 32],
    secrets: [u8; 32],
    idempotency: [u8; 32],
}

impl LookupKeys {
    /// From the vault's unwrapped bytes: three keys, one after the other.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 96]) -> LookupKeys {
        let part = |at: usize| std::array::from_fn(|i| bytes[at * 32 + i]);
        LookupKeys { subjects: part(0), secrets: part(1), idempotency: part(2) }
    }

    /// A subject's name, in normal form, at an issuer.
    #[must_use]
    pub fn name(&self, issuer: Uuid, name: &str) -> Reference {
        mac(&self.subjects, &[b"name", issuer.as_bytes(), name.as_bytes()])
    }

    /// A subject's e-mail address, in normal form, at an issuer.
    #[must_use]
    pub fn email(&self, issuer: Uuid, email: &str) -> Reference {
        mac(&self.subjects, &[b"email", issuer.as_bytes(), email.as_bytes()])
    }

    /// A secret credential's digest at an issuer: exactly HMAC-SHA256(key, secret), permanent.
    #[must_use]
    pub fn secret(&self, secret: &[u8]) -> Reference {
        mac_raw(&self.secrets, secret)
    }

    /// An idempotency key or a command, with its scope.
    #[must_use]
    pub fn idempotency(&self, parts: &[&[u8]]) -> Reference {
        mac(&self.idempotency, parts)
    }
}

/// HMAC over parts, each led by its length, so that no two lists of parts are the same bytes.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Reference {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    mac_raw(key, &bytes)
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn mac_raw(key: &[u8; 32], message: &[u8]) -> Reference {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Who a credential is about, as the vault knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectRefs {
    /// The issuer whose subject it is.
    pub issuer: Uuid,
    /// [`LookupKeys::name`].
    pub name: Reference,
    /// [`LookupKeys::email`].
    pub email: Reference,
}

/// A subject's row.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its id, a UUID of version 7.
    pub id: Uuid,
    /// Seals its documents and reasons.
    pub key: SealingKey,
}

/// An issuer's row. Its signing key stays in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its id, a UUID of version 7.
    pub id: Uuid,
    /// Its name, unique.
    pub name: String,
    /// The `did:key` of its Ed25519 key.
    pub did: String,
}

/// What a key's holder may do. An admin may do all that issuer and auditor may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Issues, changes and reads the credentials of its issuer.
    Issuer,
    /// Reads everything, changes nothing.
    Auditor,
    /// Everything.
    Admin,
}

impl Role {
    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Issuer => "issuer",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
        }
    }
}

/// A text that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected issuer, auditor or admin")]
pub struct UnknownRole;

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Role::Issuer, Role::Auditor, Role::Admin].into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// An API key's row. The key itself is known to its holder alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, a UUID of version 7; also its stream in the audit log.
    pub id: Uuid,
    /// What its holder may do.
    pub role: Role,
    /// The issuer it acts for.
    pub issuer: Uuid,
    /// For people to tell keys apart.
    pub name: Option<String>,
    /// The first characters of the key, to find it by.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// One start of one process.
    pub instance: Uuid,
    /// Its name: `CREDENCE_WORKER_ID` or the host's.
    pub name: String,
    /// `all`, `issuance`, `verification` or `projector`.
    pub role: String,
    /// The program's version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last said that it lives.
    pub last_seen_at: Timestamp,
    /// What it has applied, as `projection` → `ledger@42`, as a JSON object's text.
    pub cursors: String,
}

/// An engine that keeps the vault. Times are handed in: the vault has no clock.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// The look-up keys, read once when the vault was opened.
    fn lookup(&self) -> &LookupKeys;

    /// The origin's base (host and optional path), fixed when the vault was created.
    fn origin_base(&self) -> &str;

    /// The subjects of these references, in the order given; those that are new are made, with ids of the time `now`. One
    /// durable commit for all of them; racing calls, here or in another process, agree on one row.
    async fn subjects(&self, wanted: &[SubjectRefs], now: Timestamp) -> Result<Vec<Subject>, Error>;

    /// The ids of all subjects with this name or e-mail reference; at least one is given, all that are given must match.
    async fn find_subjects(&self, name: Option<Reference>, email: Option<Reference>) -> Result<Vec<Uuid>, Error>;

    /// A subject's references; `None` when it is not there (any more). Reads the reference columns only.
    async fn subject_refs(&self, id: Uuid) -> Result<Option<SubjectRefs>, Error>;

    /// The sealing keys that still exist, of those asked for.
    async fn open_keys(&self, ids: &[KeyId]) -> Result<HashMap<KeyId, SealingKey>, Error>;

    /// The key of a calendar month (`2026-11`), made if there is none.
    async fn month_key(&self, month: &str) -> Result<SealingKey, Error>;

    /// The issuer of that name, made with a fresh signing and sealing key if there is none.
    async fn ensure_issuer(&self, name: &str, now: Timestamp) -> Result<Issuer, Error>;

    /// All issuers, oldest first.
    async fn issuers(&self) -> Result<Vec<Issuer>, Error>;

    /// An issuer's sealing key, for the reasons of its secret credentials.
    async fn issuer_key(&self, id: Uuid) -> Result<Option<SealingKey>, Error>;

    /// Makes an API key; the text is shown once and kept as a hash only.
    async fn create_key(&self, role: Role, issuer: Uuid, name: Option<&str>, now: Timestamp) -> Result<(ApiKey, String), Error>;

    /// The key with this text, revoked ones included.
    async fn find_key(&self, text: &str) -> Result<Option<ApiKey>, Error>;

    /// All keys, oldest first, revoked ones included.
    async fn keys(&self) -> Result<Vec<ApiKey>, Error>;

    /// Revokes a key; answers it as it is now, `None` if there is none. A key revoked before keeps its time.
    async fn revoke_key(&self, id: Uuid, now: Timestamp) -> Result<Option<ApiKey>, Error>;

    /// Notes when keys were last used.
    async fn touch_keys(&self, used: &[(Uuid, Timestamp)]) -> Result<(), Error>;

    /// Says that a worker lives (inserts or updates its row), and forgets workers last seen before `forget_before`.
    async fn heartbeat(&self, worker: &Worker, forget_before: Timestamp) -> Result<(), Error>;

    /// Takes a worker's row away, when it stops.
    async fn goodbye(&self, instance: Uuid) -> Result<(), Error>;

    /// Workers seen at `since` or later, by name and start.
    async fn workers(&self, since: Timestamp) -> Result<Vec<Worker>, Error>;

    /// Whether the vault answers.
    async fn ping(&self) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_one_text_differ_by_issuer_and_kind() {
        let keys = LookupKeys::from_bytes(&std::array::from_fn(|at| u8::try_from(at).unwrap_or(0)));
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_ne!(keys.name(one, "a"), keys.name(other, "a"));
        assert_ne!(keys.name(one, "a"), keys.email(one, "a"));
        assert_ne!(keys.idempotency(&[b"ab", b"c"]), keys.idempotency(&[b"a", b"bc"]));
    }
}
