//! The vault: what must be forgettable or secret. Mutable, durable, and never part of a log.
//!
//! It holds subjects and their sealing keys, issuers' signing and sealing keys, the logs' signing keys, month keys, API keys
//! and refresh tokens (hashed), accounts and their sessions, the keys for look-ups, and the workers' heartbeats. Every secret in it is wrapped by the master key, which lives outside; what is only
//! compared is hashed.
//!
//! [`Vault`] is what an engine must be, and the suite in `vault/contract.rs` holds every engine to it. What the engines share
//! lies beside it: [`master_key`], [`rows`] (secrets made, wrapped and unwrapped), [`api_key`]; [`copy`] moves a whole vault. In front of
//! any engine stands [`subjects`]: one durable commit for the new subjects of many callers.

pub mod accounts;
pub mod api_key;
pub mod backup;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod copy;
pub mod erasures;
pub mod issuers;
pub mod log_keys;
pub mod master_key;
pub mod postgres;
pub mod role;
pub mod rotation;
pub mod rows;
pub mod sessions;
pub mod sqlite;
pub mod subjects;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use self::accounts::{Account, Accounts};
pub use self::api_key::{ApiKey, Terms, Wanted};
pub use self::erasures::Erasures;
pub use self::issuers::{Organisation, Organisations};
pub use self::log_keys::LogKeys;
pub use self::master_key::{Fingerprint, MasterKey};
pub use self::role::{Role, Roles, UnknownRole};
pub use self::rotation::Rotations;
pub use self::sessions::{Session, SessionStore};
use crate::Timestamp;
use crate::sealing::{KeyId, SealingKey};
use crate::signing::SigningKey;
use crate::store::Error;

/// Why a vault did not open. Nothing was written then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The vault was made with another master key.
    #[error("the master key does not open this vault")]
    WrongMasterKey,
    /// The vault was given another master key since, or is being given it.
    #[error("the vault's master key is {0} by now")]
    OtherMasterKey(Fingerprint),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

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

    /// Whoever an identity provider calls `subject`: a UUID of version 8. It is always the same, and without this key nobody can tell
    /// whom it stands for.
    #[must_use]
    pub fn external(&self, provider: &str, subject: &str) -> Uuid {
        let mac = mac(&self.subjects, &[b"external", provider.as_bytes(), subject.as_bytes()]);
        uuid::Builder::from_custom_bytes(std::array::from_fn(|at| mac[at])).into_uuid()
    }

    /// An account's username or e-mail address, in lower case. They share one room: no username has an `@`.
    #[must_use]
    pub fn account(&self, identifier: &str) -> Reference {
        mac(&self.subjects, &[b"account", identifier.as_bytes()])
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

/// What lies beneath the [`Error::Failed`] of whoever asks for the key of a month that must not have one any more. It was not asked for by
/// a clock that goes right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key of {0} was destroyed, and there is no other: is the clock right?")]
pub struct MonthForgotten(pub String);

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
    /// False where the row's commit did not wait for the disk: it is durable with the next commit of its server that does. An
    /// append that relies on it says so ([`Append::relies_on`](crate::log::Append::relies_on)).
    pub is_durable: bool,
}

/// An issuer's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its id, a UUID of version 7.
    pub id: Uuid,
    /// Its name, unique.
    pub name: String,
    /// The `did:key` of its current signing key.
    pub did: String,
    /// Whether anybody may act for it.
    pub is_active: bool,
}

/// One of an issuer's signing keys, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerKey {
    /// Its `did:key`.
    pub did: String,
    /// Whether it signs what is issued now.
    pub state: KeyState,
}

/// A signing key goes through these in order and never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Made, and not used yet.
    Pending,
    /// What is issued now is issued under its did.
    Current,
    /// Signs what was issued under its did, and nothing else.
    Retired,
}

impl KeyState {
    /// From how many keys were made after the current one, up to this one.
    #[must_use]
    pub fn at(place: i64) -> KeyState {
        match place {
            ..0 => KeyState::Retired,
            0 => KeyState::Current,
            1.. => KeyState::Pending,
        }
    }

