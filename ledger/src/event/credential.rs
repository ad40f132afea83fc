//! Credentials: issued, suspended, reinstated, revoked. Stream `credential/<uuid>`, ledger log.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use uuid::Uuid;

use super::{DecodeError, Metadata, New, Payload, Recorded};
use crate::Timestamp;
use crate::sealing::Sealed;

/// A credential exists from now on. In encoded-key order.
///
/// With a subject, `digest` is the BLAKE3 hash of the document's canonical JSON, and `document` and `subject_id` are there.
/// Of a secret credential nothing is kept but `digest`, the secret's HMAC-SHA256 under the vault's key for secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialIssued {
    /// What kind of credential, in the issuer's words.
    #[serde(rename = "type")]
    pub credential_type: String,
    /// What it is looked up by.
    pub digest: ByteArray<32>,
    /// The issuer's id.
    pub issuer: Uuid,
    /// The holder's document, as canonical JSON under the subject's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Sealed>,
    /// Whom it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_id: Option<Uuid>,
    /// It is not valid before this; absent: from when it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// It is not valid from this on; absent: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// A credential does not count for the time being.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSuspended {
    /// Why, in the words of whoever did it; sealed like the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Sealed>,
}

/// A suspended credential counts again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialReinstated {
    /// Why, in the words of whoever did it; sealed like the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Sealed>,
}

/// A credential does not count any more, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialRevoked {
    /// Why, in the words of whoever did it; sealed like the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Sealed>,
}

impl Payload for CredentialIssued {
    const TYPE: &'static str = "CredentialIssued";
}
impl Payload for CredentialSuspended {
    const TYPE: &'static str = "CredentialSuspended";
}
impl Payload for CredentialReinstated {
    const TYPE: &'static str = "CredentialReinstated";
}
impl Payload for CredentialRevoked {
    const TYPE: &'static str = "CredentialRevoked";
}

/// Any event of a credential's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialEvent {
    /// See [`CredentialIssued`].
    Issued(CredentialIssued),
    /// See [`CredentialSuspended`].
    Suspended(CredentialSuspended),
    /// See [`CredentialReinstated`].
    Reinstated(CredentialReinstated),
    /// See [`CredentialRevoked`].
    Revoked(CredentialRevoked),
}

impl CredentialEvent {
    /// Decodes an event of the category `credential`.
    ///
    /// # Errors
    /// This program does not know the event.
    pub fn decode(event: &Recorded) -> Result<CredentialEvent, DecodeError> {
        match event.kind.as_str() {
            CredentialIssued::TYPE => Ok(CredentialEvent::Issued(event.payload()?)),
            CredentialSuspended::TYPE => Ok(CredentialEvent::Suspended(event.payload()?)),
            CredentialReinstated::TYPE => Ok(CredentialEvent::Reinstated(event.payload()?)),
            CredentialRevoked::TYPE => Ok(CredentialEvent::Revoked(event.payload()?)),
            _ => Err(event.unknown_type()),
        }
    }

    /// Encodes it, ready to be appended.
    #[must_use]
    pub fn encode(&self, metadata: &Metadata) -> New {
        match self {
            CredentialEvent::Issued(payload) => New::of(payload, metadata),
            CredentialEvent::Suspended(payload) => New::of(payload, metadata),
            CredentialEvent::Reinstated(payload) => New::of(payload, metadata),
            CredentialEvent::Revoked(payload) => New::of(payload, metadata),
        }
    }

    /// The event's type.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            CredentialEvent::Issued(_) => CredentialIssued::TYPE,
            CredentialEvent::Suspended(_) => CredentialSuspended::TYPE,
            CredentialEvent::Reinstated(_) => CredentialReinstated::TYPE,
            CredentialEvent::Revoked(_) => CredentialRevoked::TYPE,
        }
    }

    /// What is sealed in it, if anything, with the name of its field.
    #[must_use]
    pub fn sealed(&self) -> Option<(&'static str, &Sealed)> {
        match self {
            CredentialEvent::Issued(CredentialIssued { document, .. }) => document.as_ref().map(|sealed| ("document", sealed)),
            CredentialEvent::Suspended(CredentialSuspended { reason })
            | CredentialEvent::Reinstated(CredentialReinstated { reason })
            | CredentialEvent::Revoked(CredentialRevoked { reason }) => reason.as_ref().map(|sealed| ("reason", sealed)),
        }
    }
}
