//! List and search credentials: summaries without personal data, from the verification read model.

use credence_ledger::Position;
use credence_projections::projection::{Cursor, Projection};
use credence_projections::verification::{Credential, Filter, Status};
use uuid::Uuid;

use super::Error;
use super::read::Page;
use super::subjects::{self, Person};
use crate::caller::Principal;
use crate::services::Services;

/// Which credentials are wanted. The conditions hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListCredentials {
    /// Of the subject with this e-mail address, in normal form.
    pub email: Option<String>,
    /// Of the subject with this name, in normal form.
    pub name: Option<String>,
    /// Of this type.
    pub credential_type: Option<String>,
    /// With this status now.
    pub status: Option<Status>,
    /// Issued before this position.
    pub before: Option<Position>,
    /// At most so many.
    pub limit: usize,
    /// The read model must have passed this position.
    pub passed: Option<Position>,
}

/// Credentials that the caller may know of, newest first, each with its status now. An issuer's key knows its own.
///
/// # Errors
/// [`Error::Projection`], or the world's.
pub async fn list(
    services: &Services,
    principal: &Principal,
    wanted: ListCredentials,
) -> Result<(Page<(Credential, Status)>, Cursor), Error> {
    let issuer = (!principal.sees_everything()).then_some(principal.issuer);
    if wanted.passed.is_some() {
        services.wait_for(Projection::Verification, wanted.passed).await?;
    }
    let subjects = searched(services, principal, &wanted).await?;
    let now = services.clock.now();
    let filter = Filter {
        issuer,
        credential_type: wanted.credential_type,
        subjects,
        status: wanted.status.map(|status| (status, now)),
        before: wanted.before,
        limit: wanted.limit + 1,
    };
    let (mut found, cursor) = services.read.list(&filter).await?;
    cursor.check(now, services.settings.staleness_max)?;
    let more = found.len() > wanted.limit;
    found.truncate(wanted.limit);
    let next = found.last().filter(|_| more).map(|last| last.position);
    let status = |found: &Credential| Status::of(found.state, found.valid_from, found.valid_until, now);
    let items = found.into_iter().map(|credential| (status(&credential), credential)).map(|(status, found)| (found, status)).collect();
    Ok((Page { items, next }, cursor))
}

/// The subjects searched for; `None` when all are wanted.
async fn searched(services: &Services, principal: &Principal, wanted: &ListCredentials) -> Result<Option<Vec<Uuid>>, Error> {
    if wanted.email.is_none() && wanted.name.is_none() {
        return Ok(None);
    }
    let issuers = subjects::known_to(services, principal).await?;
    let person = Person { email: wanted.email.as_deref(), name: wanted.name.as_deref() };
    let found = subjects::find(services, &issuers, person).await?;
    Ok(Some(found.into_iter().map(|subject| subject.id).collect()))
}