    /// As it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Pending => "pending",
            KeyState::Current => "current",
            KeyState::Retired => "retired",
        }
    }
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
    /// The master keys that it has at hand; the one that it wraps by comes first. None of an older program.
    pub master_keys: Vec<Fingerprint>,
}

/// Held while one process goes through the first start; dropping it lets the next one in. The system takes it back from a
/// process that is killed.
#[must_use]
pub struct FirstStart(#[expect(dead_code, reason = "kept for its drop")] Box<dyn Send + Sync>);

impl FirstStart {
    /// `lock` gives the lock back when it is dropped.
    pub fn holding(lock: impl Send + Sync + 'static) -> FirstStart {
        FirstStart(Box::new(lock))
    }
}

/// A worker's master keys as they are stored.
fn fingerprints_to_text(fingerprints: &[Fingerprint]) -> String {
    fingerprints.iter().map(Fingerprint::to_string).collect::<Vec<_>>().join(" ")
}

/// The same read; what an older program left out are none.
fn fingerprints_from_text(text: Option<&str>) -> Result<Vec<Fingerprint>, master_key::MalformedFingerprint> {
    text.unwrap_or_default().split_ascii_whitespace().map(str::parse).collect()
}

impl From<master_key::ring::NotAtHand> for OpenError {
    fn from(missing: master_key::ring::NotAtHand) -> OpenError {
        match missing {
            master_key::ring::NotAtHand::Unknown => OpenError::WrongMasterKey,
            master_key::ring::NotAtHand::Named(fingerprint) => OpenError::OtherMasterKey(fingerprint),
        }
    }
}

impl fmt::Debug for FirstStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirstStart(…)")
    }
}

/// How long one waits for another process's first start, migrations included.
pub const FIRST_START_WAIT: Duration = Duration::from_secs(60);

