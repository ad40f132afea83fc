//! The document: what the holder keeps, a W3C Verifiable Credentials 2.0 object. Its shape is **permanent**.

use serde_json::Value;

use crate::Timestamp;

/// What goes into a document. Name and e-mail in normal form.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// The credential's id.
    pub id: uuid::Uuid,
    /// The credential's type.
    pub credential_type: &'a str,
    /// The issuer's did:key.
    pub issuer_did: &'a str,
    /// Absent: from when it was issued.
    pub valid_from: Option<Timestamp>,
    /// Absent: without end.
    pub valid_until: Option<Timestamp>,
    /// The subject's own URI.
    pub subject_uri: Option<&'a str>,
    /// The subject's name.
    pub name: &'a str,
    /// The subject's e-mail address.
    pub email: &'a str,
    /// The issuer's claims about the subject, an object.
    pub claims: Option<&'a Value>,
    /// Random, so that the digest cannot be guessed.
    pub salt: [u8; 16],
}

/// The document.
#[must_use]
pub fn build(contents: &Contents<'_>) -> Value {
    let _ = contents;
    Value::Null
}

/// The document's digest: BLAKE3 over its canonical form without the member `proof`.
#[must_use]
pub fn digest(document: &Value) -> [u8; 32] {
    let _ = document;
    [0; 32]
}
