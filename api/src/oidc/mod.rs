//! External identity: bearer tokens of a configured OpenID Connect provider, judged by its published keys.
//!
//! - `keys`: the provider's public keys, and signatures; `cache`: how they are fetched and for how long they are believed; `claims`:
//!   what a token says, judged.
//!
//! Any signed token of the provider's that names this service as its audience is taken, ID tokens and access tokens alike. What is
//! told of a bearer to the rest of the process is no personal value: an id that only the vault can make again, roles, and an
//! organisation's name. No answer of the provider's is waited for by a token whose key is known.

mod cache;
mod claims;
mod keys;

use std::sync::Arc;

use credence_ledger::Timestamp;
use credence_ledger::vault::{LookupKeys, Roles};
use serde_json::Value;
use uuid::Uuid;

pub use self::cache::Times;
use self::cache::{Cache, Unavailable};
use crate::client::Client;
use crate::config::Oidc;

/// An OpenID Connect provider.
pub struct Provider {
    settings: Arc<Oidc>,
    cache: Cache,
}

/// The bearer of a token that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The same for every token of the same bearer ([`LookupKeys::external`]).
    pub id: Uuid,
    /// What it may do here; none where none of the provider's roles means anything here.
    pub roles: Roles,
    /// The name of the organisation for which it acts; `None` where the token should name it and does not.
    pub organisation: Option<String>,
    /// From when on the token holds no longer.
    pub until: Timestamp,
}

/// Why a token does not hold. The messages tell nothing of what stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is no signed JSON web token, or a time in it is no time.
    #[error("the token is malformed")]
    Malformed,
    /// It is not signed, or with an algorithm that no key of the provider's may be used with.
    #[error("the token is not signed with an algorithm that is taken")]
    Algorithm,
    /// Its header says that it is for something else, such as a logout.
    #[error("the token is for another purpose")]
    Purpose,
    /// The provider has no such key, or not for this algorithm.
    #[error("the token's key is not one of the provider's")]
    Key,
    /// It was not signed with that key, or was changed.
    #[error("the token's signature does not hold")]
    Signature,
    /// It comes from somebody else.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// Nobody is said to bear it.
    #[error("the token names no subject")]
    Subject,
    /// It held once.
    #[error("it has expired")]
    Expired,
    /// It will hold later, or was issued in the future.
    #[error("the token does not hold yet")]
    NotYet,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not hold.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Whether it holds cannot be told: the provider's keys are not known. A later try can help.
    #[error("the identity provider's keys are not known")]
    Unavailable,
}

impl From<Unavailable> for Refused {
    fn from(_: Unavailable) -> Refused {
        Refused::Unavailable
    }
}

impl Provider {
    /// It is not asked yet: see [`Provider::keep_fresh`].
    #[must_use]
    pub fn new(settings: Oidc, client: Client, times: Times) -> Provider {
        let settings = Arc::new(settings);
        Provider { cache: Cache::new(settings.clone(), client, times), settings }
    }

    /// Asks for the keys, and again before they grow old. It never ends.
    pub async fn keep_fresh(&self) {
        self.cache.keep_fresh().await;
    }

    /// Whether a token claims to be of this provider, which anybody can write into one.
    #[must_use]
    pub fn is_claimed_by(&self, token: &str) -> bool {
        let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Value>(token);
        claims.is_ok_and(|claims| claims.get("iss").and_then(Value::as_str) == Some(&self.settings.issuer))
    }

    /// Who bears a token, at `now`. A token whose key is not known waits for the provider, within bounds.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn verify(&self, token: &str, now: Timestamp, lookup: &LookupKeys) -> Result<External, Refused> {
        let header = keys::header(token)?;
        let keys = self.cache.keys_with(header.id()).await?;
        let claims = match keys.claims(token, &header) {
            // It names no key, and may be signed with one that has come since.
            Err(Invalid::Signature | Invalid::Key) if header.id().is_none() => {
                self.cache.keys_after(&keys).await?.claims(token, &header)?
            }
            claims => claims?,
        };
        let claims = claims::judge(&claims, &self.settings, now)?;
        let id = lookup.external(&self.settings.issuer, &claims.subject);
        Ok(External { id, roles: claims.roles, organisation: claims.organisation, until: claims.until })
    }

    /// What is wrong with it; `None` while all is well. No address is named.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.cache.trouble()
    }
}
