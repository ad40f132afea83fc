//! A provider's keys: fetched in the background, believed for a while, and asked for again when a token names one that is not known.
//!
//! At most one request runs at a time. Nobody can make this process ask more often than [`Times::again`], whatever keys its tokens
//! name; what a caller began who is no longer waiting is finished nonetheless (`http::admission`). What a fetch brought stays until the next one
//! brings more, but no longer than [`Times::kept`]: by then a key may have been withdrawn long ago.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::header::{ACCEPT, CACHE_CONTROL};
use axum::http::uri::Scheme;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use bytes::Bytes;
use credence_ledger::causes;
use http_body_util::Full;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::keys::Keys;
use crate::client::{self, Answer, Client};
use crate::config::Oidc;

/// The largest answer that is read: hundreds of keys.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// How often a provider is asked, and for how long it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long its keys are fresh, unless it says so itself.
    pub fresh: Duration,
    /// The shortest and the longest time that it may say.
    pub said: (Duration, Duration),
    /// How soon it is asked again: after a failure, and for a key that is not known.
    pub again: Duration,
    /// How long its answers may take, all together.
    pub answer: Duration,
    /// For how long keys are believed while it cannot be asked.
    pub kept: Duration,
}

impl Default for Times {
    fn default() -> Times {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        Times { fresh: 10 * minute, said: (minute, hour), again: Duration::from_secs(10), answer: Duration::from_secs(3), kept: 24 * hour }
    }
}

/// The keys are not known, and whoever knows them cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unavailable;

pub(super) struct Cache {
    settings: Arc<Oidc>,
    client: Client,
    times: Times,
    held: RwLock<Held>,
    /// Held while the provider is asked. Within: when it was last asked because of a token.
    asking: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Held {
    keys: Option<(Arc<Keys>, Instant)>,
    /// Why the last request failed.
    trouble: Option<String>,
}

/// Why there are no keys. The messages name no address: readiness repeats them.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it did not answer in time")]
    Late,
    #[error(transparent)]
    Unanswered(#[from] client::Error),
    #[error("it answers with status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("its discovery document is malformed")]
    Discovery(#[source] serde_json::Error),
    #[error("its discovery document is another issuer's")]
    OtherIssuer,
    #[error("its keys have no address that may be asked")]
    Address,
    #[error("its key set is malformed")]
    Malformed,
    #[error("its key set holds no key that can be used")]
    Empty,
}

/// OpenID Connect Discovery, section 3, as far as it matters.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Cache {
    pub(super) fn new(settings: Arc<Oidc>, client: Client, times: Times) -> Cache {
        Cache { settings, client, times, held: RwLock::default(), asking: Mutex::default() }
    }

    pub(super) async fn keep_fresh(&self) {
        loop {
            let asking = self.asking.lock().await;
            let pause = self.refresh().await;
            drop(asking);
            tokio::time::sleep(pause).await;
        }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        match (&held.trouble, &held.keys) {
            (Some(trouble), _) => Some(trouble.clone()),
            (None, Some(_)) => None,
            (None, None) => Some("it has not answered yet".to_owned()),
        }
    }

    /// The provider's keys: the newest that there are, if this one is not known. That it is among them is not promised.
    pub(super) async fn keys_with(&self, id: Option<&str>) -> Result<Arc<Keys>, Unavailable> {
        self.asked_until(|keys| keys.knows(id)).await
    }

    /// The provider's keys, others than these if there are.
    pub(super) async fn keys_after(&self, known: &Arc<Keys>) -> Result<Arc<Keys>, Unavailable> {
        self.asked_until(|keys| !std::ptr::eq(keys, &**known)).await
    }

    /// The keys that are believed, once they suffice or the provider has been asked as often as it may be.
    async fn asked_until(&self, suffice: impl Fn(&Keys) -> bool) -> Result<Arc<Keys>, Unavailable> {
        let sufficient = || self.believed().filter(|keys| suffice(keys));
        if let Some(keys) = sufficient() {
            return Ok(keys);
        }
        let mut asked_at = self.asking.lock().await;
        // Another may have asked meanwhile.
        if let Some(keys) = sufficient() {
            return Ok(keys);
        }
        if asked_at.is_none_or(|at| at.elapsed() >= self.times.again) {
            *asked_at = Some(Instant::now());
            self.refresh().await;
        }
        drop(asked_at);
        let is_asked_in_vain = self.held.read().unwrap_or_else(PoisonError::into_inner).trouble.is_some();
        match sufficient() {
            Some(keys) => Ok(keys),
            // It may well have told of the key by now.
            None if is_asked_in_vain => Err(Unavailable),
            None => self.believed().ok_or(Unavailable),
        }
    }

    fn believed(&self) -> Option<Arc<Keys>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let (keys, at) = held.keys.as_ref()?;
        (at.elapsed() < self.times.kept).then(|| keys.clone())
    }

