//! The verification read model: what a credential is, and what its status was at any time.

use credence_ledger::event::Recorded;
use credence_ledger::event::credential::CredentialEvent;
use credence_ledger::event::issuer::IssuerEvent;
use credence_ledger::event::subject::SubjectEvent;
use credence_ledger::stream::category;
use credence_ledger::{Position, Timestamp};
use uuid::Uuid;

use crate::fold::FoldError;
use crate::table::{Column, Kind, Row, Table, Value};

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

impl State {
    /// All of them.
    pub const ALL: [State; 3] = [State::Active, State::Suspended, State::Revoked];

    /// As the read models store it.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            State::Active => 0,
            State::Suspended => 1,
            State::Revoked => 2,
        }
    }

    /// From a stored code.
    #[must_use]
    pub fn from_code(code: i64) -> Option<State> {
        State::ALL.into_iter().find(|state| state.code() == code)
    }
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

/// What is left of a credential whose subject's personal data was erased: no moment brings back more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// Its id.
    pub id: Uuid,
    /// Its issuer's id.
    pub issuer: Uuid,
    /// Its issuer's name.
    pub issuer_name: String,
    /// Whom it was about.
    pub subject_id: Uuid,
    /// Its document's BLAKE3 digest.
    pub digest: [u8; 32],
    /// The position of its `CredentialIssued`.
    pub position: Position,
}

/// What a look-up finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A credential.
    Credential(Credential),
    /// What is left of one, whatever the moment asked for.
    Erased(Erased),
}

impl Found {
    /// The credential's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        match self {
            Found::Credential(credential) => credential.id,
            Found::Erased(erased) => erased.id,
        }
    }

    /// The name of the credential's issuer.
    #[must_use]
    pub fn issuer_name(&self) -> &str {
        match self {
            Found::Credential(credential) => &credential.issuer_name,
            Found::Erased(erased) => &erased.issuer_name,
        }
    }

    /// The credential, unless it was erased.
    #[must_use]
    pub fn credential(self) -> Option<Credential> {
        match self {
            Found::Credential(credential) => Some(credential),
            Found::Erased(_) => None,
        }
    }
}

/// A subject's credential, and where it was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfSubject {
    /// Its id.
    pub id: Uuid,
    /// Whom it is about.
    pub subject_id: Uuid,
    /// The position of its `CredentialIssued`.
    pub position: Position,
    /// Whether its subject's personal data was erased.
    pub is_erased: bool,
}

/// What a credential is looked up by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Its id.
    Id(Uuid),
    /// Its document's BLAKE3 digest.
    Document([u8; 32]),
    /// Its secret's HMAC-SHA256, at that issuer; the newest match speaks.
    Secret {
        /// The keyed digest.
        digest: [u8; 32],
        /// Whose.
        issuer: AtIssuer,
    },
}

/// Which issuer is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtIssuer {
    /// The one of that name.
    Name(String),
    /// The one with that id.
    Id(Uuid),
}

