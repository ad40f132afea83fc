use proptest::prelude::*;

use super::*;
use crate::document::{Contents, digest};

/// W3C Data Integrity EdDSA Cryptosuites v1.0, test vectors under "Representation: eddsa-jcs-2022"; TestVectors/eddsa-jcs-2022 and
/// TestVectors/keyPair.json of the repository w3c/vc-di-eddsa.
mod w3c {
    pub(super) const SECRET_KEY: &str = "z3u2en7t5LR2WtQH5PfFqMqwVHBeXouLzo6haApm8XHqvjxq";
    pub(super) const DID: &str = "did:key:z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2";
    pub(super) const CREATED: &str = "2023-02-24T23:36:38Z";
    pub(super) const PROOF_HASH: &str = "66ab154f5c2890a140cb8388a22a160454f80575f6eae09e5a097cabe539a1db";
    pub(super) const DOCUMENT_HASH: &str = "59b7cb6251b8991add1ce0bc83107e3db9dbbab5bd2c28f687db1a03abc92f19";
    pub(super) const SIGNED: &str = r#"{
      "@context": ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/examples/v2"],
      "id": "urn:uuid:58172aac-d8ba-11ed-83dd-0b3aef56cc33",
      "type": ["VerifiableCredential", "AlumniCredential"],
      "name": "Alumni Credential",
      "description": "A minimum viable example of an Alumni Credential.",
      "issuer": "https://vc.example/issuers/5678",
      "validFrom": "2023-01-01T00:00:00Z",
      "credentialSubject": {"id": "did:example:abcdefgh", "alumniOf": "The School of Examples"},
      "proof": {
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-jcs-2022",
        "created": "2023-02-24T23:36:38Z",
        "verificationMethod": "did:key:z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2#z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2",
        "proofPurpose": "assertionMethod",
        "@context": ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/examples/v2"],
        "proofValue": "z2HnFSSPPBzR36zdDgK8PbEHeXbR56YF24jwMpt3R1eHXQzJDMWS93FCzpvJpwTWd3GAVFuUfjoJdcnTMuVor51aX"
      }
    }"#;
}

const NOW: Timestamp = Timestamp::MAX;

fn published() -> Value {
    serde_json::from_str(w3c::SIGNED).unwrap()
}

