//! `credence serve` as a process of its own: starting, the first start, keys, stopping.

#![cfg(test)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use credence_api::stores::{Schema, Sources};
use credence_ledger::clock::SystemClock;
use credence_ledger::log::postgres::Postgres;
use credence_ledger::store::postgres::Durability;
use credence_ledger::testing::postgres::Server;
use credence_ledger::vault::{Role, Terms};
use credence_ledger::{Clock as _, LogName};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use support::{Child, Engine, Stores, TestApp, User, command, eventually};
use tempfile::TempDir;

engines!(
    of_processes_that_start_at_once_exactly_one_tells_a_key,
    a_log_that_was_lost_exits_3_and_no_empty_one_takes_its_place,
    a_vault_that_was_lost_exits_3_and_no_new_one_takes_its_place,
    an_issuer_that_the_ledger_does_not_know_is_registered_before_its_first_event,
);

fn store(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("data").display())
}

fn fails(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let Output { status, stderr, stdout } = command(arguments).envs(environment.iter().copied()).output().unwrap();
    assert!(stdout.is_empty(), "only data goes to standard output");
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_first_start_tells_the_administrators_key_once_and_the_next_does_not() {
    let folder = TempDir::new().unwrap();
    let mut child = Child::serve(folder.path(), &["--store", &store(folder.path())]);
    let told = child.stderr();
    let lines: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("administrator key (shown once): ")).collect();
    assert_eq!(lines.len(), 1);
    let key = std::fs::read_to_string(folder.path().join("data/admin.key")).unwrap();
    assert_eq!(key.trim(), lines[0]);
    assert_eq!((mode(&folder.path().join("data/admin.key")), mode(&folder.path().join("data/master.key"))), (0o600, 0o600));
    child.admin(&key).get("/v1/credentials").await.expect(200);
    assert_eq!(child.terminate().code(), Some(0));

    let mut child = Child::serve(folder.path(), &["--store", &store(folder.path())]);
    assert!(!child.stderr().contains("shown once"));
    child.admin(&key).get("/v1/credentials").await.expect(200);
    assert_eq!(child.terminate().code(), Some(0));
}

async fn of_processes_that_start_at_once_exactly_one_tells_a_key(engine: Engine) {
    let stores = Stores::new(engine).await;
    let (url, data_dir) = (stores.url(), stores.folder.path().display().to_string());
    let start = |at: usize| {
        let own = stores.folder.path().join(at.to_string());
        std::fs::create_dir(&own).unwrap();
        let (url, data_dir) = (url.clone(), data_dir.clone());
        std::thread::spawn(move || Child::serve(&own, &["--store", &url, "--data-dir", &data_dir]))
    };
    let starting: Vec<_> = (0..4).map(start).collect();
    let children: Vec<Child> = starting.into_iter().map(|child| child.join().unwrap()).collect();
    let told = children.iter().filter(|child| child.stderr().contains("shown once")).count();
    assert_eq!(told, 1);
    let key = std::fs::read_to_string(stores.folder.path().join("admin.key")).unwrap();
    for child in &children {
        child.admin(&key).get("/v1/credentials").await.expect(200);
    }
}

#[tokio::test]
async fn a_key_that_was_made_but_never_told_is_replaced() {
    let stores = Arc::new(Stores::new(Engine::Sqlite).await);
    // What a process leaves that was killed after it had made the key and before it had recorded that.
    let (config, sources) = (stores.config().store, Sources::default());
    let vault = credence_api::stores::vault(&config, Schema::Migrate, &sources).await.unwrap();
    for log in [LogName::LEDGER, LogName::AUDIT] {
        credence_api::stores::log(&config, log, &*vault, &sources).await.unwrap();
    }
    let issuer = vault.ensure_issuer("default", SystemClock.now()).await.unwrap();
    vault.create_key(&Terms::of(Role::Operator, issuer.id).named("first administrator"), SystemClock.now()).await.unwrap();
    drop(vault);

    let app = TestApp::on(stores).start().await;
    let keys = app.services().vault.keys().await.unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys[0].revoked_at.is_some() && keys[1].revoked_at.is_none());
}

