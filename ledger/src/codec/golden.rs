//! Golden bytes: `ledger/tests/golden/` holds, for every type of event, what an example of it is on disk. **They never change.**
//! A new type adds a file; a changed meaning is a new schema version with examples and a file of its own, `Type.2.hex`, beside those of the
//! versions before, which are read as what they have become.

use std::fmt::{Debug, Write};
use std::path::Path;

use serde_bytes::{ByteArray, ByteBuf};
use uuid::Uuid;

use super::*;
use crate::chain::{self, Origin};
use crate::event::audit::{
    AccessRefused, AccountActivated, AccountDeactivated, AccountRegistered, AuditDetailsShredded, AuditEvent, Cause, CredentialVerified,
    EndedBy, ErasureOrdered, FailedBy, IssuerChanged, KeyCreated, KeyCreated1, KeyLimited, KeyReplaced, KeyRevoked, LogKeyRotated,
    LoginFailed, MasterKeyRotated, PasswordChanged, PersonalDataRead, PresentedBy, ProfileChanged, RebuildFinished, RebuildStarted,
    RolesChanged, SessionEnded, SessionStarted, SigningKeyRotated, TokenKeysReplaced, VaultBackedUp, VaultRestored,
};
use crate::event::credential::{CredentialEvent, CredentialIssued, CredentialReinstated, CredentialRevoked, CredentialSuspended};
use crate::event::issuer::{IssuerEvent, IssuerKeyRotated, IssuerRegistered};
use crate::event::subject::{SubjectErased, SubjectEvent};
use crate::event::{Metadata, New, Payload, Recorded};
use crate::sealing::{KeyId, Sealed};
use crate::stream::category;
use crate::{LogName, Position};