fn published_key() -> SigningKey {
    let multikey = bs58::decode(&w3c::SECRET_KEY[1..]).into_vec().unwrap();
    SigningKey::from_bytes(multikey.strip_prefix(&[0x80, 0x26]).unwrap().try_into().unwrap())
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn unsecured() -> Unsecured {
    let claims = json!({"level": 3, "langs": ["Rust", "Ada"], "größe": 1.75});
    let key = key();
    let contents = Contents {
        id: uuid::Uuid::from_u128(0x0198_c5a2_0000_7000_8000_0000_0000_0001),
        credential_type: "developer-certificate",
        issuer_did: key.did(),
        valid_from: None,
        valid_until: Some("2027-01-31T12:00:00.5Z".parse().unwrap()),
        subject_uri: None,
        name: "Ada Lovelace",
        email: "ada@example.org",
        claims: Some(&claims),
        salt: [0xab; 16],
    };
    Unsecured::of(&contents)
}

fn issued_at() -> Timestamp {
    "2026-01-31T12:00:00.000001Z".parse().unwrap()
}

fn signed() -> Value {
    sign(unsecured(), issued_at(), &key())
}

/// The document with a member of its proof put in the place of what was signed.
fn with(member: &str, value: Value) -> Value {
    let mut document = signed();
    document[PROOF][member] = value;
    document
}

#[test]
fn the_published_document_gets_the_published_proof() {
    assert_eq!(published_key().did(), w3c::DID);
    assert_eq!(sign(Unsecured::new(published()), w3c::CREATED.parse().unwrap(), &published_key()), published());
}

#[test]
fn the_hashes_are_the_published_ones() {
    let mut options = published()[PROOF].clone();
    options.as_object_mut().unwrap().remove(VALUE);
    let bytes = signed_bytes(&options, Unsecured::new(published()).canonical());
    assert_eq!(hex::encode(bytes), format!("{}{}", w3c::PROOF_HASH, w3c::DOCUMENT_HASH));
}

#[test]
fn the_published_proof_holds() {
    assert_eq!(check(&published(), NOW), Ok(vec![w3c::DID.to_owned()]));
    // In the example the issuer is a page on the web, which vouches for the key where it can be asked.
    assert_eq!(check_by_issuer(&published(), NOW), Err(Error::NotTheIssuers { signer: w3c::DID.to_owned() }));
}

/// Permanent: a document is answered with the same proof for ever.
#[test]
fn a_proof_has_the_golden_form() {
    let proof = &signed()[PROOF];
    let golden = concat!(
        r#"{"@context":["https://www.w3.org/ns/credentials/v2","https://www.w3.org/ns/credentials/undefined-terms/v2"],"#,
        r#""created":"2026-01-31T12:00:00.000001Z","cryptosuite":"eddsa-jcs-2022","proofPurpose":"assertionMethod","#,
        r#""proofValue":"zfR9KXJAuSVhTcYMc997SvEvxyMgn4jeoHRtY5dmo4vpXJeeidkdm8Uok9h3SGGhuim4P4c6D3qzgGkzJj1Joxqm","#,
        r#""type":"DataIntegrityProof","verificationMethod":"did:key:z6MkvDqGT54cXesYGvABpF1UapVNwjCqRcafi4Px6Thv5T3Z#z6MkvDqGT54cXesYGvABpF1UapVNwjCqRcafi4Px6Thv5T3Z"}"#,
    );
    assert_eq!(String::from_utf8(strict::canonical(proof)).unwrap(), golden);
}

#[test]
fn a_signed_document_holds_and_names_its_issuer() {
    assert_eq!(check_by_issuer(&signed(), NOW), Ok(key().did().to_owned()));
    assert_eq!(sign(Unsecured::new(signed()), issued_at(), &key()), signed(), "signed again");
    assert_eq!(digest(&signed()), unsecured().digest());
    // An issuer that is an object is known by its id.
    let mut document = unsecured().document;
    document["issuer"] = json!({"id": key().did(), "name": "Example"});
    assert_eq!(check_by_issuer(&sign(Unsecured::new(document), issued_at(), &key()), NOW), Ok(key().did().to_owned()));
}

#[test]
fn a_document_without_a_proof_of_this_kind_says_so() {
    let mut other = signed();
    other[PROOF] = json!([{"type": "DataIntegrityProof", "cryptosuite": "ecdsa-rdfc-2019"}, {"type": "Other"}]);
    let mut null = signed();
    null[PROOF] = Value::Null;
    for document in [unsecured().document, other, null, json!([]), json!("text")] {
        assert_eq!(check(&document, NOW), Err(Error::Missing), "{document}");
    }
}

#[test]
fn proofs_of_other_kinds_are_left_alone_and_every_one_of_this_kind_must_hold() {
    let (good, foreign) = (signed()[PROOF].clone(), json!({"type": "DataIntegrityProof", "cryptosuite": "ecdsa-rdfc-2019"}));
    let mut altered = good.clone();
    altered["created"] = json!("2026-01-31T12:00:00.000002Z");
    let with = |proofs: &[&Value]| {
        let mut document = signed();
        document[PROOF] = json!(proofs);
        check_by_issuer(&document, NOW)
    };
    assert_eq!(with(&[&foreign, &good]), Ok(key().did().to_owned()));
    assert_eq!(with(&[&good, &altered]), Err(Error::Signature));
    assert_eq!(with(&[&good, &json!("proof")]), Err(Error::Malformed("proof")));
    assert_eq!(with(&[&good; PROOFS_MAX]), Ok(key().did().to_owned()));
    assert_eq!(with(&[&good; PROOFS_MAX + 1]), Err(Error::TooMany));
    // However many there are of those that are left alone.
    assert_eq!(with(&[vec![&foreign; 100 * PROOFS_MAX], vec![&good; PROOFS_MAX]].concat()), Ok(key().did().to_owned()));
    assert_eq!(with(&vec![&foreign; 100 * PROOFS_MAX]), Err(Error::Missing));
}

#[test]
fn a_proof_without_a_type_or_a_cryptosuite_is_a_broken_one() {
    for (proof, error) in [
        (json!([]), Error::Missing),
        (json!({"type": "Ed25519Signature2020"}), Error::Missing),
        (json!({}), Error::Malformed("type")),
        (json!([{}]), Error::Malformed("type")),
        (json!({"cryptosuite": CRYPTOSUITE}), Error::Malformed("type")),
        (json!({"type": [TYPE], "cryptosuite": CRYPTOSUITE}), Error::Malformed("type")),
        (json!({"type": TYPE}), Error::Malformed("cryptosuite")),
        (json!({"type": TYPE, "cryptosuite": null}), Error::Malformed("cryptosuite")),
        (json!([signed()[PROOF], {"type": TYPE}]), Error::Malformed("cryptosuite")),
    ] {
        let mut document = signed();
        document[PROOF] = proof.clone();
        assert_eq!(check(&document, NOW), Err(error), "{proof}");
    }
}

#[test]
fn a_proof_by_another_key_is_not_the_issuers() {
    let other = SigningKey::from_bytes(&[8; 32]);
    let document = sign(unsecured(), issued_at(), &other);
    assert_eq!(check(&document, NOW), Ok(vec![other.did().to_owned()]));
    assert_eq!(check_by_issuer(&document, NOW), Err(Error::NotTheIssuers { signer: other.did().to_owned() }));
    let mut nobodys = unsecured().document;
    nobodys["issuer"] = json!(7);
    assert_eq!(check_by_issuer(&nobodys, NOW), Err(Error::Malformed("issuer")));
}

#[test]
fn each_fault_has_its_name() {
    let did = key().did().to_owned();
    let value = signed()[PROOF][VALUE].as_str().unwrap().to_owned();
    for (member, wrong, error) in [
        ("proofPurpose", json!("authentication"), Error::Purpose),
        ("proofPurpose", Value::Null, Error::Purpose),
        ("previousProof", json!("urn:uuid:0198c5a2-0000-7000-8000-000000000001"), Error::Chained),
        ("created", json!("yesterday"), Error::Malformed("created")),
        ("created", json!(7), Error::Malformed("created")),
        ("expires", json!("2026-01-31"), Error::Malformed("expires")),
        ("expires", json!("2026-02-01T00:00:00Z"), Error::Expired),
        ("verificationMethod", json!(7), Error::Malformed("verificationMethod")),
        ("verificationMethod", json!(did), Error::VerificationMethod),
        ("verificationMethod", json!(format!("{did}#key-1")), Error::VerificationMethod),
        ("verificationMethod", json!("https://vc.example/issuers/5678#key-1"), Error::VerificationMethod),
        (CONTEXT, json!(["https://www.w3.org/ns/credentials/undefined-terms/v2"]), Error::Context),
        (CONTEXT, json!("https://www.w3.org/ns/credentials/v2"), Error::Signature),
        (VALUE, json!(value[1..]), Error::Malformed(VALUE)),
        (VALUE, json!(value[..80]), Error::Malformed(VALUE)),
        (VALUE, json!(format!("{value}1")), Error::Malformed(VALUE)),
        (VALUE, json!("z".repeat(1_000_000)), Error::Malformed(VALUE)),
        (VALUE, json!(value.replace(&value[40..41], "0")), Error::Malformed(VALUE)),
        ("created", json!("2026-01-31T12:00:00Z"), Error::Signature),
        ("id", json!("urn:uuid:0198c5a2-0000-7000-8000-000000000001"), Error::Signature),
    ] {
        assert_eq!(check(&with(member, wrong.clone()), NOW), Err(error), "{member}: {wrong:.80}");
    }
}

#[test]
fn a_proof_counts_until_it_expires() {
    let mut options = signed()[PROOF].clone();
    options.as_object_mut().unwrap().remove(VALUE);
    options["expires"] = json!("2026-02-01T00:00:00Z");
    let value = key().sign(&signed_bytes(&options, unsecured().canonical()));
    options[VALUE] = json!(format!("z{}", bs58::encode(value).into_string()));
    let mut document = unsecured().document;
    document[PROOF] = options;
    assert_eq!(check_by_issuer(&document, "2026-01-31T23:59:59.999999Z".parse().unwrap()), Ok(key().did().to_owned()));
    assert_eq!(check_by_issuer(&document, "2026-02-01T00:00:00Z".parse().unwrap()), Err(Error::Expired));
}

#[test]
fn contexts_may_be_added_behind_those_that_were_signed() {
    let mut document = signed();
    document[CONTEXT].as_array_mut().unwrap().push(json!("https://example.org/more/v1"));
    assert_eq!(check_by_issuer(&document, NOW), Ok(key().did().to_owned()));
    document[CONTEXT].as_array_mut().unwrap().rotate_right(1);
    assert_eq!(check_by_issuer(&document, NOW), Err(Error::Context));
    document.as_object_mut().unwrap().remove(CONTEXT);
    assert_eq!(check_by_issuer(&document, NOW), Err(Error::Context));
}

/// Every byte of the canonical form, which has nothing to spare, once.
#[test]
fn any_flipped_byte_is_found() {
    let text = strict::canonical(&signed());
    for at in 0..text.len() {
        let mut altered = text.clone();
        altered[at] ^= 1;
        if let Ok(document) = strict::parse(&altered) {
            assert!(check_by_issuer(&document, NOW).is_err(), "byte {at}: {document}");
        }
    }
}

proptest! {
    #[test]
    fn any_document_holds_as_it_was_signed_and_not_otherwise(
        seed in any::<[u8; 32]>(),
        micros in 0..=Timestamp::MAX.as_micros(),
        members in proptest::collection::btree_map("[a-z@]{1,8}", "\\PC{0,20}", 1..6),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let key = SigningKey::from_bytes(&seed);
        let mut document = json!(members);
        document["issuer"] = key.did().into();
        let document = sign(Unsecured::new(document), Timestamp::from_micros(micros), &key);
        prop_assert_eq!(check_by_issuer(&document, NOW), Ok(key.did().to_owned()));
        let mut text = strict::canonical(&document);
        let at = place.index(text.len());
        text[at] ^= 1 << bit;
        if let Ok(altered) = strict::parse(&text) {
            prop_assert!(altered == document || check_by_issuer(&altered, NOW).is_err(), "byte {}: {}", at, altered);
        }
    }
}
