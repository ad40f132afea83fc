//! Read a credential, its events and its verifications.

use credence_ledger::event::Recorded;
use credence_ledger::log::Query;
use credence_ledger::{Position, Stream};
use credence_projections::projection::{Cursor, Projection};
use uuid::Uuid;

use super::credential::{self, Credential, Opened};
use super::{Error, audit};
use crate::caller::{Caller, Principal};
use crate::services::Services;

/// Some of a list, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Position>,
}

/// Reads a credential from its stream, so that it is always current. Where personal data is opened for it, the read is recorded
/// first: no record, no read.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Erased`], [`Error::KeyLost`], [`Error::Audit`], or the world's.
pub async fn read(services: &Services, caller: &Caller, principal: &Principal, id: Uuid) -> Result<Opened, Error> {
    let credential = credential::load(services, id, None).await?.filter(|credential| principal.may_know_of(credential.issued.issuer));
    let credential = credential.ok_or(Error::NotFound)?;
    let document = credential::document(services, &credential).await?;
    if document.is_some() {
        audit::personal_data_read(services, caller, Some(&credential.stream())).await?;
    }
    credential::opened(services, credential, document, services.clock.now()).await
}

/// A credential's events, ascending. What is sealed stays so.
///
/// # Errors
/// [`Error::NotFound`], or the world's.
pub async fn events(services: &Services, principal: &Principal, id: Uuid, from: Position, limit: usize) -> Result<Page<Recorded>, Error> {
    known(services, principal, id).await?;
    let query = Query { from, limit: limit + 1, ..Query::stream(&Stream::credential(id)) };
    let mut items = services.ledger()?.log.read(&query).await?;
    let next = items.get(limit).map(|event| event.position);
    items.truncate(limit);
    Ok(Page { items, next })
}

/// A credential's entries in the audit log, ascending, as far as the history read model has come.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Projection`], or the world's.
pub async fn verifications(
    services: &Services,
    principal: &Principal,
    id: Uuid,
    (from, limit): (Position, usize),
    passed: Option<Position>,
) -> Result<(Page<Recorded>, Cursor), Error> {
    known(services, principal, id).await?;
    if passed.is_some() {
        services.wait_for(Projection::History, passed).await?;
    }
    let (mut positions, cursor) = services.read.verifications(id, from, limit + 1).await?;
    cursor.check(services.clock.now(), services.settings.staleness_max)?;
    let next = positions.get(limit).copied();
    positions.truncate(limit);
    let items = services.audit.log.read_at(&positions).await?;
    Ok((Page { items, next }, cursor))
}

/// Whether the credential is this caller's to know of. How it was issued tells that; what became of it is not read.
///
/// # Errors
/// [`Error::NotFound`], or the world's.
pub(super) async fn known(services: &Services, principal: &Principal, id: Uuid) -> Result<(), Error> {
    let issued = services.ledger()?.log.read_first(&[Stream::credential(id)]).await?;
    let credential = Credential::fold(&issued)?;
    credential.filter(|credential| principal.may_know_of(credential.issued.issuer)).map(|_| ()).ok_or(Error::NotFound)
}
