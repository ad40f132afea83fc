//! The audit log's facts: what was verified, who opened what is sealed, who came and who was refused, what was administered.
//!
//! They never hold presented content, a secret or a password. The caller's address and user agent stand, sealed, in the
//! metadata's `details`.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use uuid::Uuid;

use super::{DecodeError, Payload, Recorded, upcast};
use crate::sealing::Sealed;
use crate::{Timestamp, codec};

/// How a credential was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresentedBy {
    /// By its id.
    Id,
    /// By its digest.
    Digest,
    /// As a whole document.
    Document,
    /// As a secret.
    Secret,
}

/// The verdict's true cause, for auditors: outside, an unknown credential and a wrong detail look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was found and the status is its own.
    Found,
    /// No such credential.
    Unknown,
    /// It exists, but a presented holder detail is not its subject's.
    Mismatch,
    /// A document names it but is not its document, or is, with a proof that does not hold.
    Tampered,
    /// It was found, but its subject has been erased. The status says so to whoever presented its document or digest alone.
    Erased,
}

/// A verdict was given. Stream `verification/<uuid>`, always a fresh one. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialVerified {
    /// The time judged.
    pub as_of: Timestamp,
    /// Why the status is what it is.
    pub cause: Cause,
    /// The status answered, as in the API.
    pub status: String,
    /// The ledger position judged at; absent while the ledger is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The credential, if one was found, even when the answer did not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Uuid>,
    /// How it was presented.
    pub presented_by: PresentedBy,
}

/// Sealed fields were opened for a caller. Stream `access/<uuid>`, one a request. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalDataRead {
    /// The route's template or the command, such as `GET /v1/credentials/{id}`.
    pub via: String,
    /// The one thing read, if it was one: a stream's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
}

/// A known caller was refused. Stream `access/<uuid>`. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRefused {
    /// The route's template, such as `POST /v1/credentials`.
    pub via: String,
    /// The problem's name, such as `forbidden`.
    pub problem: String,
}

/// An API key was made. Stream `key/<uuid>`. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCreated {
    /// What its holder may do: names of roles, the least first.
    pub roles: Vec<String>,
    /// The only types of credentials that it issues and changes; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// The issuer it acts for.
    pub issuer: Uuid,
    /// From when on it holds no longer; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// [`KeyCreated`] in schema 1, which is read and no longer written. Limits of the key are told by a [`KeyLimited`] after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCreated1 {
    /// Names of roles, with spaces between; or the one role of a key that was made when each had one.
    pub role: String,
    /// The issuer it acts for.
    pub issuer: Uuid,
}

impl Payload for KeyCreated1 {
    const TYPE: &'static str = KeyCreated::TYPE;
}

/// Who was an admin or an auditor of everything stays that under the roles' new names, as in the vault, whose fourth migration does the
/// same. A key of these roles alone that was made later, for one organisation, is told as more than it is by this: its row in the vault
/// says what it may.
impl From<KeyCreated1> for KeyCreated {
    fn from(before: KeyCreated1) -> KeyCreated {
        let roles = match before.role.as_str() {
            "admin" => vec!["operator".to_owned()],
            "auditor" => vec!["inspector".to_owned()],
            several => several.split_ascii_whitespace().map(str::to_owned).collect(),
        };
        KeyCreated { roles, types: None, issuer: before.issuer, expires_at: None }
    }
}

/// An API key holds no longer. Stream `key/<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRevoked {}

/// A key just made does not hold for everything, or not for ever. No longer written: [`KeyCreated`] tells it. Stream `key/<uuid>`. In
/// encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLimited {
    /// The only types of credentials that it issues and changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// From when on it holds no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Another API key takes a key's place. Stream `key/<uuid>` of the one replaced. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyReplaced {
    /// Until when it still holds, at the longest.
    pub expires_at: Timestamp,
    /// The other key's id.
    pub replaced_by: Uuid,
}

/// An account was made. Stream `account/<uuid>`. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountRegistered {
    /// What its owner may do: names of roles, with spaces between.
    pub roles: String,
    /// The organisation it belongs to.
    pub issuer: Uuid,
}

/// What an account tells of its owner is about to change. Stream `account/<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileChanged {}

/// An account's password is about to change, and its other sessions to end. Stream `account/<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordChanged {}

/// What an account's owner may do is about to change. Stream `account/<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolesChanged {
    /// From now on: names of roles, with spaces between.
    pub roles: String,
}

/// Nobody may log in to an account any longer, and its sessions are over. Stream `account/<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountDeactivated {}

/// An account is its owner's again. Stream `account/<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountActivated {}

/// Somebody logged in. Stream `session/<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionStarted {
    /// The account.
    pub account: Uuid,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// Its owner, within it.
    Logout,
    /// Its owner, from another session.
    Owner,
    /// A refresh token that had been used before.
    Reuse,
}

/// A session is over. Stream `session/<uuid>`. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionEnded {
    /// Why.
    pub cause: EndedBy,
    /// The account.
    pub account: Uuid,
}

/// Why somebody was not logged in, for auditors: outside, an unknown account and a wrong password look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedBy {
    /// No such account.
    Unknown,
    /// A wrong password.
    Password,
    /// The account, or its organisation, is deactivated.
    Inactive,
}

/// Somebody was not logged in. Stream `access/<uuid>`. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginFailed {
    /// Why.
    pub cause: FailedBy,
    /// A keyed hash of what was given for a username or an address: people type passwords there.
    pub identifier: ByteArray<32>,
}

