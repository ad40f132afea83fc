//! A vault that was lost comes back from its backup, on either engine and from one to the other; who was erased since does not.

use std::fs;
use std::process::Output;

use serde_json::json;
use sqlx::Connection as _;

use crate::client::Client;
use crate::on_both_engines;
use crate::process::{CREDENCE, Start, run, run_well};
use crate::store::Store;

const PASSWORD: &str = "a long and winding password";

/// A command on these stores, but for the vault, which is elsewhere.
fn run_with_vault(store: &Store, vault: &str, arguments: &[&str]) -> Output {
    std::process::Command::new(CREDENCE)
        .args(arguments)
        .envs(store.environment())
        .env("CREDENCE_VAULT_STORE", vault)
        .env("CREDENCE_MASTER_KEY_FILE", store.master_key())
        .output()
        .unwrap()
}

async fn lose_vault(store: &Store) {
    if store.is_sqlite() {
        for name in ["vault.sqlite", "vault.sqlite-wal", "vault.sqlite-shm"] {
            let _ = fs::remove_file(store.folder().join(name));
        }
    } else {
        let mut connection = sqlx::PgConnection::connect(store.url()).await.unwrap();
        sqlx::raw_sql("drop schema vault cascade").execute(&mut connection).await.unwrap();
    }
}

/// How the service answers for a credential, without what differs from answer to answer.
async fn shown(client: &Client, id: &str) -> (u16, serde_json::Value, serde_json::Value) {
    let (shown, verified) = (client.get(&format!("/v1/credentials/{id}")).await, client.verify(id).await);
    (shown.status, shown.body["document"].clone(), verified.body["status"].clone())
}

