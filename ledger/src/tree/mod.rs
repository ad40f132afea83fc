//! The Merkle tree over a log: what lets others check that an event is in it and that it only ever grew. **Permanent.**
//!
//! ```text
//! leaf hash = SHA-256(0x00 || event hash)         node hash = SHA-256(0x01 || left || right)        RFC 6962, section 2.1
//! ```
//!
//! Leaf `i` stands for the event at position `i`; its entry is the event's hash. The tree is kept as C2SP tlog-tiles: [`tile`] names
//! its pieces, [`growth`] tells which of them change when leaves are added, [`Frontier`] keeps no more than
//! the root needs, [`proof`] asks them for roots and proofs and checks what
//! others answer. Here is arithmetic alone: what is read and written is [`crate::tiles`]'s.

mod frontier;
pub mod growth;
pub mod proof;
pub mod tile;

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

pub use frontier::Frontier;

use crate::{Position, chain};

/// A SHA-256 hash of the tree: of a leaf, of an inner node, or its root. Shown in standard base64, as the tree's formats have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The root of a tree without leaves: the hash of nothing.
    pub const EMPTY: Hash = Hash(tlog_tiles::EMPTY_HASH.0);

    /// The leaf that stands for an event.
    #[must_use]
    pub fn leaf(event: chain::Hash) -> Hash {
        Hash(tlog_tiles::record_hash(&event.0).0)
    }

    /// From standard base64 with its padding; `None` unless it says 32 bytes.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Hash> {
        BASE64_STANDARD.decode(text).ok()?.try_into().ok().map(Hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<tlog_tiles::Hash> for Hash {
    fn from(hash: tlog_tiles::Hash) -> Hash {
        Hash(hash.0)
    }
}

impl From<Hash> for tlog_tiles::Hash {
    fn from(hash: Hash) -> tlog_tiles::Hash {
        tlog_tiles::Hash(hash.0)
    }
}

/// How many leaves a tree has, which is also the position of the next. At most [`TreeSize::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeSize(pub u64);

impl TreeSize {
    /// A tree without leaves.
    pub const EMPTY: TreeSize = TreeSize(0);
    /// More than the stores count.
    pub const MAX: TreeSize = TreeSize(i64::MAX.unsigned_abs());

    /// Whether the tree has a leaf for this position.
    #[must_use]
    pub fn covers(self, position: Position) -> bool {
        position.0 < self.0
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