/// Keeps a table of the vault on PostgreSQL from being read, until so many sessions wait for it and `meanwhile` has been done.
async fn holding(stores: &Stores, table: &str, waiting: i64, meanwhile: impl Future<Output = ()>) -> impl Future<Output = ()> {
    let url = stores.url();
    let mut holder = PgConnection::connect(&url).await.unwrap();
    let lock = format!("begin; lock table vault.{table} in access exclusive mode");
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut holder).await.unwrap();
    async move {
        eventually("they wait", || async {
            // In a session of its own: within a transaction the view stays what it was.
            let mut looking = PgConnection::connect(&url).await.unwrap();
            let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
            sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut looking).await.unwrap() == waiting
        })
        .await;
        meanwhile.await;
        sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
    }
}

#[tokio::test]
async fn a_start_that_races_the_first_one_takes_no_log_for_lost() {
    let stores = Stores::new(Engine::Postgres).await;
    let (config, sources) = (stores.config().store, Sources::default());
    let vault = credence_api::stores::vault(&config, Schema::Migrate, &sources).await.unwrap();
    let issuer = vault.ensure_issuer("default", SystemClock.now()).await.unwrap();
    vault.create_key(&Terms::of(Role::Operator, issuer.id), SystemClock.now()).await.unwrap();
    // Between its look for the log and its look for keys another process makes both.
    let (url, base) = (stores.url(), Some(vault.origin_base()));
    let others = async {
        for log in [LogName::LEDGER, LogName::AUDIT] {
            Postgres::open(&url, log, base, None, Durability::Durable).await.unwrap();
        }
    };
    let first = holding(&stores, "api_keys", 2, others).await;
    let open = async |log| credence_api::stores::log(&config, log, &*vault, &sources).await;
    let (ledger, audit, ()) = tokio::join!(open(LogName::LEDGER), open(LogName::AUDIT), first);
    assert_eq!((ledger.unwrap().head().await.unwrap().size, audit.unwrap().head().await.unwrap().size), (0, 0));
}

#[tokio::test]
async fn a_start_that_races_the_first_one_takes_no_master_key_for_missing() {
    let stores = Stores::new(Engine::Postgres).await;
    let (config, sources) = (stores.config().store, Sources::default());
    let open = async || credence_api::stores::vault(&config, Schema::Migrate, &sources).await;
    let made = open().await.unwrap().origin_base().to_owned();
    // Between its look for the file and its look for the vault another process makes both.
    let (file, aside) = (stores.data_dir().join("master.key"), stores.data_dir().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    let first = holding(&stores, "settings", 1, async { std::fs::rename(&aside, &file).unwrap() }).await;
    let (vault, ()) = tokio::join!(open(), first);
    assert_eq!(vault.unwrap().origin_base(), made);
    // One that is gone for good is still missed.
    std::fs::remove_file(&file).unwrap();
    assert!(open().await.err().unwrap().to_string().contains("the master key file is missing"));
}

async fn a_log_that_was_lost_exits_3_and_no_empty_one_takes_its_place(engine: Engine) {
    let stores = Arc::new(Stores::new(engine).await);
    let app = TestApp::on(stores.clone()).start().await;
    app.issuer().await.issue("Ada", "ada@example.org").await;
    app.shutdown().await;
    for log in ["ledger", "audit"] {
        let put_back = stores.lose(log).await;
        for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["migrate"]] {
            let stores = ["--store", &stores.url(), "--data-dir", stores.data_dir().to_str().unwrap()];
            let Output { status, stderr, .. } = support::command(&[command, &stores].concat()).output().unwrap();
            let stderr = String::from_utf8(stderr).unwrap();
            assert_eq!(status.code(), Some(3), "{command:?}: {stderr}");
            assert!(stderr.contains(log) && stderr.contains("restore it from a backup"), "{command:?}: {stderr}");
        }
        put_back.await;
    }
    let app = TestApp::on(stores).start().await;
    assert_eq!(app.services().ledger().unwrap().log.head().await.unwrap().size, 2);
}

/// What a restored ledger lacks whose vault was backed up later.
async fn an_issuer_that_the_ledger_does_not_know_is_registered_before_its_first_event(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (vault, now) = (&app.services().vault, SystemClock.now());
    let issuer = vault.ensure_issuer("later", now).await.unwrap();
    let (_, key) = vault.create_key(&Terms::of(Role::Issuer, issuer.id), now).await.unwrap();
    let issued = app.issuer_with(&key).issue("Ada", "ada@example.org").await;
    let found =
        app.anonymous().post("/v1/verifications", &json!({"id": issued["id"], "as_of_position": issued["position"]})).await.expect(200);
    assert_eq!((found.body["status"].as_str(), found.body["credential"]["issuer"].as_str()), (Some("active"), Some("later")));
}

