use super::*;
use crate::LogName;
use proptest::prelude::*;

fn origin() -> Origin {
    Origin::new("ledger.example", &LogName::LEDGER)
}

fn key(seed: u8) -> LogKey {
    LogKey::from_seed(origin(), &[seed; 32])
}

fn head(size: u64) -> TreeHead {
    TreeHead { origin: origin(), size: TreeSize(size), root: Hash([7; 32]) }
}

fn signed() -> Checkpoint {
    Checkpoint::sign(head(42), &key(1))
}

#[test]
fn a_checkpoint_reads_as_the_specification_has_it() {
    let checkpoint = signed();
    let (text, signatures) = checkpoint.note().split_once("\n\n").unwrap();
    assert_eq!(text, "ledger.example/v1/logs/ledger\n42\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
    assert!(signatures.starts_with("— ledger.example/v1/logs/ledger ") && signatures.ends_with('\n'));
    assert_eq!(Checkpoint::parse(checkpoint.note()), Ok(checkpoint));
}

#[test]
fn a_checkpoint_is_trusted_for_its_own_logs_known_keys_only() {
    let checkpoint = signed();
    let of_another_log = LogKey::from_seed(Origin::new("other.example", &LogName::LEDGER), &[1; 32]);
    assert_eq!(checkpoint.verify(&[key(2).verifier(), key(1).verifier()]).unwrap().logs, [key(1).verifier()]);
    for known in [vec![], vec![key(2).verifier()], vec![of_another_log.verifier()]] {
        assert_eq!(checkpoint.verify(&known), Err(Error::UnknownSigner));
    }
}

/// The key and the note of the package that the format comes from (golang.org/x/mod/sumdb/note, `ExampleOpen`).
#[test]
fn the_published_note_and_keys_are_read() {
    let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let key: VerifierKey = text.parse().unwrap();
    assert_eq!((key.name(), key.id(), key.to_string().as_str()), ("PeterNeumann", 0xc74f_20a3, text));
    let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
                — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let note = Note::from_bytes(note.as_bytes()).unwrap();
    assert!(note.verify(&VerifierList::new(vec![Box::new(key)])).is_ok());
}

/// The example of C2SP tlog-witness: a log's two signatures, and nothing that is known here.
#[test]
fn the_published_checkpoint_is_read() {
    let note = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
                — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
                — example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
    let checkpoint = Checkpoint::parse(note).unwrap();
    assert_eq!(checkpoint.head().origin.as_str(), "example.com/behind-the-sofa");
    assert_eq!(
        (checkpoint.head().size, checkpoint.head().root.to_string().as_str()),
        (TreeSize(20_852_163), "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    );
    assert_eq!(checkpoint.verify(&[key(1).verifier()]), Err(Error::UnknownSigner));
}

/// What the specification calls grease: signatures of types and names that nobody knows.
#[test]
fn signatures_that_nobody_knows_are_passed_over() {
    let grease =
        format!("— ledger.example/v1/logs/ledger {}\n— grease {}\n", BASE64_STANDARD.encode([9; 40]), BASE64_STANDARD.encode([8; 2400]));
    let checkpoint = Checkpoint::parse(&format!("{}{grease}", signed().note())).unwrap();
    assert_eq!(checkpoint.verify(&[key(1).verifier()]).unwrap().logs, [key(1).verifier()]);
}

#[test]
fn a_signature_that_does_not_hold_of_a_known_key_spoils_the_checkpoint() {
    let forged = signed().note().replacen("\n42\n", "\n43\n", 1);
    let both = format!("{forged}{}", key(2).note_signature(&head(43).to_string()));
    let checkpoint = Checkpoint::parse(&both).unwrap();
    assert_eq!(checkpoint.verify(&[key(1).verifier(), key(2).verifier()]), Err(Error::BadSignature(origin().as_str().to_owned())));
    assert!(checkpoint.verify(&[key(2).verifier()]).is_ok(), "of a key that is not known nothing is judged");
}

#[test]
fn a_cosignature_counts_beside_the_logs_signature_and_never_instead_of_it() {
    let (one, other) = (WitnessKey::from_seed("witness.example/one", &[3; 32]), WitnessKey::from_seed("witness.example/other", &[4; 32]));
    let lines = format!("{}{}not a line\n", one.cosign(&signed(), 1_700_000_000), other.cosign(&signed(), 1_700_000_001));
    let cosigned = signed().with_cosignatures(&lines, &[one.verifier()]);
    let known = [key(1).verifier(), one.verifier(), other.verifier()];
    assert_eq!(cosigned.verify(&known).unwrap().witnesses, [(one.verifier(), 1_700_000_000)], "who was not asked for is left out");
    assert_eq!(cosigned.verify(&known[1..]), Err(Error::UnknownSigner));
    assert_eq!(cosigned.with_cosignatures(&lines, &[one.verifier()]), cosigned, "once is enough");
    let of_another = one.cosign(&Checkpoint::sign(head(43), &key(1)), 1_700_000_000);
    assert_eq!(signed().with_cosignatures(&of_another, &[one.verifier()]), signed());
    let text = one.verifier().to_string();
    assert_eq!(text.parse(), Ok(one.verifier()));
}

#[test]
fn what_is_no_key_is_refused() {
    let good = key(1).verifier().to_string();
    let (name, rest) = good.split_once('+').unwrap();
    let (id, bytes) = rest.split_once('+').unwrap();
    for text in [
        String::new(),
        name.to_owned(),
        format!("{name}+{id}"),
        format!("other+{id}+{bytes}"),
        format!("{name}+00000000+{bytes}"),
        format!("{name}+{}+{bytes}", id.to_uppercase() + " "),
        format!("{name}+{id}+{}", &bytes[1..]),
        format!("{name}+{id}+{}", BASE64_STANDARD.encode([ED25519; 10])),
    ] {
        assert_eq!(text.parse::<VerifierKey>(), Err(MalformedKey), "{text:?}");
    }
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    for text in [
        "",
        "\n\n",
        "a\n1\n\n",
        "a\n01\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n",
        "a\n9223372036854775808\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n",
    ] {
        assert_eq!(text.parse::<TreeHead>(), Err(Error::Malformed), "{text:?}");
    }
    assert_eq!(Checkpoint::parse(&head(1).to_string()), Err(Error::Malformed), "nobody signed it");
}

proptest! {
    #[test]
    fn any_bit_of_a_signed_checkpoint_counts(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = signed().note().as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let verified = String::from_utf8(bytes).ok().and_then(|note| Checkpoint::parse(&note).ok()).map(|read| read.verify(&[key(1).verifier()]));
        prop_assert!(!matches!(verified, Some(Ok(_))));
    }

    #[test]
    fn no_text_brings_the_reader_down(text in "(\\PC|\n|— |=){0,200}") {
        let _ = Checkpoint::parse(&text);
        let _ = text.parse::<VerifierKey>();
        let _ = text.parse::<TreeHead>();
    }
}
