//! Who calls: API keys and access tokens in `Authorization: Bearer …`, looked up in the vault, and tokens of an identity provider.
//!
//! An answer of the vault is used for at most [`KNOWN_MAX`], so that what ends, ends everywhere within a second; half-way one request
//! asks again while the others go on. What is presented and bad is refused on public routes too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use credence_ledger::event::audit::AccessRefused;
use credence_ledger::event::{New, new_id};
use credence_ledger::log::{Append, Expected};
use credence_ledger::stream::category;
use credence_ledger::vault::api_key;
use credence_ledger::{Stream, Timestamp, store};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use super::problem::{Kind, Problem};
use crate::caller::{Caller, Principal, Who};
use crate::oidc::{External, Provider};
use crate::services::{App, Services};

/// For how long an answer of the vault is used.
pub const KNOWN_MAX: Duration = Duration::from_millis(500);
/// Beyond so many texts, bad ones included, all are asked for anew.
const TEXTS_MAX: usize = 10_000;

/// Who stands behind a text that was presented.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) principal: Principal,
    /// Why it is refused, whatever it asks for.
    refused: Option<(Kind, &'static str)>,
    /// From when on it holds no longer.
    pub(super) until: Option<Timestamp>,
}

impl Identity {
    /// Whether it holds at `now`.
    ///
    /// # Errors
    /// As what it is refused, and why.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), (Kind, &'static str)> {
        match (self.refused, self.until) {
            (Some(refused), _) => Err(refused),
            (None, Some(until)) if until <= now => Err((Kind::UNAUTHENTICATED, "it has expired")),
            (None, _) => Ok(()),
        }
    }
}

/// What the vault said of keys and tokens lately.
pub struct Identities {
    app: App,
    known: Mutex<HashMap<[u8; 32], Known>>,
}

struct Known {
    at: Instant,
    asked_again: bool,
    identity: Option<Identity>,
}

impl Identities {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(app: App) -> Identities {
        Identities { app, known: Mutex::default() }
    }

    /// Who stands behind this text, whether it still holds or not.
    async fn find(&self, text: &str) -> Result<Option<Identity>, Problem> {
        // What is presented is not kept in memory as it is.
        let hash: [u8; 32] = Sha256::digest(text).into();
        if let Some(known) = self.known_now(hash) {
            return Ok(known);
        }
        let at = Instant::now();
        let identity = identify(&self.app, text).await?;
        let mut known = self.known();
        if known.len() >= TEXTS_MAX {
            known.clear();
        }
        known.insert(hash, Known { at, asked_again: false, identity: identity.clone() });
        Ok(identity)
    }

