//! Who calls: API keys and access tokens in `Authorization: Bearer …`, looked up in the vault, and tokens of an identity provider.
//!
//! An answer of the vault is used for at most [`KNOWN_MAX`], so that what ends, ends everywhere within a second; half-way one request
//! asks again while the others go on. What is presented and bad is refused on public routes too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::{Extensions, HeaderMap};
use credence_ledger::event::audit::AccessRefused;
use credence_ledger::event::{New, new_id};
use credence_ledger::log::{Append, Expected};
use credence_ledger::stream::category;
use credence_ledger::vault::{Roles, api_key};
use credence_ledger::{Stream, Timestamp, causes, store};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use super::problem::{Kind, Problem};
use crate::caller::{Caller, Principal, Who};
use crate::oidc::{External, Provider};
use crate::services::{App, Services};

/// For how long an answer of the vault is used.
pub const KNOWN_MAX: Duration = Duration::from_millis(500);
/// So many texts are remembered, bad ones included, which go first.
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

/// A text as it is presented, and what is remembered of it.
pub(super) struct Presented<'t> {
    text: &'t str,
    hash: [u8; 32],
    /// Whether it was good when it was last asked for, however long ago that is.
    pub(super) was_good: bool,
    /// Who stands behind it, where that is known and new enough.
    known: Option<Option<Identity>>,
}

/// What the vault said of keys and tokens lately.
pub struct Identities {
    app: App,
    known: Mutex<HashMap<[u8; 32], Remembered>>,
}

struct Remembered {
    at: Instant,
    asked_again: bool,
    /// Whether it held when it was asked for.
    was_good: bool,
    identity: Option<Identity>,
}

impl Identities {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(app: App) -> Identities {
        Identities { app, known: Mutex::default() }
    }

    /// What is remembered of this text.
    pub(super) fn look<'t>(&self, text: &'t str) -> Presented<'t> {
        // What is presented is not kept in memory as it is.
        let hash: [u8; 32] = Sha256::digest(text).into();
        let mut known = self.known();
        let Some(known) = known.get_mut(&hash) else { return Presented { text, hash, was_good: false, known: None } };
        let age = known.at.elapsed();
        let must_ask = age >= KNOWN_MAX || (age >= KNOWN_MAX / 2 && !known.asked_again);
        known.asked_again |= must_ask;
        Presented { text, hash, was_good: known.was_good, known: (!must_ask).then(|| known.identity.clone()) }
    }

    /// Who stands behind this text, whether it still holds or not.
    async fn find(&self, presented: Presented<'_>) -> Result<Option<Identity>, Problem> {
        if let Some(known) = presented.known {
            return Ok(known);
        }
        let at = Instant::now();
        let identity = identify(&self.app, presented.text).await?;
        let was_good = identity.as_ref().is_some_and(|identity| identity.check(self.app.clock.now()).is_ok());
        let mut known = self.known();
        make_room(&mut known);
        known.insert(presented.hash, Remembered { at, asked_again: false, was_good, identity: identity.clone() });
        Ok(identity)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 32], Remembered>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets texts when there are too many: bad ones first, so that whoever comes with ever new ones takes nobody's place; then those that
/// would be asked for anew in any case.
fn make_room(known: &mut HashMap<[u8; 32], Remembered>) {
    if known.len() < TEXTS_MAX {
        return;
    }
    known.retain(|_, known| known.was_good);
    // Half of the room, so that it is not looked for again at once.
    if known.len() > TEXTS_MAX / 2 {
        known.retain(|_, known| known.at.elapsed() < KNOWN_MAX);
    }
    if known.len() > TEXTS_MAX / 2 {
        known.clear();
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
        Some(_) if roles == Roles::NONE => Some((Kind::FORBIDDEN, "the token has no role that means something here")),
        Some(_) => None,
    };
    // Refused for that, it still has a name in the audit log.
    let issuer = issuer.map_or(Uuid::nil(), |issuer| issuer.id);
    Ok(Identity { principal: Principal { who: Who::External(id), roles, issuer, types: None }, refused, until: Some(until) })
}