async fn lost_and_restored(store: &Store, vault: &str) {
    let server = Start::on(store).start();
    let client = server.admin(store);
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(client.issue(n).await.expect(201).id());
    }
    client.post("/v1/credentials", &json!({"type": "badge", "secret": "an opaque secret"})).await.expect(201);
    let revoked = String::from_utf8(run_well(store, &["keys", "create", "--role", "inspector"])).unwrap().trim().to_owned();
    let theirs = Client::new(server.address(), Some(revoked.clone()));
    theirs.get("/v1/credentials").await.expect(200);
    let account = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD});
    client.post("/v1/auth/register", &account).await.expect(201);

    let file = store.folder().join("vault.backup");
    let file = file.to_str().unwrap();
    let told = String::from_utf8(run_well(store, &["vault", "backup", "--out", file, "--valid-days", "2"])).unwrap();
    assert!(told.contains("may be restored until"), "{told}");
    assert_eq!(run(store, &["vault", "backup", "--out", file]).status.code(), Some(2), "no file is replaced");

    // One is erased, a key revoked, and somebody new comes.
    run_well(store, &["erase", "--email", "subject-1@example.org", "--reason", "asked for it"]);
    let key = client.get("/v1/keys").await.expect(200);
    let key =
        key.body["items"].as_array().unwrap().iter().find(|key| revoked.starts_with(key["prefix"].as_str().unwrap())).unwrap().clone();
    run_well(store, &["keys", "revoke", key["id"].as_str().unwrap()]);
    let login = client.post("/v1/auth/login", &json!({"identifier": "ada", "password": PASSWORD})).await.expect(200);
    let ada = Client::new(server.address(), login.body["access_token"].as_str().map(str::to_owned));
    ada.send_text("PATCH", "/v1/me", Some(r#"{"email": "ada@example.com"}"#), &[]).await.expect(200);
    let since = client.issue(9).await.expect(201);
    client.verify_at_least(&since.id(), since.position()).await.expect(200);
    let mut before = Vec::new();
    for id in &ids {
        before.push(shown(&client, id).await);
    }
    assert_eq!((before[1].1.clone(), before[0].1.is_object()), (json!(null), true));
    assert!(server.terminate().success());

    // Only where there is none.
    let refused = run(store, &["vault", "restore", "--in", file]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    lose_vault(store).await;
    assert_eq!(run(store, &["serve", "--listen", "127.0.0.1:0"]).status.code(), Some(3));

    // What is no backup any more writes nothing.
    let cut = store.folder().join("cut.backup");
    let whole = fs::read(file).unwrap();
    fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    let refused = run_with_vault(store, vault, &["vault", "restore", "--in", cut.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it is not as it was made"), "{refused:?}");
    assert_eq!(run_with_vault(store, vault, &["serve", "--listen", "127.0.0.1:0"]).status.code(), Some(3));

    let restored = run_with_vault(store, vault, &["vault", "restore", "--in", file]);
    let told = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(restored.status.success(), "{restored:?}");
    for words in ["left out: subjects 1, months 0", "changed since: 1;", "cannot be opened: credentials 1, subjects 1"] {
        assert!(told.contains(words), "{words:?} is not in: {told}");
    }
    let warned = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert!(warned.contains("before these were changed: 1; have them set again") && !warned.contains("password"), "{warned}");
    // The credential of the one who came since is told, so that it can be revoked.
    assert!(warned.contains("Revoke each and issue it anew"), "{warned}");
    assert_eq!(fs::read_to_string(format!("{file}.lost")).unwrap(), format!("{}\n", since.id()));
    let checked = run_with_vault(store, vault, &["fsck"]);
    assert!(checked.status.success(), "{checked:?}");
    let recorded = run_with_vault(store, vault, &["replay", "--log", "audit", "--type", "VaultRestored"]);
    assert_eq!(String::from_utf8_lossy(&recorded.stdout).lines().count(), 2, "{recorded:?}");

    let key = store.master_key();
    let server =
        Start::on(store).variable("CREDENCE_VAULT_STORE", vault).variable("CREDENCE_MASTER_KEY_FILE", key.to_str().unwrap()).start();
    let client = server.admin(store);
    for (id, before) in ids.iter().zip(&before) {
        assert_eq!(shown(&client, id).await, *before);
    }
    let lost = client.get(&format!("/v1/credentials/{}", since.id())).await.expect(410);
    assert_eq!(lost.body["type"], "/problems/key-lost", "nobody was erased");
    assert_eq!(client.verify(&since.id()).await.body["status"], "active");
    client.act(&since.id(), "revoke").await.expect(200);
    let again = client.issue(9).await.expect(201);
    client.get(&format!("/v1/credentials/{}", again.id())).await.expect(200);
    let secret = client.post("/v1/verifications", &json!({"secret": "an opaque secret"})).await.expect(200);
    assert_eq!(secret.body["valid"], true);
    Client::new(server.address(), Some(revoked)).get("/v1/credentials").await.expect(401);
    // The erased person is another one from now on, and a known one is known.
    client.issue(0).await.expect(409);
    client.issue(1).await.expect(201);
    assert!(server.terminate().success());
}

async fn a_vault_that_was_lost_comes_back_but_for_who_was_erased_since(store: Store) {
    let vault = store.url().to_owned();
    lost_and_restored(&store, &vault).await;
}

on_both_engines!(a_vault_that_was_lost_comes_back_but_for_who_was_erased_since);

async fn a_vault_comes_back_on_the_other_engine(store: Store) {
    let other = if store.is_sqlite() { Store::postgres().await } else { Store::sqlite() };
    lost_and_restored(&store, other.url()).await;
}

on_both_engines!(a_vault_comes_back_on_the_other_engine);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_from_before_a_rotation_ends_with_the_old_master_key() {
    let store = Store::sqlite();
    let server = Start::on(&store).start();
    server.admin(&store).issue(1).await.expect(201);
    assert!(server.terminate().success());
    let file = store.folder().join("vault.backup");
    let file = file.to_str().unwrap();
    run_well(&store, &["vault", "backup", "--out", file]);
    run_well(&store, &["vault", "rotate-master-key"]);
    lose_vault(&store).await;
    let refused = run(&store, &["vault", "restore", "--in", file]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("once that is destroyed, so is the backup"), "{refused:?}");
}

/// How often a backup is on record.
fn recorded(store: &Store) -> usize {
    let told = run_well(store, &["replay", "--log", "audit", "--type", "VaultBackedUp"]);
    String::from_utf8(told).unwrap().lines().count().saturating_sub(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_not_on_record_cannot_be_restored() {
    let store = Store::sqlite();
    let server = Start::on(&store).start();
    server.admin(&store).issue(1).await.expect(201);
    assert!(server.terminate().success());
    let (file, partial) = (store.folder().join("vault.backup"), store.folder().join("vault.backup.partial"));
    let backup = ["vault", "backup", "--out", file.to_str().unwrap()];

    // The audit log is somebody else's: the backup waits with all but its end on the disk, and is killed there.
    let audit = rusqlite::Connection::open(store.folder().join("audit.sqlite")).unwrap();
    audit.execute_batch("begin immediate").unwrap();
    let mut killed = std::process::Command::new(CREDENCE).args(backup).envs(store.environment()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while fs::metadata(&partial).map_or(0, |partial| partial.len()) == 0 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10) && killed.try_wait().unwrap().is_none());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!file.exists());
    let elsewhere = format!("sqlite:{}", store.folder().join("elsewhere").display());
    let refused = run_with_vault(&store, &elsewhere, &["vault", "restore", "--in", partial.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it is not as it was made"), "{refused:?}");

    // Nobody lets go of it in time: no backup, and nothing of it.
    let refused = run(&store, &backup);
    assert!(!refused.status.success() && !file.exists() && !partial.exists(), "{refused:?}");
    drop(audit);
    assert_eq!(recorded(&store), 0);

    run_well(&store, &backup);
    assert_eq!((recorded(&store), file.exists(), partial.exists()), (1, true, false));
}
