//! Erased is erased: nothing of a person is left in any file, and whoever is killed half-way is finished.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::client::Client;
use crate::on_both_engines;
use crate::process::{Start, run_well, until};
use crate::search::{files, places_of, places_of_bytes};
use crate::store::Store;

on_both_engines!(whoever_is_killed_between_the_event_and_the_key_is_finished_by_the_next_start);

const NAME: &str = "Žofie Quillfeather";
const EMAIL: &str = "zofie.quillfeather@example.org";
const URI: &str = "did:example:zofie-quillfeather-5521";
const CLAIM: &str = "grade-summa-cum-laude-7731";
const REASON: &str = "withdrawn-after-plagiarism-4412";
const ERASED_FOR: &str = "asked-by-letter-of-november-6630";

async fn on_postgres(store: &Store) -> PgConnection {
    PgConnection::connect(store.url()).await.unwrap()
}

fn on_sqlite(store: &Store, file: &str) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(store.folder().join(file)).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection
}

async fn all_or_none(store: &Store, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut on_postgres(store).await).await.unwrap();
}

/// What the vault keeps of a credential's subject: its wrapped key.
async fn wrapped_key(store: &Store, subject: &str) -> Vec<u8> {
    let hex = subject.replace('-', "");
    if store.is_sqlite() {
        let select = "select wrapped_key from subjects where id = unhex(?1)";
        return on_sqlite(store, "vault.sqlite").query_row(select, [hex], |row| row.get(0)).unwrap();
    }
    let select = sqlx::query_scalar("select wrapped_key from vault.subjects where id = $1::uuid").bind(subject.to_owned());
    select.fetch_one(&mut on_postgres(store).await).await.unwrap()
}

async fn issue(client: &Client, kind: &str, name: &str, email: &str) -> Value {
    let body = json!({"type": kind, "subject": {"name": name, "email": email, "id": URI}, "claims": {CLAIM: [CLAIM]}, "receipt": true});
    client.post("/v1/credentials", &body).await.expect(201).body
}

/// The subject that an issuance says it is about.
async fn subject_of(client: &Client, issued: &Value) -> String {
    let path = format!("/v1/credentials/{}/events", issued["id"].as_str().unwrap());
    client.get(&path).await.expect(200).body["items"][0]["payload"]["subject_id"].as_str().unwrap().to_owned()
}

/// Lets go of whatever a file keeps of what is not in it any more.
async fn squeeze(store: &Store) {
    if store.is_sqlite() {
        for file in std::fs::read_dir(store.folder()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".sqlite") {
                let connection = on_sqlite(store, &name);
                connection.execute_batch("vacuum").unwrap();
                let busy: i64 = connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0)).unwrap();
                assert_eq!(busy, 0, "{name}");
            }
        }
        return;
    }
    // What a table has freed keeps its bytes until the table is written anew.
    for statement in ["vacuum full vault.subjects", "checkpoint", "select pg_switch_wal()", "checkpoint"] {
        all_or_none(store, statement).await;
    }
}