/// The text that is presented, if any is.
///
/// # Errors
/// 401 for one of another scheme, and for two of them.
pub(super) fn presented(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut headers = headers.get_all(AUTHORIZATION).into_iter();
    let Some(header) = headers.next() else { return Ok(None) };
    let text = header.to_str().ok().and_then(bearer).filter(|_| headers.next().is_none());
    text.map(Some).ok_or_else(|| Problem::new(Kind::UNAUTHENTICATED))
}

/// Finds out who presents a text and tells the [`Caller`] among the request's extensions.
///
/// # Errors
/// 401 for what is bad or has ended, 403 for whoever acts for nobody known here, 503 while the vault or the identity provider's keys
/// cannot be asked.
pub(super) async fn authenticate(
    identities: &Identities,
    presented: Presented<'_>,
    extensions: &mut Extensions,
) -> Result<Principal, Problem> {
    let identity = identities.find(presented).await?.ok_or_else(|| Problem::new(Kind::UNAUTHENTICATED))?;
    // What holds no longer is refused, but it is known whose it was.
    if let Some(caller) = extensions.get_mut::<Caller>() {
        caller.principal = Some(identity.principal.clone());
    }
    let now = identities.app.clock.now();
    identity.check(now).map_err(|(kind, why)| Problem::new(kind).detail(why))?;
    extensions.insert(Until(identity.until));
    if let Who::Key(id) = identity.principal.who {
        identities.app.used_keys.note(id, now);
    }
    Ok(identity.principal)
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
                tracing::warn!(reason = causes(&error), "it is not known whether a follower may go on");
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
            tracing::warn!(request_id = &*caller.request_id, reason = causes(&*error), "a refusal was not recorded");
        }
    });
}

async fn append_refusal(app: &Services, caller: &Caller, problem: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = Stream::new(category::ACCESS, new_id(&app.clock, &app.random));
    let refused = AccessRefused { via: caller.via.to_string(), problem: problem.to_owned() };
    let metadata = app.audit_metadata::<AccessRefused>(caller, &stream).await?;
    app.audit.append(Append::to(stream, Expected::None, vec![New::of(&refused, &metadata)])).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_with_ever_new_bad_texts_takes_no_good_ones_place() {
        let numbered = |number: usize| Sha256::digest(number.to_be_bytes()).into();
        let known = |was_good, at| Remembered { at, asked_again: false, was_good, identity: None };
        let mut texts: HashMap<[u8; 32], Remembered> = HashMap::new();
        let now = Instant::now();
        texts.extend((0..100).map(|number| (numbered(number), known(true, now))));
        for number in 100..3 * TEXTS_MAX {
            make_room(&mut texts);
            texts.insert(numbered(number), known(false, now));
            assert!(texts.len() <= TEXTS_MAX);
        }
        assert!((0..100).all(|number| texts.contains_key(&numbered(number))));
        // Of good ones, those go that are asked for anew anyway, and all if there are too many still.
        let old = now.checked_sub(KNOWN_MAX).unwrap();
        let mut texts: HashMap<[u8; 32], Remembered> =
            (0..TEXTS_MAX).map(|number| (numbered(number), known(true, if number < 100 { now } else { old }))).collect();
        make_room(&mut texts);
        assert!(texts.len() <= 100);
        texts.extend((0..TEXTS_MAX).map(|number| (numbered(number), known(true, Instant::now()))));
        make_room(&mut texts);
        assert!(texts.is_empty());
    }

    #[test]
    fn a_bearer_token_is_taken_and_nothing_else() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc"), Some("abc"));
        for header in ["", "abc", "Bearer", "Bearer ", "Basic abc", "Bearerabc"] {
            assert_eq!(bearer(header), None, "{header}");
        }
    }
}
