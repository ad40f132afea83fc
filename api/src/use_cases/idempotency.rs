//! A repeated request answers as the first did.
//!
//! What is stored are two HMACs under a key of the vault and a position: neither the caller's key nor the command can be read
//! back. The scope is principal, organisation and route, so that nobody meets another's keys. Only what appended is remembered.

use credence_ledger::event::credential::CredentialRevoked;
use credence_ledger::event::{Metadata, New, new_id};
use credence_ledger::log::{Append, Expected, Idempotency, Outcome, Refusal};
use credence_ledger::{Position, Stream, Version, json};
use serde_json::Value;
use uuid::Uuid;

use super::Error;
use crate::caller::Caller;
use crate::services::Services;

/// What the caller sent as `Idempotency-Key`: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

/// A text that is no idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 255 visible ASCII characters")]
pub struct MalformedKey;

impl std::str::FromStr for Key {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Key, MalformedKey> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (1..=255).contains(&text.len()) { Ok(Key(text.to_owned())) } else { Err(MalformedKey) }
    }
}

/// What goes into the append: `command` is the parsed command, so that another spelling of the same one is the same.
pub(super) fn remember(services: &Services, caller: &Caller, key: &Key, command: &Value) -> Idempotency {
    let lookup = services.vault.lookup();
    // Somebody known elsewhere may act for one organisation today and for another tomorrow.
    let issuer = caller.principal.as_ref().map_or(Uuid::nil(), |principal| principal.issuer);
    Idempotency {
        key: lookup.idempotency(&[b"key", caller.actor().as_bytes(), issuer.as_bytes(), caller.via.as_bytes(), key.0.as_bytes()]),
        command: lookup.idempotency(&[b"command", &json::canonical(command)]),
        kept: services.settings.idempotency_kept,
    }
}

/// Where the same command was done before under the same key, for one that can no longer be decided as it was then: after a
/// revocation, revoking is refused, yet its repeat is not.
///
/// The log alone knows, and tells only those who append. So this offers it an append that it can only refuse: one that goes on with
/// a stream which nobody has begun. Idempotency is judged before that.
pub(super) async fn done_before(
    services: &Services,
    idempotency: Option<Idempotency>,
    metadata: &Metadata,
) -> Result<Option<Position>, Error> {
    if idempotency.is_none() {
        return Ok(None);
    }
    let event = New::of(&CredentialRevoked { reason: None }, metadata);
    let nobodys = Stream::credential(new_id(&services.clock, &services.random));
    let offer = Append { idempotency, ..Append::to(nobodys, Expected::Exact(Version::FIRST), vec![event]) };
    match services.ledger()?.append(offer).await? {
        Outcome::Repeated(position) => Ok(Some(position)),
        Outcome::Refused(Refusal::IdempotencyKeyReused) => Err(Error::IdempotencyKeyReused),
        Outcome::Refused(_) => Ok(None),
        Outcome::Appended(_) => Err(Error::corrupt("a stream just named has events")),
    }
}
