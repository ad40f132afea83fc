//! The worked example of docs/FORMAT.md, made by the code itself: the document and the program cannot differ.
//!
//! Every fenced block there that is marked `hex NAME` or `json NAME` is one part of the example. `scripts/check_format_example.py`
//! checks the same blocks by means that share nothing with this crate.

use std::collections::BTreeMap;

use credence_ledger::chain::{self, Origin};
use credence_ledger::checkpoint::{self, LogKey, TreeHead};
use credence_ledger::codec::{self, sequence};
use credence_ledger::document::{Contents, Unsecured, proof};
use credence_ledger::event::credential::{CredentialEvent, CredentialIssued};
use credence_ledger::event::issuer::IssuerRegistered;
use credence_ledger::event::{Metadata, New, Place, Recorded};
use credence_ledger::export::{Checkpoint, Header, Writer};
use credence_ledger::sealing::{KeyId, SealingKey};
use credence_ledger::signing::SigningKey;
use credence_ledger::tree::{Frontier, Hash};
use credence_ledger::{LogName, Position, Random, Stream, Timestamp, Version, json};
use serde_bytes::ByteArray;
use uuid::Uuid;

const FORMAT: &str = include_str!("../../docs/FORMAT.md");

/// Anything but random: one byte, over and over.
struct Constant(u8);

impl Random for Constant {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0);
    }
}

/// `0198c5a2-0000-7000-8000-00000000000N`.
fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0198_c5a2_0000_7000_8000_0000_0000_0000 | n)
}

fn metadata(actor: &str, event_id: u8, request_id: Option<&str>) -> Metadata {
    Metadata {
        actor: actor.to_owned(),
        worker: "worker-1".to_owned(),
        details: None,
        event_id: ByteArray::new([event_id; 16]),
        trace_id: None,
        request_id: request_id.map(str::to_owned),
    }
}