async fn a_vault_that_was_lost_exits_3_and_no_new_one_takes_its_place(engine: Engine) {
    let stores = Arc::new(Stores::new(engine).await);
    let app = TestApp::on(stores.clone()).start().await;
    app.issuer().await.issue("Ada", "ada@example.org").await;
    app.shutdown().await;
    let put_back = stores.lose("vault").await;
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["migrate"]] {
        let stores = ["--store", &stores.url(), "--data-dir", stores.data_dir().to_str().unwrap()];
        let Output { status, stderr, .. } = support::command(&[command, &stores].concat()).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(3), "{command:?}: {stderr}");
        assert!(stderr.contains("vault") && stderr.contains("restore it from a backup"), "{command:?}: {stderr}");
    }
    put_back.await;
    TestApp::on(stores).start().await;
}

#[tokio::test]
async fn a_log_of_another_vault_exits_3() {
    let (stores, others) = (Stores::new(Engine::Sqlite).await, Stores::new(Engine::Sqlite).await);
    for stores in [&stores, &others] {
        assert_eq!(Child::serve(stores.data_dir(), &["--store", &stores.url()]).terminate().code(), Some(0));
    }
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--store", &stores.url(), "--audit-store", &others.url()];
    let (status, stderr) = fails(&arguments, &[]);
    assert_eq!(status, 3, "{stderr}");
    assert!(stderr.contains("audit") && stderr.contains("another vault"), "{stderr}");
}

