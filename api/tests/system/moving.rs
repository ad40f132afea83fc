//! Logs that move: into a file, out of a file, from SQLite to PostgreSQL; killed on the way, damaged on the way, into the wrong place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use credence_ledger::LogName;
use credence_ledger::clock::SystemClock;
use credence_ledger::log::sqlite::Sqlite;
use credence_ledger::testing::history;
use serde_json::json;

use crate::client::badge;
use crate::process::{Running, Start, run, run_well};
use crate::store::Store;
use crate::{figure, python};

/// The key of the document's example: of the same name as the tests' ledger's, and has signed nothing here.
const STRANGER: &str = "ledger.example/v1/logs/ledger+87dc144b+AddZeTu8E6KBmoJ8dq22+6ikmu4Af0ny0JktmbglrSxI";

/// A store that a service has made, and in which it has issued, revoked and verified.
async fn lived_in() -> Store {
    let store = Store::sqlite();
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    for n in 0..6 {
        let issued = client.try_post("/v1/credentials", &badge(n), &[("Idempotency-Key", &format!("key-{n}"))]).await.unwrap().expect(201);
        if n % 2 == 0 {
            client.act(&issued.id(), "revoke").await.expect(200);
        }
        client.verify_at_least(&issued.id(), issued.position()).await.expect(200);
    }
    client.post("/v1/credentials", &json!({"type": "badge", "secret": "an opaque secret"})).await.expect(201);
    assert!(server.terminate().success());
    store
}

/// The same with a ledger of many more events than are written at a time.
async fn long(credentials: usize) -> Store {
    let store = lived_in().await;
    fill(&store, credentials).await;
    store
}

async fn fill(store: &Store, credentials: usize) {
    let log = Sqlite::open_existing(store.folder(), LogName::LEDGER, std::sync::Arc::new(SystemClock)).await.unwrap();
    history::issue(&log, 0..credentials as u128).await;
}