    /// What is known and new enough; `None` when the caller has to ask.
    fn known_now(&self, hash: [u8; 32]) -> Option<Option<Identity>> {
        let mut known = self.known();
        let known = known.get_mut(&hash)?;
        let age = known.at.elapsed();
        if age >= KNOWN_MAX || (age >= KNOWN_MAX / 2 && !known.asked_again) {
            known.asked_again = true;
            return None;
        }
        Some(known.identity.clone())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 32], Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who stands behind a text, as the vault, or whoever made it, says now.
///
/// # Errors
/// 401 for a token of the identity provider's that does not hold, 503 while the vault or the provider's keys cannot be asked.
pub(super) async fn identify(app: &Services, text: &str) -> Result<Option<Identity>, Problem> {
    if text.starts_with(api_key::PREFIX) {
        return Ok(key(app, text).await?);
    }
    match &app.oidc {
        Some(provider) if provider.is_claimed_by(text) => external(app, provider, text).await.map(Some),
        _ => Ok(token(app, text).await?),
    }
}

async fn key(app: &Services, text: &str) -> Result<Option<Identity>, store::Error> {
    let Some(key) = app.vault.find_key(text).await? else { return Ok(None) };
    let refused = key.check(app.clock.now()).err().map(|why| (Kind::UNAUTHENTICATED, why));
    Ok(Some(Identity { principal: Principal::from(&key), refused, until: key.terms.expires_at }))
}

async fn token(app: &Services, text: &str) -> Result<Option<Identity>, store::Error> {
    let now = app.clock.now();
    let Some(claims) = app.tokens.verify(text, now).await? else { return Ok(None) };
    let Some(session) = app.vault.session(claims.sid).await? else { return Ok(None) };
    if session.account != claims.sub {
        return Ok(None);
    }
    let refused = (!session.is_live(now)).then_some((Kind::UNAUTHENTICATED, "the session is over"));
    Ok(Some(Identity { principal: Principal::from(&session), refused, until: Some(claims.expires_at().min(session.expires_at)) }))
}

async fn external(app: &Services, provider: &Provider, text: &str) -> Result<Identity, Problem> {
    let External { id, roles, organisation, until } = provider.verify(text, app.clock.now(), app.vault.lookup()).await?;
    let issuer = match &organisation {
        Some(name) => app.vault.find_issuer(name).await?,
        None => None,
    };
    let refused = match &issuer {
        None => Some((Kind::FORBIDDEN, "the organisation is not known here")),
        Some(issuer) if !issuer.is_active => Some((Kind::UNAUTHENTICATED, "the organisation is deactivated")),
        Some(_) => None,
    };
    // Refused for that, it still has a name in the audit log.
    let issuer = issuer.map_or(Uuid::nil(), |issuer| issuer.id);
    Ok(Identity { principal: Principal { who: Who::External(id), roles, issuer, types: None }, refused, until: Some(until) })
}

/// Finds out who calls and tells the [`Caller`] among the extensions.
///
/// # Errors
/// 401 for what is bad, has ended or is of another scheme, 403 for whoever acts for nobody known here, 503 while the vault or the
/// identity provider's keys cannot be asked.
pub(super) async fn authenticate(identities: &Identities, parts: &mut Parts) -> Result<Option<Principal>, Problem> {
    let refused = || Problem::new(Kind::UNAUTHENTICATED);
    let mut headers = parts.headers.get_all(AUTHORIZATION).into_iter();
    let Some(header) = headers.next() else { return Ok(None) };
    let text = header.to_str().ok().and_then(bearer).filter(|_| headers.next().is_none()).ok_or_else(refused)?;
    let identity = identities.find(text).await?.ok_or_else(refused)?;
    // What holds no longer is refused, but it is known whose it was.
    if let Some(caller) = parts.extensions.get_mut::<Caller>() {
        caller.principal = Some(identity.principal.clone());
    }
    let now = identities.app.clock.now();
    identity.check(now).map_err(|(kind, why)| Problem::new(kind).detail(why))?;
    parts.extensions.insert(Until(identity.until));
    if let Who::Key(id) = identity.principal.who {
        identities.app.used_keys.note(id, now);
    }
    Ok(Some(identity.principal))
}

/// From when on what was presented holds no longer, among a request's extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until(pub(super) Option<Timestamp>);

/// Ends when somebody's right does: for answers that go on, since a request is judged only once. What is not known to hold is over.
pub(super) async fn ended(app: App, principal: Principal, until: Option<Timestamp>) {
    loop {
        tokio::time::sleep(KNOWN_MAX).await;
        if until.is_some_and(|until| until <= app.clock.now()) {
            return;
        }
        match now(&app, &principal).await {
            Ok(Some(now)) if now == principal => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "it is not known whether a follower may go on");
                return;
            }
        }
    }
}

/// What somebody may do now; `None` when nothing any longer.
async fn now(app: &Services, principal: &Principal) -> Result<Option<Principal>, store::Error> {
    let now = app.clock.now();
    match principal.who {
        Who::Key(id) => Ok(app.vault.key(id).await?.filter(|key| key.check(now).is_ok()).map(|key| Principal::from(&key))),
        Who::Account { session, .. } => {
            Ok(app.vault.session(session).await?.filter(|session| session.is_live(now)).map(|session| Principal::from(&session)))
        }
        // What its provider says holds until its token ends.
        Who::External(_) => {
            let organisation = app.vault.organisation(principal.issuer).await?;
            Ok(organisation.filter(|organisation| organisation.deactivated_at.is_none()).map(|_| principal.clone()))
        }
    }
}

/// RFC 6750, section 2.1; the scheme's name in any case (RFC 9110, section 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Records in the audit log that a known caller was refused, in the background and as well as it can: issuing goes on while
/// the audit log is down. What anonymous callers are refused is counted only.
pub(super) fn record_refusal(app: &App, caller: &Caller, problem: &Problem) {
    let refused = [Kind::FORBIDDEN, Kind::UNAUTHENTICATED].contains(&problem.kind);
    if !refused || caller.principal.is_none() {
        return;
    }
    let (app, caller, name) = (app.clone(), caller.clone(), problem.kind.name);
    app.clone().tasks.spawn(async move {
        if let Err(error) = append_refusal(&app, &caller, name).await {
            metrics::counter!("credence_audit_refusals_lost_total").increment(1);
            tracing::warn!(request_id = caller.request_id, error = &*error, "a refusal was not recorded");
        }
    });
}

async fn append_refusal(app: &Services, caller: &Caller, problem: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = Stream::new(category::ACCESS, new_id(&app.clock, &app.random));
    let refused = AccessRefused { via: caller.via.clone(), problem: problem.to_owned() };
    let metadata = app.audit_metadata::<AccessRefused>(caller, &stream).await?;
    app.audit.append(Append::to(stream, Expected::None, vec![New::of(&refused, &metadata)])).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_taken_and_nothing_else() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc"), Some("abc"));
        for header in ["", "abc", "Bearer", "Bearer ", "Basic abc", "Bearerabc"] {
            assert_eq!(bearer(header), None, "{header}");
        }
    }
}
