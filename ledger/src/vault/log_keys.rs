//! The keys with which logs sign their checkpoints, and the guard: the last checkpoint that each signed.
//!
//! The guard is why a ledger that was rolled back is noticed: a checkpoint is signed, then kept here, and only then published.

use async_trait::async_trait;

use crate::checkpoint::LogKey;
use crate::store::Error;
use crate::{LogName, Timestamp};

/// A log's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its number: dense in each log, from 0. The largest signs.
    pub number: u32,
    /// The Ed25519 key.
    pub public: [u8; 32],
    /// Since when.
    pub created_at: Timestamp,
}

/// What the vault keeps of logs.
#[async_trait]
pub trait LogKeys {
    /// A log's public keys, oldest first; none before it signed anything.
    async fn log_keys(&self, log: &LogName) -> Result<Vec<PublicKey>, Error>;

    /// The key that the log signs with, made if there is none.
    async fn log_key(&self, log: &LogName, now: Timestamp) -> Result<LogKey, Error>;

    /// Gives the log another key to sign with, which it answers. Older ones stay for checking.
    async fn rotate_log_key(&self, log: &LogName, now: Timestamp) -> Result<LogKey, Error>;

    /// The last note that the log signed, published or not.
    async fn guard(&self, log: &LogName) -> Result<Option<String>, Error>;

    /// Puts a note in the place of the one that is known; false, and nothing changed, when another stands there.
    async fn advance_guard(&self, log: &LogName, known: Option<&str>, note: &str) -> Result<bool, Error>;
}
