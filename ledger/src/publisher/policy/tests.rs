use proptest::prelude::*;

use super::*;
use crate::LogName;
use crate::chain::Origin;
use crate::checkpoint::{LogKey, WitnessKey};

fn witness(seed: u8) -> VerifierKey {
    WitnessKey::from_seed(&format!("w{seed}.example"), &[seed; 32]).verifier()
}

fn log(seed: u8) -> VerifierKey {
    LogKey::from_seed(Origin::new("log.example", &LogName::LEDGER), &[seed; 32]).verifier()
}

fn read(text: &str) -> Result<Policy, Error> {
    Policy::read(text.as_bytes())
}

/// The line and the fault of a text that is refused, with three witnesses, w1 to w3, defined in lines 1 to 3.
fn fault_after_three(rest: &str) -> (usize, Fault) {
    let Error { line, fault } = read(&format!("{}{rest}", three())).unwrap_err();
    (line, fault)
}

fn three() -> String {
    (1..=3).map(|seed| format!("witness w{seed} {}\n", witness(seed))).collect()
}

#[test]
fn two_levels_of_groups_are_read() {
    let text = format!(
        "# who witnesses\n\n\tlog {}\n{}witness y1 {} https://y.example/prefix\ngroup X 2 w1 w2 w3\ngroup Y any y1\n \tgroup both  all\tX Y \nquorum both\n",
        log(9),
        three(),
        witness(4)
    );
    let policy = read(&text).unwrap();
    let names: Vec<&[u8]> = policy.witnesses.iter().map(|known| known.name.as_slice()).collect();
    assert_eq!(names, [b"w1", b"w2", b"w3", b"y1"]);
    assert_eq!(policy.witness(b"y1").unwrap().url.as_deref(), Some("https://y.example/prefix"));
    assert_eq!((policy.witness(b"w2").unwrap().key.clone(), policy.witness(b"X")), (witness(2), None));
    for (by, met) in [(vec![1, 2, 4], true), (vec![1, 3, 4], true), (vec![1, 4], false), (vec![1, 2, 3], false), (vec![], false)] {
        let by: Vec<VerifierKey> = by.into_iter().map(witness).collect();
        assert_eq!(policy.quorum.is_met(&by), met, "{by:?}");
    }
}

#[test]
fn a_quorum_may_be_one_witness_or_none_and_witnesses_may_follow_it() {
    assert_eq!(read(&format!("{}quorum w2\n", three())).unwrap().quorum, Quorum::Witness(witness(2)));
    let none = read(&format!("quorum none\n{}", three())).unwrap();
    assert_eq!((none.quorum, none.witnesses.len()), (Quorum::None, 3));
}

#[test]
fn exactly_one_quorum_is_wanted() {
    assert_eq!(fault_after_three(""), (4, Fault::NoQuorum));
    assert_eq!(fault_after_three("quorum w1\nquorum w1\n"), (5, Fault::SecondQuorum));
    assert_eq!(read("").unwrap_err(), Error { line: 1, fault: Fault::NoQuorum });
}

#[test]
fn names_must_be_defined_before_and_once() {
    assert_eq!(fault_after_three("quorum w4\n"), (4, Fault::Undefined("w4".to_owned())));
    assert_eq!(fault_after_three("group g any w1 h\ngroup h any w2\n"), (4, Fault::Undefined("h".to_owned())));
    assert_eq!(fault_after_three("group g any g\n"), (4, Fault::Undefined("g".to_owned())));
    assert_eq!(fault_after_three("group w1 any w2\n"), (4, Fault::Defined("w1".to_owned())));
    assert_eq!(fault_after_three(&format!("witness w1 {}\n", witness(4))), (4, Fault::Defined("w1".to_owned())));
}

#[test]
fn none_is_neither_defined_nor_a_member() {
    assert_eq!(fault_after_three(&format!("witness none {}\n", witness(4))), (4, Fault::Defined("none".to_owned())));
    assert_eq!(fault_after_three("group none any w1\n"), (4, Fault::Defined("none".to_owned())));
    assert_eq!(fault_after_three("group g any w1 none\n"), (4, Fault::Undefined("none".to_owned())));
}

#[test]
fn a_name_is_a_member_once_in_the_whole_file() {
    assert_eq!(fault_after_three("group g any w1 w1\n"), (4, Fault::MemberTwice("w1".to_owned())));
    assert_eq!(fault_after_three("group g any w1 w2\ngroup h any w3 w1\n"), (5, Fault::MemberTwice("w1".to_owned())));
}

