//! The proof on a document: W3C Data Integrity with the cryptosuite `eddsa-jcs-2022` (Data Integrity EdDSA Cryptosuites v1.0,
//! section 3.3). Its form is **permanent**, and no event holds it: it is made when the document is answered.
//!
//! Ed25519 signs the same bytes in the same way always, and the time in a proof is that of the issuance: a document has one proof,
//! whenever and by whichever process it is answered.
//!
//! [`check`] takes any document with such proofs by keys that are a `did:key`, ours or others'. It needs nothing but the document.
//! It follows no chain of proofs and asks nobody for a key.

use std::borrow::Cow;

use ed25519_dalek::Signature;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{PROOF, Unsecured};
use crate::signing::SigningKey;
use crate::{Timestamp, did_key, json as strict};

const TYPE: &str = "DataIntegrityProof";
const CRYPTOSUITE: &str = "eddsa-jcs-2022";
const PURPOSE: &str = "assertionMethod";
const CONTEXT: &str = "@context";
const VALUE: &str = "proofValue";
/// A proof costs some 50 µs to check, and a document may be anybody's. Those that are left alone cost nothing.
const PROOFS_MAX: usize = 16;

/// Why a document's proofs do not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no proof, or none of this cryptosuite.
    #[error("there is no {CRYPTOSUITE} proof")]
    Missing,
    /// What should be a proof, or a part of one, is something else.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// More proofs of this cryptosuite than are checked.
    #[error("there are more than {PROOFS_MAX} {CRYPTOSUITE} proofs")]
    TooMany,
    /// The key is not in the proof itself.
    #[error("the verification method is no did:key of an Ed25519 key")]
    VerificationMethod,
    /// The key vouches for something else than what the document says.
    #[error("the proof's purpose is not {PURPOSE}")]
    Purpose,
    /// The document's context does not begin with the proof's.
    #[error("the document has another context than its proof")]
    Context,
    /// The proof builds on another one.
    #[error("chains of proofs are not checked")]
    Chained,
    /// The proof has said itself until when it counts.
    #[error("the proof has expired")]
    Expired,
    /// The document or its proof was altered, or another key made it.
    #[error("the signature does not hold")]
    Signature,
    /// It holds, but is somebody else's.
    #[error("the proof is by {signer}, who is not the issuer")]
    NotTheIssuers {
        /// The did that signed.
        signer: String,
    },
}

/// The document with a proof by `key`.
#[must_use]
pub fn sign(unsecured: Unsecured, created: Timestamp, key: &SigningKey) -> Value {
    let proof = make(&unsecured, created, key);
    let mut document = unsecured.document;
    document.as_object_mut().map(|members| members.insert(PROOF.to_owned(), proof));
    document
}

/// The proof by `key` that goes with a document.
fn make(unsecured: &Unsecured, created: Timestamp, key: &SigningKey) -> Value {
    let mut proof = json!({
        "type": TYPE,
        "cryptosuite": CRYPTOSUITE,
        "created": created.to_string(),
        "verificationMethod": did_key::verification_method(key.did()),
        "proofPurpose": PURPOSE,
    });
    if let Some(context) = unsecured.document.get(CONTEXT) {
        proof[CONTEXT] = context.clone();
    }
    let signature = key.sign(&signed_bytes(&proof, &unsecured.canonical));
    proof[VALUE] = base58(&signature).into();
    proof
}

/// Checks a credential's document: there is an `eddsa-jcs-2022` proof, and every one holds and is by the document's `issuer`, whose
/// did is answered. Proofs of other cryptosuites are left alone.
///
/// # Errors
/// The first thing that does not hold.
pub fn check_by_issuer(document: &Value, now: Timestamp) -> Result<String, Error> {
    let issuer = match &document["issuer"] {
        Value::Object(issuer) => issuer.get("id").and_then(Value::as_str),
        issuer => issuer.as_str(),
    };
    let issuer = issuer.ok_or(Error::Malformed("issuer"))?;
    match check(document, now)?.into_iter().find(|signer| signer != issuer) {
        None => Ok(issuer.to_owned()),
        Some(signer) => Err(Error::NotTheIssuers { signer }),
    }
}

/// Checks every `eddsa-jcs-2022` proof of any document, and answers who made them, in their order: at least one. Proofs of other
/// cryptosuites are left alone.
///
/// # Errors
/// The first thing that does not hold.
pub fn check(document: &Value, now: Timestamp) -> Result<Vec<String>, Error> {
    let proofs = match document.get(PROOF) {
        None | Some(Value::Null) => &[],
        Some(Value::Array(proofs)) => proofs.as_slice(),
        Some(proof) => std::slice::from_ref(proof),
    };
    let mut ours = Vec::new();
    for proof in proofs {
        let proof = proof.as_object().ok_or(Error::Malformed(PROOF))?;
        if is_ours(proof)? {
            ours.push(proof);
        }
    }
    match ours.len() {
        0 => Err(Error::Missing),
        1..=PROOFS_MAX => {
            let unsecured = Unsecured::new(document.clone());
            ours.into_iter().map(|proof| check_one(&unsecured, proof, now)).collect()
        }
        _ => Err(Error::TooMany),
    }
}

