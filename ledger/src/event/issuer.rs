//! Issuers: the organisations in whose name credentials are issued. Stream `issuer/<uuid>`, ledger log.

use serde::{Deserialize, Serialize};

use super::{DecodeError, Metadata, New, Payload, Recorded};

/// An organisation may issue from now on. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerRegistered {
    /// The `did:key` of the issuer's first signing key, Ed25519.
    pub did: String,
    /// Its name, unique in the ledger.
    pub name: String,
}

/// What an issuer issues from now on is issued under another `did:key`. What was issued under the ones before stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerKeyRotated {
    /// The `did:key` of the issuer's new signing key, Ed25519.
    pub did: String,
}

impl Payload for IssuerRegistered {
    const TYPE: &'static str = "IssuerRegistered";
}

impl Payload for IssuerKeyRotated {
    const TYPE: &'static str = "IssuerKeyRotated";
}

/// Any event of an issuer's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerEvent {
    /// See [`IssuerRegistered`].
    Registered(IssuerRegistered),
    /// See [`IssuerKeyRotated`].
    KeyRotated(IssuerKeyRotated),
}

impl IssuerEvent {
    /// Decodes an event of the category `issuer`.
    ///
    /// # Errors
    /// This program does not know the event.
    pub fn decode(event: &Recorded) -> Result<IssuerEvent, DecodeError> {
        match event.kind.as_str() {
            IssuerRegistered::TYPE => Ok(IssuerEvent::Registered(event.payload()?)),
            IssuerKeyRotated::TYPE => Ok(IssuerEvent::KeyRotated(event.payload()?)),
            _ => Err(event.unknown_type()),
        }
    }

    /// Encodes it, ready to be appended.
    #[must_use]
    pub fn encode(&self, metadata: &Metadata) -> New {
        match self {
            IssuerEvent::Registered(payload) => New::of(payload, metadata),
            IssuerEvent::KeyRotated(payload) => New::of(payload, metadata),
        }
    }

    /// The did under which the issuer issues from this event on.
    #[must_use]
    pub fn did(&self) -> &str {
        match self {
            IssuerEvent::Registered(IssuerRegistered { did, .. }) | IssuerEvent::KeyRotated(IssuerKeyRotated { did }) => did,
        }
    }
}
