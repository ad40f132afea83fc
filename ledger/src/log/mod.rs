//! The log: an ordered, append-only table of events.
//!
//! [`Log`] is what an engine must be; its doc comments are the contract, and the suite in `log/contract.rs` holds every engine
//! to it. Engines only fetch, write and commit: what is written is decided by [`crate::planner`].

mod claims;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
mod key;
pub mod memory;
pub mod postgres;
mod restore;
pub mod sqlite;
mod walk;

use std::time::Duration;

use async_trait::async_trait;

pub use claims::{claimed, releases};
pub use key::UniqueKey;
pub use restore::{Restore, RestoreError};
use uuid::Uuid;
pub use walk::Walk;

use crate::chain::{Hash, Origin};
use crate::event::{New, Payload, Recorded};
use crate::store::Error;
use crate::{LogName, Position, Stream, Timestamp, Version};

/// What a stream must look like for an append to it to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It has no event.
    None,
    /// Its last event has exactly this version.
    Exact(Version),
    /// Anything.
    Any,
}

/// The part of an append that concerns one stream. Without events it is a mere precondition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamAppend {
    /// The stream.
    pub stream: Stream,
    /// What it must look like.
    pub expected: Expected,
    /// What happened, in order.
    pub events: Vec<New>,
}

/// An event's place in its stream, as an engine's index lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The stream.
    pub stream: Stream,
    /// The event's place in it.
    pub version: Version,
    /// The event's place in the log.
    pub position: Position,
}

/// Who owns a unique key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOwner {
    /// The stream that claimed it.
    pub stream: Stream,
    /// The position of the event it was claimed with.
    pub position: Position,
}

/// Makes the repeat of an append the answer of the first. Both hashes are keyed: neither tells what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// HMAC of principal, route and the caller's key.
    pub key: [u8; 32],
    /// HMAC of the parsed command.
    pub command: [u8; 32],
    /// How long the repeat is recognised, by the log's clock.
    pub kept: Duration,
}

/// One append. It commits whole or not at all. It must hold at least one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The streams, each at most once.
    pub streams: Vec<StreamAppend>,
    /// Unique keys to claim, each for the stream named, which must be in `streams` with events.
    pub claims: Vec<(UniqueKey, Stream)>,
    /// Unique keys to give back. A key nobody owns may be released.
    pub releases: Vec<UniqueKey>,
    /// Set when a repeat must not append again.
    pub idempotency: Option<Idempotency>,
    /// Subjects whose rows must be in the vault when this is committed, since their own commit did not wait for the disk
    /// ([`Subject::is_durable`](crate::vault::Subject::is_durable)); it is refused without them ([`Refusal::SubjectGone`]). Only for a log in
    /// the same PostgreSQL database as the vault.
    pub relies_on: Vec<Uuid>,
}

impl Append {
    /// Events for one stream and nothing else.
    #[must_use]
    pub fn to(stream: Stream, expected: Expected, events: Vec<New>) -> Append {
        Append {
            streams: vec![StreamAppend { stream, expected, events }],
            claims: Vec::new(),
            releases: Vec::new(),
            idempotency: None,
            relies_on: Vec::new(),
        }
    }

    /// How many bytes it brings into a batch, give or take the envelopes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.events().map(New::size).sum::<usize>() + 128
    }

    /// The same, on the condition that `stream` has no event.
    #[must_use]
    pub fn while_empty(mut self, stream: Stream) -> Append {
        self.streams.push(StreamAppend { stream, expected: Expected::None, events: Vec::new() });
        self
    }

    /// All its events, in order.
    pub fn events(&self) -> impl Iterator<Item = &New> {
        self.streams.iter().flat_map(|stream| &stream.events)
    }
}

/// What became of one append of a batch that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its events are in the log, durably, in the order given.
    Appended(Vec<Recorded>),
    /// The idempotency key was used before for the same command, whose first event stands here, or for one that was forgotten since
    /// ([`Log::forget_commands`]). Nothing was appended.
    Repeated(Position),
    /// A precondition did not hold. Nothing was appended.
    Refused(Refusal),
}

