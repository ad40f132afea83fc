//! The command line, as a user types it: the binary itself, on stores that a running service uses.

#![cfg(test)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use credence_ledger::event::audit::KeyRevoked;
use credence_ledger::event::{New, Origination};
use credence_ledger::log::{Append, Expected, Query};
use credence_ledger::random::SystemRandom;
use credence_ledger::{Position, Stream, stream};
use credence_projections::generation::Lock;
use credence_projections::projection::Projection;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Engine, Stores, TestApp, User, chain, command, unsigned};

engines!(
    a_replay_tells_what_the_service_tells,
    a_replay_can_be_checked_by_anybody,
    opening_what_is_sealed_is_recorded,
    a_replay_follows_until_it_is_interrupted,
    a_whole_store_is_found_whole,
    read_models_are_rebuilt_and_compared,
    a_rebuild_beside_another_one_is_refused,
    a_key_is_made_listed_used_and_revoked,
    what_is_in_a_store_is_told,
    stores_are_made_and_found_made,
);

/// What a command left behind.
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    fn new(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn expect(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "{}{}", self.out, self.err);
        self
    }
}

/// The options of a command on these stores.
fn options(stores: &Stores) -> Vec<String> {
    vec!["--store".to_owned(), stores.url(), "--data-dir".to_owned(), stores.data_dir().display().to_string()]
}

fn raw(arguments: &[&str], stores: &Stores) -> std::process::Command {
    let mut command = command(arguments);
    command.args(options(stores)).env("CREDENCE_LOG", "warn");
    command
}

/// Runs a command on these stores to its end, beside whatever this process does meanwhile.
async fn run(arguments: &[&str], stores: &Stores) -> Ran {
    let mut command = raw(arguments, stores);
    Ran::new(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn with_two_credentials(engine: Engine) -> (TestApp, Vec<Value>) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let issuer = app.issuer().await;
    let issued = vec![issuer.issue("Ada", "ada@example.org").await, issuer.issue("Bob", "bob@example.org").await];
    app.eventually("the read models are there and up to date", || async {
        let read = &app.services().read;
        let verification = read.cursor(Projection::Verification).await;
        verification.is_ok_and(|cursor| cursor.position == Some(Position(2))) && read.cursor(Projection::History).await.is_ok()
    })
    .await;
    (app, issued)
}

async fn a_replay_tells_what_the_service_tells(engine: Engine) {
    let (app, issued) = with_two_credentials(engine).await;
    let page = app.inspector().await.get("/v1/logs/ledger/events").await.expect(200).body;
    let replayed = run(&["replay", "--format", "json"], &app.stores).await.expect(0);
    assert_eq!(json!(json_lines(&replayed.out)), page["items"]);
    assert_eq!(replayed.err, "");

    let stream = format!("credential/{}", issued[1]["id"].as_str().unwrap());
    for (arguments, expected) in [
        (vec!["--from", "1", "--to", "1"], vec!["ledger@1"]),
        (vec!["--stream", &stream], vec!["ledger@2"]),
        (vec!["--type", "CredentialIssued", "--since", issued[1]["issued_at"].as_str().unwrap()], vec!["ledger@2"]),
        (vec!["--until", issued[0]["issued_at"].as_str().unwrap()], vec!["ledger@0"]),
        (vec!["--from", "3"], vec![]),
    ] {
        let arguments = [vec!["replay", "--format", "json"], arguments].concat();
        let found = json_lines(&run(&arguments, &app.stores).await.expect(0).out);
        assert_eq!(found.iter().map(|event| event["position"].as_str().unwrap()).collect::<Vec<_>>(), expected, "{arguments:?}");
    }
    let table = run(&["replay"], &app.stores).await.expect(0).out;
    assert_eq!(table.lines().count(), 4);
    assert!(table.lines().nth(2).unwrap().starts_with("ledger@1 ") && table.contains(&stream), "{table}");
    let audit = run(&["replay", "--log", "audit", "--format", "json"], &app.stores).await.expect(0).out;
    assert_eq!(json_lines(&audit)[0]["type"], "KeyCreated");
}

async fn a_replay_can_be_checked_by_anybody(engine: Engine) {
    let (app, _) = with_two_credentials(engine).await;
    for log in ["ledger", "audit"] {
        let mut command = raw(&["replay", "--log", log, "--format", "cbor"], &app.stores);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success());
        let request =
            app.inspector().await.request(Method::GET, &format!("/v1/logs/{log}/events")).header("accept", "application/cbor-seq");
        assert_eq!(request.send().await.unwrap().bytes().await.unwrap(), output.stdout);
        let (size, head) = chain::check(&output.stdout, log);
        let fsck = run(&["fsck", "--log", log], &app.stores).await.expect(0).out;
        assert!(fsck.starts_with(&format!("{log}: {size} events, head {log}@{} {head}, tree ", size - 1)), "{fsck}");
        assert!(fsck.ends_with(" checkpoints, ok\n"), "{fsck}");
    }
}

