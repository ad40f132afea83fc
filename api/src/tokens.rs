//! Access tokens: JWTs (RFC 7519) signed with EdDSA (RFC 8037), and the keys that sign them.
//!
//! A token says which session it belongs to; what its bearer may do is asked of the vault, never of the token. Keys live in the vault: a
//! new one is published for a while before it signs, so that whoever keeps the published ones for some minutes knows it, and an old one
//! is kept until nothing that it signed holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use credence_ledger::Timestamp;
use credence_ledger::store::Error;
use credence_ledger::vault::sessions::TokenKey;
use credence_ledger::vault::{Roles, Vault};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

/// For how long the published keys are used without asking for them again.
const KEYS_KNOWN_MAX: Duration = Duration::from_millis(400);
/// How soon they are asked for again because somebody came with one that is not among them.
const KEYS_ASKED_AGAIN: Duration = Duration::from_millis(50);
/// For how long a key is published before it signs.
const PUBLISHED_BEFORE: Duration = Duration::from_secs(600);
/// How old the newest key becomes.
pub const KEY_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// When a key is forgotten: long after its successor took over.
pub const KEY_KEPT: Duration = Duration::from_secs(62 * 24 * 3600);
/// RFC 9068, section 2.1: no other JWT of ours is taken for an access token.
const TYPE: &str = "at+jwt";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it: the installation's origin.
    pub iss: String,
    /// For whom: the same.
    pub aud: String,
    /// The account.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    /// What the account's owner may do, when it was made: names of roles, with spaces between.
    pub role: String,
    /// From when on it holds no longer, in seconds since the epoch.
    pub exp: u64,
    /// When it was made, in seconds since the epoch.
    pub iat: u64,
    /// Its own id.
    pub jti: Uuid,
}

impl Claims {
    /// From when on it holds no longer.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_micros(self.exp.saturating_mul(1_000_000))
    }
}

/// See the module.
pub struct Tokens {
    vault: Arc<dyn Vault>,
    issuer: String,
    keys: Mutex<Option<(Instant, Arc<[TokenKey]>)>>,
    /// When the vault last did not answer, to whoever asked for keys that are not known.
    unanswered: tokio::sync::Mutex<Option<Instant>>,
    signing: Mutex<Option<(String, EncodingKey)>>,
}

/// A key that signs tokens now.
pub struct Signer<'a> {
    issuer: &'a str,
    kid: String,
    key: EncodingKey,
}

impl Signer<'_> {
    /// A token of its own id for a session of an account, made now.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn sign(self, of: (Uuid, Uuid), roles: Roles, id: Uuid, now: Timestamp, holds: Duration) -> Result<String, Error> {
        let (account, session) = of;
        let iat = now.as_micros() / 1_000_000;
        let claims = Claims {
            iss: self.issuer.to_owned(),
            aud: self.issuer.to_owned(),
            sub: account,
            sid: session,
            role: roles.to_string(),
            exp: iat + holds.as_secs(),
            iat,
            jti: id,
        };
        let header = Header { typ: Some(TYPE.to_owned()), kid: Some(self.kid), ..Header::new(Algorithm::EdDSA) };
        encode(&header, &claims, &self.key).map_err(|failed| Error::Failed(failed.into()))
    }
}

impl Tokens {
    /// Over a vault.
    #[must_use]
    pub fn new(vault: Arc<dyn Vault>) -> Tokens {
        Tokens {
            issuer: vault.origin_base().to_owned(),
            vault,
            keys: Mutex::default(),
            unanswered: tokio::sync::Mutex::default(),
            signing: Mutex::default(),
        }
    }