impl AtIssuer {
    /// Its name, or its id.
    pub(crate) fn parts(&self) -> (Option<&str>, Option<Uuid>) {
        match self {
            AtIssuer::Name(name) => (Some(name), None),
            AtIssuer::Id(id) => (None, Some(*id)),
        }
    }
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

/// Issuers as they were registered, by the position of that.
pub static ISSUERS: Table = Table {
    name: "issuers",
    columns: &[
        Column { name: "position", kind: Kind::Integer },
        Column { name: "id", kind: Kind::Uuid },
        Column { name: "name", kind: Kind::Text },
        Column { name: "did", kind: Kind::Text },
        Column { name: "registered_at", kind: Kind::Integer },
    ],
    known_by: Some(1),
};

/// Credentials with their newest state, by the position of their issuance.
pub static CREDENTIALS: Table = Table {
    name: "credentials",
    columns: &[
        Column { name: "position", kind: Kind::Integer },
        Column { name: "id", kind: Kind::Uuid },
        Column { name: "type", kind: Kind::Text },
        Column { name: "issuer", kind: Kind::Uuid },
        Column { name: "subject_id", kind: Kind::Uuid },
        Column { name: "digest", kind: Kind::Bytes },
        Column { name: "valid_from", kind: Kind::Integer },
        Column { name: "valid_until", kind: Kind::Integer },
        Column { name: "issued_at", kind: Kind::Integer },
        Column { name: "issued_by", kind: Kind::Text },
        Column { name: "state", kind: Kind::Integer },
        Column { name: "status_changed_at", kind: Kind::Integer },
    ],
    known_by: Some(1),
};

/// Every change of a credential's state after it was issued, by its position.
pub static STATUS_CHANGES: Table = Table {
    name: "status_changes",
    columns: &[
        Column { name: "position", kind: Kind::Integer },
        Column { name: "credential", kind: Kind::Uuid },
        Column { name: "recorded_at", kind: Kind::Integer },
        Column { name: "state", kind: Kind::Integer },
    ],
    known_by: None,
};

/// Subjects whose personal data was erased, by the position of that.
pub static ERASURES: Table = Table {
    name: "erasures",
    columns: &[
        Column { name: "position", kind: Kind::Integer },
        Column { name: "subject_id", kind: Kind::Uuid },
        Column { name: "recorded_at", kind: Kind::Integer },
    ],
    known_by: Some(1),
};

/// What is left of their credentials, by the position of the issuance. No event adds a row: the store settles them.
pub static ERASED_CREDENTIALS: Table = Table {
    name: "erased_credentials",
    columns: &[
        Column { name: "position", kind: Kind::Integer },
        Column { name: "id", kind: Kind::Uuid },
        Column { name: "issuer", kind: Kind::Uuid },
        Column { name: "subject_id", kind: Kind::Uuid },
        Column { name: "digest", kind: Kind::Bytes },
    ],
    known_by: Some(1),
};

/// What an event adds to the model. That a status change also shows in its credential's row, and that an erasure takes credentials
/// away, is settled by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An issuer was registered.
    InsertIssuer {
        /// Where.
        position: Position,
        /// Its id.
        id: Uuid,
        /// Its name.
        name: String,
        /// Its first did:key.
        did: String,
        /// When, by the ledger's clock.
        registered_at: Timestamp,
    },
    /// A credential was issued.
    InsertCredential {
        /// Where.
        position: Position,
        /// Its id.
        id: Uuid,
        /// Its type.
        credential_type: String,
        /// Its issuer's id.
        issuer: Uuid,
        /// Whom it is about; `None` for a secret.
        subject_id: Option<Uuid>,
        /// What it is looked up by.
        digest: [u8; 32],
        /// First instant.
        valid_from: Option<Timestamp>,
        /// First instant after the last.
        valid_until: Option<Timestamp>,
        /// When, by the ledger's clock.
        issued_at: Timestamp,
        /// The worker that issued it.
        issued_by: String,
    },
    /// A credential's state changed.
    AddStatusChange {
        /// Where.
        position: Position,
        /// Whose.
        credential: Uuid,
        /// When, by the ledger's clock.
        recorded_at: Timestamp,
        /// The state from then on.
        state: State,
    },
    /// A subject's personal data was erased.
    AddErasure {
        /// Where.
        position: Position,
        /// Whose.
        subject_id: Uuid,
        /// When, by the ledger's clock.
        recorded_at: Timestamp,
    },
}

