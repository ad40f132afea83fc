//! Who cosigns a log's checkpoints: asks all witnesses at once and tells when enough have answered.
//!
//! A round takes no longer than the witnesses that are wanted: once there are enough, the others are given a moment, and whoever was
//! asked in vain is left alone for a while, as long as there can be enough without it.
//!
//! A witness that contradicts the log, and not merely fails, is taken at its word as far as it is wanted: when those that do not
//! contradict would not be enough, the log is refused. One that is not wanted stops nothing; what it says stands in
//! [`Cosigners::contested`] until it cosigns.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::witness::{Quorum, Refusal, Witness};
use crate::checkpoint::{Checkpoint, VerifierKey};
use crate::tiles::{self, Tiles};

/// How long is waited for whom.
const PATIENCE: Patience = Patience { answer_max: Duration::from_secs(5), grace: Duration::from_secs(1), rest: Duration::from_secs(10) };

#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For all, while too few have cosigned.
    answer_max: Duration,
    /// For the others, once enough have.
    grace: Duration,
    /// Before a witness that did not cosign is asked again, unless it is wanted.
    rest: Duration,
}

/// Who cosigns, and which of them make a quorum (C2SP tlog-policy).
pub struct Cosigners {
    members: Vec<Member>,
    quorum: Quorum,
    patience: Patience,
}

/// Too few cosigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too few in time. What those said that did not.
    #[error("{0}")]
    TooFew(String),
    /// So many contradict the log that the others are too few. What those said.
    #[error("{0}")]
    Contradicted(String),
}

impl Cosigners {
    /// Nobody.
    #[must_use]
    pub fn none() -> Cosigners {
        Cosigners::new(Vec::new(), Quorum::None)
    }

    /// These witnesses, and which of them are wanted.
    #[must_use]
    pub fn new(witnesses: Vec<Arc<dyn Witness>>, quorum: Quorum) -> Cosigners {
        let members = witnesses.into_iter().map(|witness| Member { witness, standing: Mutex::new(Standing::Well) });
        Cosigners { members: members.collect(), quorum, patience: PATIENCE }
    }

    /// The same, but the witness with this key is wanted in any case.
    #[must_use]
    pub fn requiring(self, key: VerifierKey) -> Cosigners {
        Cosigners { quorum: Quorum::Some(2, vec![self.quorum, Quorum::Witness(key)]), ..self }
    }

    /// Whether there is anybody to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Asks the witnesses and answers the checkpoint with the cosignatures that came in time. To stop waiting for it loses nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cosign(&self, checkpoint: &Checkpoint, tiles: &dyn Tiles) -> Result<Checkpoint, Error> {
        let asked = self.asked();
        let ask = |place: usize| async move { (place, asked_one(&*self.members[place].witness, checkpoint, tiles).await) };
        let mut answers: FuturesUnordered<_> = asked.iter().copied().map(ask).collect();
        let (mut cosigned, mut by, mut silent) = (checkpoint.clone(), Vec::new(), asked.clone());
        let mut end = Instant::now() + self.patience.answer_max;
        loop {
            if self.quorum.is_met(&by) {
                end = end.min(Instant::now() + self.patience.grace);
            }
            let Ok(Some((place, answer))) = timeout_at(end, answers.next()).await else { break };
            let member = &self.members[place];
            silent.retain(|other| *other != place);
            match answer {
                Ok(lines) => {
                    cosigned = cosigned.with_cosignatures(&lines, std::slice::from_ref(member.key()));
                    by.push(member.key().clone());
                    member.stands(Standing::Well);
                }
                Err(standing) => member.stands(standing),
            }
        }
        for place in silent {
            self.members[place].stands(Standing::failed("no answer in time"));
        }
        if self.quorum.is_met(&by) { Ok(cosigned) } else { Err(self.too_few()) }
    }

    /// What those say who contradict the log, whether they are wanted or not; `None` if nobody does.
    #[must_use]
    pub fn contested(&self) -> Option<String> {
        let said: Vec<String> = self.members.iter().filter(|member| member.standing().contradicts()).filter_map(Member::said).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// Everybody who is not resting; everybody if those could not be enough. Their places.
    fn asked(&self) -> Vec<usize> {
        let now = Instant::now();
        let rested: Vec<usize> = (0..self.members.len()).filter(|place| !self.members[*place].rests(now, self.patience.rest)).collect();
        let keys: Vec<VerifierKey> = rested.iter().map(|place| self.members[*place].key().clone()).collect();
        if self.quorum.is_met(&keys) { rested } else { (0..self.members.len()).collect() }
    }

    fn too_few(&self) -> Error {
        let agreeing = self.members.iter().filter(|member| !member.standing().contradicts()).map(|member| member.key().clone());
        let agreeing: Vec<VerifierKey> = agreeing.collect();
        match self.contested() {
            Some(said) if !self.quorum.is_met(&agreeing) => Error::Contradicted(said),
            _ => Error::TooFew(self.members.iter().filter_map(Member::said).collect::<Vec<String>>().join("; ")),
        }
    }
}