async fn opening_what_is_sealed_is_recorded(engine: Engine) {
    let (app, issued) = with_two_credentials(engine).await;
    let closed = run(&["replay", "--format", "json"], &app.stores).await.expect(0).out;
    assert!(!closed.contains("example.org"));
    let before = app.services().audit.log.head().await.unwrap().size;
    let opened = run(&["replay", "--format", "json", "--open"], &app.stores).await.expect(0).out;
    assert_eq!(json_lines(&opened)[1]["payload"]["document"], unsigned(&issued[0]["document"]));
    let recorded = app.services().audit.log.read(&Query::from(Position(before), 10)).await.unwrap();
    assert_eq!(recorded.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["PersonalDataRead"]);
    assert_eq!(recorded[0].metadata().unwrap().actor, "system");
    for format in ["table", "cbor"] {
        let refused = run(&["replay", "--format", format, "--open"], &app.stores).await.expect(2);
        assert!(refused.err.contains("--open") && refused.out.is_empty());
    }
}

async fn a_replay_follows_until_it_is_interrupted(engine: Engine) {
    let (app, _) = with_two_credentials(engine).await;
    let mut child = raw(&["replay", "--follow", "--format", "json", "--from", "2"], &app.stores).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["position"], "ledger@2");
    let issued = app.issuer().await.issue("Cyd", "cyd@example.org").await;
    assert_eq!(next()["event_hash"], issued["event_hash"]);
    let told = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert!(child.wait().unwrap().success());
}

async fn a_whole_store_is_found_whole(engine: Engine) {
    let (app, _) = with_two_credentials(engine).await;
    let checked = run(&["fsck"], &app.stores).await.expect(0);
    let lines: Vec<&str> = checked.out.lines().collect();
    let [ledger, audit, verification, history] = lines.as_slice() else { panic!("{}", checked.out) };
    assert!(ledger.starts_with("ledger: 3 events, head ledger@2 ") && ledger.ends_with(", ok"), "{ledger}");
    assert!(audit.starts_with("audit: ") && audit.ends_with(", ok"), "{audit}");
    assert_eq!(*verification, "verification: 3 rows at ledger@2, ok");
    assert!(history.starts_with("history: ") && history.ends_with(", ok"), "{history}");
    let logs = run(&["fsck", "--logs-only"], &app.stores).await.expect(0);
    assert_eq!(logs.out.lines().count(), 2, "{}", logs.out);
}