/// Which precondition did not hold. An answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The stream is not at the expected version; `actual` is its last, `None` if it has no event.
    StaleVersion {
        /// The stream.
        stream: Stream,
        /// Its last version.
        actual: Option<Version>,
    },
    /// Another stream owns the key.
    KeyTaken {
        /// The key.
        key: UniqueKey,
        /// Who owns it.
        owner: KeyOwner,
    },
    /// The idempotency key was used before for another command.
    IdempotencyKeyReused,
    /// A subject that the append relies on is not in the vault: the server that made it was replaced by another before its commit reached it.
    SubjectGone {
        /// The subject.
        subject: Uuid,
    },
}

/// A batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the batch is in the log, nor will it be.
    #[error("the batch was not written")]
    NotCommitted(#[source] Error),
    /// The batch may be in the log or may not: the connection was lost after the commit was sent. Never retried blindly.
    #[error("whether the batch was written is unknown")]
    Unknown {
        /// Where the log ended when the batch was planned: if it was written, its events stand from here on, with nothing between them.
        from: Position,
        /// Why.
        source: Error,
    },
    /// The log contradicts the planner (a constraint of the store was hit): a bug. Nothing was written; appending must stop.
    #[error("the log refused what was planned: {0}")]
    Contradiction(String),
}

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How many events there are; also the next position.
    pub size: u64,
    /// The chain hash of the last event, or the origin's [`Origin::genesis`].
    pub chain_hash: Hash,
    /// When the last event was recorded; the epoch while the log is empty.
    pub recorded_at: Timestamp,
    /// By the log's clock: no event with this `recorded_at` or an earlier one will become visible any more, but for those that
    /// this head counts, as long as the clock does not go back. The present, give or take a moment, unless a commit may be in
    /// flight.
    pub now: Timestamp,
}

impl Head {
    /// The last event's position; `None` while the log is empty.
    #[must_use]
    pub fn last(&self) -> Option<Position> {
        self.size.checked_sub(1).map(Position)
    }
}

/// The latest [`Head::now`] that holds whatever is in flight: `recorded_at` never decreases, so what is committed after an event
/// that was recorded at `last` bears this time at least.
fn settled_before(last: Timestamp) -> Timestamp {
    Timestamp::from_micros(last.as_micros().saturating_sub(1))
}

/// What a log without a head row is that has events.
fn lost_head() -> Error {
    Error::Corrupt("head: the row is missing, though there are events".to_owned())
}

/// Which events are wanted, in position order. The bounds hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// From this position on, inclusive.
    pub from: Position,
    /// Up to this position, inclusive.
    pub to: Option<Position>,
    /// Of this stream only.
    pub stream: Option<Stream>,
    /// Of this type only.
    pub kind: Option<String>,
    /// Recorded at this time or later.
    pub since: Option<Timestamp>,
    /// Recorded before this time.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
}

impl Query {
    /// Everything from `from` on, at most `limit` events.
    #[must_use]
    pub fn from(from: Position, limit: usize) -> Query {
        Query { from, to: None, stream: None, kind: None, since: None, until: None, limit }
    }

    /// A whole stream.
    #[must_use]
    pub fn stream(stream: &Stream) -> Query {
        Query { stream: Some(stream.clone()), ..Query::from(Position::FIRST, usize::MAX) }
    }

    /// The same, of one type only.
    #[must_use]
    pub fn of<P: Payload>(self) -> Query {
        Query { kind: Some(P::TYPE.to_owned()), ..self }
    }