async fn nothing_is_left_of_whoever_was_erased(store: Store, folders: impl Fn(&Store) -> Vec<PathBuf>) {
    let server = Start::on(&store).variable("CREDENCE_LOG", "trace").start();
    let client = server.admin(&store);
    // First, so that no row that is moved into a page's freed space covers the bytes of the one that is destroyed.
    let other = issue(&client, "diploma", "Grace Hopper", "grace@example.org").await;
    let (one, two) = (issue(&client, "diploma", NAME, EMAIL).await, issue(&client, "licence", NAME, EMAIL).await);
    let id = one["id"].as_str().unwrap().to_owned();
    client.post(&format!("/v1/credentials/{id}/revoke"), &json!({"reason": REASON})).await.expect(200);
    client.post("/v1/verifications", &json!({"document": two["document"], "as_of": null})).await.expect(200);
    client.post("/v1/verifications", &json!({"id": two["id"], "subject": {"name": NAME, "email": EMAIL}})).await.expect(200);
    client.post("/v1/credentials/search", &json!({"email": EMAIL, "name": NAME})).await.expect(200);
    client.get(&format!("/v1/credentials/{id}")).await.expect(200);
    let (subject, stays) = (subject_of(&client, &one).await, subject_of(&client, &other).await);
    let (destroyed, kept) = (wrapped_key(&store, &subject).await, wrapped_key(&store, &stays).await);
    // What was written of the log before, closed as it is.
    let early = |name: &str| store.folder().join(name).display().to_string();
    std::fs::write(early("early.ndjson"), run_well(&store, &["replay", "--format", "json"])).unwrap();
    std::fs::write(early("early-audit.cbor"), run_well(&store, &["replay", "--log", "audit", "--format", "cbor"])).unwrap();
    run_well(&store, &["export", "--out", &early("early.export")]);
    // What the holder keeps, where nobody searches.
    let held = tempfile::tempdir().unwrap();
    let hold = |name: &str, text: String| {
        let path = held.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let keys = hold("keys", server.anonymous().text("/v1/logs/ledger/keys").await);
    let (document, receipt) = (hold("document.json", one["document"].to_string()), hold("receipt.json", one["receipt"].to_string()));

    let haystacks = |log: String| {
        let mut haystacks = Vec::new();
        folders(&store).iter().for_each(|folder| files(folder, &mut haystacks));
        haystacks.push(("log".to_owned(), log.into_bytes()));
        haystacks
    };
    assert!(!places_of_bytes(&destroyed, &haystacks(String::new())).is_empty(), "the search finds a wrapped key");

    let erased = client.post("/v1/subjects/erasures", &json!({"email": EMAIL, "reason": ERASED_FOR})).await.expect(200).body;
    assert_eq!((&erased["subjects"][0]["id"], &erased["read_models"]), (&json!(subject), &json!("purged")));
    let log = server.log.lock().unwrap().clone();
    assert!(!log.is_empty() && server.terminate().success());
    squeeze(&store).await;
    let after = haystacks(log);
    for text in [NAME, EMAIL, URI, CLAIM, REASON, ERASED_FOR] {
        assert_eq!(places_of(text, &after), Vec::<&str>::new(), "{text}");
    }
    assert_eq!(places_of_bytes(&destroyed, &after), Vec::<&str>::new(), "the destroyed key");
    assert!(!places_of_bytes(&kept, &after).is_empty(), "the search finds the key of somebody else");
    assert!(!places_of(&subject, &after).is_empty(), "the search finds what stands in clear");

    // Every proof stays.
    run_well(&store, &["fsck"]);
    run_well(&store, &["rebuild"]);
    run_well(&store, &["fsck"]);
    run_well(&store, &["verify", &document, "--receipt", &receipt, "--key", &keys]);
    run_well(&store, &["verify", &early("early.export"), "--key", &keys]);
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    assert_eq!(client.post("/v1/verifications", &json!({"document": one["document"]})).await.expect(200).body["status"], "erased");
    assert_eq!(client.post("/v1/verifications", &json!({"document": other["document"]})).await.expect(200).body["status"], "active");
    client.get(&format!("/v1/credentials/{}/receipt", two["id"].as_str().unwrap())).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_whoever_was_erased_in_the_files_of_sqlite() {
    nothing_is_left_of_whoever_was_erased(Store::sqlite(), |store| vec![store.folder().to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_whoever_was_erased_in_the_files_of_postgres() {
    let store = Store::private_postgres_with(&[("wal_recycle", "off")]).await;
    let folder = store.server.as_ref().unwrap().data_folder().parent().unwrap().to_owned();
    nothing_is_left_of_whoever_was_erased(store, |store| vec![store.folder().to_owned(), folder.clone()]).await;
}

/// Holds a lock of a store until it is let go.
enum Hold {
    Sqlite(rusqlite::Connection),
    Postgres(PgConnection),
}

impl Hold {
    /// Lets nobody append to the ledger.
    async fn ledger(store: &Store) -> Hold {
        Hold::take(store, "ledger.sqlite", "select size from ledger.head for update").await
    }

    /// Lets nobody delete a subject.
    async fn subjects(store: &Store) -> Hold {
        Hold::take(store, "vault.sqlite", "select id from vault.subjects for update").await
    }

    async fn take(store: &Store, file: &str, lock: &str) -> Hold {
        if store.is_sqlite() {
            let connection = on_sqlite(store, file);
            connection.execute_batch("begin immediate").unwrap();
            return Hold::Sqlite(connection);
        }
        let mut connection = on_postgres(store).await;
        sqlx::raw_sql(AssertSqlSafe(format!("begin; {lock}"))).execute(&mut connection).await.unwrap();
        Hold::Postgres(connection)
    }

    async fn let_go(self) {
        match self {
            Hold::Sqlite(connection) => connection.execute_batch("rollback").unwrap(),
            Hold::Postgres(mut connection) => drop(sqlx::raw_sql("rollback").execute(&mut connection).await.unwrap()),
        }
    }
}

async fn count(store: &Store, file: &str, (table, which): (&str, &str)) -> i64 {
    if store.is_sqlite() {
        let (_, bare) = table.split_once('.').unwrap();
        let select = format!("select count(*) from {bare} where {which}");
        return on_sqlite(store, file).query_row(&select, [], |row| row.get(0)).unwrap();
    }
    let select = format!("select count(*) from {table} where {which}");
    sqlx::query_scalar(AssertSqlSafe(select)).fetch_one(&mut on_postgres(store).await).await.unwrap()
}

async fn whoever_is_killed_between_the_event_and_the_key_is_finished_by_the_next_start(store: Store) {
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    let issued = issue(&client, "diploma", NAME, EMAIL).await;
    let notes = ("vault.erasures", "true");
    let erasures = ("ledger.events", "type = 'SubjectErased'");
    let keys = ("vault.subjects", "true");

    let ledger = Hold::ledger(&store).await;
    let ordered = {
        let client = client.clone();
        let body = json!({"email": EMAIL, "reason": ERASED_FOR});
        tokio::spawn(async move { client.try_post("/v1/subjects/erasures", &body, &[]).await })
    };
    until("it is noted", Duration::from_secs(4), async || count(&store, "vault.sqlite", notes).await == 1).await;
    let subjects = Hold::subjects(&store).await;
    ledger.let_go().await;
    until("it is in the ledger", Duration::from_secs(4), async || count(&store, "ledger.sqlite", erasures).await == 1).await;
    server.kill9();
    assert!(ordered.await.unwrap().is_err(), "nobody was answered");
    if !store.is_sqlite() {
        // The database server does not notice by itself that whoever waits is gone.
        let gone = "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        all_or_none(&store, gone).await;
    }
    subjects.let_go().await;
    assert_eq!(count(&store, "vault.sqlite", keys).await, 1, "the key is still there");
    // It is noted that this one goes.
    run_well(&store, &["fsck", "--logs-only"]);

    let server = Start::on(&store).start();
    let client = server.admin(&store);
    client.get(&format!("/v1/credentials/{}", issued["id"].as_str().unwrap())).await.expect(410);
    until("the key is destroyed", Duration::from_secs(20), async || count(&store, "vault.sqlite", keys).await == 0).await;
    until("it has been seen through", Duration::from_secs(20), async || count(&store, "vault.sqlite", notes).await == 0).await;
    run_well(&store, &["fsck"]);
}
