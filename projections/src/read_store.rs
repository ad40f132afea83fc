//! The store that keeps the read models. It may be deleted at any time and is rebuilt.

use async_trait::async_trait;
use credence_ledger::{Position, Timestamp};
use uuid::Uuid;

use crate::projection::{Cursor, Error, Projection};
use crate::verification::{At, Credential, Filter, Lookup};

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

/// A projection's place in the store, for `GET /v1/projections`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its cursor.
    pub cursor: Cursor,
    /// The serving generation's version of the projection.
    pub version: u32,
    /// The digest of the serving generation when it was last rebuilt, with the position it was taken at.
    pub digest: Option<([u8; 32], Option<Position>)>,
}

/// What serves reads. Every answer comes with the cursor of the same snapshot. Freshness is not judged here: see
/// [`Cursor::check`].
#[async_trait]
pub trait ReadStore: Send + Sync + 'static {
    /// The cursor alone.
    async fn cursor(&self, projection: Projection) -> Result<Cursor, Error>;

    /// The credential looked up, as it was at the moment asked for; one issued later is not there.
    async fn find(&self, lookup: &Lookup, at: At) -> Result<(Option<Credential>, Cursor), Error>;

    /// Credentials, newest first.
    async fn list(&self, filter: &Filter) -> Result<(Vec<Credential>, Cursor), Error>;

    /// Audit positions of a credential's verifications, ascending, from `from` on.
    async fn verifications(&self, credential: Uuid, from: Position, limit: usize) -> Result<(Vec<Position>, Cursor), Error>;

    /// Where each projection stands; one that is not there is left out.
    async fn standings(&self) -> Result<Vec<Standing>, Error>;

    /// A rebuild, running or past.
    async fn rebuild(&self, id: Uuid) -> Result<Option<Rebuild>, Error>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), Error>;
}
