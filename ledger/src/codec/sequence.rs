//! A log as a file: a CBOR sequence (RFC 8742) that holds exactly what is stored. **Permanent**: docs/FORMAT.md describes it.
//!
//! First the map `{log, from, origin}`, then one map an event, in position order; all deterministically encoded. Whoever has it and
//! the chain hash before its first event can check every hash in it without this program.

use serde::Serialize;
use serde_bytes::Bytes;

use crate::chain::Origin;
use crate::event::Recorded;
use crate::{LogName, Position};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::check;
    use crate::event::issuer::IssuerRegistered;
    use crate::event::{New, Origination};
    use crate::random::SystemRandom;
    use crate::{Stream, Timestamp, Version};

    #[test]
    fn every_item_of_a_sequence_is_deterministic() {
        let origin = Origin::new("ledger.example", &LogName::LEDGER);
        let metadata = Origination::system("worker").metadata(&SystemRandom);
        let new = New::of(&IssuerRegistered { did: "did:key:z6Mk".to_owned(), name: "default".to_owned() }, &metadata);
        let stream = Stream::issuer(uuid::Uuid::from_u128(1));
        let event = Recorded::place(&new, &stream, Position::FIRST, Version::FIRST, Timestamp::MAX, origin.genesis());
        assert_eq!(check(&start(&LogName::LEDGER, Position::FIRST, &origin)), Ok(()));
        assert_eq!(check(&item(&event)), Ok(()));
    }
}