/// A witness and how it did last. The lock is held for a moment only.
struct Member {
    witness: Arc<dyn Witness>,
    standing: Mutex<Standing>,
}

#[derive(Debug, Clone)]
enum Standing {
    /// It cosigned, or was not asked yet.
    Well,
    /// It missed this checkpoint through nobody's fault.
    Missed(String),
    /// It did not cosign.
    Failed { why: String, at: Instant },
    /// It holds another history to be this log's. That stands until it cosigns.
    Contradicts { what: String, at: Instant },
}

impl Standing {
    fn failed(why: impl Into<String>) -> Standing {
        Standing::Failed { why: why.into(), at: Instant::now() }
    }

    fn contradicts(&self) -> bool {
        matches!(self, Standing::Contradicts { .. })
    }
}

impl Member {
    fn key(&self) -> &VerifierKey {
        self.witness.key()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rests(&self, now: Instant, rest: Duration) -> bool {
        match *self.standing() {
            Standing::Failed { at, .. } | Standing::Contradicts { at, .. } => now < at + rest,
            Standing::Well | Standing::Missed(_) => false,
        }
    }

    /// Under its name; `None` if it is well.
    fn said(&self) -> Option<String> {
        let name = self.key().name();
        match &*self.standing() {
            Standing::Well => None,
            Standing::Missed(said) | Standing::Failed { why: said, .. } | Standing::Contradicts { what: said, .. } => {
                Some(format!("{name}: {said}"))
            }
        }
    }

    /// Takes note of how it did, and says so when that is news.
    fn stands(&self, new: Standing) {
        let before = self.said();
        {
            let mut known = self.standing();
            *known = match (&*known, new) {
                // Whoever contradicted and then fails has taken nothing back.
                (Standing::Contradicts { what, .. }, Standing::Failed { at, .. }) => Standing::Contradicts { what: what.clone(), at },
                (_, new) => new,
            };
        }
        let after = self.said();
        if before == after {
            return;
        }
        let contradicts = self.standing().contradicts();
        match after {
            Some(said) if contradicts => tracing::error!(said, "a witness contradicts the log"),
            Some(said) => tracing::warn!(said, "a witness did not cosign"),
            None => tracing::info!(witness = self.key().name(), "a witness cosigns again"),
        }
    }
}

/// The witness's signature lines that hold, or how it stands without any.
async fn asked_one(witness: &dyn Witness, checkpoint: &Checkpoint, tiles: &dyn Tiles) -> Result<String, Standing> {
    let at = Instant::now;
    let refusal = match witness.cosign(checkpoint, tiles).await {
        Ok(lines) => {
            let held = checkpoint.cosignatures(&lines, std::slice::from_ref(witness.key())).concat();
            return if held.is_empty() { Err(Standing::failed("its cosignature does not hold")) } else { Ok(held) };
        }
        Err(refusal) => refusal,
    };
    Err(match &refusal {
        // Another process may have had a newer checkpoint cosigned meanwhile. What the witness saw is then asked for anew, from there.
        Refusal::Ahead(seen) => match tiles::grow(tiles, &mut None).await {
            Ok(grown) if grown >= *seen => Standing::Missed("the witness has cosigned a newer checkpoint".to_owned()),
            Ok(_) => Standing::Contradicts { what: refusal.to_string(), at: at() },
            Err(error) => Standing::Missed(error.to_string()),
        },
        Refusal::Forked => Standing::Contradicts { what: refusal.to_string(), at: at() },
        Refusal::Store(error) => Standing::Missed(error.to_string()),
        Refusal::Unknown(_) | Refusal::NoAnswer(_) => Standing::failed(refusal.to_string()),
    })
}
