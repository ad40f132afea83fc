//! A provider's public keys (JSON Web Key Set, RFC 7517), and signatures checked with them.
//!
//! Which algorithms a key may be used with is the key's to say, never the token's: by its type, its curve, its `use`, its `key_ops`
//! and its `alg`. Algorithms with a shared secret, and none at all, are none of any key's.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Invalid;

/// What an RSA key may be used with, unless it says so itself.
const RSA: [Algorithm; 6] = [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// The keys of a provider that are of use here.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Keys {
    /// Reads a set. A key that is of no use here, or not understood, is passed over (RFC 7517, section 5); `None` when this is no set.
    pub(super) fn read(bytes: &[u8]) -> Option<Keys> {
        let set: KeySet = serde_json::from_slice(bytes).ok()?;
        Some(Keys(set.keys.into_iter().filter_map(Key::read).collect()))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether a token that names this key can be judged.
    pub(super) fn knows(&self, id: Option<&str>) -> bool {
        self.0.iter().any(|key| id.is_none() || key.id.as_deref() == id)
    }

    /// Checks a token's signature, and answers its claims, none of which has been judged.
    pub(super) fn claims(&self, token: &str, header: &Header) -> Result<Map<String, Value>, Invalid> {
        let mut fitting = self.0.iter().filter(|key| header.id.is_none() || key.id == header.id);
        let fits = |key: &&Key| key.algorithms.contains(&header.algorithm);
        let key = match (fitting.find(fits), fitting.find(fits)) {
            (Some(key), None) => key,
            // OpenID Connect Core, section 10.1: where there are several, the token names its key.
            (Some(_), Some(_)) | (None, _) => return Err(Invalid::Key),
        };
        // The signature alone: times are by the process's clock, and the rest stands in one place.
        let mut validation = Validation::new(header.algorithm);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        match jsonwebtoken::decode(token, &key.key, &validation) {
            Ok(decoded) => Ok(decoded.claims),
            Err(error) if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::Json(_)) => Err(Invalid::Malformed),
            Err(_) => Err(Invalid::Signature),
        }
    }
}

impl Key {
    fn read(key: Value) -> Option<Key> {
        let jwk: Jwk = serde_json::from_value(key).ok()?;
        let is_for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature)
            && jwk.common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let possible: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &RSA,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            _ => return None,
        };
        let said = |algorithm: &Algorithm| jwk.common.key_algorithm.is_none_or(|said| said == KeyAlgorithm::from(*algorithm));
        let algorithms: Vec<Algorithm> = possible.iter().copied().filter(said).collect();
        let is_of_use = is_for_signatures && !algorithms.is_empty();
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| is_of_use)?;
        Some(Key { id: jwk.common.key_id, algorithms, key })
    }
}

/// What a token's header says, as far as it matters.
#[derive(Debug)]
pub(super) struct Header {
    id: Option<String>,
    algorithm: Algorithm,
}

impl Header {
    /// The key that it names.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// Reads a token's header: of a signed token that is an ID token or an access token.
pub(super) fn header(token: &str) -> Result<Header, Invalid> {
    let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
        // `none`, or one that nobody here knows: the library lists what it knows, in which `none` is not.
        jsonwebtoken::errors::ErrorKind::Json(_) => Invalid::Algorithm,
        _ => Invalid::Malformed,
    })?;
    if matches!(header.alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
        return Err(Invalid::Algorithm);
    }
    // Whatever is critical is not understood here (RFC 7515, section 4.1.11).
    if header.crit.is_some() {
        return Err(Invalid::Malformed);
    }
    // Tokens with another purpose say so (RFC 8725, section 3.11).
    let kind = header.typ.unwrap_or_else(|| "JWT".to_owned()).to_ascii_lowercase();
    if !matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt") {
        return Err(Invalid::Purpose);
    }
    Ok(Header { id: header.kid, algorithm: header.alg })
}
