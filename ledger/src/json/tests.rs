//! RFC 8785's published vectors, the refusals one by one, and that a canonical form is a fixed point.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn canonical_text(text: &str) -> String {
    String::from_utf8(canonical(&parse(text.as_bytes()).unwrap())).unwrap()
}

fn refusal(text: &str) -> Refused {
    parse(text.as_bytes()).unwrap_err()
}

/// RFC 8785, sections 3.2.2 (the text) and 3.2.4 (its canonical form, in UTF-8).
#[test]
fn the_sample_of_rfc_8785_has_the_published_canonical_form() {
    let given = r#"{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"#;
    let published = "7b 22 6c 69 74 65 72 61 6c 73 22 3a 5b 6e 75 6c 6c 2c 74 72 75 65 2c 66 61 6c 73 65 5d 2c 22 6e 75 6d 62 65 \
                     72 73 22 3a 5b 33 33 33 33 33 33 33 33 33 2e 33 33 33 33 33 33 33 2c 31 65 2b 33 30 2c 34 2e 35 2c 30 2e 30 \
                     30 32 2c 31 65 2d 32 37 5d 2c 22 73 74 72 69 6e 67 22 3a 22 e2 82 ac 24 5c 75 30 30 30 66 5c 6e 41 27 42 5c \
                     22 5c 5c 5c 5c 5c 22 2f 22 7d";
    assert_eq!(hex::encode(canonical_text(given)), published.replace(' ', ""));
}

/// RFC 8785, section 3.2.3: members are sorted by their names' UTF-16 code units.
#[test]
fn members_are_sorted_as_in_rfc_8785() {
    let given = r#"{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
                    "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}"#;
    let order = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"];
    let canonical = canonical_text(given);
    assert!(order.map(|name| canonical.find(name).unwrap()).is_sorted(), "{canonical}");
}

/// RFC 8785, appendix B: the bits of a double and its spelling.
#[test]
fn doubles_are_spelled_as_in_rfc_8785() {
    for (bits, spelling) in [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        assert_eq!(String::from_utf8(canonical(&json!(f64::from_bits(bits)))).unwrap(), spelling, "{bits:016x}");
    }
}