/// What an organisation tells of itself, or whether it is active, is about to change. Stream `issuer/<uuid>`. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerChanged {
    /// Its web site, from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether its accounts and keys may do anything, from now on.
    pub is_active: bool,
    /// What it is called, from now on, besides its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// No access token signed until now holds any longer. Stream `key/<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKeysReplaced {}

/// An issuer's signing key was rotated, on the order of whoever the metadata names. Stream `issuer/<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKeyRotated {
    /// The new key's `did:key`.
    pub did: String,
}

/// The key that a log signs its checkpoints with was rotated, or was about to be, on the order of whoever the metadata names. Stream
/// `key/<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogKeyRotated {
    /// The log's name.
    pub log: String,
}

/// The vault's master key is about to be replaced by another, on the order of whoever the metadata names. Stream `key/<uuid>`. In
/// encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MasterKeyRotated {
    /// The new key's fingerprint.
    pub to: String,
    /// The old key's.
    pub from: String,
}

/// A backup of the vault has been written but for its end, without which nobody restores it. Stream `vault/<uuid>`. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultBackedUp {
    /// Until when the backup may be restored.
    pub valid_until: Timestamp,
}

/// The vault was restored from a backup. Stream `vault/<uuid>`. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultRestored {
    /// How many subjects of the backup were left out because they have been erased since.
    pub erased: u64,
    /// When the backup was made.
    pub made_at: Timestamp,
}

/// A read model is being built anew. Stream `rebuild/<uuid>`. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildStarted {
    /// The generation being built.
    pub generation: u64,
    /// The projection's name.
    pub projection: String,
}

/// A read model built anew serves from now on. Stream `rebuild/<uuid>`. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildFinished {
    /// Whether it equalled the model it replaced; absent when they could not be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal: Option<bool>,
    /// The generation that serves now.
    pub generation: u64,
    /// The projection's name.
    pub projection: String,
}

/// The details of whole months are about to become unreadable, for good: the months' keys go, and none of them gets another. There is one
/// stream of these, [`Stream::retention`](crate::Stream::retention): together they tell all months that went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditDetailsShredded {
    /// The months, such as `2026-01`, earliest first.
    pub months: Vec<String>,
}

/// Subjects of an organisation were to be erased, on the order of whoever the metadata names. Stream `erasure/<uuid>`. In encoded-key order.
///
/// Whether they were, the ledger tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureOrdered {
    /// The organisation's id.
    pub issuer: Uuid,
    /// Why, in the words of whoever ordered it; under the month's key.
    pub reason: Sealed,
    /// The subjects' ids.
    pub subjects: Vec<Uuid>,
}

macro_rules! payloads {
    ($($(#[$doc:meta])* $name:ident $(from $before:ident)?),+ $(,)?) => {
        $(impl Payload for $name {
            const TYPE: &'static str = stringify!($name);
            $(
                const SCHEMA: u16 = $before::SCHEMA + 1;

                fn older(schema: u16, payload: &[u8]) -> Option<Result<$name, codec::Malformed>> {
                    upcast::<$before, $name>(schema, payload)
                }
            )?
        })+

        /// Any event of the audit log.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum AuditEvent {
            $($(#[$doc])* $name($name)),+
        }

        impl AuditEvent {
            /// Decodes an event of the audit log.
            ///
            /// # Errors
            /// This program does not know the event.
            pub fn decode(event: &Recorded) -> Result<AuditEvent, DecodeError> {
                match event.kind.as_str() {
                    $($name::TYPE => Ok(AuditEvent::$name(event.payload()?)),)+
                    _ => Err(event.unknown_type()),
                }
            }
        }
    };
}

payloads! {
    /// See [`CredentialVerified`].
    CredentialVerified,
    /// See [`PersonalDataRead`].
    PersonalDataRead,
    /// See [`AccessRefused`].
    AccessRefused,
    /// See [`KeyCreated`].
    KeyCreated from KeyCreated1,
    /// See [`KeyRevoked`].
    KeyRevoked,
    /// See [`SigningKeyRotated`].
    SigningKeyRotated,
    /// See [`LogKeyRotated`].
    LogKeyRotated,
    /// See [`KeyLimited`].
    KeyLimited,
    /// See [`KeyReplaced`].
    KeyReplaced,
    /// See [`AccountRegistered`].
    AccountRegistered,
    /// See [`ProfileChanged`].
    ProfileChanged,
    /// See [`PasswordChanged`].
    PasswordChanged,
    /// See [`RolesChanged`].
    RolesChanged,
    /// See [`AccountDeactivated`].
    AccountDeactivated,
    /// See [`AccountActivated`].
    AccountActivated,
    /// See [`SessionStarted`].
    SessionStarted,
    /// See [`SessionEnded`].
    SessionEnded,
    /// See [`LoginFailed`].
    LoginFailed,
    /// See [`IssuerChanged`].
    IssuerChanged,
    /// See [`TokenKeysReplaced`].
    TokenKeysReplaced,
    /// See [`MasterKeyRotated`].
    MasterKeyRotated,
    /// See [`VaultBackedUp`].
    VaultBackedUp,
    /// See [`VaultRestored`].
    VaultRestored,
    /// See [`ErasureOrdered`].
    ErasureOrdered,
    /// See [`RebuildStarted`].
    RebuildStarted,
    /// See [`RebuildFinished`].
    RebuildFinished,
    /// See [`AuditDetailsShredded`].
    AuditDetailsShredded,
}
