//! API keys: made, told, rotated, revoked; by HTTP and by the command line alike.
//!
//! The order is what makes it safe. A key is told once it is recorded; one that cannot be recorded is revoked at once, and nobody is told
//! it. What is taken away is taken first and recorded then: where the record fails, whoever asked is told so, and the right is gone. Only a
//! rotation is recorded before the old key has its end, since the log decides who rotates it; whatever breaks off in between is finished
//! by whoever asks again, and by [`finish`].

use std::time::Duration;

use credence_ledger::event::audit::{KeyCreated, KeyReplaced, KeyRevoked};
use credence_ledger::event::{Payload as _, Recorded};
use credence_ledger::log::{Append, Expected, Outcome, Query, Refusal};
use credence_ledger::stream::category;
use credence_ledger::vault::api_key::Wanted;
use credence_ledger::vault::{ApiKey, Role, Roles, Terms};
use credence_ledger::{Stream, Timestamp};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Error, accounts, audit, issuers};
use crate::caller::{Caller, Principal};
use crate::services::Services;

/// For how long a key may go on beside the one that replaces it.
pub const OVERLAP_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often a revocation is recorded anew because something else was recorded of the same key meanwhile.
const TRIES_MAX: usize = 5;

/// A key just made.
pub struct Made {
    /// Its row.
    pub key: ApiKey,
    /// The name of the organisation that it acts for.
    pub issuer: String,
    /// To be told once.
    pub text: Zeroizing<String>,
}

/// Which keys are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListKeys {
    /// Their visible prefix begins so.
    pub prefix: Option<String>,
    /// Made before this one.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: u32,
}

/// The organisation that a key is to act for: the one of that name, or the caller's own.
///
/// # Errors
/// [`Error::Forbidden`] to whoever administers another one; [`Error::NoSuchIssuer`], or the vault's.
pub async fn organisation(services: &Services, principal: &Principal, name: Option<&str>) -> Result<Uuid, Error> {
    issuers::named(services, principal, name, OTHERS).await
}

/// Makes a key, and records that it was made and for what it holds.
///
/// # Errors
/// [`Error::Forbidden`] if the caller would give more than it has; [`Error::Audit`], or the vault's.
pub async fn create(services: &Services, caller: &Caller, terms: &Terms) -> Result<Made, Error> {
    may_give(caller, terms)?;
    make(services, caller, terms).await
}

/// Keys that the caller may know of, newest first, and where the next page begins.
///
/// # Errors
/// The vault's.
pub async fn list(services: &Services, principal: &Principal, wanted: ListKeys) -> Result<(Vec<ApiKey>, Option<Uuid>), Error> {
    let ListKeys { prefix, before, limit } = wanted;
    let issuer = (!principal.sees_everything()).then_some(principal.issuer);
    let wanted = Wanted { issuer, prefix, before, limit: limit.saturating_add(1) };
    let mut found = services.vault.select_keys(&wanted).await?;
    let more = found.len() == usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    if more {
        found.pop();
    }
    let next = found.last().filter(|_| more).map(|last| last.id);
    Ok((found, next))
}

/// A key that the caller may know of.
///
/// # Errors
/// [`Error::NotFound`], or the vault's.
pub async fn read(services: &Services, caller: &Caller, id: Uuid) -> Result<ApiKey, Error> {
    let key = services.vault.key(id).await?;
    let known = |issuer| caller.is_operator || caller.principal.as_ref().is_some_and(|principal| principal.may_know_of(issuer));
    key.filter(|key| known(key.terms.issuer)).ok_or(Error::NotFound)
}

/// Makes another key on the terms of one, which ends after `overlap`.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`] if the caller could not have made it; [`Error::KeyEnded`]; [`Error::Audit`] and the world's, and
/// there is no other in its place.
pub async fn rotate(services: &Services, caller: &Caller, id: Uuid, overlap: Duration) -> Result<Made, Error> {
    let key = read(services, caller, id).await?;
    may_give(caller, &key.terms)?;
    let now = services.clock.now();
    judge(&key, now)?;
    let before = services.audit.log.read(&Query::stream(&stream(id))).await?;
    if see_through(services, &key, &before).await? {
        return Err(Error::KeyEnded("the key was rotated before: rotate the one that took its place"));
    }
    let known = before.last().map_or(Expected::None, |last| Expected::Exact(last.version));
    let made = make(services, caller, &key.terms).await?;
    let replaced = replace(services, caller, (&key, known), &made.key, now.plus(overlap.min(OVERLAP_MAX))).await;
    if replaced.is_err() {
        // Nobody was told it.
        end(services, caller, made.key.id).await?;
    }
    replaced.map(|()| made)
}