#[test]
fn a_port_that_is_taken_is_told_before_any_store_is_made() {
    let folder = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, stderr) = fails(&["serve", "--store", &store(folder.path()), "--listen", &address], &[]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("--listen") && stderr.contains(&address), "{stderr}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_value_that_cannot_be_used_exits_2_and_names_its_option_or_variable() {
    let folder = TempDir::new().unwrap();
    let url = store(folder.path());
    for (arguments, environment, named) in [
        (vec!["serve", "--role", "both"], vec![], "--role"),
        (vec!["serve", "--wait-ms-max", "soon"], vec![], "--wait-ms-max"),
        (vec!["serve"], vec![("CREDENCE_WAIT_MS_MAX", "soon")], "CREDENCE_WAIT_MS_MAX"),
        (vec!["serve", "--store", "mysql://root:hunter2@host/db"], vec![], "--store"),
        (vec!["serve", "--nonsense"], vec![], "--nonsense"),
        (vec!["serve", "--store", &url, "--listen", "256.0.0.1:1"], vec![], "listen"),
        (vec!["serve", "--store", &url], vec![("CREDENCE_MASTER_KEY_FILE", "/nowhere/master.key")], "CREDENCE_MASTER_KEY_FILE"),
        (vec!["nonsense"], vec![], "nonsense"),
    ] {
        let (status, stderr) = fails(&arguments, &environment);
        assert_eq!(status, 2, "{arguments:?} {environment:?}: {stderr}");
        assert!(stderr.to_lowercase().contains(&named.to_lowercase()), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn another_master_key_or_none_exits_2_and_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let url = store(folder.path());
    let master_key = folder.path().join("data/master.key");
    assert_eq!(Child::serve(folder.path(), &["--store", &url]).terminate().code(), Some(0));
    let right = std::fs::read(&master_key).unwrap();
    assert_eq!(right.trim_ascii_end().len(), 64);

    std::fs::write(&master_key, format!("{}\n", "0".repeat(64))).unwrap();
    let (status, stderr) = fails(&["serve", "--store", &url], &[]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("master.key"), "{stderr}");
    std::fs::write(&master_key, "nonsense\n").unwrap();
    assert_eq!(fails(&["serve", "--store", &url], &[]).0, 2);
    std::fs::remove_file(&master_key).unwrap();
    assert_eq!(fails(&["serve", "--store", &url], &[]).0, 2);
    assert!(!master_key.exists(), "no fresh key opens an old vault");

    let elsewhere = folder.path().join("elsewhere.key");
    std::fs::write(&elsewhere, right).unwrap();
    let elsewhere = elsewhere.display().to_string();
    assert_eq!(Child::serve(folder.path(), &["--store", &url, "--master-key-file", &elsewhere]).terminate().code(), Some(0));
}

#[test]
fn a_master_key_comes_from_one_source_and_is_never_shown() {
    let folder = TempDir::new().unwrap();
    let url = store(folder.path());
    assert_eq!(Child::serve(folder.path(), &["--store", &url]).terminate().code(), Some(0));
    let file = folder.path().join("data/master.key");
    let right = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let (file, wrong) = (file.display().to_string(), "12".repeat(32));
    let (path, key, command) = ("CREDENCE_MASTER_KEY_FILE", "CREDENCE_MASTER_KEY", "CREDENCE_MASTER_KEY_COMMAND");
    let command_text = format!("echo {right}");
    for (environment, named) in [
        (vec![(path, file.as_str()), (key, &right)], vec![path, key]),
        (vec![(path, file.as_str()), (command, &command_text)], vec![path, command]),
        (vec![(key, right.as_str()), (command, &command_text)], vec![key, command]),
        (vec![(key, wrong.as_str())], vec![key, "does not open"]),
        (vec![(key, "hunter2")], vec![key, "64 hex digits"]),
        (vec![(command, "exit 7")], vec![command, "the command failed", "7"]),
        (vec![(command, "echo hunter2")], vec![command, "64 hex digits"]),
    ] {
        let (status, stderr) = fails(&["serve", "--store", &url], &environment);
        assert_eq!(status, 2, "{stderr}");
        assert!(named.iter().all(|name| stderr.contains(name)), "{named:?}: {stderr}");
        assert!(!stderr.contains(&right) && !stderr.contains(&wrong) && !stderr.contains("hunter2"), "{stderr}");
    }
    // Not even an option of the command line, which everybody on the host can read.
    let (status, stderr) = fails(&["serve", "--store", &url, "--master-key", &right], &[]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("--master-key"), "{stderr}");
    // A vault that is not there is not made either.
    let elsewhere = folder.path().join("elsewhere");
    let nowhere = format!("sqlite:{}", elsewhere.display());
    assert_eq!(fails(&["serve", "--store", &nowhere], &[(command, "exit 7")]).0, 2);
    assert!(!elsewhere.exists());
}

#[test]
fn a_vault_on_postgresql_needs_a_master_key_before_anything_else() {
    let (status, stderr) = fails(&["serve", "--store", "postgres://nobody:hunter2@127.0.0.1:1/none"], &[]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("CREDENCE_MASTER_KEY_FILE") && !stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn a_store_that_cannot_be_used_exits_3() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let url = format!("sqlite:{}/file/below", folder.path().display());
    let started = std::time::Instant::now();
    let (status, stderr) = fails(&["serve", "--store", &url], &[]);
    assert_eq!(status, 3, "{stderr}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_server_that_does_not_answer_is_tried_for_ten_seconds() {
    let folder = TempDir::new().unwrap();
    let master_key = folder.path().join("master.key");
    std::fs::write(&master_key, "0".repeat(64)).unwrap();
    let started = std::time::Instant::now();
    let arguments = ["serve", "--store", "postgres://nobody:hunter2@127.0.0.1:1/none", "--master-key-file", master_key.to_str().unwrap()];
    let (status, stderr) = fails(&arguments, &[]);
    assert_eq!(status, 3, "{stderr}");
    assert!(stderr.contains("vault (postgres://127.0.0.1:1/none)") && !stderr.contains("hunter2"), "{stderr}");
    assert!((10..25).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn told_to_stop_a_process_finishes_what_is_in_flight_and_says_goodbye() {
    let folder = TempDir::new().unwrap();
    let url = store(folder.path());
    let mut child = Child::serve(folder.path(), &["--store", &url, "--worker-id", "leaving"]);
    let key = std::fs::read_to_string(folder.path().join("data/admin.key")).unwrap();
    let admin = child.admin(&key);
    // A read that waits for a position which does not come keeps a request in flight for as long as it may wait.
    let waiting = admin.request(reqwest::Method::GET, "/v1/credentials").header("ledger-min-position", "ledger@1000").send();
    let waiting = tokio::spawn(waiting);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ended = tokio::task::spawn_blocking(move || (child.terminate(), child)).await.unwrap();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(ended.0.code(), Some(0));

    let stores = Arc::new(Stores::new(Engine::Sqlite).await);
    let app = TestApp::on(stores).with(|config| config.store.stores = other(&url)).start().await;
    eventually("one worker lives", || async {
        let workers = app.services().vault.workers(credence_ledger::Timestamp::EPOCH).await.unwrap();
        workers.len() == 1 && workers[0].name == "test-worker"
    })
    .await;
}

fn other(url: &str) -> credence_api::config::Stores {
    let url: credence_ledger::store::Url = url.parse().unwrap();
    credence_api::config::Stores { ledger: url.clone(), audit: url.clone(), read: url.clone(), vault: url }
}

#[tokio::test]
async fn neither_tokens_nor_queries_nor_bodies_reach_the_log_of_a_process() {
    let folder = TempDir::new().unwrap();
    let child = Child::serve(folder.path(), &["--store", &store(folder.path()), "--log", "trace"]);
    let key = std::fs::read_to_string(folder.path().join("data/admin.key")).unwrap();
    let admin = child.admin(&key);
    admin.get("/v1/credentials?type=querysecret").await.expect(200);
    let body = json!({"type": "t", "subject": {"name": "Bodysecret", "email": "bodysecret@example.org"}, "claims": {"a": "claimsecret"}});
    admin.post("/v1/credentials", &body).await.expect(201);
    admin.post("/v1/credentials", &json!({"type": "t", "secret": "opaquesecret"})).await.expect(201);
    admin.post("/v1/credentials", &json!({"type": "t", "nonsense": "unknownsecret"})).await.expect(422);
    child.anonymous().post("/v1/verifications", &json!({"secret": "opaquesecret"})).await.expect(200);
    let log = child.stderr();
    let log: String = log.lines().filter(|line| !line.contains("shown once")).collect::<Vec<_>>().join("\n");
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "JSON when not on a terminal");
    assert!(log.contains("request_id") && log.contains("worker"));
    for secret in [key.trim(), "querysecret", "odysecret", "claimsecret", "opaquesecret", "unknownsecret"] {
        assert!(!log.contains(secret), "{secret} in {}", log.lines().find(|line| line.contains(secret)).unwrap_or_default());
    }
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let folder = TempDir::new().unwrap();
    let output =
        command(&["serve", "--store", &store(folder.path()), "--listen", "256.0.0.1:1"]).env("CREDENCE_ROLL", "all").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("CREDENCE_ROLL is not known; did you mean CREDENCE_ROLE?"), "{stderr}");
}

#[tokio::test]
async fn on_postgresql_keys_are_kept_in_the_data_folder_and_no_other_folder_opens_the_vault() {
    let stores = Stores::new(Engine::Postgres).await;
    let (folder, other) = (stores.folder.path().join("data"), stores.folder.path().join("other"));
    let (url, data_dir, other_dir) = (stores.url(), folder.display().to_string(), other.display().to_string());
    let arguments = ["--store", &url, "--data-dir", &data_dir];
    let mut child = Child::serve(stores.folder.path(), &arguments);
    let key = std::fs::read_to_string(folder.join("admin.key")).unwrap();
    assert_eq!((mode(&folder.join("admin.key")), mode(&folder.join("master.key"))), (0o600, 0o600));
    child.admin(&key).get("/v1/credentials").await.expect(200);
    assert_eq!(child.terminate().code(), Some(0));
    assert!(!child.stderr().contains(&url), "a URL may hold a password");

    let (status, stderr) = fails(&["serve", "--store", &url, "--data-dir", &other_dir], &[]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("master.key") && !other.join("master.key").exists(), "{stderr}");
    let file = folder.join("master.key").display().to_string();
    let arguments = ["--store", &url, "--master-key-file", &file];
    let mut child = Child::serve(stores.folder.path(), &arguments);
    child.admin(&key).get("/v1/credentials").await.expect(200);
    assert!(!child.stderr().contains("shown once"));
    assert_eq!(child.terminate().code(), Some(0));
}

#[tokio::test]
async fn a_server_that_loses_commits_is_refused_unless_that_is_allowed_and_then_readiness_says_so() {
    let server = Server::start_private_with(&[("fsync", "off")]).await;
    let database = server.create_database().await;
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().display().to_string();
    let arguments = ["--store", &database.url, "--data-dir", &data_dir];
    let (status, stderr) = fails(&[&["serve"], arguments.as_slice()].concat(), &[]);
    assert_eq!(status, 3, "{stderr}");
    assert!(stderr.contains("fsync"), "{stderr}");

    let child = Child::serve(folder.path(), &[arguments.as_slice(), &["--allow-unsafe-durability"]].concat());
    let readiness = child.anonymous().get("/health/ready").await.expect(503).body;
    assert_eq!(readiness["status"], "not_ready");
    assert_eq!(readiness["failing"], json!([{"name": "durability", "reason": "the server runs with fsync=off"}]));
}
