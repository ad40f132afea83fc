//! What one can do with Credence, without HTTP: each loads, decides, appends, and answers in the ledger's own types.
//!
//! Whoever calls one sees it through to its end: what was begun is not dropped half-way (over HTTP what is no longer waited for goes on
//! in a task of its own).

pub mod accounts;
pub mod audit;
pub mod change;
pub mod credential;
pub mod idempotency;
pub mod issue;
pub mod issuers;
pub mod keys;
pub mod list;
pub mod master_key;
pub mod read;
pub mod rebuild;
pub mod receipt;
pub mod replay;
pub mod retention;
pub mod rotate;
pub mod scope;
pub mod sessions;
pub mod subjects;
#[cfg(feature = "bench-unsealed")]
mod unsealed;
pub mod verify;

use credence_ledger::decision::credential::Rejection;
use credence_ledger::event::DecodeError;
use credence_ledger::{Timestamp, store, vault};
use credence_projections::projection::{self, Projection};
use credence_projections::verification::Status;
use uuid::Uuid;

use crate::limits::Standing;
use crate::passwords::Overloaded;
use crate::services::AppendError;

/// The credential that stands in the way of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Its id.
    pub id: Uuid,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The worker that issued it.
    pub issued_by: String,
    /// Its status now.
    pub status: Status,
}

/// Why there is no answer but this one: a rule said no, or the world failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or it is not the caller's to know of.
    #[error("there is no such thing")]
    NotFound,
    /// What the caller wants is not its to do, for this reason.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Name or address of an account is taken.
    #[error("an account with this name or address exists")]
    AccountExists,
    /// There is no organisation of that name.
    #[error("there is no organisation of that name")]
    NoSuchIssuer,
    /// No account has this name or address and this password; or a token is not what it should be.
    #[error("the credentials are wrong")]
    BadCredentials,
    /// Who is known by a session gave another password than its account's.
    #[error("the password is wrong")]
    WrongPassword,
    /// Too many wrong passwords of this account, or from this address. No other is looked at for a while.
    #[error("too many logins have failed")]
    TooManyFailures(Standing),
    /// Too many passwords are being checked. A later try can help.
    #[error(transparent)]
    Passwords(#[from] Overloaded),
    /// The name of an organisation is taken, by the one with this id.
    #[error("an organisation of this name exists")]
    IssuerExists(Uuid),
    /// What is not told whose it is belongs to the default organisation, which therefore stays active.
    #[error("the default organisation cannot be deactivated")]
    DefaultIssuer,
    /// The natural key, or the secret, is taken.
    #[error("the credential has been issued already")]
    AlreadyIssued(Existing),
    /// A rule of the credential's status.
    #[error(transparent)]
    Rejected(Rejection),
    /// The credential was changed as often as any is. It can still be revoked.
    #[error("the credential was suspended and reinstated too often: it can only be revoked")]
    ChangedTooOften,
    /// The idempotency key was used before for another command.
    #[error("the idempotency key was used for another command")]
    IdempotencyKeyReused,
    /// One rebuild a projection at a time.
    #[error("a rebuild of {0} is running")]
    RebuildRunning(Projection),
    /// The key that opens the personal data has been destroyed.
    #[error("the personal data has been erased")]
    Erased,
    /// The key that opens the personal data is not there, though nobody was erased: the vault is one from before.
    #[error("the key that opens the personal data is lost")]
    KeyLost,
    /// Others changed the same thing again and again while this was tried. A later try can help.
    #[error("the credential kept changing meanwhile")]
    Contended,
    /// No signed checkpoint covered the event in time. A later try can help.
    #[error("no checkpoint covers the event yet")]
    NotProved,
    /// The ledger log took no events.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// What must be recorded cannot be recorded, so it was not done.
    #[error("the audit log cannot be written")]
    Audit(#[source] AppendError),
    /// What was asked for was done, but the audit log does not tell of it. To ask for it again records it.
    #[error("it was done, but could not be recorded")]
    Unrecorded(#[source] AppendError),
    /// An API key holds no longer, or will not for long: no other takes its place.
    #[error("{0}")]
    KeyEnded(&'static str),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A read model gives no answer.
    #[error(transparent)]
    Projection(#[from] projection::Error),
    /// The log holds what this program cannot understand.
    #[error("the log holds what cannot be understood")]
    Stored(#[from] DecodeError),
}

impl From<vault::subjects::Error> for Error {
    fn from(error: vault::subjects::Error) -> Error {
        match error {
            vault::subjects::Error::Full => Error::Append(AppendError::Overloaded),
            vault::subjects::Error::Store(error) => Error::Store(error),
        }
    }
}

impl Error {
    /// As it is told of what was done before it could be recorded.
    fn after_the_fact(self) -> Error {
        match self {
            Error::Audit(error) => Error::Unrecorded(error),
            Error::Store(error) => Error::Unrecorded(error.into()),
            Error::Contended => Error::Unrecorded(AppendError::Overloaded),
            other => other,
        }
    }

    /// The log, or the vault, holds what this program cannot have written.
    fn corrupt(what: impl Into<String>) -> Error {
        Error::Store(store::Error::Corrupt(what.into()))
    }
}