/// Gives every key that was rotated the end that was recorded, where a process was killed, or its vault was away, before it had it. Answers
/// of how many.
///
/// # Errors
/// The audit log's, or the vault's.
pub async fn finish(services: &Services) -> Result<usize, Error> {
    let now = services.clock.now();
    let mut finished = 0;
    for key in services.vault.keys().await?.into_iter().filter(|key| judge(key, now).is_ok()) {
        let events = services.audit.log.read(&Query::stream(&stream(key.id))).await?;
        if replaced(&events)?.is_some_and(|end| !ends_by(&key, end)) {
            see_through(services, &key, &events).await?;
            finished += 1;
        }
    }
    Ok(finished)
}

/// Whether a key has been rotated by what was recorded of it. Then it has its end, from here on at the latest.
async fn see_through(services: &Services, key: &ApiKey, events: &[Recorded]) -> Result<bool, Error> {
    let Some(end) = replaced(events)? else { return Ok(false) };
    if !ends_by(key, end) {
        services.vault.expire_key(key.id, end).await?;
    }
    Ok(true)
}

/// Until when a key was to hold as another took its place.
fn replaced(events: &[Recorded]) -> Result<Option<Timestamp>, Error> {
    let replaced = events.iter().find(|event| event.kind == KeyReplaced::TYPE);
    Ok(replaced.map(Recorded::payload::<KeyReplaced>).transpose()?.map(|replaced| replaced.expires_at))
}

fn ends_by(key: &ApiKey, end: Timestamp) -> bool {
    key.terms.expires_at.is_some_and(|expires_at| expires_at <= end)
}

/// Revokes a key: within a second it is taken nowhere. To revoke one again changes nothing, but records what could not be recorded before.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`] if it is not the caller's to take away; [`Error::Unrecorded`], and it is revoked; the vault's.
pub async fn revoke(services: &Services, caller: &Caller, id: Uuid) -> Result<(), Error> {
    let key = read(services, caller, id).await?;
    may_take(caller, &key.terms)?;
    end(services, caller, id).await
}

const OTHERS: &str = "another organisation's keys are an operator's affair";

/// An administrator makes and takes away keys of its organisation that do not reach beyond it, an operator any.
fn may_take(caller: &Caller, terms: &Terms) -> Result<(), Error> {
    let Some(principal) = &caller.principal else {
        return if caller.is_operator { Ok(()) } else { Err(Error::Forbidden("it is not known who asks")) };
    };
    if !principal.roles.intersects(Roles::of(&[Role::Admin, Role::Operator])) {
        return Err(Error::Forbidden("keys are an administrator's affair"));
    }
    if !principal.acts_for(terms.issuer) {
        return Err(Error::Forbidden(OTHERS));
    }
    if !terms.roles.is_within(accounts::grantable(principal)) {
        return Err(Error::Forbidden("roles that reach beyond an organisation are an operator's to give and to take"));
    }
    Ok(())
}

/// Nobody gives more than it has.
fn may_give(caller: &Caller, terms: &Terms) -> Result<(), Error> {
    may_take(caller, terms)?;
    let limited = caller.principal.as_ref().filter(|principal| principal.types.is_some());
    let within = |by: &Principal| terms.types.as_ref().is_some_and(|types| types.iter().all(|kind| by.may_issue(kind)));
    if limited.is_none_or(within) { Ok(()) } else { Err(Error::Forbidden("a key that is limited to types of credentials gives no others")) }
}

fn judge(key: &ApiKey, now: Timestamp) -> Result<(), Error> {
    if key.revoked_at.is_some() {
        return Err(Error::KeyEnded("the key is revoked"));
    }
    if key.terms.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(Error::KeyEnded("the key has expired"));
    }
    Ok(())
}

