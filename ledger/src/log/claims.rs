//! What events do to unique keys: the table of keys follows from the log by these two rules alone. **Permanent**: docs/FORMAT.md.

use super::UniqueKey;
use crate::event::credential::{CredentialIssued, CredentialRevoked};
use crate::event::issuer::IssuerRegistered;
use crate::event::{DecodeError, Payload, Recorded};
use crate::stream::category;

/// The key that an event claims for its stream.
///
/// # Errors
/// The event claims one, but its payload does not decode.
pub fn claimed(event: &Recorded) -> Result<Option<UniqueKey>, DecodeError> {
    match (event.stream.category(), event.kind.as_str()) {
        (category::ISSUER, IssuerRegistered::TYPE) => Ok(Some(UniqueKey::issuer_name(&event.payload::<IssuerRegistered>()?.name))),
        (category::CREDENTIAL, CredentialIssued::TYPE) => {
            let issued: CredentialIssued = event.payload()?;
            Ok(Some(match issued.subject_id {
                Some(subject_id) => UniqueKey::natural(issued.issuer, subject_id, &issued.credential_type),
                None => UniqueKey::secret(issued.issuer, &issued.digest),
            }))
        }
        _ => Ok(None),
    }
}

/// Whether an event gives back what its stream had claimed.
#[must_use]
pub fn releases(event: &Recorded) -> bool {
    event.stream.category() == category::CREDENTIAL && event.kind == CredentialRevoked::TYPE
}
