//! Organisations: created, told, changed, deactivated.
//!
//! What gives a right, or is told of an organisation, is recorded before it holds; a deactivation takes rights away, so it holds at once and
//! is recorded then: a right that is gone and a 503 for the record is better than the reverse. Whoever repeats it records it.

use credence_ledger::event::audit::IssuerChanged;
use credence_ledger::log::{Expected, UniqueKey};
use credence_ledger::vault::issuers::ProfileChange;
use credence_ledger::vault::{IssuerKey, Organisation, Role};
use credence_ledger::{Position, Stream};
use uuid::Uuid;

use super::{Error, audit};
use crate::caller::{Caller, Principal};
use crate::services::Services;
use crate::stores::{self, DEFAULT_ISSUER};

/// What an organisation is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateIssuer {
    /// Its name, for ever.
    pub name: String,
    /// What it is called besides.
    pub display_name: Option<String>,
    /// Its web site.
    pub url: Option<String>,
}

/// What shall be otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeIssuer {
    /// What it tells of itself.
    pub profile: ProfileChange,
    /// Whether its keys and sessions hold.
    pub is_active: Option<bool>,
}

/// An organisation with its signing keys, oldest first.
pub type WithKeys = (Organisation, Vec<IssuerKey>);

/// Makes an organisation, in the vault first, whose signing key its did names, then in the ledger. A crash in between leaves a name that
/// is not taken: the next try finishes what it finds. What it tells of itself comes last. Answers where it was registered, too.
///
/// # Errors
/// [`Error::IssuerExists`]; [`Error::Unrecorded`], and it is there but tells nothing of itself; the world's.
pub async fn create(services: &Services, caller: &Caller, command: &CreateIssuer) -> Result<(WithKeys, Position), Error> {
    let CreateIssuer { name, display_name, url } = command;
    let ledger = services.ledger()?;
    if let Some(owner) = ledger.log.key_owner(&UniqueKey::issuer_name(name)).await? {
        return Err(Error::IssuerExists(owner.stream.id()));
    }
    let issuer = services.vault.ensure_issuer(name, services.clock.now()).await?;
    let origination = caller.origination(&services.worker);
    let registered = stores::register(ledger, &issuer, &origination, &services.random).await?;
    // Nobody: another was quicker.
    let position = registered.ok_or(Error::IssuerExists(issuer.id))?;
    if display_name.is_some() || url.is_some() {
        // Only by whoever the ledger says has made it: it is nobody else's to tell what it is called.
        let profile = ProfileChange { display_name: Some(display_name.clone()), url: Some(url.clone()) };
        let told = tell(services, caller, &known(services, issuer.id).await?, &ChangeIssuer { profile, is_active: None }).await;
        told.map_err(Error::after_the_fact)?;
    }
    Ok(((known(services, issuer.id).await?, services.vault.issuer_keys(issuer.id).await?), position))
}

/// The organisation that something is made for: the one of that name, or the caller's own.
///
/// # Errors
/// [`Error::Forbidden`], with these words, to whoever names another one and is no operator: whether there is one is not told.
/// [`Error::NoSuchIssuer`], or the vault's.
pub(super) async fn named(services: &Services, principal: &Principal, name: Option<&str>, refused: &'static str) -> Result<Uuid, Error> {
    let Some(name) = name else { return Ok(principal.issuer) };
    match services.issuers.by_name(name).await?.map(|issuer| issuer.id) {
        Some(found) if principal.acts_for(found) => Ok(found),
        None if principal.roles.contains(Role::Operator) => Err(Error::NoSuchIssuer),
        _ => Err(Error::Forbidden(refused)),
    }
}

/// Organisations that the caller may know of, newest first: its own, or all, before the one called `before`, at most `limit`.
///
/// # Errors
/// The vault's.
pub async fn list(services: &Services, principal: &Principal, before: Option<Uuid>, limit: u32) -> Result<Vec<Organisation>, Error> {
    if principal.sees_everything() {
        return Ok(services.vault.organisations(before, limit).await?);
    }
    let own = services.vault.organisation(principal.issuer).await?;
    Ok(own.into_iter().filter(|own| before.is_none_or(|before| own.issuer.id < before)).collect())
}

/// An organisation with its signing keys, oldest first.
///
/// # Errors
/// [`Error::NotFound`], or the vault's.
pub async fn read(services: &Services, principal: &Principal, id: Uuid) -> Result<WithKeys, Error> {
    if !principal.may_know_of(id) {
        return Err(Error::NotFound);
    }
    let organisation = services.vault.organisation(id).await?.ok_or(Error::NotFound)?;
    Ok((organisation, services.vault.issuer_keys(id).await?))
}

/// Changes an organisation: what its own administrators may, and what whoever runs the installation may.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`] to activate or deactivate one as its administrator; [`Error::DefaultIssuer`];
/// [`Error::Audit`], or the vault's.
pub async fn change(
    services: &Services,
    caller: &Caller,
    principal: &Principal,
    (id, change): (Uuid, &ChangeIssuer),
) -> Result<WithKeys, Error> {
    let is_operator = principal.roles.contains(Role::Operator);
    // An inspector may know of it, and an administrator of another organisation may be one.
    if !is_operator && principal.issuer != id {
        return Err(if principal.may_know_of(id) { Error::Forbidden("it is not your organisation") } else { Error::NotFound });
    }
    let organisation = services.vault.organisation(id).await?.ok_or(Error::NotFound)?;
    if change.is_active.is_some() && !is_operator {
        return Err(Error::Forbidden("organisations are activated and deactivated by operators"));
    }
    if change.is_active == Some(false) && organisation.issuer.name == DEFAULT_ISSUER {
        return Err(Error::DefaultIssuer);
    }
    if *change != ChangeIssuer::default() {
        tell(services, caller, &organisation, change).await?;
    }
    read(services, principal, id).await
}

/// Records what an organisation is from now on, and makes it so.
async fn tell(services: &Services, caller: &Caller, before: &Organisation, change: &ChangeIssuer) -> Result<(), Error> {
    let id = before.issuer.id;
    let ChangeIssuer { profile, is_active } = change;
    if *is_active == Some(false) {
        services.vault.deactivate_organisation(id, Some(services.clock.now())).await?;
    }
    let changed = IssuerChanged {
        url: profile.url.as_ref().unwrap_or(&before.url).clone(),
        is_active: is_active.unwrap_or(before.deactivated_at.is_none()),
        display_name: profile.display_name.as_ref().unwrap_or(&before.display_name).clone(),
    };
    let recorded = audit::record_on(services, caller, Stream::issuer(id), Expected::Any, &changed).await;
    recorded.map_err(|error| if *is_active == Some(false) { error.after_the_fact() } else { error })?;
    services.vault.change_organisation(id, profile).await?;
    if *is_active == Some(true) {
        services.vault.deactivate_organisation(id, None).await?;
    }
    Ok(())
}

async fn known(services: &Services, id: Uuid) -> Result<Organisation, Error> {
    let organisation = services.vault.organisation(id).await?;
    organisation.ok_or_else(|| Error::corrupt("an issuer just made is gone"))
}