async fn make(services: &Services, caller: &Caller, terms: &Terms) -> Result<Made, Error> {
    // Got first, so that nothing can keep what was made from being told.
    let issuer = services.issuers.by_id(terms.issuer).await?;
    let issuer = issuer.ok_or_else(|| Error::corrupt("a key of an organisation that the vault does not know"))?.name;
    let (key, text) = services.vault.create_key(terms, services.clock.now()).await?;
    // From here on a crash leaves a key that nobody was told.
    if let Err(error) = record_made(services, caller, &key).await {
        services.vault.revoke_key(key.id, services.clock.now()).await?;
        return Err(error);
    }
    Ok(Made { key, issuer, text })
}

/// That a key of these terms was made.
#[must_use]
pub fn created(terms: &Terms) -> KeyCreated {
    KeyCreated {
        roles: terms.roles.iter().map(|role| role.to_string()).collect(),
        types: terms.types.as_deref().map(<[String]>::to_vec),
        issuer: terms.issuer,
        expires_at: terms.expires_at,
    }
}

/// For whom a key was made, and its limits if it has any.
async fn record_made(services: &Services, caller: &Caller, key: &ApiKey) -> Result<(), Error> {
    let stream = stream(key.id);
    let event = audit::event(services, caller, &stream, &created(&key.terms)).await?;
    match services.audit.append(Append::to(stream, Expected::None, vec![event])).await.map_err(Error::Audit)? {
        Outcome::Appended(_) => Ok(()),
        outcome => Err(Error::corrupt(format!("a key just made was answered {outcome:?}"))),
    }
}

/// Lets a key end by `until`, as another takes its place. The audit log decides which of those who try at once does, before anything of the
/// key is changed: who is refused has taken nothing away.
async fn replace(
    services: &Services,
    caller: &Caller,
    (old, known): (&ApiKey, Expected),
    new: &ApiKey,
    until: Timestamp,
) -> Result<(), Error> {
    let expires_at = old.terms.expires_at.map_or(until, |expires_at| expires_at.min(until));
    let replaced = KeyReplaced { expires_at, replaced_by: new.id };
    let event = audit::event(services, caller, &stream(old.id), &replaced).await?;
    match services.audit.append(Append::to(stream(old.id), known, vec![event])).await.map_err(Error::Audit)? {
        Outcome::Appended(_) => {}
        Outcome::Refused(Refusal::StaleVersion { .. }) => return Err(Error::KeyEnded("the key was rotated or revoked meanwhile")),
        outcome => return Err(Error::corrupt(format!("a key's end was answered {outcome:?}"))),
    }
    // Killed here, the old key has no end until it is asked for again, or looked after.
    services.vault.expire_key(old.id, expires_at).await?;
    Ok(())
}

/// Revokes a key, and records that once.
async fn end(services: &Services, caller: &Caller, id: Uuid) -> Result<(), Error> {
    services.vault.revoke_key(id, services.clock.now()).await?.ok_or(Error::NotFound)?;
    record_revoked(services, caller, id).await.map_err(Error::after_the_fact)
}

async fn record_revoked(services: &Services, caller: &Caller, id: Uuid) -> Result<(), Error> {
    let stream = stream(id);
    for _ in 0..TRIES_MAX {
        let events = services.audit.log.read(&Query::stream(&stream)).await?;
        if events.iter().any(|event| event.kind == KeyRevoked::TYPE) {
            return Ok(());
        }
        let expected = events.last().map_or(Expected::None, |last| Expected::Exact(last.version));
        let event = audit::event(services, caller, &stream, &KeyRevoked {}).await?;
        match services.audit.append(Append::to(stream.clone(), expected, vec![event])).await.map_err(Error::Audit)? {
            Outcome::Appended(_) => return Ok(()),
            Outcome::Refused(Refusal::StaleVersion { .. }) => {}
            outcome => return Err(Error::corrupt(format!("a revocation was answered {outcome:?}"))),
        }
    }
    Err(Error::Contended)
}

fn stream(key: Uuid) -> Stream {
    Stream::new(category::KEY, key)
}
