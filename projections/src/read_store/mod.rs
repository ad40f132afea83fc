//! The store that keeps the read models. It may be deleted at any time and is rebuilt.

pub mod postgres;
pub mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use credence_ledger::{Position, Timestamp, store};
use secrecy::ExposeSecret as _;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::digest::DigestAt;
use crate::generation::Store;
use crate::projection::{Cursor, Error, Projection};
use crate::verification::{At, Credential, Filter, Found, Lookup, OfSubject, State, Status};

/// What is known of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// Its id.
    pub id: Uuid,
    /// What is rebuilt.
    pub projection: Projection,
    /// How far it has come.
    pub phase: Phase,
    /// Events applied.
    pub done: u64,
    /// Events there were when it was last looked.
    pub total: u64,
    /// Applied in a second, lately.
    pub events_per_second: u64,
    /// Whether the new generation equalled the old one at the same position; `None` when not (yet) compared.
    pub equal: Option<bool>,
    /// When this was written.
    pub updated_at: Timestamp,
    /// Why it failed; nothing personal.
    pub failure: Option<String>,
}

impl Rebuild {
    /// Seconds until it will be done at its present speed; `None` if that cannot be told.
    #[must_use]
    pub fn eta_s(&self) -> Option<u64> {
        match self.phase {
            Phase::Done | Phase::Failed => None,
            Phase::Building | Phase::CatchingUp | Phase::Comparing => {
                self.total.saturating_sub(self.done).checked_div(self.events_per_second)
            }
        }
    }
}

/// The stages of a rebuild, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Bulk load, without indexes.
    Building,
    /// Applying what was appended meanwhile.
    CatchingUp,
    /// Digests of both generations at the same position.
    Comparing,
    /// The new generation serves.
    Done,
    /// It was given up; the old generation serves.
    Failed,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 5] = [Phase::Building, Phase::CatchingUp, Phase::Comparing, Phase::Done, Phase::Failed];

    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Building => "building",
            Phase::CatchingUp => "catching_up",
            Phase::Comparing => "comparing",
            Phase::Done => "done",
            Phase::Failed => "failed",
        }
    }

    /// As it was stored.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// A projection's place in the store, for `GET /v1/projections`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its cursor.
    pub cursor: Cursor,
    /// The serving generation's version of the projection.
    pub version: u32,
    /// The digest of the serving generation when it was last rebuilt, with the position it was taken at.
    pub digest: Option<DigestAt>,
}

/// What serves reads. Every answer comes with the cursor of the same snapshot. Freshness is not judged here: see
/// [`Cursor::check`].
#[async_trait]
pub trait ReadStore: Send + Sync + 'static {
    /// The cursor alone.
    async fn cursor(&self, projection: Projection) -> Result<Cursor, Error>;

    /// The credential looked up, as it was at the moment asked for; one issued later is not there. What is left of one that was
    /// erased is found at every moment.
    async fn find(&self, lookup: &Lookup, at: At) -> Result<(Option<Found>, Cursor), Error>;

    /// The credentials with these ids, in the order asked for, in their newest state.
    async fn find_by_ids(&self, ids: &[Uuid]) -> Result<(Vec<Option<Found>>, Cursor), Error>;

    /// At most `limit` credentials of these subjects that were issued at `from` or later, those that were erased included, by position.
    async fn credentials_of(&self, subjects: &[Uuid], from: Position, limit: usize) -> Result<(Vec<OfSubject>, Cursor), Error>;

    /// Credentials, newest first; none that was erased.
    async fn list(&self, filter: &Filter) -> Result<(Vec<Credential>, Cursor), Error>;

    /// Audit positions of a credential's verifications, ascending, from `from` on.
    async fn verifications(&self, credential: Uuid, from: Position, limit: usize) -> Result<(Vec<Position>, Cursor), Error>;

    /// The position of the last event that changed this credential's status before the moment asked for; `None` when none had.
    async fn decided_by(&self, credential: Uuid, at: At) -> Result<(Option<Position>, Cursor), Error>;

    /// The last position of the ledger whose event had been recorded at `time`, as far as it has been applied: what a verdict
    /// as of `time` rests on. `None` when there was none. Events of categories that are not folded do not end it, nor do those of
    /// credentials that have been erased.
    async fn position_at(&self, time: Timestamp) -> Result<(Option<Position>, Cursor), Error>;

    /// Where each projection stands; one that is not there is left out.
    async fn standings(&self) -> Result<Vec<Standing>, Error>;

    /// A rebuild, running or past.
    async fn rebuild(&self, id: Uuid) -> Result<Option<Rebuild>, Error>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), Error>;

    /// Rung when this process has moved a projection on. A hint: other processes do not ring it.
    fn moved(&self) -> &Notify;
}

/// Opens a read store. Nothing is made and nothing need be there yet: what is missing answers [`Error::Vanished`] until a
/// [`crate::runner`] has built it.
///
/// # Errors
/// The store cannot be reached.
pub async fn open(url: &store::Url) -> Result<Arc<dyn Store>, store::Error> {
    match url {
        store::Url::Sqlite(folder) => Ok(sqlite::Sqlite::open(folder).await?),
        store::Url::Postgres(url) => Ok(postgres::Postgres::open(url.expose_secret()).await?),
    }
}

/// Whether the newest state is wanted, and the time and position at which rows end.
fn moment(at: At) -> (bool, i64, i64) {
    match at {
        At::Newest => (true, i64::MAX, i64::MAX),
        At::Time(time) => (false, time.as_micros_i64(), i64::MAX),
        At::Position(position) => (false, i64::MAX, position.0.cast_signed()),
    }
}

/// The state by which an index on states finds a status; `None` for what follows from dates.
fn stored_state(status: Status) -> Option<State> {
    match status {
        Status::Suspended => Some(State::Suspended),
        Status::Revoked => Some(State::Revoked),
        Status::Active | Status::Expired | Status::NotYetValid => None,
    }
}