/// Whether a proof is of this cryptosuite. Every proof has a type, and a Data Integrity proof names its cryptosuite (Verifiable
/// Credential Data Integrity 1.0, section 2.1): what does not is no proof of another kind, but a broken one.
fn is_ours(proof: &Map<String, Value>) -> Result<bool, Error> {
    let named = |member: &'static str| proof.get(member).and_then(Value::as_str).ok_or(Error::Malformed(member));
    Ok(named("type")? == TYPE && named("cryptosuite")? == CRYPTOSUITE)
}

/// The did of whoever made this proof of the document.
fn check_one(unsecured: &Unsecured, proof: &Map<String, Value>, now: Timestamp) -> Result<String, Error> {
    if proof.get("proofPurpose").is_none_or(|purpose| purpose != PURPOSE) {
        return Err(Error::Purpose);
    }
    if proof.contains_key("previousProof") {
        return Err(Error::Chained);
    }
    time(proof, "created")?;
    if time(proof, "expires")?.is_some_and(|expires| now >= expires) {
        return Err(Error::Expired);
    }
    let method = proof.get("verificationMethod").and_then(Value::as_str).ok_or(Error::Malformed("verificationMethod"))?;
    let did = method.split('#').next().unwrap_or_default();
    let key = did_key::public_key(did).filter(|_| method == did_key::verification_method(did)).ok_or(Error::VerificationMethod)?;
    let value = proof.get(VALUE).and_then(Value::as_str).and_then(signature).ok_or(Error::Malformed(VALUE))?;

    let mut options = proof.clone();
    options.remove(VALUE);
    let signed = signed_bytes(&Value::Object(options), &in_context_of(proof, unsecured)?);
    // Strict: no key and no signature for which more than one message would hold.
    key.verify_strict(&signed, &value).map_err(|_| Error::Signature)?;
    Ok(did.to_owned())
}

/// The canonical form of the document as the proof means it. Contexts may have been added behind those that were signed (section 3.3.2, step 4).
fn in_context_of<'d>(proof: &Map<String, Value>, unsecured: &'d Unsecured) -> Result<Cow<'d, [u8]>, Error> {
    let Some(signed) = proof.get(CONTEXT) else { return Ok(Cow::Borrowed(&unsecured.canonical)) };
    let found = unsecured.document.get(CONTEXT).ok_or(Error::Context)?;
    if found == signed {
        return Ok(Cow::Borrowed(&unsecured.canonical));
    }
    if !list(found).starts_with(list(signed)) {
        return Err(Error::Context);
    }
    let mut meant = unsecured.document.clone();
    meant[CONTEXT] = signed.clone();
    Ok(Cow::Owned(strict::canonical(&meant)))
}

/// One context is a list of one.
fn list(context: &Value) -> &[Value] {
    context.as_array().map_or(std::slice::from_ref(context), Vec::as_slice)
}

fn time(proof: &Map<String, Value>, member: &'static str) -> Result<Option<Timestamp>, Error> {
    let Some(value) = proof.get(member) else { return Ok(None) };
    value.as_str().and_then(|text| text.parse().ok()).map(Some).ok_or(Error::Malformed(member))
}

/// Multibase, base58btc. A signature's length is known, so that it is done in the twentieth part of the time that any length takes.
fn base58(signature: &[u8; 64]) -> String {
    let mut digits = [0; five8::BASE58_ENCODED_64_MAX_LEN];
    let length = usize::from(five8::encode_64(signature, &mut digits));
    std::iter::once('z').chain(digits[..length].iter().map(|digit| char::from(*digit))).collect()
}

/// Multibase, base58btc.
fn signature(text: &str) -> Option<Signature> {
    let mut bytes = [0; 64];
    let length = bs58::decode(text.strip_prefix('z')?).onto(&mut bytes).ok()?;
    (length == bytes.len()).then(|| Signature::from_bytes(&bytes))
}

/// What is signed: the hash of the proof without its value, then that of the canonical document without its proofs.
fn signed_bytes(options: &Value, canonical: &[u8]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&Sha256::digest(strict::canonical(options)));
    bytes[32..].copy_from_slice(&Sha256::digest(canonical));
    bytes
}

#[cfg(test)]
mod tests;
