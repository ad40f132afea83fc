//! Witnesses: others who sign that a log only ever grew (C2SP tlog-witness), and how many of them are wanted.
//!
//! A [`Witness`] is asked over the network, which is not this crate's: here is what is asked, and how many answers make a quorum.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::checkpoint::{Checkpoint, VerifierKey};
use crate::store;
use crate::tiles::{self, Tiles};
use crate::tree::TreeSize;
use crate::tree::proof::Question;

/// How long all witnesses together are waited for.
const ANSWER_MAX: Duration = Duration::from_secs(5);

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

/// Who cosigns, and which of them make a quorum (C2SP tlog-policy).
#[derive(Clone)]
pub struct Cosigners {
    witnesses: Vec<Arc<dyn Witness>>,
    quorum: Quorum,
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

/// Fewer cosigned than are wanted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TooFew(String);

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

impl Cosigners {
    /// Nobody.
    #[must_use]
    pub fn none() -> Cosigners {
        Cosigners { witnesses: Vec::new(), quorum: Quorum::None }
    }

    /// These witnesses, and which of them are wanted.
    #[must_use]
    pub fn new(witnesses: Vec<Arc<dyn Witness>>, quorum: Quorum) -> Cosigners {
        Cosigners { witnesses, quorum }
    }

    /// Asks all witnesses at once and answers the checkpoint with the cosignatures that came in time.
    ///
    /// # Errors
    /// [`TooFew`], with what each said that did not cosign.
    pub async fn cosign(&self, checkpoint: &Checkpoint, tiles: &dyn Tiles) -> Result<Checkpoint, TooFew> {
        let asked = self.witnesses.iter().map(|witness| async {
            let answer = tokio::time::timeout(ANSWER_MAX, witness.cosign(checkpoint, tiles)).await;
            answer.unwrap_or_else(|_| Err(Refusal::NoAnswer("no answer in time".to_owned())))
        });
        let answers = futures::future::join_all(asked).await;
        let (mut cosigned, mut by, mut refused) = (checkpoint.clone(), Vec::new(), HashMap::new());
        for (witness, answer) in self.witnesses.iter().zip(answers) {
            match answer {
                Ok(lines) => {
                    let with = cosigned.with_cosignatures(&lines, std::slice::from_ref(witness.key()));
                    if with == cosigned {
                        refused.insert(witness.key().name().to_owned(), "its cosignature does not hold".to_owned());
                    } else {
                        by.push(witness.key().clone());
                        cosigned = with;
                    }
                }
                Err(refusal) => {
                    tracing::warn!(witness = witness.key().name(), reason = &refusal as &dyn std::error::Error, "a witness did not cosign");
                    refused.insert(witness.key().name().to_owned(), refusal.to_string());
                }
            }
        }
        if self.quorum.is_met(&by) {
            return Ok(cosigned);
        }
        let mut told: Vec<String> = refused.into_iter().map(|(name, why)| format!("{name}: {why}")).collect();
        told.sort_unstable();
        Err(TooFew(told.join("; ")))
    }
}
