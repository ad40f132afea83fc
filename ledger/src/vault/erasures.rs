//! Forgetting subjects: their rows with references and sealing keys, and what keeps an erasure from being left half done.
//!
//! The ledger is what says that a subject has been erased. A note in the vault, made before that is appended and taken back once all
//! that follows from it is done, is how an erasure that was interrupted is found again without reading the ledger. It holds a subject's id
//! and a time, nothing personal.

use async_trait::async_trait;
use uuid::Uuid;

use crate::Timestamp;
use crate::store::Error;

/// An erasure that was asked for and has not been seen through, as far as the vault knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// The subject's id.
    pub subject: Uuid,
    /// When it was asked for first.
    pub noted_at: Timestamp,
}

/// What the vault does for an erasure, in this order.
#[async_trait]
pub trait Erasures {
    /// Notes that these subjects are to be erased. One that is noted keeps its time.
    async fn note_erasures(&self, subjects: &[Uuid], now: Timestamp) -> Result<(), Error>;

    /// What is noted, oldest first.
    async fn noted_erasures(&self) -> Result<Vec<Noted>, Error>;

    /// Destroys these subjects' rows with their sealing keys, and answers how many were there. From then on nobody opens what they sealed, and the same
    /// person is another subject. On SQLite the bytes are overwritten, also in the write-ahead log, as soon as no other process reads there; on
    /// PostgreSQL they stay in the server's files until it has reused them.
    async fn forget_subjects(&self, subjects: &[Uuid]) -> Result<u64, Error>;

    /// Takes notes back: all has been done, or will never be.
    async fn settle_erasures(&self, subjects: &[Uuid]) -> Result<(), Error>;
}