    /// What signs tokens at `now`. To be got before anything is done that ends with a token, so that nothing can keep it from being told.
    ///
    /// # Errors
    /// The vault's.
    pub async fn signer(&self, now: Timestamp) -> Result<Signer<'_>, Error> {
        let (kid, key) = self.signing_key(now).await?;
        Ok(Signer { issuer: &self.issuer, kid, key })
    }

    /// What a token says, if it is one of ours and holds at `now`.
    ///
    /// # Errors
    /// The vault's.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Option<Claims>, Error> {
        let Ok(header) = decode_header(token) else { return Ok(None) };
        let Some(kid) = header.kid.filter(|_| header.alg == Algorithm::EdDSA && header.typ.as_deref() == Some(TYPE)) else {
            return Ok(None);
        };
        let Some(key) = self.published(&kid).await? else { return Ok(None) };
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.issuer]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // By our own clock, below.
        validation.validate_exp = false;
        let Ok(decoded) = decode::<Claims>(token, &DecodingKey::from_ed_der(&key.public), &validation) else { return Ok(None) };
        Ok(Some(decoded.claims).filter(|claims| now < claims.expires_at()))
    }

    /// The published keys (RFC 7517), as JSON.
    ///
    /// # Errors
    /// The vault's.
    pub async fn published_keys(&self) -> Result<serde_json::Value, Error> {
        let keys = match self.known() {
            Some(keys) => keys,
            None => self.ask().await?,
        };
        let keys = keys.iter().filter(|key| key.retired_at.is_none()).map(|key| {
            let x = base64url(&key.public);
            serde_json::json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.kid, "x": x})
        });
        Ok(serde_json::json!({"keys": keys.collect::<Vec<_>>()}))
    }

    /// The key of that name, if what it signed holds.
    async fn published(&self, kid: &str) -> Result<Option<TokenKey>, Error> {
        let find = |keys: &[TokenKey]| keys.iter().find(|key| key.kid == kid).cloned();
        let found = match self.known() {
            None => find(&self.ask().await?),
            Some(known) => match find(&known) {
                Some(key) => Some(key),
                // One that was made a moment ago is as good as the others.
                None => find(&self.ask_in_turn().await?),
            },
        };
        Ok(found.filter(|key| key.retired_at.is_none()))
    }

    fn known(&self) -> Option<Arc<[TokenKey]>> {
        lock(&self.keys).clone().filter(|(at, _)| at.elapsed() < KEYS_KNOWN_MAX).map(|(_, keys)| keys)
    }

    /// The keys as they are now, asked for once for all who wait for them, and not at once again: names of keys are cheaply made up.
    async fn ask_in_turn(&self) -> Result<Arc<[TokenKey]>, Error> {
        let came = Instant::now();
        let mut unanswered = self.unanswered.lock().await;
        if unanswered.is_some_and(|at| at >= came) {
            return Err(Error::Busy);
        }
        let last = lock(&self.keys).clone();
        if let Some((at, keys)) = last {
            if at >= came {
                return Ok(keys);
            }
            tokio::time::sleep_until(at + KEYS_ASKED_AGAIN).await;
        }
        let asked = Instant::now();
        let answer = self.ask().await;
        *unanswered = answer.is_err().then_some(asked);
        answer
    }

    async fn ask(&self) -> Result<Arc<[TokenKey]>, Error> {
        let at = Instant::now();
        let keys: Arc<[TokenKey]> = self.vault.token_keys().await?.into();
        *lock(&self.keys) = Some((at, keys.clone()));
        Ok(keys)
    }

    async fn signing_key(&self, now: Timestamp) -> Result<(String, EncodingKey), Error> {
        let mut keys = self.ask().await?;
        if keys.iter().all(|key| key.retired_at.is_some()) {
            self.vault.add_token_key(Timestamp::EPOCH, now).await?;
            keys = self.ask().await?;
        }
        let mut usable = keys.iter().filter(|key| key.retired_at.is_none());
        let first = usable.clone().next();
        let key = usable.rfind(|key| now.since(key.created_at) >= PUBLISHED_BEFORE).or(first);
        let key = key.ok_or_else(|| Error::Corrupt("a key for access tokens just made is gone".to_owned()))?;
        if let Some((kid, signing)) = &*lock(&self.signing)
            && *kid == key.kid
        {
            return Ok((kid.clone(), signing.clone()));
        }
        let signing = self.vault.token_signing_key(&key.kid).await?;
        let signing = signing.ok_or_else(|| Error::Corrupt(format!("the vault has no key {} for access tokens", key.kid)))?;
        let signing = EncodingKey::from_ed_der(&pkcs8(signing.expose()));
        *lock(&self.signing) = Some((key.kid.clone(), signing.clone()));
        Ok((key.kid.clone(), signing))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// RFC 8410, section 7: a private key's algorithm and seed.
fn pkcs8(seed: &[u8; 32]) -> zeroize::Zeroizing<Vec<u8>> {
    const HEAD: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let mut der = zeroize::Zeroizing::new(Vec::with_capacity(HEAD.len() + seed.len()));
    der.extend_from_slice(&HEAD);
    der.extend_from_slice(seed);
    der
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