/// Name → bytes of every part of the example.
#[expect(clippy::expect_used, reason = "an example that does not hold fails here and now")]
fn example() -> BTreeMap<&'static str, Vec<u8>> {
    let origin = Origin::new("ledger.example", &LogName::LEDGER);
    let registered_at = Timestamp::from_micros(1_795_334_400_000_000); // 2026-11-22T08:00:00Z
    let issued_at = Timestamp::from_micros(1_795_334_401_500_000); // 2026-11-22T08:00:01.5Z
    let valid_until = Some(Timestamp::from_micros(1_826_841_600_000_000)); // 2027-11-22T00:00:00Z
    let issuer = id(1);
    let subject = id(2);
    let credential = id(3);
    let did = "did:key:z6Mkg49NtQR2LyYRDCQFK4w1VVHqhypZSSRo7HsyuN7SV7v5";

    let registered = New::of(&IssuerRegistered { did: did.to_owned(), name: "default".to_owned() }, &metadata("system", 0xa0, None));
    let first = Recorded::place(&registered, &Stream::issuer(issuer), Position::FIRST, Version::FIRST, registered_at, origin.genesis());

    let claims = serde_json::json!({"level": 3, "languages": ["Rust", "SQL"]});
    let unsecured = Unsecured::of(&Contents {
        id: credential,
        credential_type: "developer-certificate",
        issuer_did: did,
        valid_from: None,
        valid_until,
        subject_uri: None,
        name: "Ada Lovelace",
        email: "ada@example.org",
        claims: Some(&claims),
        salt: [0x5a; 16],
    });
    let (canonical, digest) = (unsecured.canonical().to_vec(), unsecured.digest());

    let signed = proof::sign(unsecured, issued_at, &SigningKey::from_bytes(&[0x33; 32]));
    assert_eq!(proof::check_by_issuer(&signed, issued_at).as_deref(), Ok(did));

    let stream = Stream::credential(credential);
    let place = Place { origin: &origin, stream: &stream, kind: "CredentialIssued", schema: 1, field: "document" };
    let key_id = KeyId::Subject(subject);
    let associated_data = codec::encode(&(origin.as_str(), stream.as_str(), place.kind, place.schema, place.field, key_id.to_string()));
    let key = SealingKey::from_bytes([0x11; 32]);
    let sealed = key.seal(&key_id, &place, &canonical, &Constant(0x22));
    assert_eq!(key.open(&place, &sealed).as_ref(), Ok(&canonical));

    let issued = CredentialEvent::Issued(CredentialIssued {
        credential_type: "developer-certificate".to_owned(),
        digest: ByteArray::new(digest),
        issuer,
        document: Some(sealed.clone()),
        subject_id: Some(subject),
        valid_from: None,
        valid_until,
    });
    let new = issued.encode(&metadata("key/0198c5a2-0000-7000-8000-000000000004", 0xa1, Some("r-1")));
    let second = Recorded::place(&new, &stream, Position(1), Version::FIRST, issued_at, first.chain_hash);

    let mut file = sequence::start(&LogName::LEDGER, Position::FIRST, &origin);
    file.extend(sequence::item(&first));
    file.extend(sequence::item(&second));

    let mut tree = Frontier::new();
    [&first, &second].into_iter().for_each(|event| tree.push(Hash::leaf(event.event_hash)));
    let key = LogKey::from_seed(origin.clone(), &[0x44; 32]);
    let head = TreeHead { origin: origin.clone(), size: tree.size(), root: tree.root() };
    let note = checkpoint::Checkpoint::sign(head, &key).note().to_owned();
    let export = || {
        let mut writer = Writer::begin(Vec::new(), &LogName::LEDGER, &origin)?;
        writer.event(&first)?;
        writer.event(&second)?;
        writer.checkpoint(&Checkpoint { note: note.clone(), size: 2 })?;
        writer.finish()
    };
    let (export, footer) = export().expect("the example holds");
    let header = codec::encode(&Header {
        log: "ledger".to_owned(),
        format: "credence-export".to_owned(),
        origin: origin.as_str().to_owned(),
        version: 1,
    });
    let kept = codec::encode(&Checkpoint { note: note.clone(), size: 2 });
    let parts = [header.clone(), sequence::item(&first), sequence::item(&second), kept.clone(), codec::encode(&footer)];
    assert_eq!(parts.concat(), export);

    BTreeMap::from([
        ("leaf-hash-0", Hash::leaf(first.event_hash).0.to_vec()),
        ("leaf-hash-1", Hash::leaf(second.event_hash).0.to_vec()),
        ("root", tree.root().0.to_vec()),
        ("verifier-key", key.verifier().to_string().into_bytes()),
        ("export-header", header),
        ("export-checkpoint", kept),
        ("export-footer", codec::encode(&footer)),
        ("genesis", origin.genesis().0.to_vec()),
        ("metadata-0", first.metadata.to_vec()),
        ("payload-0", first.payload.to_vec()),
        ("content-0", first.content()),
        ("event-hash-0", first.event_hash.0.to_vec()),
        ("chain-hash-0", first.chain_hash.0.to_vec()),
        ("document", canonical),
        ("digest", digest.to_vec()),
        ("proof", json::canonical(&signed["proof"])),
        ("associated-data", associated_data),
        ("sealed", codec::encode(&sealed)),
        ("metadata-1", second.metadata.to_vec()),
        ("payload-1", second.payload.to_vec()),
        ("content-1", second.content()),
        ("event-hash-1", second.event_hash.0.to_vec()),
        ("chain-hash-1", chain::chain_hash(first.chain_hash, second.event_hash).0.to_vec()),
        ("sequence", file),
    ])
}

/// The document's own blocks. In `hex`, what follows a `#` is a remark; what is no hex reads as nothing, which is no part's bytes.
fn written() -> BTreeMap<&'static str, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    let mut open: Option<(&str, &str, String)> = None;
    for line in FORMAT.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                if let Some((kind @ ("hex" | "json"), name)) = info.split_once(' ') {
                    open = Some((kind, name, String::new()));
                }
            }
            (Some(_), Some((kind, name, text))) => {
                let bytes = if *kind == "hex" { hex::decode(&text).unwrap_or_default() } else { text.clone().into_bytes() };
                assert!(blocks.insert(*name, bytes).is_none(), "the block {name} stands twice");
                open = None;
            }
            (None, Some((kind, _, text))) => {
                let digits = if *kind == "hex" { line.split('#').next().unwrap_or_default() } else { line };
                text.push_str(&digits.split_whitespace().collect::<Vec<_>>().join(if *kind == "hex" { "" } else { " " }));
            }
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn the_worked_example_in_the_format_document_is_what_the_code_writes() {
    let (example, written) = (example(), written());
    let mut wrong = String::new();
    for (name, bytes) in &example {
        if written.get(name) != Some(bytes) {
            let shown = if ["document", "proof"].contains(name) { String::from_utf8_lossy(bytes).into_owned() } else { hex::encode(bytes) };
            wrong.push_str(&format!("{name}: {shown}\n"));
        }
    }
    for name in written.keys().filter(|name| !example.contains_key(*name)) {
        wrong.push_str(&format!("{name}: not part of the example\n"));
    }
    assert!(wrong.is_empty(), "docs/FORMAT.md should have\n{wrong}");
}
