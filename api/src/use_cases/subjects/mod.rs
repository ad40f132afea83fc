//! The people whom credentials are about: how one is found, and what is done with all that is held about it.
//!
//! Each organisation has subjects of its own, one for each name and address, and looks them up by references that only the vault can make. Of a
//! subject that has been erased the ledger says so, and that holds whatever the vault still has of it, or has again.

pub mod erase;
pub mod export;

use std::collections::HashMap;

use credence_ledger::event::Recorded;
use credence_ledger::vault::{Issuer, Reference, Role};
use credence_ledger::{Position, Stream};
use credence_projections::verification::OfSubject;
use uuid::Uuid;

use super::{Error, issuers};
use crate::caller::{Caller, Principal};
use crate::services::Services;

/// Credentials read at a time.
const PAGE: usize = 1000;

/// What somebody is looked for by, in normal form: what is given must match, and something must be.
#[derive(Clone, Copy)]
pub(super) struct Person<'a> {
    pub(super) email: Option<&'a str>,
    pub(super) name: Option<&'a str>,
}

/// Somebody who was found.
pub(super) struct Known {
    pub(super) id: Uuid,
    pub(super) issuer: Issuer,
}

fn ids(subjects: &[Known]) -> Vec<Uuid> {
    subjects.iter().map(|subject| subject.id).collect()
}

/// The organisations of whose credentials the principal may know.
pub(super) async fn known_to(services: &Services, principal: &Principal) -> Result<Vec<Issuer>, Error> {
    if principal.sees_everything() {
        return Ok(services.vault.issuers().await?);
    }
    Ok(services.issuers.by_id(principal.issuer).await?.into_iter().collect())
}

/// The organisations whose subjects the caller may erase, or be told everything about: the one called `name`, else its own, or of whoever
/// runs all of them, all.
async fn answered_for(services: &Services, caller: &Caller, name: Option<&str>) -> Result<Vec<Issuer>, Error> {
    let all = services.vault.issuers().await?;
    let find = |name: &str| all.iter().find(|issuer| issuer.name == name).map(|issuer| issuer.id).ok_or(Error::NoSuchIssuer);
    let named = match &caller.principal {
        // Whoever runs this service, at the command line.
        None => name.map(find).transpose()?,
        Some(principal) if principal.types.is_some() => {
            return Err(Error::Forbidden("whole persons are no affair of a key that is limited to types of credentials"));
        }
        Some(principal) if name.is_none() && principal.roles.contains(Role::Operator) => None,
        Some(principal) => Some(issuers::named(services, principal, name, "only an operator names another organisation").await?),
    };
    Ok(all.into_iter().filter(|issuer| named.is_none_or(|named| issuer.id == named)).collect())
}

/// The subjects that somebody is at these organisations, one after the other. A subject is one organisation's, and so is what it is looked
/// up by: the vault is asked once for all of them.
pub(super) async fn find(services: &Services, issuers: &[Issuer], person: Person<'_>) -> Result<Vec<Known>, Error> {
    let lookup = services.vault.lookup();
    let all = |reference: &dyn Fn(Uuid) -> Reference| issuers.iter().map(|issuer| reference(issuer.id)).collect::<Vec<_>>();
    let names = person.name.map(|name| all(&|issuer| lookup.name(issuer, name)));
    let emails = person.email.map(|email| all(&|issuer| lookup.email(issuer, email)));
    let mut of: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for (id, issuer) in services.vault.find_subjects(names.as_deref(), emails.as_deref()).await? {
        of.entry(issuer).or_default().push(id);
    }
    let mut found = Vec::new();
    for issuer in issuers {
        let mut ids = of.remove(&issuer.id).unwrap_or_default();
        ids.sort_unstable();
        found.extend(ids.into_iter().map(|id| Known { id, issuer: issuer.clone() }));
    }
    Ok(found)
}

/// The `SubjectErased` of those of these subjects that have been erased, in the log's order.
async fn erasures(services: &Services, subjects: impl IntoIterator<Item = Uuid>) -> Result<Vec<Recorded>, Error> {
    let streams: Vec<Stream> = subjects.into_iter().map(Stream::subject).collect();
    Ok(services.ledger()?.log.read_first(&streams).await?)
}

/// The credentials of these subjects, oldest first, as far as the read model has come.
async fn credentials_of(services: &Services, subjects: &[Uuid]) -> Result<Vec<OfSubject>, Error> {
    let (mut credentials, mut from) = (Vec::new(), Position::FIRST);
    if subjects.is_empty() {
        return Ok(credentials);
    }
    loop {
        let (page, _) = services.read.credentials_of(subjects, from, PAGE).await?;
        let is_last = page.len() < PAGE;
        from = page.last().map_or(from, |last| last.position.next());
        credentials.extend(page);
        if is_last {
            return Ok(credentials);
        }
    }
}
