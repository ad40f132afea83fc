//! The short way: one statement, which writes what was planned if the log is still what the plan was made of.
//!
//! That is the head as this process left it, and of streams, keys and idempotency rows what the appends expect
//! ([`planner::presumed`]). The statement takes the lock, compares, and writes everything or nothing; then the caller goes the long
//! way. Where others append too, the head keeps moving, and the short way is not tried until two commits have met at the same end.
//!
//! The log's clock is the server's, which a plan that is made beforehand can only foretell. No time is taken that is behind the
//! clock under the lock, so that [`Head::now`](crate::log::Head::now) keeps its promise on this way too, and none that is ahead of it by
//! more than [`LEAD_MAX`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::FromRow as _;

use super::{Committed, Writer, bind_events, bounded_commit, claimed};
use crate::chain::Hash;
use crate::log::postgres::signed;
use crate::log::{Append, CommitError};
use crate::planner::{self, Head, Plan};
use crate::store::postgres::error;
use crate::{Position, Timestamp};

/// How old what is known may be to be built on. A session that was idle for longer may be dead, which on the long way is found out
/// before anything can have been committed.
const KNOWN_MAX: Duration = Duration::from_secs(1);

/// How far ahead of the server's clock an event may be recorded, in microseconds.
const LEAD_MAX: u64 = 50_000;

/// How far ahead it should be, in microseconds: enough for the lock to be a little later than usual.
const LEAD: u64 = 500;

/// The log as a commit left it.
pub(super) struct Known {
    size: u64,
    chain_hash: Hash,
    recorded_at: Timestamp,
    /// The server's clock, and when it was asked for, which was before.
    clock: (Timestamp, Instant),
    /// The commit before had left the head as this one found it.
    alone: bool,
}

impl Known {
    /// The log as the long way finds it, when that was its end before.
    pub(super) fn after_fetching(head: &Head, asked: Instant, before: Option<&Known>) -> Known {
        let Head { size, chain_hash, recorded_at, now } = *head;
        let alone = before.is_some_and(|before| (before.size, before.chain_hash) == (size, chain_hash));
        Known { size, chain_hash, recorded_at, clock: (now, asked), alone }
    }

    /// The log once the plan is written.
    pub(super) fn after(self, plan: &Plan) -> Known {
        Known { size: plan.size, chain_hash: plan.chain_hash, recorded_at: plan.recorded_at, ..self }
    }

    fn head(&self, now: Timestamp) -> Head {
        Head { size: self.size, chain_hash: self.chain_hash, recorded_at: self.recorded_at, now }
    }
}

/// How much later than last time the head may be locked after having been asked for, in microseconds: learnt.
pub(super) struct Margin(AtomicU64);

impl Default for Margin {
    /// The first time takes longest: the server has to understand the statement.
    fn default() -> Margin {
        Margin(AtomicU64::new(LEAD_MAX / 10))
    }
}

impl Margin {
    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    /// Too little costs a commit on the long way, too much records an event a little ahead: upwards at once, downwards by and by.
    fn learn(&self, foretold: Timestamp, clock: Timestamp) {
        let (margin, foretold, clock) = (self.0.load(Ordering::Relaxed), foretold.as_micros(), clock.as_micros());
        let learnt = match foretold.checked_sub(clock) {
            None => margin + (clock - foretold) + LEAD,
            Some(lead) => margin - (lead.saturating_sub(LEAD) / 8).min(margin),
        };
        self.0.store(learnt.min(LEAD_MAX / 2), Ordering::Relaxed);
    }
}

impl Writer {
    /// Appends, unless it cannot be done this way: `None`, and nothing was written.
    pub(super) async fn append_if_unchanged(&self, batch: &[Append], known: &Known) -> Result<Option<Committed>, CommitError> {
        if !known.alone || known.clock.1.elapsed() >= KNOWN_MAX {
            return Ok(None);
        }
        let Some(presumed) = planner::presumed(batch) else { return Ok(None) };
        let Some(mut connection) = self.take() else { return Ok(None) };
        let wanted = planner::wanted(batch);
        let versions: Vec<Option<i64>> = wanted.streams.iter().map(|stream| Some(signed(presumed.versions.get(stream)?.0))).collect();
        let asked = Instant::now();
        let head = known.head(known.clock.0.plus(asked.duration_since(known.clock.1) + self.margin.get()));
        // It holds events: the first append is refused by nothing that it says itself.
        let plan = planner::plan(&head, presumed, batch);
        let keys = claimed(&plan);
        let remembered = &plan.idempotency;
        let statement = sqlx::query(include_str!("../../../../sql/postgres/log/append_if_unchanged.sql"));
        let statement = bind_events(statement, head.size, &plan)
            .bind(keys.iter().map(|(key, _)| key.0.as_slice()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(_, owner)| owner.stream.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(_, owner)| signed(owner.position.0)).collect::<Vec<_>>())
            .bind(remembered.keys().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
            .bind(remembered.values().map(|row| row.stored_command()).collect::<Vec<_>>())
            .bind(remembered.values().map(|row| signed(row.position.0)).collect::<Vec<_>>())
            .bind(remembered.values().map(|row| row.recorded_at.as_micros_i64()).collect::<Vec<_>>())
            .bind(head.chain_hash.0.as_slice())
            .bind(wanted.streams.iter().map(|stream| stream.as_str()).collect::<Vec<_>>())
            .bind(versions)
            .bind(wanted.keys.iter().map(|key| key.0.as_slice()).collect::<Vec<_>>())
            .bind(wanted.idempotency.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
            .bind(wanted.subjects.iter().copied().collect::<Vec<_>>())
            .bind(signed(LEAD_MAX));
        // From here on the batch may be in the log, whatever we hear.
        let from = Position(head.size);
        let row = bounded_commit(from, statement.fetch_one(&mut connection)).await?;
        let unreadable = |failed| CommitError::Unknown { from, source: error(failed) };
        let (appended, now) = <(bool, i64)>::from_row(&row).map_err(unreadable)?;
        let now = Timestamp::from_micros(now.unsigned_abs());
        if head.now >= known.recorded_at {
            self.margin.learn(head.now, now);
        }
        if !appended {
            self.keep(connection);
            return Ok(None);
        }
        let Plan { size, chain_hash, recorded_at, .. } = plan;
        self.put_back(connection, Known { size, chain_hash, recorded_at, clock: (now, asked), alone: true });
        Ok(Some((plan.outcomes, Some(plan.size))))
    }
}