    /// Asks, and answers when to ask again.
    async fn refresh(&self) -> Duration {
        let answered = timeout(self.times.answer, self.fetch()).await.unwrap_or(Err(Failure::Late));
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        match answered {
            Ok((keys, fresh)) => {
                if held.trouble.take().is_some() {
                    tracing::info!("the identity provider answers again");
                }
                tracing::debug!(keys = keys.count(), fresh_s = fresh.as_secs(), "the identity provider told its keys");
                held.keys = Some((Arc::new(keys), Instant::now()));
                fresh
            }
            Err(failure) => {
                let told = failure.to_string();
                // It is asked again and again: what is the same is told once.
                if held.trouble.as_ref() != Some(&told) {
                    tracing::warn!(reason = causes(&failure), "the identity provider does not tell its keys");
                }
                held.trouble = Some(told);
                self.times.again
            }
        }
    }

    /// The keys, and for how long they are fresh.
    async fn fetch(&self) -> Result<(Keys, Duration), Failure> {
        let discovered = self.get(self.settings.discovery.clone()).await?;
        let discovered: Discovery = serde_json::from_slice(&discovered.body).map_err(Failure::Discovery)?;
        if discovered.issuer != self.settings.issuer {
            return Err(Failure::OtherIssuer);
        }
        let address = discovered.jwks_uri.parse().ok().filter(|address| self.may_ask(address)).ok_or(Failure::Address)?;
        let answer = self.get(address).await?;
        let keys = Keys::read(&answer.body).ok_or(Failure::Malformed)?;
        if keys.count() == 0 {
            return Err(Failure::Empty);
        }
        Ok((keys, self.fresh(&answer.headers)))
    }

    /// Keys come over TLS, unless the provider itself is on this machine and does without.
    fn may_ask(&self, address: &Uri) -> bool {
        let tls = |address: &Uri| address.scheme() == Some(&Scheme::HTTPS);
        tls(address) || (!tls(&self.settings.discovery) && address.scheme() == Some(&Scheme::HTTP) && client::is_private(address))
    }

    async fn get(&self, address: Uri) -> Result<Answer, Failure> {
        let request = Request::get(address).header(ACCEPT, "application/json").body(Full::<Bytes>::default());
        let answer = self.client.ask(request.map_err(|_| Failure::Address)?, ANSWER_BYTES_MAX).await?;
        if answer.status == StatusCode::OK { Ok(answer) } else { Err(Failure::Status(answer.status)) }
    }

    /// As `Cache-Control: max-age` says, within bounds.
    fn fresh(&self, headers: &HeaderMap) -> Duration {
        let values = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
        let directives = values.flat_map(|value| value.split(',')).filter_map(|directive| directive.trim().split_once('='));
        let mut ages = directives.filter(|(name, _)| name.eq_ignore_ascii_case("max-age"));
        let said = ages.find_map(|(_, seconds)| seconds.trim_matches('"').parse().ok()).map(Duration::from_secs);
        said.map_or(self.times.fresh, |said| said.clamp(self.times.said.0, self.times.said.1))
    }
}
