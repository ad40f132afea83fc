//! `credence verify`: what somebody holds is checked with nothing but keys.

#![cfg(test)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Engine, TestApp, User, command};
use tempfile::TempDir;

/// What a holder has been given, as files: `answer.json`, `document.json`, `receipt.json`, `receipt.tlog-proof`, `revoked.json` (the answer to its
/// revocation), `other.json`, `other-answer.json`, `ledger.export`; and the keys: `keys`, `did`, `stranger`.
async fn held() -> (TempDir, Value) {
    let app = TestApp::builder(Engine::Sqlite).await.with(|config| config.checkpoint_interval = Duration::from_secs(3600)).start().await;
    let issuer = app.issuer().await;
    let issue = |name: &str| json!({"type": "badge", "subject": {"name": name, "email": "ada@example.org"}, "claims": {"level": 3}, "receipt": true});
    let answer = issuer.post("/v1/credentials", &issue("Ada")).await.expect(201).body;
    let other = issuer.post("/v1/credentials", &issue("Bob")).await.expect(201).body;
    let revoke = format!("/v1/credentials/{}/revoke", answer["id"].as_str().unwrap());
    let revoked = issuer.post(&revoke, &json!({"receipt": true})).await.expect(200).body;
    let keys = app.anonymous().get("/v1/logs/ledger/keys").await.expect(200).text;
    let stores = app.shutdown().await;
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("answer.json", &answer.to_string());
    write("document.json", &answer["document"].to_string());
    write("receipt.json", &answer["receipt"].to_string());
    write("receipt.tlog-proof", answer["receipt"]["tlog_proof"].as_str().unwrap());
    write("revoked.json", &revoked.to_string());
    write("other.json", &other["document"].to_string());
    write("other-answer.json", &other.to_string());
    write("keys", &keys);
    write("did", &format!("# whom we trust\n{}\n\n{keys}", answer["document"]["issuer"].as_str().unwrap()));
    write("stranger", "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n");
    let out = folder.path().join("ledger.export").display().to_string();
    let exported = command(&["export", "--log", "ledger", "--out", &out, "--store", &stores.url()]).output().unwrap();
    assert!(exported.status.success(), "{exported:?}");
    (folder, answer)
}

fn verify(folder: &Path, arguments: &[&str]) -> Output {
    command(&["verify"]).args(arguments).current_dir(folder).output().unwrap()
}

#[track_caller]
fn expect(output: &Output, code: i32, said: &str) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(said), "no {said:?} in {text}");
}

fn altered(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = std::fs::read(folder.join(name)).unwrap();
    change(&mut bytes);
    let path = folder.join(format!("altered-{name}"));
    std::fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test]
async fn what_holds_is_ok_with_a_key_that_is_trusted_and_consistent_without() {
    let (folder, answer) = held().await;
    for file in ["answer.json", "document.json", "receipt.json", "receipt.tlog-proof", "ledger.export"] {
        expect(&verify(folder.path(), &[file]), 1, &format!("{file}: consistent, signer unknown\n"));
        expect(&verify(folder.path(), &[file, "--key", "stranger"]), 1, "consistent, signer unknown\n");
        expect(&verify(folder.path(), &[file, "--key", "did"]), 0, &format!("{file}: ok\n"));
    }
    expect(&verify(folder.path(), &["document.json", "--key", "keys"]), 1, "consistent, signer unknown\n");
    expect(&verify(folder.path(), &["receipt.json", "--key", "keys"]), 0, &format!("credential/{}", answer["id"].as_str().unwrap()));
    let export = verify(folder.path(), &["ledger.export", "--key", "stranger", "--key", "keys"]);
    expect(&export, 0, "ledger.export: a trusted checkpoint covers all of it\n");
    expect(&export, 0, "ledger.export: 4 events of ");
    assert!(export.stderr.is_empty(), "{export:?}");
}

#[tokio::test]
async fn a_document_is_held_against_its_own_receipt_only() {
    let (folder, _) = held().await;
    for receipt in ["receipt.json", "receipt.tlog-proof", "answer.json"] {
        expect(&verify(folder.path(), &["document.json", "--receipt", receipt, "--key", "keys"]), 0, "document.json: ok\n");
    }
    expect(&verify(folder.path(), &["document.json", "--receipt", "receipt.json"]), 1, "consistent, signer unknown\n");
    let other = verify(folder.path(), &["other.json", "--receipt", "receipt.json", "--key", "did"]);
    expect(&other, 1, "does not hold: the receipt is of CredentialIssued");
    expect(&verify(folder.path(), &["receipt.json", "--receipt", "receipt.json"]), 1, "does not hold: it is no document");
    for (none, said) in [("document.json", "document.json is no receipt"), ("ledger.export", "ledger.export is no receipt")] {
        expect(&verify(folder.path(), &["document.json", "--receipt", none]), 1, &format!("document.json: does not hold: {said}"));
    }
    expect(&verify(folder.path(), &["document.json", "--receipt", "missing"]), 2, "--receipt: missing cannot be read");
}

