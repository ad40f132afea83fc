//! The history read model: which verifications a credential has had, and where in the audit log they stand.

use credence_ledger::Position;
use credence_ledger::event::Recorded;
use credence_ledger::event::audit::AuditEvent;
use credence_ledger::stream::category;
use uuid::Uuid;

use crate::fold::FoldError;
use crate::table::{Column, Kind, Row, Table, Value};

/// One row a verdict that spoke of a credential.
pub static VERIFICATIONS: Table = Table {
    name: "verifications",
    columns: &[Column { name: "position", kind: Kind::Integer }, Column { name: "credential", kind: Kind::Uuid }],
    known_by: None,
};

/// What an event adds to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A credential was verified.
    InsertVerification {
        /// The verdict's position in the audit log.
        position: Position,
        /// The credential that was found.
        credential: Uuid,
    },
}

impl Change {
    /// The row to insert.
    #[must_use]
    pub fn row(self) -> (&'static Table, Row) {
        match self {
            Change::InsertVerification { position, credential } => {
                (&VERIFICATIONS, Row(vec![Value::from(position), Value::from(credential)]))
            }
        }
    }
}

/// Folds one event of the audit log. Verdicts that found no credential, and other categories, change nothing.
///
/// # Errors
/// This program does not know an event of the category `verification`.
pub fn fold(event: &Recorded) -> Result<Option<Change>, FoldError> {
    if event.stream.category() != category::VERIFICATION {
        return Ok(None);
    }
    match AuditEvent::decode(event)? {
        AuditEvent::CredentialVerified(verified) => {
            Ok(verified.credential.map(|credential| Change::InsertVerification { position: event.position, credential }))
        }
        _ => Err(FoldError::Misplaced { kind: event.kind.clone(), stream: event.stream.clone() }),
    }
}