async fn read_models_are_rebuilt_and_compared(engine: Engine) {
    let (app, _) = with_two_credentials(engine).await;
    let same = run(&["rebuild", "--check"], &app.stores).await.expect(0);
    assert!(same.out.contains("verification: 3 rows at ledger@2, ok\nhistory: "), "{}", same.out);
    let rebuilt = run(&["rebuild", "verification"], &app.stores).await.expect(0).out;
    assert!(
        rebuilt.starts_with("verification: 3 events, generation ") && rebuilt.contains(" serves, equal to the one before; built in "),
        "{rebuilt}"
    );
    let audit = run(&["replay", "--log", "audit", "--format", "json"], &app.stores).await.expect(0).out;
    let kinds: Vec<Value> = json_lines(&audit).into_iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["RebuildStarted", "RebuildFinished"]);
    // The service goes on, with the new generation.
    app.issuer().await.issue("Cyd", "cyd@example.org").await;
    app.eventually("the new generation moves on", || async {
        let cursor = app.services().read.cursor(Projection::Verification).await.unwrap();
        cursor.position == Some(Position(3))
    })
    .await;
    run(&["rebuild", "other"], &app.stores).await.expect(2);
}

async fn a_rebuild_beside_another_one_is_refused(engine: Engine) {
    let (app, _) = with_two_credentials(engine).await;
    let _held = app.hold(Lock::Rebuild(Projection::Verification)).await;
    for arguments in [&["rebuild", "verification"][..], &["rebuild", "--check", "verification"]] {
        let refused = run(arguments, &app.stores).await.expect(3);
        assert!(refused.err.contains("a rebuild of verification is running") && refused.out.is_empty(), "{}", refused.err);
    }
}

async fn a_key_is_made_listed_used_and_revoked(engine: Engine) {
    let (app, _) = with_two_credentials(engine).await;
    let made = run(&["keys", "create", "--role", "issuer", "--issuer", "Acme", "--name", "for the test"], &app.stores).await.expect(0);
    let key = made.out.strip_suffix('\n').unwrap();
    assert!(!key.contains(char::is_whitespace) && key.len() > 32);
    assert!(!made.err.contains(key));
    let issue = |name: &'static str| {
        let body = json!({"type": "developer", "subject": {"name": name, "email": "one@example.org"}});
        support::send(app.anonymous().request(Method::POST, "/v1/credentials").bearer_auth(key).json(&body))
    };
    assert_eq!(issue("Ada").await.expect(201).body["issuer"], "Acme");

    let list = run(&["keys", "list", "--format", "json"], &app.stores).await.expect(0).out;
    assert!(!list.contains(key), "a key is told once");
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    let listed = list.iter().find(|listed| listed["name"] == "for the test").unwrap();
    assert_eq!((&listed["roles"], &listed["issuer"], &listed["revoked_at"]), (&json!(["issuer"]), &json!("Acme"), &Value::Null));
    assert!(key.starts_with(listed["prefix"].as_str().unwrap()));
    let id = listed["id"].as_str().unwrap();
    let table = run(&["keys", "list"], &app.stores).await.expect(0).out;
    assert!(table.lines().any(|line| line.starts_with(id) && line.ends_with("for the test")), "{table}");

    run(&["keys", "revoke", id], &app.stores).await.expect(0);
    let revoked = Instant::now();
    while issue("Bob").await.status != 401 {
        assert!(revoked.elapsed() < Duration::from_secs(1), "a revoked key is taken nowhere within a second");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A second revocation is none.
    run(&["keys", "revoke", id], &app.stores).await.expect(0);
    let stream: Stream = format!("key/{id}").parse().unwrap();
    let events = app.services().audit.log.read(&Query::stream(&stream)).await.unwrap();
    assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["KeyCreated", "KeyRevoked"]);
    assert!(events.iter().all(|event| event.metadata().unwrap().actor == "system"));
    let unknown = run(&["keys", "revoke", "0198c5a2-0000-7000-8000-000000000001"], &app.stores).await.expect(2);
    assert!(unknown.err.contains("there is no key with this id"));
}