#[tokio::test]
async fn a_damaged_receipt_does_not_hold_however_it_is_given() {
    let (folder, answer) = held().await;
    let mut receipt = answer["receipt"].clone();
    receipt["position"] = json!("ledger@0");
    let mut whole = answer.clone();
    whole["receipt"] = receipt.clone();
    let note = answer["receipt"]["tlog_proof"].as_str().unwrap();
    for damaged in
        [receipt.to_string(), whole.to_string(), note.replacen("index", "place", 1), note.replacen("c2sp", "c3sp", 1), "{".to_owned()]
    {
        std::fs::write(folder.path().join("damaged"), &damaged).unwrap();
        expect(&verify(folder.path(), &["damaged", "--key", "did"]), 1, "damaged: does not hold: ");
        let given = verify(folder.path(), &["document.json", "--receipt", "damaged", "--key", "did"]);
        expect(&given, 1, "document.json: does not hold: damaged is no receipt: ");
    }
}

#[tokio::test]
async fn what_was_altered_does_not_hold_whatever_is_trusted() {
    let (folder, answer) = held().await;
    let name = answer["subject"]["name"].as_str().unwrap().to_owned();
    let text = |bytes: &mut Vec<u8>, from: &str, to: &str| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replacen(from, to, 1).into_bytes();
    };
    let document = altered(folder.path(), "document.json", |bytes| text(bytes, &name, "Eve"));
    let ask = |file: &Path| verify(folder.path(), &[file.to_str().unwrap(), "--key", "did"]);
    expect(&ask(&document), 1, "does not hold: the signature does not hold");
    let moved = altered(folder.path(), "receipt.tlog-proof", |bytes| text(bytes, "index 1", "index 0"));
    expect(&ask(&moved), 1, "does not hold: the event is not at position 0");
    let forged = altered(folder.path(), "receipt.tlog-proof", |bytes| {
        let at = bytes.len() - 5;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    });
    expect(&ask(&forged), 1, "does not hold: the signature of");
    let export = altered(folder.path(), "ledger.export", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    expect(&ask(&export), 1, "does not hold: ledger@");
    let cut = altered(folder.path(), "ledger.export", |bytes| bytes.truncate(bytes.len() - 1));
    expect(&ask(&cut), 1, "does not hold: ");
}

/// Whoever goes by the exit status must not be told of one part that another is.
#[tokio::test]
async fn nothing_is_taken_for_what_it_is_not() {
    let (folder, answer) = held().await;
    let ask = |what: &Value| {
        std::fs::write(folder.path().join("made.json"), what.to_string()).unwrap();
        verify(folder.path(), &["made.json", "--key", "did"])
    };
    let mut forged = answer["document"].clone();
    forged["credentialSubject"]["name"] = json!("Mallory");
    forged["tlog_proof"] = answer["receipt"]["tlog_proof"].clone();
    expect(&ask(&forged), 1, "does not hold: the signature does not hold");
    for (member, other) in [
        ("subject", json!({"name": "Mallory", "email": "ada@example.org"})),
        ("claims", json!({"level": 4})),
        ("type", json!("licence")),
        ("id", json!("0198c5a2-0000-7000-8000-000000000001")),
        ("digest", json!(format!("blake3:{}", "00".repeat(32)))),
        ("valid_until", json!("2027-01-01T00:00:00Z")),
    ] {
        let mut altered = answer.clone();
        altered[member] = other;
        expect(&ask(&altered), 1, &format!("does not hold: its member {member} does not say what its document says"));
    }
    for (member, other) in [("position", json!("ledger@0")), ("content", json!("00")), ("checkpoint", json!("x")), ("more", json!(1))] {
        let mut altered = answer["receipt"].clone();
        altered[member] = other;
        expect(&ask(&altered), 1, "does not hold: its members do not say what its tlog_proof says");
    }
    let twice = format!("{{\"tlog_proof\": 1, \"tlog_proof\": {}}}", answer["receipt"]["tlog_proof"]);
    std::fs::write(folder.path().join("twice.json"), twice).unwrap();
    expect(&verify(folder.path(), &["twice.json", "--key", "did"]), 1, "does not hold: it is no document, receipt or export");
    let windows = answer["receipt"]["tlog_proof"].as_str().unwrap().replace('\n', "\r\n");
    std::fs::write(folder.path().join("windows"), windows).unwrap();
    expect(&verify(folder.path(), &["windows", "--key", "did"]), 1, "does not hold: it begins as a tlog-proof");
    let long = format!("{}{}", answer["document"], " ".repeat(17 << 20));
    std::fs::write(folder.path().join("long"), long).unwrap();
    expect(&verify(folder.path(), &["long", "--key", "did"]), 2, "FILE: long is longer than 16777216 bytes");
}

