//! The facts. Past tense, never changed, each with a type and a schema version of its own.
//!
//! [`New`] is a fact that waits to be appended: encoded and sealed, without a place. [`Recorded`] is a fact as a log holds it.
//! The families are [`issuer`], [`credential`] and [`subject`] (ledger log) and [`audit`] (audit log). Payloads are **permanent**: their
//! fields stand in encoded-key order (see [`crate::codec`]), and a changed meaning is a new schema version. Older versions are
//! read for ever: stored bytes stay as they are, and [`Recorded::payload`] brings them [up](upcast) to the newest.

pub mod audit;
pub mod credential;
pub mod issuer;
pub mod subject;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::chain::{self, Hash, Origin};
use crate::codec;
use crate::sealing::Sealed;
use crate::{Clock, Position, Random, Stream, Timestamp, Version};

/// A payload: one type of event, in one schema version. A type that has changed has one for each version; the newest is written, and is
/// what the others become when they are read.
pub trait Payload: Serialize + DeserializeOwned {
    /// The event's type, in the past tense.
    const TYPE: &'static str;
    /// The schema version of this payload.
    const SCHEMA: u16 = 1;

    /// Reads a payload of an older schema version as this one; `None` if there is no such version. A payload that has another before it
    /// says so here, by [`upcast`].
    #[must_use]
    fn older(_schema: u16, _payload: &[u8]) -> Option<Result<Self, codec::Malformed>> {
        None
    }
}

/// Reads a payload of the version `B` as the version after it, or one that is older still by way of `B`.
pub fn upcast<B: Payload, P: Payload + From<B>>(schema: u16, payload: &[u8]) -> Option<Result<P, codec::Malformed>> {
    const { assert!(B::SCHEMA + 1 == P::SCHEMA, "no version may be passed over") };
    read::<B>(schema, payload).map(|before| before.map(P::from))
}

fn read<P: Payload>(schema: u16, payload: &[u8]) -> Option<Result<P, codec::Malformed>> {
    if schema == P::SCHEMA { Some(codec::decode(payload)) } else { P::older(schema, payload) }
}

/// Who did it, where, and in answer to which request. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// `anonymous`, `system` or `key/<uuid>`.
    pub actor: String,
    /// The process.
    pub worker: String,
    /// Audit log only: the caller's address and user agent, as canonical JSON under the month's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Sealed>,
    /// Random, so that no hash of an event can be guessed; also tells whether an unanswered append took place.
    pub event_id: ByteArray<16>,
    /// W3C Trace Context's trace-id, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The request's `X-Request-Id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A fact that waits to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// The event's type.
    pub kind: &'static str,
    /// The payload's schema version.
    pub schema: u16,
    /// The same as in `metadata`.
    pub event_id: [u8; 16],
    /// Encoded [`Metadata`].
    pub metadata: Bytes,
    /// Encoded payload.
    pub payload: Bytes,
}

impl New {
    /// Encodes a fact. What is personal in it has been sealed before.
    pub fn of<P: Payload>(payload: &P, metadata: &Metadata) -> New {
        New {
            kind: P::TYPE,
            schema: P::SCHEMA,
            event_id: *metadata.event_id,
            metadata: codec::encode(metadata).into(),
            payload: codec::encode(payload).into(),
        }
    }

    /// How many bytes it brings into a batch, give or take the envelope.
    #[must_use]
    pub fn size(&self) -> usize {
        self.metadata.len() + self.payload.len() + 256
    }
}

/// A fact as its log holds it, in the log's own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the log.
    pub position: Position,
    /// The thing it is about.
    pub stream: Stream,
    /// Its place in the stream.
    pub version: Version,
    /// The event's type.
    pub kind: String,
    /// The payload's schema version.
    pub schema: u16,
    /// The log's clock when it was written; never earlier than that of the event before it.
    pub recorded_at: Timestamp,
    /// Encoded [`Metadata`], as it was hashed.
    pub metadata: Bytes,
    /// Encoded payload, as it was hashed.
    pub payload: Bytes,
    /// As stored; [`Recorded::content`] hashes to it.
    pub event_hash: Hash,
    /// As stored.
    pub chain_hash: Hash,
}

/// A stored event that this program cannot understand. It must never be skipped in a stream or category that one folds.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No such type in this family.
    #[error("unknown event type {kind}")]
    UnknownType {
        /// The type found.
        kind: String,
    },
    /// A schema version that this program does not know.
    #[error("unknown schema version {schema} of {kind}")]
    UnknownSchema {
        /// The type found.
        kind: String,
        /// The schema version found.
        schema: u16,
    },
    /// The payload or metadata does not decode.
    #[error(transparent)]
    Malformed(#[from] codec::Malformed),
}

impl Recorded {
    /// The bytes over which the event's hash is made.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        codec::content(&self.stream, self.version, &self.kind, self.schema, self.recorded_at, &self.metadata, &self.payload)
    }

    /// Gives `new` its place after `previous`: content, event hash and chain hash are made here.
    #[must_use]
    pub fn place(new: &New, stream: &Stream, position: Position, version: Version, recorded_at: Timestamp, previous: Hash) -> Recorded {
        let content = codec::content(stream, version, new.kind, new.schema, recorded_at, &new.metadata, &new.payload);
        let event_hash = chain::event_hash(&content);
        Recorded {
            position,
            stream: stream.clone(),
            version,
            kind: new.kind.to_owned(),
            schema: new.schema,
            recorded_at,
            metadata: new.metadata.clone(),
            payload: new.payload.clone(),
            event_hash,
            chain_hash: chain::chain_hash(previous, event_hash),
        }
    }

    /// Decodes the metadata.
    ///
    /// # Errors
    /// The bytes are not those of [`Metadata`].
    pub fn metadata(&self) -> Result<Metadata, DecodeError> {
        Ok(codec::decode(&self.metadata)?)
    }

    /// Decodes the payload as `P`, whose type must have been compared before. One of an older schema version is brought up to `P`.
    ///
    /// # Errors
    /// The schema version is unknown or the bytes are not those of that version.
    pub fn payload<P: Payload>(&self) -> Result<P, DecodeError> {
        let unknown = || DecodeError::UnknownSchema { kind: self.kind.clone(), schema: self.schema };
        Ok(read(self.schema, &self.payload).ok_or_else(unknown)??)
    }

    /// The error of a family that does not know this event's type.
    #[must_use]
    pub fn unknown_type(&self) -> DecodeError {
        DecodeError::UnknownType { kind: self.kind.clone() }
    }
}

