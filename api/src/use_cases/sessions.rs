//! Sessions: begun by a login, gone on with by refresh tokens, ended.
//!
//! A wrong password and an unknown account are told alike, and cost alike. A login is recorded before the session exists, an end after
//! the session is over. A refresh token is good once: who comes with a used one ends the session, whoever of the two is the thief.

use std::cmp::Reverse;
use std::time::Duration;

use credence_ledger::event::audit::{EndedBy, FailedBy, LoginFailed, SessionEnded, SessionStarted};
use credence_ledger::event::new_id;
use credence_ledger::log::Expected;
use credence_ledger::stream::category;
use credence_ledger::vault::accounts::Login;
use credence_ledger::vault::sessions::{NewSession, Refreshed, Seen};
use credence_ledger::vault::{Reference, Roles};
use credence_ledger::{Stream, causes, subject};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Error, audit};
use crate::caller::Caller;
use crate::passwords::Checked;
use crate::services::Services;
use crate::tokens::Signer;

/// What every refresh token begins with, so that a leaked one is recognised as one of ours.
const PREFIX: &str = "credence_refresh_";

/// How many sessions of an account go on at once.
const SESSIONS_MAX: usize = 100;

/// What a session's owner gets, once.
#[derive(Debug)]
pub struct Tokens {
    /// A JWT.
    pub access: Zeroizing<String>,
    /// For how long it holds.
    pub holds: Duration,
    /// For the next ones.
    pub refresh: Zeroizing<String>,
}

/// Begins a session of the account with this username or address.
///
/// # Errors
/// [`Error::BadCredentials`], whatever is wrong with them; the audit log or the vault fails.
pub async fn login(services: &Services, caller: &Caller, identifier: &str, password: &str) -> Result<Tokens, Error> {
    let identifier = reference(services, identifier);
    let found = services.vault.find_login(identifier).await?;
    // By whichever of its names: an account's failures are counted together.
    let bucket = found.as_ref().map_or(identifier, |login| reference(services, &login.account.profile.username));
    let checked = check(services, caller, (identifier, bucket), found.as_ref(), password).await?;
    let (Some(is_outdated), Some(Login { account, password: hashed, mut stored, .. })) = (checked, found) else {
        return Err(Error::BadCredentials);
    };

    // Got first, so that nothing can keep whoever is logged in from being told.
    let signer = services.tokens.signer(services.clock.now()).await?;
    let id = new_id(&services.clock, &services.random);
    let stream = Stream::new(category::SESSION, id);
    audit::record_on(services, caller, stream, Expected::None, &SessionStarted { account: account.id }).await?;
    let now = services.clock.now();
    let (refresh, token) = refresh_token(services);
    let expires_at = now.plus(services.settings.accounts.session);
    let agent = caller.user_agent.as_deref().map(str::to_owned);
    let mut new = NewSession { id, account: account.id, checked: stored.clone(), agent, token, created_at: now, expires_at };
    if !services.vault.insert_session(&new).await? {
        // The password was changed, or the account deactivated, while this one was checked; unless it was only wrapped anew.
        let again = services.vault.login_of(account.id).await?.filter(|again| again.password == hashed && again.stored != stored);
        stored = again.ok_or(Error::BadCredentials)?.stored;
        new.checked.clone_from(&stored);
        if !services.vault.insert_session(&new).await? {
            return Err(Error::BadCredentials);
        }
    }
    if is_outdated && let Err(error) = rehash(services, account.id, &stored, password).await {
        // Whoever is logged in is told so all the same; the next login tries again.
        tracing::warn!(reason = causes(&error), "a password could not be hashed anew");
    }
    if let Err(error) = make_room(services, caller, account.id).await {
        // The next login does.
        tracing::warn!(reason = causes(&error), "sessions beyond as many as an account may have could not be ended");
    }
    tokens(services, signer, (account.id, id), account.roles, refresh)
}

/// Hashes a password, which was right, at today's cost.
async fn rehash(services: &Services, account: Uuid, stored: &[u8], password: &str) -> Result<(), Error> {
    let hashed = services.passwords.hash(password).await?;
    Ok(services.vault.rehash_password(account, stored, &hashed).await?)
}

/// What an account is found by: its username or its address, in whichever spelling.
pub(super) fn reference(services: &Services, identifier: &str) -> Reference {
    services.vault.lookup().account(&subject::normal_email(identifier))
}