/// What stands beside a document has been read by whoever goes by it.
#[tokio::test]
async fn what_an_answer_says_beside_its_document_is_held_against_its_receipt() {
    let (folder, answer) = held().await;
    let read = |name: &str| serde_json::from_slice::<Value>(&std::fs::read(folder.path().join(name)).unwrap()).unwrap();
    let ask = |what: &Value, arguments: &[&str]| {
        std::fs::write(folder.path().join("made.json"), what.to_string()).unwrap();
        verify(folder.path(), &[&["made.json", "--key", "keys"], arguments].concat())
    };
    let altered = |whole: &Value, member: &str, other: Value| {
        let mut altered = whole.clone();
        altered[member] = other;
        altered
    };
    const UNCHECKED: &str = "made.json: not checked, as nothing here tells of it: ";
    // With its receipt in it, all but the issuer's name: of that only the did is signed. The receipt need not be named.
    for arguments in [&[][..], &["--receipt", "made.json"], &["--receipt", "receipt.tlog-proof"]] {
        let output = ask(&answer, arguments);
        expect(&output, 0, &format!("{UNCHECKED}issuer\nmade.json: ok\n"));
        expect(&output, 0, "made.json: receipt: CredentialIssued of ");
        for (member, other) in [
            ("status", json!("revoked")),
            ("status_changed_at", answer["issued_at"].clone()),
            ("issued_at", json!("2020-01-01T00:00:00Z")),
            ("issued_at", Value::Null),
            ("issued_by", json!("another-worker")),
            ("position", json!("ledger@99")),
            ("event_hash", json!("00".repeat(32))),
            ("message", json!("credential revoked by test-worker")),
        ] {
            let said = format!("made.json: does not hold: its member {member} does not say what its proof or its receipt says");
            expect(&ask(&altered(&answer, member, other), arguments), 1, &said);
        }
    }
    expect(&ask(&altered(&answer, "note", json!("more")), &[]), 1, "does not hold: no answer has the member note");

    // Of the answer to a change the receipt tells what the change did, but not where the issuance stands; that is told by its own receipt.
    let revoked = read("revoked.json");
    let output = ask(&revoked, &["--key", "did"]);
    expect(&output, 0, &format!("{UNCHECKED}issuer, issued_by, position, event_hash\n"));
    expect(&output, 0, "its own receipt: CredentialRevoked of ");
    expect(&ask(&revoked, &[]), 1, "made.json: consistent, signer unknown\n");
    expect(&ask(&revoked, &["--receipt", "receipt.json"]), 0, &format!("{UNCHECKED}issuer\nmade.json: ok\n"));
    for (member, other) in [("status", json!("active")), ("status_changed_at", Value::Null), ("message", answer["message"].clone())] {
        expect(&ask(&altered(&revoked, member, other), &["--key", "did"]), 1, &format!("does not hold: its member {member} "));
    }
    let moved = altered(&revoked, "position", json!("ledger@0"));
    expect(&ask(&moved, &["--receipt", "receipt.json"]), 1, "does not hold: its member position ");
    // A change to another credential, and the issuance of one.
    let mut other = read("other-answer.json");
    other["receipt"] = revoked["receipt"].clone();
    expect(&ask(&other, &["--key", "did"]), 1, "does not hold: its receipt is of CredentialRevoked of ");
    other["receipt"] = answer["receipt"].clone();
    expect(&ask(&other, &["--key", "did"]), 1, "does not hold: the receipt is of CredentialIssued of ");

    // Without any receipt the document's proof tells when it was issued, and nothing the rest.
    let mut bare = answer.clone();
    bare["receipt"] = Value::Null;
    let unchecked = "issuer, status, status_changed_at, issued_by, position, event_hash, message";
    expect(&ask(&bare, &["--key", "did"]), 0, &format!("{UNCHECKED}{unchecked}\n"));
    let later = altered(&bare, "issued_at", json!("2026-01-01T00:00:00Z"));
    expect(&ask(&later, &["--key", "did"]), 1, "does not hold: its member issued_at ");
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let (folder, _) = held().await;
    expect(&verify(folder.path(), &["missing"]), 2, "FILE: missing cannot be read");
    expect(&verify(folder.path(), &["document.json", "--key", "missing"]), 2, "--key: missing cannot be read");
    expect(
        &verify(folder.path(), &["document.json", "--key", "document.json"]),
        2,
        "--key: document.json, line 1: expected a verifier key",
    );
    std::fs::write(folder.path().join("words"), "some words").unwrap();
    expect(&verify(folder.path(), &["words"]), 1, "does not hold: it is no document, receipt or export");
    expect(&verify(folder.path(), &[]), 2, "FILE");
}