impl Change {
    /// The row to insert. A credential's row begins as active: the store settles the rest from its status changes.
    #[must_use]
    pub fn row(self) -> (&'static Table, Row) {
        match self {
            Change::InsertIssuer { position, id, name, did, registered_at } => {
                (&ISSUERS, Row(vec![position.into(), id.into(), name.into(), did.into(), registered_at.into()]))
            }
            Change::InsertCredential {
                position,
                id,
                credential_type,
                issuer,
                subject_id,
                digest,
                valid_from,
                valid_until,
                issued_at,
                issued_by,
            } => {
                let row = vec![
                    position.into(),
                    id.into(),
                    credential_type.into(),
                    issuer.into(),
                    subject_id.into(),
                    digest.into(),
                    valid_from.into(),
                    valid_until.into(),
                    issued_at.into(),
                    issued_by.into(),
                    State::Active.code().into(),
                    Value::Null,
                ];
                (&CREDENTIALS, Row(row))
            }
            Change::AddStatusChange { position, credential, recorded_at, state } => {
                (&STATUS_CHANGES, Row(vec![position.into(), credential.into(), recorded_at.into(), state.code().into()]))
            }
            Change::AddErasure { position, subject_id, recorded_at } => {
                (&ERASURES, Row(vec![position.into(), subject_id.into(), recorded_at.into()]))
            }
        }
    }
}

/// Folds one event of the ledger log. Other categories than `issuer`, `credential` and `subject` change nothing.
///
/// # Errors
/// This program does not know an event of these categories.
pub fn fold(event: &Recorded) -> Result<Option<Change>, FoldError> {
    match event.stream.category() {
        category::ISSUER => {
            let registered = match IssuerEvent::decode(event)? {
                IssuerEvent::Registered(registered) => registered,
                // No verdict asks for a key: a document's proof names its own, and the document is known by its digest.
                IssuerEvent::KeyRotated(_) => return Ok(None),
            };
            Ok(Some(Change::InsertIssuer {
                position: event.position,
                id: event.stream.id(),
                name: registered.name,
                did: registered.did,
                registered_at: event.recorded_at,
            }))
        }
        category::CREDENTIAL => fold_credential(event).map(Some),
        category::SUBJECT => match SubjectEvent::decode(event)? {
            SubjectEvent::Erased(_) => {
                Ok(Some(Change::AddErasure { position: event.position, subject_id: event.stream.id(), recorded_at: event.recorded_at }))
            }
        },
        _ => Ok(None),
    }
}

fn fold_credential(event: &Recorded) -> Result<Change, FoldError> {
    let credential = event.stream.id();
    let status = |state| Change::AddStatusChange { position: event.position, credential, recorded_at: event.recorded_at, state };
    Ok(match CredentialEvent::decode(event)? {
        CredentialEvent::Issued(issued) => Change::InsertCredential {
            position: event.position,
            id: credential,
            credential_type: issued.credential_type,
            issuer: issued.issuer,
            subject_id: issued.subject_id,
            digest: *issued.digest,
            valid_from: issued.valid_from,
            valid_until: issued.valid_until,
            issued_at: event.recorded_at,
            issued_by: event.metadata()?.worker,
        },
        CredentialEvent::Suspended(_) => status(State::Suspended),
        CredentialEvent::Reinstated(_) => status(State::Active),
        CredentialEvent::Revoked(_) => status(State::Revoked),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_follows_from_the_state_and_then_from_the_dates() {
        let at = |seconds: u64| Timestamp::from_micros(seconds * 1_000_000);
        let (from, until) = (Some(at(10)), Some(at(20)));
        for (state, now, expected) in [
            (State::Active, 9, Status::NotYetValid),
            (State::Active, 10, Status::Active),
            (State::Active, 19, Status::Active),
            (State::Active, 20, Status::Expired),
            (State::Suspended, 9, Status::Suspended),
            (State::Suspended, 20, Status::Suspended),
            (State::Revoked, 9, Status::Revoked),
            (State::Revoked, 20, Status::Revoked),
        ] {
            assert_eq!(Status::of(state, from, until, at(now)), expected, "{state:?} at {now}");
        }
        assert_eq!(Status::of(State::Active, None, None, at(0)), Status::Active);
        // Dates that leave no time at all: the end counts.
        assert_eq!(Status::of(State::Active, until, from, at(15)), Status::Expired);
    }

    #[test]
    fn a_state_is_read_as_it_is_stored() {
        for state in State::ALL {
            assert_eq!(State::from_code(state.code()), Some(state));
        }
        assert_eq!(State::from_code(3), None);
    }
}