/// Checks a password, and records it if it is wrong: `found` is whose it should be, `identifier` what was asked for, `bucket` what its
/// failures are counted by. Answers whether it was hashed at another cost than today's; `None` when it is wrong or opens nothing.
///
/// # Errors
/// The audit log or the vault fails; too many passwords are being checked, or too many were wrong.
pub(super) async fn check(
    services: &Services,
    caller: &Caller,
    (identifier, bucket): (Reference, Reference),
    found: Option<&Login>,
    password: &str,
) -> Result<Option<bool>, Error> {
    let attempt = services.limits.begin_login(bucket, caller.address).await.map_err(Error::TooManyFailures)?;
    let checked = match services.passwords.check(found.map(|login| login.password.as_str()), password).await {
        Ok(checked) => checked,
        Err(overloaded) => {
            // Nothing was looked at.
            attempt.give_back().await;
            return Err(overloaded.into());
        }
    };
    let cause = match (found, checked) {
        (None, _) => FailedBy::Unknown,
        (Some(_), Checked::Wrong) => FailedBy::Password,
        (Some(login), _) if login.account.deactivated_at.is_some() || !login.of_active => FailedBy::Inactive,
        (Some(_), Checked::Right { is_outdated }) => {
            attempt.give_back().await;
            return Ok(Some(is_outdated));
        }
    };
    audit::record(services, caller, category::ACCESS, &LoginFailed { cause, identifier: identifier.into() }).await?;
    Ok(None)
}

/// Goes on with a session, by its refresh token, which is used up.
///
/// # Errors
/// [`Error::BadCredentials`] when it is none, was used, or the session is over, and while the organisation is deactivated, which uses
/// nothing up; the audit log or the vault fails.
pub async fn refresh(services: &Services, caller: &Caller, refresh: &str) -> Result<Tokens, Error> {
    let token = hash(refresh).ok_or(Error::BadCredentials)?;
    let (next, next_hash) = refresh_token(services);
    let now = services.clock.now();
    let signer = services.tokens.signer(now).await?;
    match services.vault.refresh(token, next_hash, now, now.plus(services.settings.accounts.session)).await? {
        Refreshed::Unknown | Refreshed::Deactivated => Err(Error::BadCredentials),
        Refreshed::Again(id) => {
            if let Some(session) = services.vault.session(id).await? {
                end(services, caller, session.account, id, EndedBy::Reuse).await?;
            }
            Err(Error::BadCredentials)
        }
        // From here on nothing is asked of anybody: whoever is not told the next one ends the session by coming again.
        Refreshed::Yes(session) => tokens(services, signer, (session.account, session.id), session.roles, next),
    }
}

/// An account's sessions that go on, newest first.
///
/// # Errors
/// The vault's.
pub async fn list(services: &Services, account: Uuid) -> Result<Vec<Seen>, Error> {
    Ok(services.vault.sessions(account, services.clock.now()).await?)
}

/// Ends those of an account's sessions that were not refreshed for the longest, down to as many as it may have.
async fn make_room(services: &Services, caller: &Caller, account: Uuid) -> Result<(), Error> {
    let mut seen = list(services, account).await?;
    seen.sort_unstable_by_key(|seen| Reverse((seen.refreshed_at, seen.id)));
    for beyond in seen.iter().skip(SESSIONS_MAX) {
        end(services, caller, account, beyond.id, EndedBy::Owner).await?;
    }
    Ok(())
}

/// Ends a session of an account; false when there is none that goes on.
///
/// # Errors
/// The vault fails; [`Error::Unrecorded`] when it is over but could not be recorded.
pub async fn end(services: &Services, caller: &Caller, account: Uuid, id: Uuid, cause: EndedBy) -> Result<bool, Error> {
    if !services.vault.end_session(account, id, services.clock.now()).await? {
        return Ok(false);
    }
    let stream = Stream::new(category::SESSION, id);
    let ended = SessionEnded { cause, account };
    audit::record_on(services, caller, stream, Expected::Any, &ended).await.map_err(Error::after_the_fact)?;
    Ok(true)
}

fn tokens(services: &Services, signer: Signer<'_>, of: (Uuid, Uuid), roles: Roles, refresh: Zeroizing<String>) -> Result<Tokens, Error> {
    let now = services.clock.now();
    let id = new_id(&services.clock, &services.random);
    let holds = services.settings.accounts.access_token;
    let access = signer.sign(of, roles, id, now, holds)?;
    Ok(Tokens { access: access.into(), holds, refresh })
}

/// A fresh one, and what the vault keeps of it: 256 random bits need neither salt nor slowness.
fn refresh_token(services: &Services) -> (Zeroizing<String>, [u8; 32]) {
    let secret = Zeroizing::new(credence_ledger::random::bytes::<32>(&*services.random));
    let text = Zeroizing::new(format!("{PREFIX}{}", *Zeroizing::new(hex::encode(*secret))));
    let hash = blake3::hash(text.as_bytes()).into();
    (text, hash)
}

fn hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix(PREFIX)?;
    (digits.len() == 64).then(|| blake3::hash(text.as_bytes()).into())
}
