//! The document: what the holder keeps, a W3C Verifiable Credentials 2.0 object. Its shape is **permanent**.
//!
//! The digest leaves out a top-level `proof`: the document is the same with and without one. The [`proof`] is made when it is answered.

pub mod proof;

use serde_json::{Map, Value, json};

use crate::{Timestamp, json};

/// The type that every document has, before its credential's own.
pub const TYPE: &str = "VerifiableCredential";

/// The member that the digest leaves out.
const PROOF: &str = "proof";

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

/// A document without a proof, with its canonical form: what is sealed, hashed and signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsecured {
    document: Value,
    canonical: Vec<u8>,
}

impl Unsecured {
    /// Any document, without its proofs if it has some.
    #[must_use]
    pub fn new(mut document: Value) -> Unsecured {
        document.as_object_mut().map(|members| members.remove(PROOF));
        Unsecured { canonical: json::canonical(&document), document }
    }

    /// The document of these contents.
    #[must_use]
    pub fn of(contents: &Contents<'_>) -> Unsecured {
        Unsecured::new(value(contents))
    }

    /// The members.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The canonical form (RFC 8785).
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// BLAKE3 over the canonical form.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        blake3::hash(&self.canonical).into()
    }
}

fn value(contents: &Contents<'_>) -> Value {
    let mut subject = Map::new();
    if let Some(uri) = contents.subject_uri {
        subject.insert("id".to_owned(), uri.into());
    }
    subject.insert("name".to_owned(), contents.name.into());
    subject.insert("email".to_owned(), contents.email.into());
    if let Some(claims) = contents.claims {
        subject.insert("claims".to_owned(), claims.clone());
    }
    let mut document = json!({
        "@context": ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/undefined-terms/v2"],
        "id": contents.id.urn().to_string(),
        "type": [TYPE, contents.credential_type],
        "issuer": contents.issuer_did,
        "credentialSubject": subject,
        "salt": hex::encode(contents.salt),
    });
    if let Some(valid_from) = contents.valid_from {
        document["validFrom"] = valid_from.to_string().into();
    }
    if let Some(valid_until) = contents.valid_until {
        document["validUntil"] = valid_until.to_string().into();
    }
    document
}

/// A document's digest: BLAKE3 over its canonical form without the member `proof`.
#[must_use]
pub fn digest(document: &Value) -> [u8; 32] {
    Unsecured::new(document.clone()).digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(claims: Option<&Value>) -> Contents<'_> {
        Contents {
            id: uuid::Uuid::from_u128(0x0198_c5a2_0000_7000_8000_0000_0000_0001),
            credential_type: "developer-certificate",
            issuer_did: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
            valid_from: Some("2026-01-31T12:00:00Z".parse().unwrap()),
            valid_until: Some("2027-01-31T12:00:00.5Z".parse().unwrap()),
            subject_uri: Some("did:example:ada"),
            name: "Ada Lovelace",
            email: "ada@example.org",
            claims,
            salt: [0xab; 16],
        }
    }

    /// Permanent: documents in their holders' hands are looked up by these digests.
    #[test]
    fn a_document_has_the_golden_bytes_and_digest() {
        let claims = json!({"level": 3, "langs": ["Rust", "Ada"], "größe": 1.75});
        let built = Unsecured::of(&contents(Some(&claims)));
        let golden = concat!(
            r#"{"@context":["https://www.w3.org/ns/credentials/v2","https://www.w3.org/ns/credentials/undefined-terms/v2"],"#,
            r#""credentialSubject":{"claims":{"größe":1.75,"langs":["Rust","Ada"],"level":3},"email":"ada@example.org","#,
            r#""id":"did:example:ada","name":"Ada Lovelace"},"id":"urn:uuid:0198c5a2-0000-7000-8000-000000000001","#,
            r#""issuer":"did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK","salt":"abababababababababababababababab","#,
            r#""type":["VerifiableCredential","developer-certificate"],"validFrom":"2026-01-31T12:00:00Z","#,
            r#""validUntil":"2027-01-31T12:00:00.500Z"}"#,
        );
        assert_eq!(std::str::from_utf8(built.canonical()).unwrap(), golden);
        assert_eq!(digest(built.document()), built.digest());
        assert_eq!(hex::encode(built.digest()), "ef87dc5c928caa08e10ea3bebf0cad454fadef1b17bd1ec16b14bd7316bcc814");
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let bare = Contents { valid_from: None, valid_until: None, subject_uri: None, ..contents(None) };
        let document = Unsecured::of(&bare).document;
        let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(members(&document), ["@context", "credentialSubject", "id", "issuer", "salt", "type"]);
        assert_eq!(members(&document["credentialSubject"]), ["email", "name"]);
    }

    #[test]
    fn a_proof_does_not_change_the_digest_and_everything_else_does() {
        let document = Unsecured::of(&contents(None)).document;
        let mut signed = document.clone();
        signed["proof"] = json!({"type": "DataIntegrityProof"});
        assert_eq!(digest(&signed), digest(&document));
        for (member, value) in [("salt", json!("00")), ("type", json!([])), ("other", json!(null))] {
            let mut other = document.clone();
            other[member] = value;
            assert_ne!(digest(&other), digest(&document), "{member}");
        }
        let mut inner = document.clone();
        inner["credentialSubject"]["proof"] = json!(1);
        assert_ne!(digest(&inner), digest(&document));
    }
}
