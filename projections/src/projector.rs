//! What moves a generation on: a log to fold and a store to write to.
//!
//! The runner and the rebuild share it, so that a model is brought up to date and built anew by the same code.

use std::sync::Arc;

use credence_ledger::chain::{self, Hash};
use credence_ledger::event::Recorded;
use credence_ledger::log::{Head, Log, Query};
use credence_ledger::{Clock, LogPosition, Position, Random, causes, store};

use crate::fold::{self, Batch};
use crate::generation::{Applied, Generation, Mode, Place, Seen, Store};
use crate::projection::{Error, Projection};

/// One projection, its log and a read store.
#[derive(Clone)]
pub struct Projector {
    /// Which projection.
    pub projection: Projection,
    /// The log that it folds.
    pub log: Arc<dyn Log>,
    /// Where it is kept.
    pub store: Arc<dyn Store>,
    /// For what is written down about rebuilds; freshness goes by the log's clock.
    pub clock: Arc<dyn Clock>,
    /// For the ids of rebuilds.
    pub random: Arc<dyn Random>,
}

/// Why a generation was not moved on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Halt {
    /// Somebody else moved it, or it was replaced.
    #[error("the generation is being moved by somebody else")]
    Fenced,
    /// The log does not continue what has been applied.
    #[error("the log{} is not the one that was applied", at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default())]
    OtherLog {
        /// The last position applied.
        at: Option<LogPosition>,
    },
    /// An event cannot be applied. Everything before it has been.
    #[error("the event {position} cannot be applied: {reason}")]
    Stuck {
        /// Which one.
        position: LogPosition,
        /// Why; nothing personal.
        reason: String,
    },
    /// The log failed.
    #[error("the log cannot be read")]
    Log(#[source] store::Error),
    /// The read store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A generation as its writer knows it.
#[derive(Debug, Clone)]
pub(crate) struct Moving {
    pub(crate) place: Place,
    pub(crate) chain_hash: Hash,
}

impl Moving {
    pub(crate) fn from(generation: &Generation) -> Moving {
        Moving { place: generation.place(), chain_hash: generation.cursor.chain_hash }
    }

    /// The first position not yet applied.
    pub(crate) fn next(&self) -> Position {
        self.place.position.map_or(Position::FIRST, Position::next)
    }
}

impl Projector {
    /// The log's end.
    pub(crate) async fn head(&self) -> Result<Head, Halt> {
        self.log.head().await.map_err(Halt::Log)
    }

    /// At most `limit` events from `from` on, up to `to`.
    pub(crate) async fn read(&self, from: Position, to: Option<Position>, limit: usize) -> Result<Vec<Recorded>, Halt> {
        self.log.read(&Query { to, ..Query::from(from, limit) }).await.map_err(Halt::Log)
    }

    /// Whether the log, whose end is `head`, continues what has been applied. Only told when nothing is missing; while events
    /// are missing, the first of them tells.
    pub(crate) fn continues(&self, moving: &Moving, head: &Head) -> Result<(), Halt> {
        let same = match head.last().cmp(&moving.place.position) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => head.chain_hash == moving.chain_hash,
            std::cmp::Ordering::Greater => true,
        };
        if same { Ok(()) } else { Err(self.other_log(moving)) }
    }

    fn other_log(&self, moving: &Moving) -> Halt {
        Halt::OtherLog { at: moving.place.position.map(|position| self.projection.log().at(position)) }
    }

    /// Folds and applies `events`, which follow what has been applied, and moves `moving` along. `head` was read before them.
    pub(crate) async fn advance(&self, moving: &mut Moving, events: &[Recorded], head: &Head, mode: Mode) -> Result<(), Halt> {
        let Some(first) = events.first() else { return Ok(()) };
        if first.position != moving.next() || chain::chain_hash(moving.chain_hash, first.event_hash) != first.chain_hash {
            return Err(self.other_log(moving));
        }
        let batch = fold::fold(self.projection, events);
        let stopped = batch.stopped.as_ref().map(|(position, error)| self.stuck(*position, causes(error)));
        match self.apply(moving, batch, head, mode).await? {
            None => stopped.map_or(Ok(()), Err),
            // The events before the one that contradicts the model are applied, so that it stops exactly there.
            Some(position) => {
                let before: Vec<Recorded> = events.iter().filter(|event| event.position < position).cloned().collect();
                match self.apply(moving, fold::fold(self.projection, &before), head, mode).await? {
                    None => Err(self.stuck(position, "it contradicts the events before it".to_owned())),
                    Some(_) => Err(Halt::Store(store::Error::Corrupt(format!("{} contradicts itself", self.projection)).into())),
                }
            }
        }
    }

    /// Answers the position of a contradiction, where nothing was applied.
    async fn apply(&self, moving: &mut Moving, batch: Batch, head: &Head, mode: Mode) -> Result<Option<Position>, Halt> {
        let Some((end, chain_hash)) = batch.end else { return Ok(None) };
        let events = batch.events;
        let seen = Seen { head: head.last().max(Some(end)), confirmed_at: (Some(end) >= head.last()).then_some(head.now) };
        match self.store.apply(moving.place, batch, seen, mode).await? {
            Applied::Moved => {
                moving.place.position = Some(end);
                moving.chain_hash = chain_hash;
                metrics::counter!("credence_projection_applied_total", "projection" => self.projection.as_str()).increment(events);
                Ok(None)
            }
            Applied::Fenced => Err(Halt::Fenced),
            Applied::Contradicted(position) => Ok(Some(position)),
        }
    }

    pub(crate) fn stuck(&self, position: Position, reason: String) -> Halt {
        Halt::Stuck { position: self.projection.log().at(position), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_log_is_told_with_the_position_as_it_is_shown_everywhere() {
        let told = |position: Option<u64>| {
            let at = position.map(|position| Projection::Verification.log().at(Position(position)));
            Halt::OtherLog { at }.to_string()
        };
        assert_eq!(told(Some(5)), "the log at ledger@5 is not the one that was applied");
        assert_eq!(told(None), "the log is not the one that was applied");
    }
}