#[test]
fn a_number_has_one_spelling() {
    for (given, spelled) in [
        ("1.0", "1"),
        ("1e0", "1"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("0e5", "0"),
        ("1e-400", "0"),
        ("10e-1", "1"),
        ("9007199254740991.0", "9007199254740991"),
        ("1E21", "1e+21"),
        ("1e300", "1e+300"),
    ] {
        assert_eq!(canonical_text(given), spelled, "{given}");
        assert_eq!(parse(given.as_bytes()), parse(spelled.as_bytes()), "{given}");
    }
}

#[test]
fn an_integer_beyond_53_bits_is_refused_however_it_is_spelled() {
    for integer in [
        "9007199254740992",
        "-9007199254740992",
        "9007199254740993",
        "9007199254740992.0",
        "9007199254740993e0",
        "18446744073709551616",
        "-9223372036854775809",
        "1e20",
        "100000000000000000000",
        "1000000000000000000000000",
        "-1000000000000000000000000",
        &"7".repeat(400),
    ] {
        let field = "claims.a[1]".to_owned();
        assert_eq!(
            refusal(&format!(r#"{{"x": "1e5 \" 12", "claims": {{"a": [2.5e3, {integer}]}}}}"#)),
            Refused::Range { field },
            "{integer}"
        );
    }
    for integer in ["9007199254740991", "-9007199254740991"] {
        assert_eq!(canonical_text(integer), integer);
    }
}

#[test]
fn a_number_that_overflows_a_double_is_out_of_range() {
    for number in ["1e400", "-1e400", "1.0e309", &format!("{}.5", "9".repeat(400))] {
        assert_eq!(refusal(number), Refused::Range { field: String::new() }, "{number}");
        assert_eq!(refusal(&format!(r#"{{"a": {{"b": {number}}}}}"#)), Refused::Range { field: "a.b".to_owned() }, "{number}");
    }
}

#[test]
fn a_member_that_stands_twice_is_refused_at_any_depth() {
    for (text, field) in [
        (r#"{"a": 1, "a": 1}"#, "a"),
        (r#"{"a": 1, "\u0061": 2}"#, "a"),
        (r#"{"claims": {"a": [{}, {"b": 1, "c": 2, "b": 3}]}}"#, "claims.a[1].b"),
        (r#"[[{"": 0, "": 0}]]"#, "[0][0]."),
    ] {
        assert_eq!(refusal(text), Refused::Duplicate { field: field.to_owned() }, "{text}");
    }
    assert!(parse(br#"[{"a": {"a": 1}}, {"a": 2}]"#).is_ok());
}

#[test]
fn nesting_is_limited_and_never_exhausts_the_stack() {
    let arrays = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(depth(&parse(arrays(64).as_bytes()).unwrap()), DEPTH_MAX);
    assert_eq!(refusal(&arrays(65)), Refused::TooDeep { field: "[0]".repeat(64) });
    for levels in [127, 128, 129, 100_000] {
        assert!(matches!(refusal(&arrays(levels)), Refused::TooDeep { .. }), "{levels}");
        assert!(matches!(refusal(&r#"{"a":"#.repeat(levels)), Refused::TooDeep { .. }), "{levels}");
    }
    let wide = format!("[{}]", vec![arrays(63); 3].join(","));
    assert!(parse(wide.as_bytes()).is_ok());
}

#[test]
fn what_is_not_json_is_malformed_and_not_repeated() {
    let cases: [&[u8]; 23] = [
        b"",
        b" ",
        b"hunter2",
        b"{\"hunter2\"}",
        b"{\"a\": hunter2}",
        b"[1,]",
        b"{\"a\": 1,}",
        b"[1 2]",
        b"1 2",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"1e",
        b"NaN",
        b"Infinity",
        b"'hunter2'",
        b"\"hunter2\n\"",
        b"\"\\ud800\"",
        b"\"\\udc00 hunter2\"",
        b"\"\xff\"",
        b"{\"\xed\xa0\x80\": 1}",
        b"\xef\xbb\xbf{}",
    ];
    for text in cases {
        let Err(Refused::Malformed { detail }) = parse(text) else { panic!("{}", String::from_utf8_lossy(text)) };
        assert!(detail.contains(" at line ") && !detail.contains("hunter2"), "{detail}");
    }
}

#[test]
fn what_is_allowed_in_json_is_let_through() {
    let text = "{\"nul\": \"\\u0000\", \"emoji\": \"\\ud83d\\ude00\", \"raw\": \"😀 \u{7f}\u{202e}\", \"\": [], \"o\": {}, \"t\": true}";
    let value = json!({"nul": "\0", "emoji": "😀", "raw": "😀 \u{7f}\u{202e}", "": [], "o": {}, "t": true});
    assert_eq!(parse(text.as_bytes()), Ok(value));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|n| Value::from(f64::from(n) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// What the parser let through is what its canonical form says, however it was spelled.
    #[test]
    fn a_canonical_form_is_a_fixed_point(value in any_value()) {
        let spellings = [serde_json::to_vec(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap()];
        let [Ok(compact), Ok(pretty)] = spellings.each_ref().map(|text| parse(text)) else {
            // A double between 2^53 and 1e21.
            return Err(TestCaseError::reject("out of range"));
        };
        prop_assert_eq!(&compact, &pretty);
        prop_assert_eq!(canonical(&compact), canonical(&value));
        prop_assert_eq!(parse(&canonical(&compact)), Ok(compact));
    }

    /// Whichever of the two ways is taken.
    #[test]
    fn the_canonical_form_is_the_canonicalizers(value in any_value(), names in prop::collection::vec("[a-z\u{80}\u{d7ff}\u{e000}\u{fb33}\u{1f600}]{0,3}", 0..8)) {
        let named: Value = Value::Object(names.into_iter().map(|name| (name, value.clone())).collect());
        for value in [&value, &named] {
            prop_assert_eq!(canonical(value), serde_json_canonicalizer::to_vec(value).unwrap());
            prop_assert_eq!(canonical_length(value), canonical(value).len());
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{}\",:0-9eE.+\\-a\\\\ ]{0,40}") {
        let _ = parse(&bytes);
        if let Ok(value) = parse(text.as_bytes()) {
            prop_assert_eq!(parse(&canonical(&value)), Ok(value));
        }
    }
}