/// What every event of one request shares; makes each event's metadata.
#[derive(Debug, Clone)]
pub struct Origination {
    /// `anonymous`, `system` or `key/<uuid>`.
    pub actor: String,
    /// The process.
    pub worker: String,
    /// W3C Trace Context's trace-id, in hex.
    pub trace_id: Option<String>,
    /// The request's `X-Request-Id`.
    pub request_id: Option<String>,
}

impl Origination {
    /// What the process does of itself.
    #[must_use]
    pub fn system(worker: &str) -> Origination {
        Origination { actor: "system".to_owned(), worker: worker.to_owned(), trace_id: None, request_id: None }
    }

    /// Metadata for one more event of this request.
    pub fn metadata(&self, random: &(impl Random + ?Sized)) -> Metadata {
        Metadata {
            actor: self.actor.clone(),
            worker: self.worker.clone(),
            details: None,
            event_id: ByteArray::new(crate::random::bytes(random)),
            trace_id: self.trace_id.clone(),
            request_id: self.request_id.clone(),
        }
    }
}

/// A fresh id for a thing that gets a stream of its own.
pub fn new_id(clock: &(impl Clock + ?Sized), random: &(impl Random + ?Sized)) -> uuid::Uuid {
    crate::random::uuid_v7(clock.now(), random)
}

/// What sealed bytes are bound to: nothing sealed for one place opens in another. See [`crate::sealing`].
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The log's origin.
    pub origin: &'a Origin,
    /// The stream.
    pub stream: &'a Stream,
    /// The event's type.
    pub kind: &'a str,
    /// The payload's schema version.
    pub schema: u16,
    /// The field that holds the sealed bytes.
    pub field: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Hash;
    use crate::random::SystemRandom;

    /// Three versions of one event.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Measured1 {
        inches: u64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Measured2 {
        millimetres: u64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Measured {
        unit: String,
        length: u64,
    }

    impl Payload for Measured1 {
        const TYPE: &'static str = "Measured";
    }

    impl Payload for Measured2 {
        const TYPE: &'static str = "Measured";
        const SCHEMA: u16 = 2;

        fn older(schema: u16, payload: &[u8]) -> Option<Result<Measured2, codec::Malformed>> {
            upcast::<Measured1, Measured2>(schema, payload)
        }
    }

    impl From<Measured1> for Measured2 {
        fn from(before: Measured1) -> Measured2 {
            Measured2 { millimetres: before.inches * 254 / 10 }
        }
    }

    impl Payload for Measured {
        const TYPE: &'static str = "Measured";
        const SCHEMA: u16 = 3;

        fn older(schema: u16, payload: &[u8]) -> Option<Result<Measured, codec::Malformed>> {
            upcast::<Measured2, Measured>(schema, payload)
        }
    }

    impl From<Measured2> for Measured {
        fn from(before: Measured2) -> Measured {
            Measured { unit: "mm".to_owned(), length: before.millimetres }
        }
    }

    fn recorded<P: Payload>(payload: &P) -> Recorded {
        let new = New::of(payload, &Origination::system("one").metadata(&SystemRandom));
        Recorded::place(&new, &Stream::retention(), Position(0), Version(0), Timestamp::EPOCH, Hash([0; 32]))
    }

    #[test]
    fn a_payload_of_any_version_is_read_as_the_newest_and_stays_as_it_was_stored() {
        let newest = Measured { unit: "mm".to_owned(), length: 508 };
        let stored = [recorded(&Measured1 { inches: 20 }), recorded(&Measured2 { millimetres: 508 }), recorded(&newest)];
        for (schema, event) in (1..).zip(stored) {
            let before = event.clone();
            assert_eq!((event.schema, event.payload::<Measured>().unwrap()), (schema, Measured { unit: "mm".to_owned(), length: 508 }));
            assert_eq!(event, before);
            assert_eq!(event.event_hash, chain::event_hash(&event.content()));
        }
    }

    #[test]
    fn a_version_that_is_unknown_or_newer_is_an_error_whatever_its_bytes() {
        let event = |schema| Recorded { schema, ..recorded(&Measured { unit: "mm".to_owned(), length: 1 }) };
        for unknown in [0, 4, u16::MAX] {
            let refused = event(unknown).payload::<Measured>().unwrap_err();
            assert!(matches!(refused, DecodeError::UnknownSchema { schema, .. } if schema == unknown), "{refused}");
        }
        // A program of the version before stops at what this one writes.
        assert!(matches!(event(3).payload::<Measured2>(), Err(DecodeError::UnknownSchema { schema: 3, .. })));
    }

    #[test]
    fn the_bytes_of_one_version_under_the_number_of_another_are_malformed() {
        let event = Recorded { schema: 2, ..recorded(&Measured1 { inches: 20 }) };
        assert!(matches!(event.payload::<Measured>(), Err(DecodeError::Malformed(_))));
    }
}