#[test]
fn a_threshold_lies_between_one_and_the_number_of_members() {
    for threshold in ["0", "4", "+1", "-1", "1.0", "ALL", "0x1", "99999999999999999999999", "²"] {
        assert_eq!(fault_after_three(&format!("group g {threshold} w1 w2 w3\nquorum g\n")), (4, Fault::Threshold), "{threshold}");
    }
    for (threshold, wanted) in [("1", 1), ("3", 3), ("any", 1), ("all", 3)] {
        let policy = read(&format!("{}group g {threshold} w1 w2 w3\nquorum g\n", three())).unwrap();
        assert_eq!(policy.quorum, Quorum::Some(wanted, (1..=3).map(|seed| Quorum::Witness(witness(seed))).collect()));
    }
}

#[test]
fn a_line_has_the_items_of_its_keyword() {
    for line in ["log", "log a b c", "witness", "witness w", "witness w k u x", "group", "group g", "group g any", "quorum", "quorum a b"] {
        assert!(matches!(fault_after_three(&format!("{line}\n")), (4, Fault::Items(_))), "{line}");
    }
    for line in ["Quorum none", "quorums none", "logs", "w1"] {
        assert_eq!(fault_after_three(&format!("{line}\n")), (4, Fault::Keyword), "{line}");
    }
}

#[test]
fn a_key_is_of_its_kind_and_given_once_whatever_its_name() {
    assert_eq!(fault_after_three(&format!("log {}\n", witness(4))), (4, Fault::Key("log")));
    assert_eq!(fault_after_three(&format!("witness w {}\n", log(4))), (4, Fault::Key("witness")));
    let wrong_id = witness(4).to_string().replacen('+', "+0", 1);
    assert_eq!(fault_after_three(&format!("witness w {wrong_id}\n")), (4, Fault::Key("witness")));
    let renamed = WitnessKey::from_seed("other.example", &[1; 32]).verifier();
    assert_eq!(fault_after_three(&format!("witness w4 {renamed}\n")), (4, Fault::SameKey("witness")));
    let elsewhere = LogKey::from_seed(Origin::new("other.example", &LogName::LEDGER), &[4; 32]).verifier();
    assert_eq!(fault_after_three(&format!("log {}\nlog {elsewhere} https://log.example\n", log(4))), (5, Fault::SameKey("log")));
}

#[test]
fn control_characters_are_refused_wherever_they_stand() {
    for control in ["\r", "\0", "\x0b", "\x7f", "\x1b"] {
        assert_eq!(fault_after_three(&format!("# a comment{control}\nquorum w1\n")), (4, Fault::ControlCharacter), "{control:?}");
    }
}

#[test]
fn a_file_that_ends_within_a_line_is_refused() {
    assert_eq!(fault_after_three("quorum w1"), (4, Fault::Unended));
}

#[test]
fn names_are_octets() {
    let mut file = three().into_bytes();
    file.extend(b"# \xff\ngroup \xe2\x84\xaa any w1\ngroup K any w2 \xe2\x84\xaa\ngroup \xfe all K\nquorum \xfe\n");
    assert!(Policy::read(&file).unwrap().quorum.is_met(&[witness(1)]));
}

#[test]
fn as_many_as_the_specification_wants_are_read_and_not_without_end() {
    let many = |count: u16| -> String {
        let key = |number: u16| {
            let mut seed = [0; 32];
            seed[..2].copy_from_slice(&number.to_be_bytes());
            seed
        };
        let witness = |number| WitnessKey::from_seed("w.example", &key(number)).verifier();
        let log = |number| LogKey::from_seed(Origin::new("log.example", &LogName::LEDGER), &key(number)).verifier();
        let lines = |number| format!("log {}\nwitness w{number} {}\ngroup g{number} any w{number}\n", log(number), witness(number));
        (0..count).map(lines).chain(["quorum g1\n".to_owned()]).collect()
    };
    assert_eq!(read(&many(256)).unwrap().witnesses.len(), COUNT_MAX);
    assert_eq!(read(&many(257)).unwrap_err().fault, Fault::TooMany);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(file in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Policy::read(&file);
    }

    #[test]
    fn lines_of_the_languages_own_words_are_read_or_refused(words in proptest::collection::vec(
        prop_oneof![Just("log"), Just("witness"), Just("group"), Just("quorum"), Just("none"), Just("all"), Just("2"), Just("w1"), Just("g"), Just("\n")], 0..60)
    ) {
        let text = format!("{}{}\n", three(), words.join(" "));
        if let Ok(policy) = read(&text) {
            prop_assert_eq!(text.matches("quorum").count(), 1);
            prop_assert!(policy.quorum.is_met(&[witness(1), witness(2), witness(3)]));
        }
    }

    #[test]
    fn a_threshold_is_met_by_exactly_so_many(wanted in 1usize..=3, by in proptest::collection::hash_set(1u8..=3, 0..=3)) {
        let policy = read(&format!("{}group g {wanted} w1 w2 w3\nquorum g\n", three())).unwrap();
        let by: Vec<VerifierKey> = by.into_iter().map(witness).collect();
        prop_assert_eq!(policy.quorum.is_met(&by), by.len() >= wanted);
    }
}