async fn what_is_in_a_store_is_told(engine: Engine) {
    let (app, _) = with_two_credentials(engine).await;
    let told = run(&["version"], &app.stores).await.expect(0).out;
    let head = app.services().ledger().unwrap().log.head().await.unwrap();
    let origin = app.services().ledger().unwrap().log.origin().as_str().to_owned();
    let schema = match engine {
        Engine::Sqlite => 2,
        Engine::Postgres => 3,
    };
    assert!(told.starts_with(&format!("credence {}\n", env!("CARGO_PKG_VERSION"))));
    assert!(told.contains(&format!("ledger: origin {origin}, schema {schema}, head ledger@2 {}\n", head.chain_hash)), "{told}");
    let file = app.stores.data_dir().join("credence.toml");
    std::fs::write(&file, format!("store = \"{}\"\n", app.stores.url())).unwrap();
    let configured = tokio::task::spawn_blocking(move || command(&["version", "--config", file.to_str().unwrap()]).output().unwrap());
    assert_eq!(Ran::new(configured.await.unwrap()).expect(0).out, told);
    let bare = tokio::task::spawn_blocking(|| command(&["version"]).output().unwrap()).await.unwrap();
    assert_eq!(Ran::new(bare).expect(0).out, format!("credence {}\n", env!("CARGO_PKG_VERSION")));
}