/// Exports both logs to files in a folder of its own.
fn exported(store: &Store) -> (tempfile::TempDir, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let files = ["ledger", "audit"].map(|log| {
        let file = folder.path().join(format!("{log}.export"));
        run_well(store, &["export", "--log", log, "--out", text(&file)]);
        file
    });
    (folder, files)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A database that is given the master key and the administrator's key of `store`.
async fn postgres_with_the_keys_of(store: &Store) -> Store {
    let target = Store::postgres().await;
    for file in ["master.key", "admin.key"] {
        fs::copy(store.folder().join(file), target.folder().join(file)).unwrap();
    }
    target
}

#[track_caller]
fn expect(output: &Output, status: i32, words: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    words.iter().for_each(|word| assert!(errors.contains(word), "{word:?} is not in: {errors}"));
}

/// Whether a file of a log or a vault is there.
fn files(store: &Store) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(store.folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_went_from_sqlite_to_postgres_is_exported_as_it_was() {
    let (from, to) = (long(600).await, Store::postgres().await);
    let (_folder, files) = exported(&from);
    for file in &files {
        run_well(&to, &["import", "--in", text(file)]);
        // Once more changes nothing.
        run_well(&to, &["import", "--in", text(file)]);
    }
    let (_again, again) = exported(&to);
    for (file, again) in files.iter().zip(&again) {
        assert!(fs::read(file).unwrap() == fs::read(again).unwrap(), "{}", file.display());
    }
    run_well(&to, &["fsck"]);
    let replayed = |store| run_well(store, &["replay", "--format", "cbor"]);
    assert!(replayed(&from) == replayed(&to));
    // And back to another folder.
    let back = Store::sqlite();
    run_well(&back, &["import", "--in", text(&again[0])]);
    run_well(&back, &["export", "--out", text(&again[0]), "--force"]);
    assert!(fs::read(&files[0]).unwrap() == fs::read(&again[0]).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_checked_from_its_description_alone() {
    let store = lived_in().await;
    let server = Start::on(&store).start();
    let (client, mut keys) = (server.admin(&store), Vec::new());
    for log in ["ledger", "audit"] {
        let key = client.get(&format!("/v1/logs/{log}/keys")).await.expect(200);
        keys.extend(key.text.lines().flat_map(|key| ["--key".to_owned(), key.to_owned()]));
    }
    assert!(server.terminate().success());
    let (_folder, files) = exported(&store);
    for file in &files {
        let arguments: Vec<&str> = [text(file)].into_iter().chain(keys.iter().map(String::as_str)).collect();
        let checked = python::run("check_export.py", &arguments);
        let told = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success() && told.contains("signed by the keys given, ok") && !told.contains(" 0 checkpoints"), "{told}");
        let checked = python::run("check_export.py", &[text(file), "--key", STRANGER]);
        assert_eq!(checked.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&checked.stdout).contains("none of the keys has signed"), "{checked:?}");
        let bytes = fs::read(file).unwrap();
        for at in (0..bytes.len()).step_by(bytes.len() / 40) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(file, &flipped).unwrap();
            assert_eq!(python::run("check_export.py", &[text(file)]).status.code(), Some(1), "byte {at}");
        }
    }
    let replayed = store.folder().join("ledger.cborseq");
    fs::write(&replayed, run_well(&store, &["replay", "--format", "cbor"])).unwrap();
    let checked = python::run("check_log.py", &[text(&replayed)]);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn the_documents_example_is_checked_from_the_document_alone() {
    let checked = python::run("check_format_example.py", &[]);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_script_without_its_libraries_says_what_to_install() {
    for script in ["check_log.py", "check_export.py", "check_format_example.py"] {
        expect(&python::run_bare(script), 2, &["No module named", "pip install -r scripts/requirements.txt"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_store_is_served_as_if_nothing_had_happened() {
    let from = lived_in().await;
    let to = postgres_with_the_keys_of(&from).await;
    let copied = String::from_utf8(run_well(&to, &["copy", "--from", from.url(), "--to", to.url()])).unwrap();
    assert!(copied.lines().all(|line| line.ends_with(", ok")) && copied.lines().count() == 2, "{copied}");
    let ((_here, here), (_there, there)) = (exported(&from), exported(&to));
    for (here, there) in here.iter().zip(&there) {
        assert!(fs::read(here).unwrap() == fs::read(there).unwrap());
    }
    let server = Start::on(&to).start();
    let client = server.admin(&to);
    // A repeat is recognised, a name that was issued to is known, and what was sealed opens.
    let again = client.try_post("/v1/credentials", &badge(1), &[("Idempotency-Key", "key-1")]).await.unwrap().expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    client.issue(1).await.expect(409);
    client.issue(2).await.expect(201);
    assert_eq!(client.get(&format!("/v1/credentials/{}", again.id())).await.expect(200).body["document"], again.body["document"]);
    let secret = client.post("/v1/verifications", &json!({"secret": "an opaque secret"})).await.expect(200);
    assert_eq!(secret.body["valid"], true);
    assert!(server.terminate().success());
    // Now it is a log of its own.
    expect(&run(&to, &["copy", "--from", from.url(), "--to", to.url()]), 3, &["goes on beyond"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_source_has_grown_by_is_copied_by_the_next_copy() {
    let (from, to) = (lived_in().await, Store::sqlite());
    fs::copy(from.folder().join("master.key"), to.folder().join("master.key")).unwrap();
    run_well(&to, &["copy", "--from", from.url(), "--to", to.url()]);
    let server = Start::on(&from).start();
    let issued = server.admin(&from).issue(77).await.expect(201);
    let told = run(&to, &["copy", "--from", from.url(), "--to", to.url()]);
    expect(&told, 0, &["was at work on the source"]);
    drop(server);
    run_well(&to, &["copy", "--from", from.url(), "--to", to.url()]);
    let server = Start::on(&to).start();
    let client = crate::client::Client::new(server.address(), Some(from.admin_key()));
    assert_eq!(client.get(&format!("/v1/credentials/{}", issued.id())).await.expect(200).body["document"], issued.body["document"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_without_the_sources_master_key_writes_nothing() {
    let from = lived_in().await;
    // Another key.
    let to = Store::postgres().await;
    expect(
        &run(&to, &["copy", "--from", from.url(), "--to", to.url()]),
        2,
        &["CREDENCE_MASTER_KEY_FILE", "does not open the vault that is copied"],
    );
    expect(&run(&to, &["fsck"]), 3, &["run `credence migrate`"]);
    // None.
    let to = Store::sqlite();
    expect(&run(&to, &["copy", "--from", from.url(), "--to", to.url()]), 2, &["required"]);
    assert!(files(&to).is_empty());
    // The right one given, a wrong one beside.
    fs::write(to.folder().join("master.key"), "5a".repeat(32)).unwrap();
    let key = from.folder().join("master.key");
    expect(&run(&to, &["copy", "--from", from.url(), "--to", to.url(), "--master-key-file", text(&key)]), 2, &["master.key"]);
    assert_eq!(files(&to), ["master.key"]);
    let detour = format!("{}/../{}", from.url(), from.folder().file_name().unwrap().to_str().unwrap());
    for same in [from.url(), &detour] {
        expect(&run(&to, &["copy", "--from", from.url(), "--to", same]), 2, &["--to: it is where --from is"]);
    }
    expect(&run(&to, &["copy", "--from", "nowhere", "--to", to.url()]), 2, &["--from"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_database_onto_itself_under_another_name_of_its_server_is_refused() {
    let store = Store::private_postgres().await;
    run_well(&store, &["migrate"]);
    let (rest, sockets) = store.url().split_once("?host=").unwrap();
    let link = store.folder().join("sockets");
    std::os::unix::fs::symlink(sockets, &link).unwrap();
    let renamed = format!("{rest}?host={}", link.display());
    for (from, to) in [(store.url(), renamed.as_str()), (&renamed, store.url())] {
        expect(&run(&store, &["copy", "--from", from, "--to", to]), 2, &["--to: it is where --from is"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_into_another_store_changes_nothing_there() {
    let (from, to) = (lived_in().await, lived_in().await);
    let before = exported(&to);
    let key = from.folder().join("master.key");
    expect(&run(&to, &["copy", "--from", from.url(), "--to", to.url(), "--master-key-file", text(&key)]), 2, &["does not open"]);
    fs::copy(&key, to.folder().join("master.key")).unwrap();
    expect(&run(&to, &["copy", "--from", from.url(), "--to", to.url()]), 3, &["there is another one"]);
    let after = exported(&to);
    for (before, after) in before.1.iter().zip(&after.1) {
        assert!(fs::read(before).unwrap() == fs::read(after).unwrap());
    }
}

/// Starts a command, kills it once it tells of progress, and tells whether it was killed before its end.
fn killed(store: &Store, arguments: &[&str], at: &str) -> bool {
    let mut running = Running::start(store, arguments);
    while let Some(line) = running.line() {
        if line.contains(at) && !line.contains("100%") {
            running.kill9();
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_import_is_gone_on_with() {
    let from = long(figure(9_000, 90_000)).await;
    let (_folder, [file, _]) = exported(&from);
    for to in [Store::sqlite(), Store::postgres().await] {
        let mut kills = 0;
        for _ in 0..3 {
            kills += usize::from(killed(&to, &["import", "--in", text(&file)], "writing"));
        }
        assert!(kills > 0, "no import was killed before its end");
        run_well(&to, &["import", "--in", text(&file)]);
        run_well(&to, &["fsck", "--log", "ledger"]);
        let again = file.with_extension("again");
        run_well(&to, &["export", "--out", text(&again), "--force"]);
        assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_copy_is_gone_on_with_and_not_served_before_its_end() {
    let from = long(figure(9_000, 90_000)).await;
    let to = postgres_with_the_keys_of(&from).await;
    let copy = ["copy", "--from", from.url(), "--to", to.url()];
    assert!(killed(&to, &copy, "writing"), "the copy was not killed before its end");
    expect(&run(&to, &["serve", "--listen", "127.0.0.1:0"]), 3, &["vault", "read-only archive"]);
    run_well(&to, &copy);
    let ((_here, here), (_there, there)) = (exported(&from), exported(&to));
    for (here, there) in here.iter().zip(&there) {
        assert!(fs::read(here).unwrap() == fs::read(there).unwrap());
    }
    assert!(Start::on(&to).start().terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_export_leaves_no_file_that_looks_whole() {
    let from = long(figure(9_000, 90_000)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.export");
    assert!(killed(&from, &["export", "--out", text(&file)], "writing"), "the export was not killed before its end");
    assert!(!file.exists());
    run_well(&from, &["export", "--out", text(&file)]);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["ledger.export"]);
    expect(&run(&from, &["export", "--out", text(&file)]), 2, &["--out", "--force"]);
    let first = fs::read(&file).unwrap();
    run_well(&from, &["export", "--out", text(&file), "--force"]);
    assert!(first == fs::read(&file).unwrap());
    assert!(first == run_well(&from, &["export", "--out", "-"]));
    expect(&run(&from, &["export", "--out", text(&folder.path().join("no/such/folder"))]), 2, &["--out"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_does_not_hold_is_refused_located_and_nothing_is_written() {
    let from = lived_in().await;
    let (_folder, [file, other]) = exported(&from);
    let bytes = fs::read(&file).unwrap();
    let to = Store::sqlite();
    let refuse = |content: &[u8], words: &[&str]| {
        fs::write(&file, content).unwrap();
        expect(&run(&to, &["import", "--in", text(&file)]), 1, words);
        assert!(files(&to).is_empty(), "{words:?}");
    };
    let step = bytes.len() / 60;
    for at in (0..bytes.len()).step_by(step) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at / step % 8);
        refuse(&flipped, &["byte "]);
    }
    for length in (1..bytes.len()).step_by(step * 4) {
        refuse(&bytes[..length], &["byte "]);
    }
    refuse(&bytes[..bytes.len() - 1], &["ledger@", "before its footer"]);
    refuse(&[], &["no export"]);
    refuse(&[&bytes[..], &bytes].concat(), &["something follows the footer"]);
    refuse(&[&bytes[..], &fs::read(other).unwrap()].concat(), &["something follows the footer"]);
    let mut newer = bytes.clone();
    let version = newer.windows(8).position(|window| window == b"version\x01").unwrap() + 7;
    newer[version] = 2;
    refuse(&newer, &["an export of version 2, which is newer than this program"]);
    refuse(&run_well(&from, &["replay", "--format", "cbor"]), &["no export of a log"]);
    expect(&run(&to, &["import", "--in", "/dev/null"]), 2, &["--in"]);
    expect(&run(&to, &["import", "--in", text(&to.folder().join("nothing"))]), 2, &["--in"]);
    fs::write(&file, &bytes).unwrap();
    run_well(&to, &["import", "--in", text(&file)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_its_vault_is_a_read_only_archive() {
    let from = lived_in().await;
    let (_folder, [file, _]) = exported(&from);
    for to in [Store::sqlite(), Store::postgres().await] {
        let is_sqlite = to.is_sqlite();
        let imported = run(&to, &["import", "--in", text(&file)]);
        expect(&imported, 0, &["read-only archive"]);
        run_well(&to, &["fsck", "--log", "ledger"]);
        let sealed = String::from_utf8(run_well(&to, &["replay", "--format", "json"])).unwrap();
        assert!(sealed.contains("\"sealed\"") && sealed.lines().count() > 6);
        assert!(fs::read(&file).unwrap() == run_well(&to, &["export", "--out", "-"]));
        for command in
            [&["serve", "--listen", "127.0.0.1:0"][..], &["serve", "--listen", "127.0.0.1:0", "--role", "verification"], &["migrate"]]
        {
            expect(&run(&to, command), 3, &["vault", "read-only archive"]);
        }
        if is_sqlite {
            assert!(!files(&to).iter().any(|name| name.starts_with("vault") || name == "master.key"), "{:?}", files(&to));
        }
        expect(&run(&to, &["replay", "--open", "--format", "json"]), 3, &[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_others_append_to_is_not_imported_into() {
    let (from, to) = (lived_in().await, lived_in().await);
    let (_folder, [file, _]) = exported(&from);
    // The same origin, other events.
    let before = fs::read(&exported(&to).1[0]).unwrap();
    expect(&run(&to, &["import", "--in", text(&file)]), 3, &["is another one"]);
    // Another origin.
    let elsewhere = Store::sqlite();
    let server = Start::on(&elsewhere).variable("CREDENCE_ORIGIN", "other.example").start();
    assert!(server.terminate().success());
    expect(&run(&elsewhere, &["import", "--in", text(&file)]), 3, &["other.example"]);
    let (_after, after) = exported(&to);
    assert!(before == fs::read(&after[0]).unwrap());
    // A ledger that was lost beside its vault comes back.
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = fs::remove_file(from.folder().join(name));
    }
    let imported = run(&from, &["import", "--in", text(&file)]);
    expect(&imported, 0, &[]);
    assert!(!String::from_utf8_lossy(&imported.stderr).contains("archive"));
    let server = Start::on(&from).start();
    server.admin(&from).issue(99).await.expect(201);
}
