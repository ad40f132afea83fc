use credence_ledger::checkpoint::WitnessKey;

use super::*;

fn witness() -> HttpWitness {
    // Also shows that TLS can be set up.
    HttpWitness::new(WitnessKey::from_seed("w.example", &[1; 32]).verifier(), address("https://w.example").unwrap(), Client::new())
}

fn answer(status: u16, kind: &str, text: &str) -> Answer {
    Answer { status: StatusCode::from_u16(status).unwrap(), is_size: is_size(kind), text: text.to_owned() }
}

#[test]
fn a_witness_is_asked_below_its_submission_prefix() {
    for (prefix, asked) in [
        ("https://w.example", "https://w.example/add-checkpoint"),
        ("https://w.example/", "https://w.example/add-checkpoint"),
        ("http://127.0.0.1:8081/a/b", "http://127.0.0.1:8081/a/b/add-checkpoint"),
    ] {
        assert_eq!(address(prefix).unwrap().to_string(), asked);
    }
    for wrong in [
        "",
        "w.example",
        "/a",
        "ftp://w.example",
        "https://",
        "https://me:pw@w.example",
        "https://w.example?a=b",
        "https://w.example#a",
        "https://w é",
    ] {
        assert_eq!(address(wrong), Err(MalformedUrl), "{wrong}");
    }
}

#[test]
fn a_size_is_decimal_ends_with_a_newline_and_has_its_type() {
    assert_eq!(answer(409, SIZE, "0\n").size(), Some(TreeSize(0)));
    assert_eq!(answer(409, "text/x.tlog.size; charset=utf-8", "20852014\n").size(), Some(TreeSize(20_852_014)));
    for wrong in
        ["", "\n", "7", "07\n", "+7\n", "-7\n", " 7\n", "7\r\n", "7\n\n", "18446744073709551615\n", "99999999999999999999999\n", "x\n"]
    {
        assert_eq!(answer(409, SIZE, wrong).size(), None, "{wrong:?}");
    }
    assert_eq!(answer(409, "text/plain", "7\n").size(), None);
}

#[test]
fn an_answer_is_read_by_what_was_asked() {
    let told = |status, text, seen, size| match witness().read(answer(status, SIZE, text), TreeSize(seen), TreeSize(size)) {
        Ok(Told::Cosigned(lines)) => format!("cosigned {lines}"),
        Ok(Told::Seen(size)) => format!("seen {size}"),
        Err(Refusal::Ahead(size)) => format!("ahead {size}"),
        Err(Refusal::Forked) => "forked".to_owned(),
        Err(Refusal::Unknown(status)) => format!("unknown {status}"),
        Err(other) => other.to_string(),
    };
    assert_eq!(told(200, "x", 3, 5), "cosigned x");
    assert_eq!(told(409, "4\n", 3, 5), "seen 4");
    assert_eq!(told(409, "5\n", 3, 5), "seen 5");
    assert_eq!(told(409, "0\n", 5, 5), "seen 0");
    assert_eq!(told(409, "6\n", 3, 5), "ahead 6");
    assert_eq!(told(409, "5\n", 5, 5), "forked");
    assert_eq!(told(409, "", 5, 5), "forked");
    assert_eq!(told(409, "3\n", 3, 5), "the witness did not answer: it does not tell what it has seen (status 409)");
    assert_eq!(told(409, "", 3, 5), "the witness did not answer: it does not tell what it has seen (status 409)");
    assert_eq!(told(422, "", 3, 5), "forked");
    assert_eq!(told(404, "", 3, 5), "unknown 404");
    assert_eq!(told(403, "", 3, 5), "unknown 403");
    for status in [204, 301, 308, 400, 429, 500, 503] {
        assert_eq!(told(status, "", 3, 5), format!("the witness did not answer: status {status}"));
    }
}
