//! Documents in the hands of somebody else's software: Digital Bazaar's packages, run by node, verify what a server has answered.
//!
//! What `node/package-lock.json` names is installed below the build's folder, never beside the sources; verifying asks no network.

#![cfg(test)]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use credence_api::caller::Caller;
use credence_api::use_cases::rotate;
use serde_json::{Value, json};
use support::{Engine, TestApp, User};

/// The scripts, as they are committed.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node");

/// Runs a program that the machine must have.
fn program(name: &str) -> Command {
    let there = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    assert!(there, "{name} is not on this machine: `scripts/install-test-needs` installs it, or `sudo apt-get install nodejs npm`");
    Command::new(name)
}

/// The folder in which the packages are installed: at the first run, and when the lock file has changed.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["package.json", "package-lock.json", "verify.mjs"] {
        std::fs::copy(Path::new(SCRIPTS).join(file), folder.join(file)).unwrap();
    }
    let (lock, done) = (std::fs::read(folder.join("package-lock.json")).unwrap(), folder.join("installed"));
    if std::fs::read(&done).ok().as_ref() != Some(&lock) {
        let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"];
        let output = program("npm").args(quiet).current_dir(&folder).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`npm ci` in {} needs the npm registry: {told}", folder.display());
        std::fs::write(done, lock).unwrap();
    }
    folder
}

/// What is found of each document.
fn verified(documents: &[Value]) -> Vec<Value> {
    let mut node = program("node");
    node.arg("verify.mjs").current_dir(installed()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut node = node.spawn().unwrap();
    node.stdin.take().unwrap().write_all(json!(documents).to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_issues_is_verified_by_digital_bazaars_packages() {
    let app = TestApp::start(Engine::Sqlite).await;
    let issuer = app.issuer().await;
    let simple = issuer.issue("Ada Lovelace", "ada@example.org").await["document"].clone();
    let default = app.services().issuers.by_name("default").await.unwrap().unwrap();
    let did = rotate::rotate(app.services(), &Caller::operator("test"), &default).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let full = json!({
        "type": "développeur \"certifié\"",
        "subject": {"name": "مريم 👩‍🚀 Zoë", "email": "zoe@example.org", "id": "did:example:zoe"},
        "claims": {"level": 3, "score": 1.50, "tiny": 1e-7, "größe": [null, true, {"nested": {}}], "\u{20ac}": "\r\n\t\"\\", "1": "one", "€2": 1e21},
        "valid_from": "2026-01-01T00:00:00.5+01:00",
        "valid_until": "2999-01-01T00:00:00Z",
    });
    let full = issuer.post("/v1/credentials", &full).await.expect(201).body["document"].clone();
    assert_eq!(full["issuer"], did);

    let altered = |member: &str, value: Value| {
        let mut document = full.clone();
        *document.pointer_mut(member).unwrap() = value;
        document
    };
    let stolen = altered("/proof", simple["proof"].clone());
    let documents = [
        simple.clone(),
        full.clone(),
        altered("/salt", json!("00")),
        altered("/credentialSubject/claims/level", json!(4)),
        altered("/proof/created", json!("2026-01-01T00:00:00Z")),
        altered("/issuer", simple["issuer"].clone()),
        stolen,
    ];
    let found = verified(&documents);
    let verdicts: Vec<bool> = found.iter().map(|found| found["verified"].as_bool().unwrap()).collect();
    assert_eq!(verdicts, [true, true, false, false, false, false, false], "{found:?}");
}