async fn stores_are_made_and_found_made(engine: Engine) {
    let stores = Stores::new(engine).await;
    let missing = run(&["replay"], &stores).await.expect(3);
    assert!(missing.err.contains("credence migrate"), "{}", missing.err);
    let foreseen = run(&["migrate", "--dry-run"], &stores).await.expect(0).out;
    assert_eq!(foreseen.matches("would be made").count(), 3, "{foreseen}");
    assert_eq!(run(&["migrate"], &stores).await.expect(0).out.matches("up to date").count(), 4);
    let foreseen = run(&["migrate", "--dry-run"], &stores).await.expect(0).out;
    assert_eq!((foreseen.matches("up to date").count(), foreseen.contains("would")), (3, false), "{foreseen}");
    let roles = run(&["migrate", "--roles", "--dry-run"], &stores).await;
    match engine {
        Engine::Sqlite => assert!(roles.expect(2).err.contains("--roles")),
        Engine::Postgres => assert!(roles.expect(0).out.contains("would be made and granted")),
    }
    // A key made before anybody has served is as good as any.
    let key = run(&["keys", "create", "--role", "operator"], &stores).await.expect(0).out;
    let app = TestApp::on(Arc::new(stores)).start().await;
    support::send(app.anonymous().request(Method::GET, "/v1/services").bearer_auth(key.trim())).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_is_no_error() {
    let app = TestApp::start(Engine::Sqlite).await;
    // More than a pipe holds.
    let events = (0..2000u64).map(|number| {
        let metadata = Origination::system("one").metadata(&SystemRandom);
        let stream = Stream::new(stream::category::KEY, uuid::Uuid::from_u128(number.into()));
        Append::to(stream, Expected::None, vec![New::of(&KeyRevoked {}, &metadata)])
    });
    app.services().audit.log.commit(events.collect()).await.unwrap();
    for format in ["table", "json", "cbor"] {
        let mut child = raw(&["replay", "--log", "audit", "--format", format], &app.stores)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 16];
        // The reader takes a little and goes.
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_could_not_be_told_is_revoked() {
    let app = TestApp::start(Engine::Sqlite).await;
    let create = ["keys", "create", "--role", "issuer", "--name", "untold"];
    let mut full = raw(&create, &app.stores);
    full.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let mut closed = raw(&create, &app.stores);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    closed.stdout(writer);
    for mut command in [full, closed] {
        let refused = Ran::new(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()).expect(3);
        assert!(refused.err.contains("is revoked, for nobody was told it: standard output "), "{}", refused.err);
    }
    // Where there is nothing to write to, no key is made.
    let mut null = raw(&create, &app.stores);
    null.stdout(Stdio::null());
    let refused = Ran::new(tokio::task::spawn_blocking(move || null.output().unwrap()).await.unwrap()).expect(2);
    assert!(refused.err.contains("credence: standard output: "), "{}", refused.err);

    let list: Vec<Value> = serde_json::from_str(&run(&["keys", "list", "--format", "json"], &app.stores).await.expect(0).out).unwrap();
    let untold: Vec<&Value> = list.iter().filter(|key| key["name"] == "untold").collect();
    assert_eq!(untold.len(), 2);
    for key in untold {
        assert!(key["revoked_at"].is_string(), "{key}");
        let stream: Stream = format!("key/{}", key["id"].as_str().unwrap()).parse().unwrap();
        let events = app.services().audit.log.read(&Query::stream(&stream)).await.unwrap();
        assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["KeyCreated", "KeyRevoked"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tampered_with_is_found_and_named() {
    let (app, issued) = with_two_credentials(Engine::Sqlite).await;
    let stores = app.shutdown().await;
    let file = rusqlite::Connection::open(stores.data_dir().join("ledger.sqlite")).unwrap();
    let triggers: Vec<String> = file
        .prepare("select name from sqlite_schema where type = 'trigger'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for trigger in triggers {
        file.execute_batch(&format!("drop trigger {trigger}")).unwrap();
    }
    file.execute(
        "update events set payload = cast(replace(payload, cast('developer' as blob), cast('Developer' as blob)) as blob) where position = 1",
        [],
    )
    .unwrap();
    drop(file);
    let found = run(&["fsck"], &stores).await.expect(1);
    let lines: Vec<&str> = found.out.lines().collect();
    assert!(lines[0].starts_with("ledger@1 event-hash: "), "{}", found.out);
    let summary = lines.iter().find(|line| line.starts_with("ledger: ")).unwrap();
    assert!(summary.ends_with(" findings"), "{summary}");
    let [.., audit, verification, history] = lines.as_slice() else { panic!("{}", found.out) };
    assert!(audit.starts_with("audit: ") && audit.ends_with(", ok"), "{audit}");
    assert_eq!(*verification, "verification: not compared: the ledger log does not hold");
    assert!(history.starts_with("history: ") && history.ends_with(", ok"), "{history}");
    // It can still be looked at.
    let shown = run(&["replay", "--format", "json", "--from", "1", "--to", "1"], &stores).await.expect(0).out;
    assert_eq!(json_lines(&shown)[0]["payload"]["type"], "Developer-certificate");
    assert_eq!(json_lines(&shown)[0]["event_hash"], issued[0]["event_hash"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_says_what_cannot_be_is_a_finding() {
    let (app, _) = with_two_credentials(Engine::Sqlite).await;
    let stores = app.shutdown().await;
    for (damage, expected) in [
        ("update head set size = -1", "ledger file: column size: "),
        ("update head set size = 9223372036854775807", "ledger@3 gap: "),
        ("delete from head", "ledger file: head: the row is missing, though there are events"),
    ] {
        let file = rusqlite::Connection::open(stores.data_dir().join("ledger.sqlite")).unwrap();
        file.execute_batch(damage).unwrap();
        let found = run(&["fsck"], &stores).await.expect(1);
        assert!(found.out.starts_with(expected), "{}", found.out);
        // The other log is checked all the same.
        assert!(found.out.lines().any(|line| line.starts_with("audit: ") && line.ends_with(", ok")), "{}", found.out);
        assert!(!found.err.contains("panicked"), "{}", found.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_tells_something_else_is_found_and_repaired() {
    let (app, issued) = with_two_credentials(Engine::Sqlite).await;
    let id = issued[0]["id"].as_str().unwrap();
    let stores = app.shutdown().await;
    let file = std::fs::read_dir(stores.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| {
        path.file_name().unwrap().to_string_lossy().starts_with("read-verification") && path.extension().is_some_and(|end| end == "sqlite")
    });
    let file = rusqlite::Connection::open(file.unwrap()).unwrap();
    assert_eq!(file.execute("update credentials set type = 'other' where position = 1", []).unwrap(), 1);
    drop(file);
    let found = run(&["rebuild", "verification", "--check"], &stores).await.expect(1).out;
    let difference = format!("verification credentials {id} type: expected \"developer-certificate\", found \"other\"");
    let checked = run(&["fsck"], &stores).await.expect(1).out;
    assert!(checked.contains(&difference) && checked.contains("ledger: 3 events, "), "{checked}");
    run(&["fsck", "--logs-only"], &stores).await.expect(0);
    assert_eq!(found.lines().collect::<Vec<_>>(), [difference.as_str(), "verification: 3 rows at ledger@2, 1 differences"]);
    // A rebuild is the repair, and says what it found.
    let rebuilt = run(&["rebuild", "verification"], &stores).await.expect(0).out;
    assert!(rebuilt.contains("DIFFERENT"), "{rebuilt}");
    run(&["rebuild", "verification", "--check"], &stores).await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_stopped_is_not_ok() {
    let (app, _) = with_two_credentials(Engine::Sqlite).await;
    let stores = app.shutdown().await;
    run(&["rebuild", "verification", "--check"], &stores).await.expect(0);
    let file = rusqlite::Connection::open(stores.data_dir().join("read-verification-1.sqlite")).unwrap();
    assert_eq!(file.execute("update cursor set unhealthy = 'for the test'", []).unwrap(), 1);
    drop(file);
    let stopped = run(&["rebuild", "verification", "--check"], &stores).await.expect(1).out;
    assert_eq!(stopped, "verification: 3 rows at ledger@2, stopped there: for the test\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_comes_to_its_end() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut demo = command(&["demo"]);
    demo.env("TMPDIR", folder.path());
    let ran = Ran::new(tokio::task::spawn_blocking(move || demo.output().unwrap()).await.unwrap()).expect(0);
    for told in ["\"active\"", "Already issued", "\"tampered\"", "\"revoked\"", "equal: true", "CredentialRevoked", ", ok"] {
        assert!(ran.out.contains(told), "{told}: {}", ran.out);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the store is thrown away");
}

#[test]
fn a_demonstration_that_is_told_to_stop_leaves_nothing_behind() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut demo = command(&["demo"]).env("TMPDIR", folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("A service"));
    let told = std::process::Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert!(lines.all(|line| !line.unwrap().contains("thrown away")), "it was told in time");
    assert!(demo.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// What the run refuses, its dry run refuses: a vault beside an archive, and a log that was lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_is_not_foreseen_to_be() {
    let app = TestApp::start(Engine::Sqlite).await;
    let (archive, folder) = (Stores::new(Engine::Sqlite).await, tempfile::TempDir::new().unwrap());
    let file = folder.path().join("ledger.export").display().to_string();
    run(&["export", "--out", &file], &app.stores).await.expect(0);
    run(&["import", "--in", &file], &archive).await.expect(0);
    let stores = app.shutdown().await;
    let lost = stores.url();
    std::fs::remove_file(format!("{}/audit.sqlite", lost.strip_prefix("sqlite:").unwrap())).unwrap();
    for (stores, reason) in [(&archive, "a read-only archive"), (&*stores, "it is missing, though it has been there")] {
        for arguments in [&["migrate", "--dry-run"][..], &["migrate"]] {
            let refused = run(arguments, stores).await.expect(3);
            assert!(refused.err.contains(reason) && !refused.out.contains("would"), "{arguments:?}: {}{}", refused.out, refused.err);
        }
    }
}

#[test]
fn a_folder_that_is_a_file_is_told_as_that() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let store = format!("sqlite:{}", file.display());
    for arguments in [&["fsck"][..], &["replay"], &["keys", "list"], &["rebuild"], &["version"]] {
        let ran = Ran::new(command(&[arguments, &["--store", &store]].concat()).output().unwrap()).expect(3);
        let told = format!("{} cannot be entered: Not a directory", file.display());
        assert!(ran.err.contains(&told) && !ran.err.contains("migrate"), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn a_log_line_tells_what_lies_beneath_in_either_format_and_colours_a_terminal_only() {
    // Nobody listens there.
    let store = ["--store", "postgres://nobody@127.0.0.1:1/nothing"];
    for format in ["auto", "text"] {
        let mut child = command(&[&["replay", "--log-format", format][..], &store].concat())
            .env("CREDENCE_LOG", "info")
            .env_remove("NO_COLOR")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let reason = "the store cannot be reached: ";
        assert!(line.contains("not reached yet") && line.contains("Connection refused") && !line.contains('\x1b'), "{line}");
        match format {
            "text" => assert!(line.contains(&format!("reason=\"{reason}")), "{line}"),
            _ => assert!(serde_json::from_str::<Value>(&line).unwrap()["reason"].as_str().unwrap().starts_with(reason), "{line}"),
        }
    }
}

/// It would lose its sources where lines are JSON: `causes` tells them all.
#[test]
fn no_log_line_is_given_an_error_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut paths: Vec<PathBuf> = ["ledger", "projections", "api"].map(|room| root.join(room).join("src")).into();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains("as &dyn std::error::Error"), "{}", path.display());
        }
    }
}

#[test]
fn a_store_that_is_not_there_is_told_as_that_and_not_to_be_made() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = format!("sqlite:{}", folder.path().join("typo").display());
    let export = folder.path().join("export").display().to_string();
    let (from, to) = (["--from", &store], format!("sqlite:{}", folder.path().join("to").display()));
    let commands = [
        &["replay"][..],
        &["replay", "--open", "--format", "json"],
        &["export", "--out", &export],
        &["fsck"],
        &["keys", "list"],
        &["rebuild"],
        &["version"],
    ];
    let mut commands: Vec<Vec<&str>> = commands.map(|command| [command, &["--store", &store]].concat()).into();
    commands.push([&["copy"], &from[..], &["--to", &to]].concat());
    for arguments in commands {
        let ran = Ran::new(command(&arguments).output().unwrap()).expect(3);
        assert!(ran.err.contains("there is no such store") && !ran.err.contains("migrate"), "{arguments:?}: {}", ran.err);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_told_wrongly_is_named() {
    for (arguments, named) in [
        (&["replay", "--format", "xml"][..], "--format"),
        (&["replay", "--log", "other"], "--log"),
        (&["replay", "--since", "yesterday"], "--since"),
        (&["keys", "create"], "--role"),
        (&["keys", "create", "--role", "king"], "--role"),
        (&["keys", "create", "--role", "issuer", "--name", ""], "--name"),
        (&["keys", "create", "--role", "issuer", "--name", "a\nb"], "--name"),
        (&["keys", "create", "--role", "issuer", "--name", &"x".repeat(256)], "--name"),
        (&["keys", "revoke", "x"], "<ID>"),
        (&["fsck", "--log", "other"], "expected ledger or audit"),
        (&["fsck", "--store", "mysql://x"], "--store"),
        (&["fsck", "--store", "postgres://me@host:999999/x"], "--store"),
        (&["fsck", "--ledger-store", "postgres://me@host/x?sslmode=foo"], "--ledger-store"),
        (&["nothing"], "nothing"),
        (&[], "Usage"),
    ] {
        let ran = Ran::new(command(arguments).output().unwrap()).expect(2);
        assert!(ran.err.contains(named) && ran.out.is_empty(), "{arguments:?}: {}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_the_tables_need_not_hold_the_master_key() {
    let stores = Stores::new(Engine::Postgres).await;
    let url = stores.url();
    let migrate = async |arguments: &[&str]| {
        let mut command = command(&[&["migrate", "--store", &url], arguments].concat());
        Ran::new(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()).expect(0).out
    };
    assert!(migrate(&["--dry-run"]).await.contains("vault (postgres://"));
    assert_eq!(migrate(&[]).await.matches("up to date").count(), 4);
    assert!(!migrate(&["--dry-run"]).await.contains("would"));
    assert!(!stores.data_dir().join("master.key").exists());
    let app = TestApp::on(Arc::new(stores)).start().await;
    app.issuer().await.issue("Ada", "ada@example.org").await;
}
