//! From events to rows: pure, the same whether events come one by one, in chunks or all over again.
//!
//! An event of a category that a projection folds is never skipped: a skipped revocation would be a false "valid". What cannot
//! be understood ends the batch before it, and whoever applies the batch stops there.

use credence_ledger::chain::Hash;
use credence_ledger::event::{DecodeError, Recorded};
use credence_ledger::{Position, Stream};

use crate::projection::Projection;
use crate::table::{self, Row, Rows, Table};
use crate::{history, verification};

/// An event that cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// This program is too old for it, or it is damaged.
    #[error(transparent)]
    Unknown(#[from] DecodeError),
    /// An event of another family stands in the stream.
    #[error("{kind} does not belong to {stream}")]
    Misplaced {
        /// The event's type.
        kind: String,
        /// Where it stands.
        stream: Stream,
    },
}

/// What a run of events becomes.
#[derive(Debug, Default)]
pub struct Batch {
    /// Rows to insert.
    pub rows: Rows,
    /// The last event folded, with its chain hash: the new cursor. `None` when there was none.
    pub end: Option<(Position, Hash)>,
    /// How many events were folded, those that change nothing included.
    pub events: u64,
    /// The event after `end`, if it could not be folded, and why.
    pub stopped: Option<(Position, FoldError)>,
}

/// Folds `events`, which stand in position order, up to the first that cannot be folded.
#[must_use]
pub fn fold(projection: Projection, events: &[Recorded]) -> Batch {
    let mut batch = Batch { rows: table::of(projection).iter().map(|table| (*table, Vec::new())).collect(), ..Batch::default() };
    for event in events {
        match row(projection, event) {
            Ok(None) => {}
            Ok(Some((table, row))) => {
                if let Some((_, rows)) = batch.rows.iter_mut().find(|(of, _)| of.name == table.name) {
                    rows.push(row);
                }
            }
            Err(error) => {
                batch.stopped = Some((event.position, error));
                break;
            }
        }
        batch.end = Some((event.position, event.chain_hash));
        batch.events += 1;
    }
    batch.rows.retain(|(_, rows)| !rows.is_empty());
    batch
}

fn row(projection: Projection, event: &Recorded) -> Result<Option<(&'static Table, Row)>, FoldError> {
    Ok(match projection {
        Projection::Verification => verification::fold(event)?.map(verification::Change::row),
        Projection::History => history::fold(event)?.map(history::Change::row),
    })
}
