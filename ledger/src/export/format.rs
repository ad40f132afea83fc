//! The items of an export beside its events. **Permanent**: fields stand in encoded-key order.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

/// The header's `format`.
pub const FORMAT: &str = "credence-export";
/// The header's `version`.
pub const VERSION: u64 = 1;
/// No item is longer.
pub const ITEM_BYTES_MAX: usize = 16 << 20;

/// The first item: which log it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The log's name.
    pub log: String,
    /// [`FORMAT`].
    pub format: String,
    /// The log's origin.
    pub origin: String,
    /// [`VERSION`].
    pub version: u64,
}

/// What every version of the format begins with, whatever else its header holds.
#[derive(Deserialize)]
pub(super) struct AnyHeader {
    pub(super) format: String,
    pub(super) version: u64,
}

/// A signed tree head of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The signed note, as it was published.
    pub note: String,
    /// How many events its tree has.
    pub size: u64,
}

/// The last item: what the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footer {
    /// The root of the Merkle tree over all events.
    pub root: ByteArray<32>,
    /// BLAKE3 of every byte before the footer.
    pub blake3: ByteArray<32>,
    /// How many events there are.
    pub events: u64,
    /// The last event's chain hash, or the origin's hash.
    pub chain_hash: ByteArray<32>,
    /// How many checkpoints there are.
    pub checkpoints: u64,
}