    /// Whether `event` is wanted, but for the limit.
    #[must_use]
    pub fn wants(&self, event: &Recorded) -> bool {
        event.position >= self.from
            && self.to.is_none_or(|to| event.position <= to)
            && self.stream.as_ref().is_none_or(|stream| event.stream == *stream)
            && self.kind.as_ref().is_none_or(|kind| event.kind == *kind)
            && self.since.is_none_or(|since| event.recorded_at >= since)
            && self.until.is_none_or(|until| event.recorded_at < until)
    }
}

/// An engine that keeps one log.
///
/// What always holds, whichever process or thread asks:
///
/// - Positions are dense from 0; a stream's versions are dense from 0. Neither ever changes, nor does an event.
/// - A visible position means that every lower one is visible: a reader that asks for what lies after the last position it
///   saw misses nothing.
/// - `recorded_at` never decreases with the position.
/// - What [`Log::commit`] answered is durable.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// The log's name.
    fn name(&self) -> &LogName;

    /// The log's origin, as it was when the log was created.
    fn origin(&self) -> &Origin;

    /// The version of its tables, which this program makes and uses: the number of the engine's newest migration.
    fn schema(&self) -> usize;

    /// The log's end, and the time up to which that is all there will ever be ([`Head::now`]). A commit takes its time before it
    /// becomes visible, so while one may be in flight this time stays behind the clock. It is the clock's again soon after.
    ///
    /// After a commit of this handle was answered with [`CommitError::Unknown`], this waits until that commit is no longer under
    /// way, or fails: what it wrote, if anything, is visible from then on.
    async fn head(&self) -> Result<Head, Error>;

    /// Commits a batch in one transaction and answers each append in its place. A refused append does not touch its
    /// batch-mates; they are judged one after the other, as if each had been a batch of its own.
    ///
    /// Dropping the future leaves it open whether the batch is written, as with [`CommitError::Unknown`].
    async fn commit(&self, batch: Vec<Append>) -> Result<Vec<Outcome>, CommitError>;

    /// Events in position order. An engine may answer fewer than the limit only if there are no more.
    async fn read(&self, query: &Query) -> Result<Vec<Recorded>, Error>;

    /// The events at these positions, in position order; positions beyond the end are left out.
    async fn read_at(&self, positions: &[Position]) -> Result<Vec<Recorded>, Error>;

    /// The first event of each of these streams that has one, in position order.
    async fn read_first(&self, streams: &[Stream]) -> Result<Vec<Recorded>, Error>;

    /// Every event's place in its stream, as listed by the index that finds a stream's events, after `after`, at most `limit` and
    /// fewer only if there are no more: for the self-check. Each is listed once; those of a stream stand together, by version; the
    /// order of streams is the engine's. A row with a stream's name or a number that is none is left out.
    ///
    /// # Errors
    /// [`Error::Corrupt`] also when the index is not in its own order: then things may be listed twice, or apart.
    async fn versions(&self, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, Error>;

    /// Who owns a unique key.
    async fn key_owner(&self, key: &UniqueKey) -> Result<Option<KeyOwner>, Error>;

    /// Unique keys in the order of their bytes, after `after`, at most `limit`: for the self-check.
    async fn keys(&self, after: Option<&UniqueKey>, limit: usize) -> Result<Vec<(UniqueKey, KeyOwner)>, Error>;

    /// What the engine itself finds wrong with how it keeps the log, such as an index that does not follow from its table: for
    /// the self-check. It may read everything. Nothing from an engine that has no such check.
    async fn damages(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    /// Forgets idempotency rows written before `before`; answers how many.
    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64, Error>;

    /// Forgets the commands of the idempotency rows of appends whose first event stands at one of these positions; answers of how many.
    /// Until such a row is forgotten itself, its key is answered with [`Outcome::Repeated`], whatever the command. Durable once it is
    /// answered.
    async fn forget_commands(&self, positions: &[Position]) -> Result<u64, Error>;

    /// Hints that the log has grown, in whichever process, with the largest size heard of. A hint may come late or not at
    /// all, so that polling goes on underneath; `None` from an engine that has no such hints.
    fn wakeups(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        None
    }
}
