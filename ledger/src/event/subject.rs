//! Subjects: whom credentials are about. Stream `subject/<uuid>`, ledger log. It is empty until the subject is erased.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DecodeError, Metadata, New, Payload, Recorded};

/// What was sealed for the subject is never opened again: its keys are destroyed. In encoded-key order.
///
/// Nothing in it is personal. Who asked is the metadata's actor; why is told in the audit log, under a month's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectErased {
    /// The ids of the keys that are destroyed, such as `subject/<uuid>`.
    pub keys: Vec<String>,
    /// Those erased by one order share its id: the audit log's stream `erasure/<uuid>` tells who gave it, and why.
    pub order: Uuid,
    /// The issuer's id.
    pub issuer: Uuid,
    /// How many credentials had been issued for the subject when this was decided, whatever their status. One that was issued
    /// meanwhile may not be counted.
    pub credentials: u64,
}

impl Payload for SubjectErased {
    const TYPE: &'static str = "SubjectErased";
}

/// Any event of a subject's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectEvent {
    /// See [`SubjectErased`].
    Erased(SubjectErased),
}

impl SubjectEvent {
    /// Decodes an event of the category `subject`.
    ///
    /// # Errors
    /// This program does not know the event.
    pub fn decode(event: &Recorded) -> Result<SubjectEvent, DecodeError> {
        match event.kind.as_str() {
            SubjectErased::TYPE => Ok(SubjectEvent::Erased(event.payload()?)),
            _ => Err(event.unknown_type()),
        }
    }

    /// Encodes it, ready to be appended.
    #[must_use]
    pub fn encode(&self, metadata: &Metadata) -> New {
        match self {
            SubjectEvent::Erased(payload) => New::of(payload, metadata),
        }
    }
}
