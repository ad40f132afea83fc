//! Which projections there are, how far each has come, and how fresh its answers are.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use credence_ledger::chain::Hash;
use credence_ledger::{LogName, LogPosition, Position, Timestamp, store};

/// A read model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// Credentials, their status and its changes; over the ledger log.
    Verification,
    /// Which verifications a credential has had; over the audit log.
    History,
}

impl Projection {
    /// All of them.
    pub const ALL: [Projection; 2] = [Projection::Verification, Projection::History];

    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Projection::Verification => "verification",
            Projection::History => "history",
        }
    }

    /// The version of its fold and tables. A new one is built beside the old one and never compared with it.
    #[must_use]
    pub fn version(self) -> u32 {
        match self {
            // 2: erasures.
            Projection::Verification => 2,
            Projection::History => 1,
        }
    }

    /// The log that it folds.
    #[must_use]
    pub fn log(self) -> LogName {
        match self {
            Projection::Verification => LogName::LEDGER,
            Projection::History => LogName::AUDIT,
        }
    }
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected verification or history")]
pub struct Unknown;

impl FromStr for Projection {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        Projection::ALL.into_iter().find(|projection| projection.as_str() == text).ok_or(Unknown)
    }
}

/// How far a projection's serving generation has come. Read in the same snapshot as the rows that it speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Whose it is.
    pub projection: Projection,
    /// The generation that serves.
    pub generation: u64,
    /// The last position applied; `None` while the log is empty.
    pub position: Option<Position>,
    /// The chain hash at `position`; the origin's genesis while the log is empty.
    pub chain_hash: Hash,
    /// The log's last position when its head was last read.
    pub head_seen: Option<Position>,
    /// The last time, by the log's clock, at which it was known that nothing newer than `position` existed; the epoch
    /// until that was so for the first time.
    pub confirmed_at: Timestamp,
    /// Why the projection stopped; `None` while it is healthy.
    pub unhealthy: Option<String>,
}

impl Cursor {
    /// The cursor as a position of its log; `None` while the log is empty.
    #[must_use]
    pub fn as_of(&self) -> Option<LogPosition> {
        self.position.map(|position| self.projection.log().at(position))
    }

    /// How many events are known to be missing.
    #[must_use]
    pub fn lag_events(&self) -> u64 {
        let count = |position: Option<Position>| position.map_or(0, |position| position.0 + 1);
        count(self.head_seen).saturating_sub(count(self.position))
    }

    /// Whether answers may be given: healthy, and confirmed no longer than `staleness_max` before `now`.
    ///
    /// # Errors
    /// [`Error::Unhealthy`] or [`Error::Stale`].
    pub fn check(&self, now: Timestamp, staleness_max: Duration) -> Result<(), Error> {
        if let Some(reason) = &self.unhealthy {
            return Err(Error::Unhealthy { projection: self.projection, reason: reason.clone() });
        }
        if now.since(self.confirmed_at) > staleness_max {
            return Err(Error::Stale { projection: self.projection, confirmed_at: self.confirmed_at });
        }
        Ok(())
    }
}

/// Why a read model gave no answer. Many may have asked together, and each is told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The read store has no such model (any more): it must be, or is being, built. Never to be read as "empty".
    #[error("the read model {0} is not there: it is being built")]
    Vanished(Projection),
    /// The projection stopped rather than skip an event.
    #[error("the projection {projection} stopped: {reason}")]
    Unhealthy {
        /// Which one.
        projection: Projection,
        /// What stopped it; nothing personal.
        reason: String,
    },
    /// It is not known whether the answer is still true.
    #[error("the projection {projection} was last confirmed at {confirmed_at}")]
    Stale {
        /// Which one.
        projection: Projection,
        /// When it was known to be complete.
        confirmed_at: Timestamp,
    },
    /// The wished position was not reached in time.
    #[error("the projection {projection} has not caught up")]
    NotCaughtUp {
        /// Which one.
        projection: Projection,
        /// How far it has come.
        position: Option<Position>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Arc<store::Error>),
}

impl From<store::Error> for Error {
    fn from(failed: store::Error) -> Error {
        Error::Store(Arc::new(failed))
    }
}
