//! A log as a file: a CBOR sequence (RFC 8742) that holds exactly what is stored. **Permanent**: docs/FORMAT.md describes it.
//!
//! First the map `{log, from, origin}`, then one map an event, in position order; all deterministically encoded. Whoever has it and
//! the chain hash before its first event can check every hash in it without this program.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf, Bytes};

use super::Malformed;
use crate::chain::{Hash, Origin};
use crate::event::Recorded;
use crate::{LogName, Position, Timestamp, Version};

/// In encoded-key order.
#[derive(Serialize)]
struct Start<'a> {
    log: &'a str,
    from: u64,
    origin: &'a str,
}

/// In encoded-key order.
#[derive(Serialize)]
struct Item<'a> {
    r#type: &'a str,
    schema: u16,
    stream: &'a str,
    payload: &'a Bytes,
    version: u64,
    metadata: &'a Bytes,
    position: u64,
    chain_hash: &'a Bytes,
    event_hash: &'a Bytes,
    recorded_at: u64,
}

/// The same as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    r#type: String,
    schema: u16,
    stream: String,
    payload: ByteBuf,
    version: u64,
    metadata: ByteBuf,
    position: u64,
    chain_hash: ByteArray<32>,
    event_hash: ByteArray<32>,
    recorded_at: u64,
}

/// Bytes that are no event's item.
#[derive(Debug, thiserror::Error)]
pub enum NoItem {
    /// They do not decode as one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// They do, but this program would write others for the same event.
    #[error("it is an event in other bytes than are written for it")]
    Otherwise,
}

/// The sequence's first item. `from` is the position asked for: the first event's own, unless events were filtered out.
#[must_use]
pub fn start(log: &LogName, from: Position, origin: &Origin) -> Vec<u8> {
    super::encode(&Start { log: log.as_str(), from: from.0, origin: origin.as_str() })
}

/// An event's item.
#[must_use]
pub fn item(event: &Recorded) -> Vec<u8> {
    super::encode(&Item {
        r#type: &event.kind,
        schema: event.schema,
        stream: event.stream.as_str(),
        payload: Bytes::new(&event.payload),
        version: event.version.0,
        metadata: Bytes::new(&event.metadata),
        position: event.position.0,
        chain_hash: Bytes::new(&event.chain_hash.0),
        event_hash: Bytes::new(&event.event_hash.0),
        recorded_at: event.recorded_at.as_micros(),
    })
}

/// The event of an item. Its hashes are as they stand there.
///
/// # Errors
/// The bytes are not exactly what [`item`] makes of any event.
pub fn event(bytes: &[u8]) -> Result<Recorded, NoItem> {
    let found: Found = super::decode(bytes)?;
    let event = Recorded {
        position: Position(found.position),
        stream: found.stream.parse().map_err(|_| NoItem::Otherwise)?,
        version: Version(found.version),
        kind: found.r#type,
        schema: found.schema,
        recorded_at: Timestamp::from_micros(found.recorded_at),
        metadata: found.metadata.into_vec().into(),
        payload: found.payload.into_vec().into(),
        event_hash: Hash(found.event_hash.into_array()),
        chain_hash: Hash(found.chain_hash.into_array()),
    };
    if item(&event) == bytes { Ok(event) } else { Err(NoItem::Otherwise) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;
    use crate::codec::check;
    use crate::event::issuer::IssuerRegistered;
    use crate::event::{New, Origination};
    use crate::random::SystemRandom;

    #[test]
    fn every_item_of_a_sequence_is_deterministic() {
        let origin = Origin::new("ledger.example", &LogName::LEDGER);
        let metadata = Origination::system("worker").metadata(&SystemRandom);
        let new = New::of(&IssuerRegistered { did: "did:key:z6Mk".to_owned(), name: "default".to_owned() }, &metadata);
        let stream = Stream::issuer(uuid::Uuid::from_u128(1));
        let event = Recorded::place(&new, &stream, Position::FIRST, Version::FIRST, Timestamp::MAX, origin.genesis());
        assert_eq!(check(&start(&LogName::LEDGER, Position::FIRST, &origin)), Ok(()));
        assert_eq!(check(&item(&event)), Ok(()));
        assert_eq!(super::event(&item(&event)).unwrap(), event);
        assert!(super::event(&start(&LogName::LEDGER, Position::FIRST, &origin)).is_err());
        // A time after the last that there is, which stands at the item's end, would be read as the last.
        let mut beyond = item(&event);
        let time = beyond.len() - 8;
        beyond[time..].copy_from_slice(&(Timestamp::MAX.as_micros() + 1).to_be_bytes());
        assert_eq!(check(&beyond), Ok(()));
        assert!(matches!(super::event(&beyond), Err(NoItem::Otherwise)));
    }
}
