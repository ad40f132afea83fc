//! Witnesses: others who sign that a log only ever grew (C2SP tlog-witness), and how many of them are wanted.
//!
//! A [`Witness`] is asked over the network, which is not this crate's: here is what is asked, and how many answers make a quorum.
//! [`Cosigners`](super::cosigners::Cosigners) ask them all.

use std::fmt::Write as _;

use async_trait::async_trait;

use crate::checkpoint::{Checkpoint, VerifierKey};
use crate::store;
use crate::tiles::{self, Tiles};
use crate::tree::TreeSize;
use crate::tree::proof::Question;

/// Somebody who cosigns checkpoints.
#[async_trait]
pub trait Witness: Send + Sync + 'static {
    /// The key by which its cosignatures are known.
    fn key(&self) -> &VerifierKey;

    /// Has a checkpoint cosigned and answers the signature lines that hold. It is proved to the witness, from the tiles, that the tree only grew
    /// since the checkpoint that it saw last.
    async fn cosign(&self, checkpoint: &Checkpoint, tiles: &dyn Tiles) -> Result<String, Refusal>;
}

/// A witness did not cosign.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It has seen a larger tree of this log.
    #[error("the witness has cosigned a tree of {0} events, and this one is smaller: it was rolled back")]
    Ahead(TreeSize),
    /// It has seen another history of this log.
    #[error("the witness has cosigned another history of this log")]
    Forked,
    /// It does not know this log, or not its key.
    #[error("the witness does not know this log or its key (status {0})")]
    Unknown(u16),
    /// It did not answer, or not as it should.
    #[error("the witness did not answer: {0}")]
    NoAnswer(String),
    /// The proof could not be made.
    #[error("the proof for the witness")]
    Store(#[from] store::Error),
}

/// The body of a request to cosign, for a witness that last saw a tree of the size `seen` (`POST …/add-checkpoint`).
///
/// # Errors
/// [`Refusal::Ahead`] when it saw a larger one; the store's.
pub async fn request(checkpoint: &Checkpoint, seen: TreeSize, tiles: &dyn Tiles) -> Result<String, Refusal> {
    let size = checkpoint.head().size;
    if seen > size {
        return Err(Refusal::Ahead(seen));
    }
    let proof = tiles::ask(tiles, Question::Consistency(seen, size)).await?;
    let mut body = format!("old {seen}\n");
    for hash in proof {
        // Writing to a text does not fail.
        let _ = writeln!(body, "{hash}");
    }
    Ok(format!("{body}\n{}", checkpoint.note()))
}

/// Which cosignatures are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quorum {
    /// None: what comes in time is added.
    None,
    /// That of the witness with this key.
    Witness(VerifierKey),
    /// So many of these.
    Some(usize, Vec<Quorum>),
}

impl Quorum {
    /// Whether cosignatures by these keys are enough.
    #[must_use]
    pub fn is_met(&self, by: &[VerifierKey]) -> bool {
        match self {
            Quorum::None => true,
            Quorum::Witness(key) => by.contains(key),
            Quorum::Some(wanted, members) => members.iter().filter(|member| member.is_met(by)).count() >= *wanted,
        }
    }
}
