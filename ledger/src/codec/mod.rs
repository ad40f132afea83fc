//! The bytes of an event. **Permanent**: docs/FORMAT.md describes them, golden files pin them.
//!
//! CBOR in deterministic encoding (RFC 8949, section 4.2.1): definite lengths, shortest heads, map keys in the order of their
//! encoded bytes, text keys only; no floats, no tags, no null (absent is left out). Structs encode their fields as declared,
//! so they declare them in encoded-key order: shorter names first, then bytewise. A test holds every event to it.
//!
//! An event's content, over which its hash is made, is the array
//!
//! ```text
//! [1, stream, version, type, schema, recorded_at, metadata, payload]
//! ```
//!
//! in which metadata and payload are byte strings that hold encoded maps.

mod deterministic;
#[cfg(test)]
mod golden;
pub mod sequence;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::Bytes;

pub use deterministic::{NotDeterministic, check, first};

use crate::{Stream, Timestamp, Version};

/// The first element of every content array.
pub const CONTENT_FORMAT: u8 = 1;

/// Bytes that do not decode as what they should be.
#[derive(Debug, thiserror::Error)]
#[error("not the CBOR of {what}")]
pub struct Malformed {
    what: &'static str,
    #[source]
    source: ciborium::de::Error<std::io::Error>,
}

/// No less than the heads and numbers of a content array take.
const CONTENT_HEADS: usize = 64;

/// Encodes a payload or metadata. The type must declare its fields in encoded-key order.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_sized(value, 256)
}

#[expect(clippy::expect_used, reason = "a Vec takes every byte, and our types serialise only what CBOR can hold")]
fn encode_sized<T: Serialize>(value: &T, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size);
    ciborium::into_writer(value, &mut bytes).expect("encoding into memory cannot fail");
    bytes
}

/// Decodes a payload or metadata. Members that the type does not know are an error: a fact must not be half understood.
///
/// # Errors
/// The bytes are not that type's CBOR.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    let mut rest = bytes;
    let what = std::any::type_name::<T>();
    let value = ciborium::from_reader(&mut rest).map_err(|source| Malformed { what, source })?;
    if rest.is_empty() { Ok(value) } else { Err(Malformed { what, source: ciborium::de::Error::Syntax(bytes.len() - rest.len()) }) }
}

/// The content of an event: what is hashed.
#[must_use]
pub fn content(
    stream: &Stream,
    version: Version,
    kind: &str,
    schema: u16,
    recorded_at: Timestamp,
    metadata: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let size = stream.as_str().len() + kind.len() + metadata.len() + payload.len() + CONTENT_HEADS;
    encode_sized(
        &(CONTENT_FORMAT, stream.as_str(), version.0, kind, schema, recorded_at.as_micros(), Bytes::new(metadata), Bytes::new(payload)),
        size,
    )
}
