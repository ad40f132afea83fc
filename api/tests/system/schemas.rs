//! Logs that hold events of older schema versions: they are replayed, checked, projected and moved as they are, for ever.
//!
//! `tests/golden/*-1.export` were written by a program that knew schema 1 alone: keys of every kind, one of them limited, a credential,
//! its verifications. **They never change.**

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use credence_ledger::clock::SystemClock;
use credence_ledger::event::audit::{KeyCreated1, KeyLimited};
use credence_ledger::event::{New, Origination};
use credence_ledger::log::sqlite::Sqlite;
use credence_ledger::log::{Append, Expected, Log as _};
use credence_ledger::random::SystemRandom;
use credence_ledger::stream::category;
use credence_ledger::{LogName, Stream};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::badge;
use crate::process::{Start, run_well};
use crate::python;
use crate::store::Store;

fn golden(log: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{log}-1.export"))
}

fn replayed(store: &Store, log: &str) -> Vec<Value> {
    let lines = String::from_utf8(run_well(store, &["replay", "--log", log, "--format", "json"])).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Schema and payload of every `KeyCreated` and `KeyLimited`.
fn keys(events: &[Value]) -> Vec<Value> {
    let of_keys = events.iter().filter(|event| ["KeyCreated", "KeyLimited"].iter().any(|kind| event["type"] == *kind));
    of_keys.map(|event| json!([event["schema"], event["payload"]])).collect()
}

async fn logs_of_schema_1_are_replayed_checked_and_moved_as_they_are(store: Store) {
    for log in ["ledger", "audit"] {
        let file = golden(log);
        let file = file.to_str().unwrap();
        let checked = python::run("check_export.py", &[file]);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        run_well(&store, &["import", "--in", file]);
        run_well(&store, &["fsck", "--log", log]);
        let again = store.folder().join("again.export");
        run_well(&store, &["export", "--log", log, "--out", again.to_str().unwrap(), "--force"]);
        assert!(fs::read(&again).unwrap() == fs::read(file).unwrap(), "{log} is not what it was");
        crate::replayed::log(&store, log);
    }
    // Shown as they were stored.
    let shown = keys(&replayed(&store, "audit"));
    let (default, acme) = (shown[0][1]["issuer"].clone(), shown[2][1]["issuer"].clone());
    assert_ne!(default, acme);
    let created = |role: &str, issuer: &Value| json!([1, {"role": role, "issuer": issuer}]);
    let roles = [("operator", &default), ("issuer", &default), ("issuer auditor", &acme), ("auditor", &default)];
    let more = [("admin", &default), ("inspector", &default), ("issuer", &default)];
    let mut expected: Vec<Value> = roles.into_iter().chain(more).map(|(role, issuer)| created(role, issuer)).collect();
    expected.push(json!([1, {"types": ["badge", "degree"], "expires_at": "2036-01-01T00:00:00Z"}]));
    assert_eq!(shown, expected);
}

crate::on_both_engines!(logs_of_schema_1_are_replayed_checked_and_moved_as_they_are);

/// A store that an older program has written to: its keys' events stand between those of today.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_both_versions_of_an_event_is_served_projected_and_checked() {
    let store = Store::sqlite();
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    let issuer = client.post("/v1/issuers", &json!({"name": "acme"})).await.expect(201).id();
    let issued = client.try_post("/v1/credentials", &badge(1), &[]).await.unwrap().expect(201);
    client.verify(&issued.id()).await.expect(200);
    assert!(server.terminate().success());

    let log = Sqlite::open_existing(store.folder(), LogName::AUDIT, Arc::new(SystemClock)).await.unwrap();
    let metadata = || Origination::system("older").metadata(&SystemRandom);
    let stream = Stream::new(category::KEY, Uuid::from_u128(7));
    let created = KeyCreated1 { role: "auditor".to_owned(), issuer: issuer.parse().unwrap() };
    let limited = KeyLimited { types: Some(vec!["badge".to_owned()]), expires_at: None };
    let events = vec![New::of(&created, &metadata()), New::of(&limited, &metadata())];
    log.commit(vec![Append::to(stream, Expected::None, events)]).await.unwrap();
    drop(log);

    let server = Start::on(&store).start();
    let client = server.admin(&store);
    let key = client.post("/v1/keys", &json!({"roles": ["issuer", "auditor"], "issuer": "acme", "types": ["badge"]})).await.expect(201);
    // An organisation's own events are found whichever version they are in.
    let auditor = crate::client::Client::new(server.address(), Some(key.body["key"].as_str().unwrap().to_owned()));
    let own = auditor.get("/v1/logs/audit/events?type=KeyCreated").await.expect(200).body;
    let own: Vec<Value> = own["items"].as_array().unwrap().iter().map(|event| json!([event["schema"], event["payload"]])).collect();
    let now = json!({"roles": ["issuer", "auditor"], "types": ["badge"], "issuer": issuer});
    assert_eq!(own, [json!([1, {"role": "auditor", "issuer": issuer}]), json!([2, now])]);
    client.verify(&issued.id()).await.expect(200);
    assert!(server.terminate().success());

    let schemas: Vec<u64> = keys(&replayed(&store, "audit")).iter().map(|event| event[0].as_u64().unwrap()).collect();
    assert_eq!(schemas, [2, 1, 1, 2], "the key that was limited today has one event");
    run_well(&store, &["rebuild"]);
    run_well(&store, &["rebuild", "--check"]);
    run_well(&store, &["fsck"]);
    let file = store.folder().join("audit.export");
    run_well(&store, &["export", "--log", "audit", "--out", file.to_str().unwrap()]);
    let checked = python::run("check_export.py", &[file.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
