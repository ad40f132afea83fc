//! The hashes over events. **Permanent**: docs/FORMAT.md describes them, golden files pin them.
//!
//! ```text
//! event_hash = BLAKE3(content)
//! chain_hash = BLAKE3(previous chain_hash || event_hash)      the first previous is BLAKE3(origin)
//! ```
//!
//! An event's hash protects its content; the chain protects the order, from the log's origin on. Whether an event goes on from a
//! log's end is judged in one place, [`End`].

mod end;

use std::fmt;

pub use end::{Broken, End};

/// A BLAKE3 hash, shown in hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// From stored bytes; `None` unless there are 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Hash> {
        bytes.try_into().ok().map(Hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names a log in the world: host and optional path, then `/v1/logs/<log>`. It never changes once the log exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The origin of the log `name` at `base` (host and optional path, without scheme).
    #[must_use]
    pub fn new(base: &str, name: &crate::LogName) -> Origin {
        Origin(format!("{}/v1/logs/{name}", base.trim_end_matches('/')))
    }

    /// The base (host and optional path) at which this is the origin of the log `name`.
    #[must_use]
    pub fn base(&self, name: &crate::LogName) -> Option<&str> {
        self.0.strip_suffix(name.as_str())?.strip_suffix("/v1/logs/").filter(|base| !base.is_empty())
    }

    /// As it was stored.
    #[must_use]
    pub fn from_stored(text: String) -> Origin {
        Origin(text)
    }

    /// The whole text, which is what is hashed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the first event's chain hash is built on.
    #[must_use]
    pub fn genesis(&self) -> Hash {
        Hash(blake3::hash(self.0.as_bytes()).into())
    }
}

/// The hash of an event's content (see [`crate::codec::content`]).
#[must_use]
pub fn event_hash(content: &[u8]) -> Hash {
    Hash(blake3::hash(content).into())
}

/// The chain's next link.
#[must_use]
pub fn chain_hash(previous: Hash, event: Hash) -> Hash {
    let mut both = [0; 64];
    both[..32].copy_from_slice(&previous.0);
    both[32..].copy_from_slice(&event.0);
    Hash(blake3::hash(&both).into())
}
