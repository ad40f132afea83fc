//! The verification read model: what a credential is, and what its status was at any time.

use credence_ledger::{Position, Timestamp};
use uuid::Uuid;

/// What the events say; expiry follows from the dates and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It counts, if its dates say so.
    Active,
    /// It does not count for the time being.
    Suspended,
    /// It does not count any more.
    Revoked,
}

/// The status at a time: a credential's state and its dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It counts.
    Active,
    /// See [`State::Suspended`].
    Suspended,
    /// See [`State::Revoked`].
    Revoked,
    /// Its last day is over.
    Expired,
    /// Its first day has not come.
    NotYetValid,
}

impl Status {
    /// The precedence is revoked, suspended, expired, not yet valid, active; valid while valid_from ≤ `at` < valid_until.
    #[must_use]
    pub fn of(state: State, valid_from: Option<Timestamp>, valid_until: Option<Timestamp>, at: Timestamp) -> Status {
        match state {
            State::Revoked => Status::Revoked,
            State::Suspended => Status::Suspended,
            State::Active if valid_until.is_some_and(|until| at >= until) => Status::Expired,
            State::Active if valid_from.is_some_and(|from| at < from) => Status::NotYetValid,
            State::Active => Status::Active,
        }
    }

    /// As in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Suspended => "suspended",
            Status::Revoked => "revoked",
            Status::Expired => "expired",
            Status::NotYetValid => "not_yet_valid",
        }
    }
}

/// A credential as it was at the moment asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub credential_type: String,
    /// Its issuer's id.
    pub issuer: Uuid,
    /// Its issuer's name.
    pub issuer_name: String,
    /// Whom it is about; `None` for a secret.
    pub subject_id: Option<Uuid>,
    /// A document's BLAKE3 digest with a subject, a secret's HMAC-SHA256 without.
    pub digest: [u8; 32],
    /// First instant.
    pub valid_from: Option<Timestamp>,
    /// First instant after the last.
    pub valid_until: Option<Timestamp>,
    /// When it was issued, by the ledger's clock.
    pub issued_at: Timestamp,
    /// The worker that issued it.
    pub issued_by: String,
    /// The position of its `CredentialIssued`.
    pub position: Position,
    /// The state at the moment asked for.
    pub state: State,
    /// When the state last changed before the moment asked for; `None` if it never did.
    pub status_changed_at: Option<Timestamp>,
}

/// What a credential is looked up by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Its id.
    Id(Uuid),
    /// Its document's BLAKE3 digest.
    Document([u8; 32]),
    /// Its secret's HMAC-SHA256, at the issuer of that name; the newest match speaks.
    Secret {
        /// The keyed digest.
        digest: [u8; 32],
        /// The issuer's name.
        issuer: String,
    },
}

/// The moment asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest applied state.
    Newest,
    /// What had been recorded at this time or before.
    Time(Timestamp),
    /// What stood at this position or before.
    Position(Position),
}

/// Which credentials are listed, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Of this issuer only.
    pub issuer: Option<Uuid>,
    /// Of this type only.
    pub credential_type: Option<String>,
    /// Of these subjects only.
    pub subjects: Option<Vec<Uuid>>,
    /// With this status at `now`.
    pub status: Option<(Status, Timestamp)>,
    /// Issued before this position only.
    pub before: Option<Position>,
    /// At most so many.
    pub limit: usize,
}
