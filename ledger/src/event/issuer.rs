//! Issuers: the organisations in whose name credentials are issued. Stream `issuer/<uuid>`, ledger log.

use serde::{Deserialize, Serialize};

use super::{DecodeError, Payload, Recorded};

/// An organisation may issue from now on. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerRegistered {
    /// The `did:key` of the issuer's Ed25519 key.
    pub did: String,
    /// Its name, unique in the ledger.
    pub name: String,
}

impl Payload for IssuerRegistered {
    const TYPE: &'static str = "IssuerRegistered";
}

/// Any event of an issuer's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerEvent {
    /// See [`IssuerRegistered`].
    Registered(IssuerRegistered),
}

impl IssuerEvent {
    /// Decodes an event of the category `issuer`.
    ///
    /// # Errors
    /// This program does not know the event.
    pub fn decode(event: &Recorded) -> Result<IssuerEvent, DecodeError> {
        match event.kind.as_str() {
            IssuerRegistered::TYPE => Ok(IssuerEvent::Registered(event.payload()?)),
            _ => Err(event.unknown_type()),
        }
    }
}