/// An engine that keeps the vault. Times are handed in: the vault has no clock.
///
/// Opening a vault that is not there makes it, with look-up keys and origin of its own; racing processes agree on one. Opening
/// it with another master key fails ([`OpenError::WrongMasterKey`]) before anything is written, migrations included. What an
/// engine stores of a secret comes from a [`rows::Keyring`]; before it wraps or opens one it makes sure that the keyring's
/// [`Ring`](master_key::Ring) is current.
///
/// What a call answered, having made or changed it, is durable.
#[async_trait]
pub trait Vault: LogKeys + Accounts + SessionStore + Organisations + Erasures + Rotations + Send + Sync + 'static {
    /// The look-up keys, read once when the vault was opened.
    fn lookup(&self) -> &LookupKeys;

    /// The origin's base (host and optional path), fixed when the vault was created.
    fn origin_base(&self) -> &str;

    /// Waits until no other process is in its first start (default issuer, administrator's key), at most
    /// [`FIRST_START_WAIT`], then [`Error::Busy`]. Whoever holds the guard looks first whether the work has been done.
    ///
    /// The lock belongs to the holder's life: on SQLite a lock on a file of the folder, on PostgreSQL an advisory lock held by a
    /// connection of its own, which is closed, never given back to a pool, when the guard is dropped.
    async fn first_start(&self) -> Result<FirstStart, Error>;

    /// The subjects of these references, in the order given, which may name one twice; those that are new are made, with ids of the time `now`. One
    /// commit for all of them, durable unless the answer says otherwise ([`Subject::is_durable`]); racing calls, here or in another process, agree on one row.
    async fn subjects(&self, wanted: &[SubjectRefs], now: Timestamp) -> Result<Vec<Subject>, Error>;

    /// All subjects with one of these names and one of these e-mail references, as far as they are given, each with its issuer, in no
    /// particular order. A reference is one issuer's, so those of several are asked for at once; of names and addresses both, in the same
    /// order. To give neither finds none.
    async fn find_subjects(&self, names: Option<&[Reference]>, emails: Option<&[Reference]>) -> Result<Vec<(Uuid, Uuid)>, Error>;

    /// Subjects' references, in the order asked for; `None` for one that is not there (any more). Reads the reference columns only.
    async fn subject_refs(&self, ids: &[Uuid]) -> Result<Vec<Option<SubjectRefs>>, Error>;

    /// The sealing keys that still exist, of those asked for.
    async fn open_keys(&self, ids: &[KeyId]) -> Result<HashMap<KeyId, SealingKey>, Error>;

    /// The key of a calendar month (`2026-11`), made if there is none. A month whose key was destroyed gets no other: that is an error
    /// ([`MonthForgotten`]).
    async fn month_key(&self, month: &str) -> Result<SealingKey, Error>;

    /// The months that have a key, earliest first.
    async fn months(&self) -> Result<Vec<String>, Error>;

    /// Destroys the keys of these months, which never get another, whether they had one or not: nobody opens what is sealed under them.
    async fn forget_months(&self, months: &[String]) -> Result<(), Error>;

    /// The issuer of that name, made with a fresh signing and sealing key if there is none.
    async fn ensure_issuer(&self, name: &str, now: Timestamp) -> Result<Issuer, Error>;

    /// The signing key of this did, whoever's and in whichever state; `None` if there is none.
    async fn signing_key(&self, did: &str) -> Result<Option<SigningKey>, Error>;

    /// The did of the signing key that an issuer uses next: made if there is none, and one however many ask at once. `None` if there is
    /// no such issuer.
    async fn next_issuer_key(&self, issuer: Uuid) -> Result<Option<String>, Error>;

    /// Makes a pending signing key of an issuer the current one, and the one before a retired one. Any other did changes nothing.
    async fn use_issuer_key(&self, issuer: Uuid, did: &str) -> Result<(), Error>;

    /// An issuer's signing keys, oldest first.
    async fn issuer_keys(&self, issuer: Uuid) -> Result<Vec<IssuerKey>, Error>;

    /// The issuer of that name; `None` if there is none.
    async fn find_issuer(&self, name: &str) -> Result<Option<Issuer>, Error>;

    /// All issuers, oldest first.
    async fn issuers(&self) -> Result<Vec<Issuer>, Error>;

    /// An issuer's sealing key, for the reasons of its secret credentials.
    async fn issuer_key(&self, id: Uuid) -> Result<Option<SealingKey>, Error>;

    /// Makes an API key; the text is shown once and kept as a hash only ([`api_key`]).
    async fn create_key(&self, terms: &Terms, now: Timestamp) -> Result<(ApiKey, Zeroizing<String>), Error>;

    /// The key with this text, those that hold no longer included.
    async fn find_key(&self, text: &str) -> Result<Option<ApiKey>, Error>;

    /// The key with this id, those that hold no longer included.
    async fn key(&self, id: Uuid) -> Result<Option<ApiKey>, Error>;

    /// All keys, oldest first, those that hold no longer included.
    async fn keys(&self) -> Result<Vec<ApiKey>, Error>;

    /// Some keys, newest first, those that hold no longer included.
    async fn select_keys(&self, wanted: &Wanted) -> Result<Vec<ApiKey>, Error>;

    /// Revokes a key; answers it as it is now, `None` if there is none. A key revoked before keeps its time.
    async fn revoke_key(&self, id: Uuid, now: Timestamp) -> Result<Option<ApiKey>, Error>;

    /// Lets a key hold no longer than until then. One that expires earlier keeps its time.
    async fn expire_key(&self, id: Uuid, at: Timestamp) -> Result<Option<ApiKey>, Error>;

    /// Notes when keys were last used, to the minute ([`api_key::to_the_minute`]). The latest time given stays; ids that name no
    /// key are passed over.
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

    #[test]
    fn somebody_known_elsewhere_has_one_id_here_which_only_the_key_can_make() {
        let (keys, other) = (LookupKeys::from_bytes(&[1; 96]), LookupKeys::from_bytes(&[2; 96]));
        let id = keys.external("https://id.example", "ada");
        assert_eq!((id, id.get_version_num()), (keys.external("https://id.example", "ada"), 8));
        for another in [
            keys.external("https://id.example", "bob"),
            keys.external("https://id.examplea", "da"),
            other.external("https://id.example", "ada"),
        ] {
            assert_ne!(id, another);
        }
    }
}