fn id(last: u8) -> Uuid {
    let mut bytes = *Uuid::parse_str("0198c5a2-0000-7000-8000-000000000000").unwrap().as_bytes();
    bytes[15] = last;
    Uuid::from_bytes(bytes)
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn sealed(key: &KeyId) -> Sealed {
    Sealed { ciphertext: ByteBuf::from([0xc0; 40]), key: key.to_string(), nonce: ByteArray::new([0x0e; 24]) }
}

fn metadata(every_field: bool) -> Metadata {
    Metadata {
        actor: if every_field { format!("key/{}", id(9)) } else { "anonymous".to_owned() },
        worker: "worker-1".to_owned(),
        details: every_field.then(|| sealed(&KeyId::Month("2026-01".to_owned()))),
        event_id: ByteArray::new([0xe1; 16]),
        trace_id: every_field.then(|| "4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        request_id: every_field.then(|| "request-1".to_owned()),
    }
}

/// A type's examples: with every field, and with no optional one.
struct Examples {
    kind: &'static str,
    recorded: [Recorded; 2],
}

/// Places the examples, and sees that their family reads back what was written.
fn examples<P, E>(
    log: &LogName,
    category: &'static str,
    payloads: [P; 2],
    decode: fn(&Recorded) -> Result<E, crate::event::DecodeError>,
    read_as: fn(P) -> E,
) -> Examples
where
    P: Payload,
    E: PartialEq + Debug,
{
    let mut previous = Origin::new("golden.example/tenant", log).genesis();
    let mut version = Version(0);
    let stream = Stream::new(category, id(1));
    let recorded = [true, false].map(metadata).into_iter().zip(payloads).map(|(metadata, payload)| {
        let new = New::of(&payload, &metadata);
        let event = Recorded::place(&new, &stream, Position(version.0), version, time("2026-01-31T12:00:00.000001Z"), previous);
        assert_eq!(decode(&event).unwrap(), read_as(payload));
        assert_eq!(event.metadata().unwrap(), metadata);
        previous = event.chain_hash;
        version = Version(300);
        event
    });
    Examples { kind: P::TYPE, recorded: recorded.collect::<Vec<_>>().try_into().unwrap() }
}

fn ledger() -> Vec<Examples> {
    let (log, credential) = (&LogName::LEDGER, category::CREDENTIAL);
    let reason = || Some(sealed(&KeyId::Subject(id(3))));
    let registered =
        || IssuerRegistered { did: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".to_owned(), name: "Ærø A/S".to_owned() };
    let rotated = || IssuerKeyRotated { did: "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw".to_owned() };
    let erased = || SubjectErased { keys: vec![KeyId::Subject(id(3)).to_string()], order: id(4), issuer: id(2), credentials: 300 };
    let issued = |every_field: bool| CredentialIssued {
        credential_type: "developer-certificate".to_owned(),
        digest: ByteArray::new([0xd1; 32]),
        issuer: id(2),
        document: every_field.then(|| sealed(&KeyId::Subject(id(3)))),
        subject_id: every_field.then(|| id(3)),
        valid_from: every_field.then(|| time("2026-02-01T00:00:00Z")),
        valid_until: every_field.then_some(Timestamp::MAX),
    };
    vec![
        examples(log, category::ISSUER, [registered(), registered()], IssuerEvent::decode, IssuerEvent::Registered),
        examples(log, category::ISSUER, [rotated(), rotated()], IssuerEvent::decode, IssuerEvent::KeyRotated),
        examples(log, credential, [issued(true), issued(false)], CredentialEvent::decode, CredentialEvent::Issued),
        examples(
            log,
            credential,
            [CredentialSuspended { reason: reason() }, CredentialSuspended { reason: None }],
            CredentialEvent::decode,
            CredentialEvent::Suspended,
        ),
        examples(
            log,
            credential,
            [CredentialReinstated { reason: reason() }, CredentialReinstated { reason: None }],
            CredentialEvent::decode,
            CredentialEvent::Reinstated,
        ),
        examples(
            log,
            credential,
            [CredentialRevoked { reason: reason() }, CredentialRevoked { reason: None }],
            CredentialEvent::decode,
            CredentialEvent::Revoked,
        ),
        examples(log, category::SUBJECT, [erased(), erased()], SubjectEvent::decode, SubjectEvent::Erased),
    ]
}

fn audit() -> Vec<Examples> {
    let log = &LogName::AUDIT;
    let verified = |every_field: bool| CredentialVerified {
        as_of: time("2026-01-31T11:59:59.5Z"),
        cause: if every_field { Cause::Found } else { Cause::Unknown },
        status: if every_field { "active" } else { "not_found" }.to_owned(),
        position: every_field.then_some(70_000),
        credential: every_field.then(|| id(4)),
        presented_by: if every_field { PresentedBy::Document } else { PresentedBy::Id },
    };
    let read = |what: Option<&str>| PersonalDataRead { via: "GET /v1/credentials/{id}".to_owned(), what: what.map(str::to_owned) };
    let refused = || AccessRefused { via: "POST /v1/credentials".to_owned(), problem: "forbidden".to_owned() };
    let created1 = || KeyCreated1 { role: "issuer".to_owned(), issuer: id(2) };
    let created = |every_field: bool| KeyCreated {
        roles: if every_field { vec!["issuer".to_owned(), "auditor".to_owned()] } else { vec!["operator".to_owned()] },
        types: every_field.then(|| vec!["degree".to_owned(), "badge".to_owned()]),
        issuer: id(2),
        expires_at: every_field.then(|| time("2027-01-31T12:00:00Z")),
    };
    let rotated = || SigningKeyRotated { did: "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw".to_owned() };
    let log_rotated = || LogKeyRotated { log: "ledger".to_owned() };
    let master_key_rotated = || MasterKeyRotated { to: "88251c3a893aa72c".to_owned(), from: "0123456789abcdef".to_owned() };
    let backed_up = || VaultBackedUp { valid_until: time("2026-03-02T12:00:00Z") };
    let restored = || VaultRestored { erased: 3, made_at: time("2026-01-31T12:00:00Z") };
    let ordered = || ErasureOrdered { issuer: id(2), reason: sealed(&KeyId::Month("2026-01".to_owned())), subjects: vec![id(3), id(7)] };
    let started = || RebuildStarted { generation: 2, projection: "verification".to_owned() };
    let finished = |equal| RebuildFinished { equal, generation: 2, projection: "verification".to_owned() };
    let shredded = || AuditDetailsShredded { months: vec!["2025-12".to_owned(), "2026-01".to_owned()] };
    vec![
        examples(log, category::VERIFICATION, [verified(true), verified(false)], AuditEvent::decode, AuditEvent::CredentialVerified),
        examples(
            log,
            category::ACCESS,
            [read(Some("credential/0198c5a2-0000-7000-8000-000000000004")), read(None)],
            AuditEvent::decode,
            AuditEvent::PersonalDataRead,
        ),
        examples(log, category::ACCESS, [refused(), refused()], AuditEvent::decode, AuditEvent::AccessRefused),
        examples(log, category::KEY, [created1(), created1()], AuditEvent::decode, |old| AuditEvent::KeyCreated(old.into())),
        examples(log, category::KEY, [created(true), created(false)], AuditEvent::decode, AuditEvent::KeyCreated),
        examples(log, category::KEY, [KeyRevoked {}, KeyRevoked {}], AuditEvent::decode, AuditEvent::KeyRevoked),
        examples(log, category::ISSUER, [rotated(), rotated()], AuditEvent::decode, AuditEvent::SigningKeyRotated),
        examples(log, category::KEY, [log_rotated(), log_rotated()], AuditEvent::decode, AuditEvent::LogKeyRotated),
        examples(
            log,
            category::KEY,
            [
                KeyLimited { types: Some(vec!["degree".to_owned(), "badge".to_owned()]), expires_at: Some(time("2027-01-31T12:00:00Z")) },
                KeyLimited { types: None, expires_at: None },
            ],
            AuditEvent::decode,
            AuditEvent::KeyLimited,
        ),
        examples(
            log,
            category::KEY,
            [
                KeyReplaced { expires_at: time("2026-02-28T12:00:00Z"), replaced_by: id(5) },
                KeyReplaced { expires_at: time("2026-02-28T12:00:00Z"), replaced_by: id(5) },
            ],
            AuditEvent::decode,
            AuditEvent::KeyReplaced,
        ),
        examples(
            log,
            category::ACCOUNT,
            [
                AccountRegistered { roles: "issuer admin".to_owned(), issuer: id(2) },
                AccountRegistered { roles: "issuer admin".to_owned(), issuer: id(2) },
            ],
            AuditEvent::decode,
            AuditEvent::AccountRegistered,
        ),
        examples(log, category::ACCOUNT, [ProfileChanged {}, ProfileChanged {}], AuditEvent::decode, AuditEvent::ProfileChanged),
        examples(log, category::ACCOUNT, [PasswordChanged {}, PasswordChanged {}], AuditEvent::decode, AuditEvent::PasswordChanged),
        examples(
            log,
            category::ACCOUNT,
            [RolesChanged { roles: "member".to_owned() }, RolesChanged { roles: "member".to_owned() }],
            AuditEvent::decode,
            AuditEvent::RolesChanged,
        ),
        examples(
            log,
            category::ACCOUNT,
            [AccountDeactivated {}, AccountDeactivated {}],
            AuditEvent::decode,
            AuditEvent::AccountDeactivated,
        ),
        examples(log, category::ACCOUNT, [AccountActivated {}, AccountActivated {}], AuditEvent::decode, AuditEvent::AccountActivated),
        examples(
            log,
            category::SESSION,
            [SessionStarted { account: id(6) }, SessionStarted { account: id(6) }],
            AuditEvent::decode,
            AuditEvent::SessionStarted,
        ),
        examples(
            log,
            category::SESSION,
            [SessionEnded { cause: EndedBy::Logout, account: id(6) }, SessionEnded { cause: EndedBy::Reuse, account: id(6) }],
            AuditEvent::decode,
            AuditEvent::SessionEnded,
        ),
        examples(
            log,
            category::ACCESS,
            [
                LoginFailed { cause: FailedBy::Password, identifier: [7; 32].into() },
                LoginFailed { cause: FailedBy::Unknown, identifier: [7; 32].into() },
            ],
            AuditEvent::decode,
            AuditEvent::LoginFailed,
        ),
        examples(
            log,
            category::ISSUER,
            [
                IssuerChanged { url: Some("https://acme.example".to_owned()), is_active: true, display_name: Some("Acme Ltd".to_owned()) },
                IssuerChanged { url: None, is_active: false, display_name: None },
            ],
            AuditEvent::decode,
            AuditEvent::IssuerChanged,
        ),
        examples(log, category::KEY, [TokenKeysReplaced {}, TokenKeysReplaced {}], AuditEvent::decode, AuditEvent::TokenKeysReplaced),
        examples(log, category::KEY, [master_key_rotated(), master_key_rotated()], AuditEvent::decode, AuditEvent::MasterKeyRotated),
        examples(log, category::VAULT, [backed_up(), backed_up()], AuditEvent::decode, AuditEvent::VaultBackedUp),
        examples(log, category::VAULT, [restored(), restored()], AuditEvent::decode, AuditEvent::VaultRestored),
        examples(log, category::ERASURE, [ordered(), ordered()], AuditEvent::decode, AuditEvent::ErasureOrdered),
        examples(log, category::REBUILD, [started(), started()], AuditEvent::decode, AuditEvent::RebuildStarted),
        examples(log, category::REBUILD, [finished(Some(true)), finished(None)], AuditEvent::decode, AuditEvent::RebuildFinished),
        examples(log, category::RETENTION, [shredded(), shredded()], AuditEvent::decode, AuditEvent::AuditDetailsShredded),
    ]
}

fn all() -> Vec<Examples> {
    ledger().into_iter().chain(audit()).collect()
}

/// Fails to compile when a family grows, to remind of the examples above.
#[expect(dead_code, reason = "it is compiled, not run")]
fn every_type_has_examples(issuer: &IssuerEvent, credential: &CredentialEvent, subject: &SubjectEvent, audit: &AuditEvent) {
    match issuer {
        IssuerEvent::Registered(_) | IssuerEvent::KeyRotated(_) => {}
    }
    match credential {
        CredentialEvent::Issued(_) | CredentialEvent::Suspended(_) | CredentialEvent::Reinstated(_) | CredentialEvent::Revoked(_) => {}
    }
    match subject {
        SubjectEvent::Erased(_) => {}
    }
    match audit {
        AuditEvent::CredentialVerified(_)
        | AuditEvent::PersonalDataRead(_)
        | AuditEvent::AccessRefused(_)
        | AuditEvent::KeyCreated(_)
        | AuditEvent::KeyRevoked(_)
        | AuditEvent::SigningKeyRotated(_)
        | AuditEvent::LogKeyRotated(_)
        | AuditEvent::MasterKeyRotated(_)
        | AuditEvent::VaultBackedUp(_)
        | AuditEvent::VaultRestored(_)
        | AuditEvent::KeyLimited(_)
        | AuditEvent::KeyReplaced(_)
        | AuditEvent::AccountRegistered(_)
        | AuditEvent::ProfileChanged(_)
        | AuditEvent::PasswordChanged(_)
        | AuditEvent::RolesChanged(_)
        | AuditEvent::AccountDeactivated(_)
        | AuditEvent::AccountActivated(_)
        | AuditEvent::SessionStarted(_)
        | AuditEvent::SessionEnded(_)
        | AuditEvent::LoginFailed(_)
        | AuditEvent::IssuerChanged(_)
        | AuditEvent::TokenKeysReplaced(_)
        | AuditEvent::ErasureOrdered(_)
        | AuditEvent::RebuildStarted(_)
        | AuditEvent::RebuildFinished(_)
        | AuditEvent::AuditDetailsShredded(_) => {}
    }
}

fn golden(examples: &Examples) -> String {
    let mut text = String::new();
    for (event, which) in examples.recorded.iter().zip(["with every field", "with no optional field"]) {
        writeln!(text, "# {} {which}: {} version {} at {}", event.kind, event.stream, event.version, event.recorded_at).unwrap();
        for (name, bytes) in [
            ("metadata", &event.metadata[..]),
            ("payload", &event.payload),
            ("content", &event.content()),
            ("event_hash", &event.event_hash.0),
            ("chain_hash", &event.chain_hash.0),
        ] {
            writeln!(text, "{name:<10} {}", hex::encode(bytes)).unwrap();
        }
    }
    text
}

#[test]
fn every_event_has_the_bytes_of_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<String> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let mut wrong = String::new();
    for examples in all() {
        let name = match examples.recorded[0].schema {
            1 => format!("{}.hex", examples.kind),
            schema => format!("{}.{schema}.hex", examples.kind),
        };
        let expected = golden(&examples);
        if std::fs::read_to_string(folder.join(&name)).ok().as_ref() != Some(&expected) {
            write!(wrong, "\n{name}:\n{expected}").unwrap();
        }
        files.retain(|file| *file != name);
    }
    assert!(wrong.is_empty(), "these files would have to be:\n{wrong}");
    assert!(files.is_empty(), "no event of this program has the bytes of {files:?}");
}

/// Not by way of this program's own encoding: the bytes of the file.
#[test]
fn a_key_that_was_recorded_in_schema_1_is_read_in_the_newest() {
    let golden = include_str!("../../tests/golden/KeyCreated.hex");
    let line = golden.lines().find_map(|line| line.strip_prefix("payload")).unwrap();
    let payload = hex::decode(line.trim()).unwrap();
    assert_eq!(payload, hex::decode("a264726f6c656669737375657266697373756572500198c5a2000070008000000000000002").unwrap());
    let named = |text: &str| encode(&KeyCreated1 { role: text.to_owned(), issuer: id(2) });
    for (payload, roles) in [
        (payload, &["issuer"][..]),
        (named("issuer auditor"), &["issuer", "auditor"]),
        (named("inspector"), &["inspector"]),
        // From before there were roles of the whole installation.
        (named("auditor"), &["inspector"]),
        (named("admin"), &["operator"]),
        (named("issuer admin"), &["issuer", "admin"]),
        (named(""), &[]),
    ] {
        let before = audit().into_iter().find(|examples| examples.kind == KeyCreated::TYPE).unwrap().recorded[0].clone();
        let event = Recorded { payload: payload.into(), ..before };
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let expected = KeyCreated { roles, types: None, issuer: id(2), expires_at: None };
        assert_eq!((event.schema, AuditEvent::decode(&event).unwrap()), (1, AuditEvent::KeyCreated(expected)));
    }
}

#[test]
fn every_payload_and_metadata_is_deterministic() {
    for examples in all() {
        for event in examples.recorded {
            assert_eq!((check(&event.metadata), check(&event.payload)), (Ok(()), Ok(())), "{}", event.kind);
            assert_eq!(event.event_hash, chain::event_hash(&event.content()));
        }
    }
    assert_eq!(check(&encode(&sealed(&KeyId::Issuer(id(2))))), Ok(()));
}

#[test]
fn a_payload_with_a_member_that_its_type_does_not_know_is_refused() {
    let known = encode(&KeyRevoked {});
    assert_eq!(known, [0xa0]);
    assert!(decode::<KeyRevoked>(&known).is_ok());
    assert!(decode::<KeyRevoked>(&hex::decode("a1616100").unwrap()).is_err());
    assert!(decode::<KeyRevoked>(&[0xa0, 0xa0]).is_err(), "bytes follow");
}

#[test]
fn the_words_for_cause_and_presentation_stay() {
    let words = |bytes: Vec<u8>| decode::<String>(&bytes).unwrap();
    let causes = [Cause::Found, Cause::Unknown, Cause::Mismatch, Cause::Tampered, Cause::Erased];
    assert_eq!(causes.map(|cause| words(encode(&cause))), ["found", "unknown", "mismatch", "tampered", "erased"]);
    let ways = [PresentedBy::Id, PresentedBy::Digest, PresentedBy::Document, PresentedBy::Secret].map(|way| words(encode(&way)));
    assert_eq!(ways, ["id", "digest", "document", "secret"]);
}

/// `{"a": value}`: what is checked is always a map.
fn in_a_map(value: &str) -> Vec<u8> {
    hex::decode(format!("a16161{value}")).unwrap()
}

/// RFC 8949, appendix A: those values that events may hold.
#[test]
fn the_published_vectors_that_events_may_hold_are_deterministic() {
    for value in [
        "00 01 0a 17 1818 1819 1864 1903e8 1a000f4240 1b000000e8d4a51000 1bffffffffffffffff 3bffffffffffffffff 20 29 3863 3903e7",
        "f4 f5 40 4401020304 60 6161 6449455446 62225c 62c3bc 63e6b0b4 64f0908591",
        "80 83010203 8301820203820405 98190102030405060708090a0b0c0d0e0f101112131415161718181819",
        "a0 a26161016162820203 826161a161626163 a56161614161626142616361436164614461656145",
    ]
    .iter()
    .flat_map(|line| line.split(' '))
    {
        assert_eq!(check(&in_a_map(value)), Ok(()), "{value}");
        let decoded: ciborium::Value = decode(&hex::decode(value).unwrap()).unwrap();
        assert_eq!(hex::encode(encode(&decoded)), value);
    }
}

/// RFC 8949, appendix A: the rest, and other spellings of what events may hold (section 4.2.1).
#[test]
fn every_other_encoding_is_refused() {
    for value in [
        // Bignums, floats, simple values, tags, keys that are no text.
        "c249010000000000000000 c349010000000000000000 f90000 f98000 f93c00 fb3ff199999999999a f93e00 f97bff fa47c35000 fa7f7fffff",
        "fb7e37e43c8800759c f90001 f90400 f9c400 fbc010666666666666 f97c00 f97e00 f9fc00 fa7f800000 fa7fc00000 faff800000",
        "fb7ff0000000000000 fb7ff8000000000000 fbfff0000000000000 f6 f7 f0 f8ff c074323031332d30332d32315432303a30343a30305a",
        "c11a514b67b0 c1fb41d452d9e8200000 d74401020304 d818456449455446 d82076687474703a2f2f7777772e6578616d706c652e636f6d a201020304",
        // Indefinite lengths.
        "5f42010243030405ff 7f657374726561646d696e67ff 9fff 9f018202039f0405ffff 9f01820203820405ff 83018202039f0405ff",
        "83019f0203ff820405 bf61610161629f0203ffff 826161bf61626163ff bf6346756ef563416d7421ff",
        // Longer heads than needed, a bignum that an integer holds, keys out of order, keys that repeat, a text that is no UTF-8.
        "1800 1817 190018 1a00000018 1b0000000000000018 3800 5800 580101 7800 780161 9800 b800 c24101",
        "a2616201616101 a262616101616201 a2616101616101 61ff",
    ]
    .iter()
    .flat_map(|line| line.split(' '))
    {
        assert!(check(&in_a_map(value)).is_err(), "{value}");
    }
    for whole in ["", "00", "80", "a161", "a0a0", "a16161"] {
        assert!(check(&hex::decode(whole).unwrap()).is_err(), "{whole}");
    }
    // Shorter keys stand before longer ones, whatever their letters.
    assert_eq!(check(&hex::decode("a2617a0162616101").unwrap()), Ok(()));
    // However deep it is nested: an answer, no crash.
    assert!(check(&[vec![0xa1, 0x61, 0x61], vec![0x81; 100_000], vec![0x00]].concat()).is_err());
}
