//! The master key is rotated beside servers that go on issuing, verifying and logging in; killed on the way; with keys from elsewhere.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::client::Client;
use crate::on_both_engines;
use crate::process::{CREDENCE, Running, Server, Start, run, run_well, until};
use crate::store::Store;

const ROTATE: [&str; 2] = ["vault", "rotate-master-key"];

/// Clients that do everything that needs the vault's secrets, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(servers: &[&Server], store: &Store) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = Vec::new();
        for (at, server) in servers.iter().enumerate() {
            for lane in 0..2 {
                let (client, stop, done) = (server.admin(store), stop.clone(), done.clone());
                clients.push(tokio::spawn(async move {
                    let mut ids = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let n = 10_000 * (2 * at + lane) + ids.len();
                        let issued = client.issue(n).await.expect(201);
                        // Somebody known: another credential of a subject whose key the old master key may have wrapped.
                        let mut again = crate::client::badge(n / 2);
                        again["type"] = json!(format!("badge-{n}"));
                        client.post("/v1/credentials", &again).await.expect(201);
                        let shown = client.get(&format!("/v1/credentials/{}", issued.id())).await.expect(200);
                        assert_eq!(shown.body["document"], issued.body["document"]);
                        let verified = client.verify_at_least(&issued.id(), issued.position()).await.expect(200);
                        assert_eq!(verified.body["valid"], true);
                        ids.push(issued.id());
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    ids
                }));
            }
            let (client, stop, done) = (server.admin(store), stop.clone(), done.clone());
            clients.push(tokio::spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    logs_in(&client, &format!("ada{at}x{n}")).await;
                    n += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Vec::new()
            }));
        }
        Load { stop, done, clients }
    }

    /// All that was issued, of which nothing failed.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ids = Vec::new();
        for client in self.clients {
            ids.extend(client.await.unwrap());
        }
        ids
    }
}

/// An account is made, and its owner logs in.
async fn logs_in(client: &Client, name: &str) {
    let account = json!({"username": name, "email": format!("{name}@example.org"), "password": "a long and winding password"});
    client.post("/v1/auth/register", &account).await.expect(201);
    let login = json!({"identifier": name, "password": "a long and winding password"});
    client.post("/v1/auth/login", &login).await.expect(200);
}

fn keys_in(path: &std::path::Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// Reads what a rotation tells until it tells this, and answers that line.
fn hears(rotation: &mut Running, words: &str) -> String {
    let mut told = String::new();
    while let Some(line) = rotation.line() {
        if line.contains(words) {
            return line;
        }
        told += &line;
    }
    panic!("{words:?} is not in: {told}");
}

async fn a_master_key_is_rotated_under_load_by_a_process_that_is_killed_without_one_failed_request(store: Store) {
    let one = Start::on(&store).variable("CREDENCE_WORKER_ID", "node-one").variable("CREDENCE_PASSWORD_MEMORY_KIB", "128").start();
    let theirs = store.folder().join("their.key");
    fs::copy(store.master_key(), &theirs).unwrap();
    let their = theirs.to_str().unwrap();
    let two = Start::on(&store).variable("CREDENCE_WORKER_ID", "node-two").variable("CREDENCE_PASSWORD_MEMORY_KIB", "128");
    let two = two.variable("CREDENCE_MASTER_KEY_FILE", their).start();
    let old = keys_in(&store.master_key()).remove(0);
    let before = one.admin(&store).issue(1_000_000).await.expect(201);
    let load = Load::on(&[&one, &two], &store);

    // The other node's key is somebody else's to give: it is waited for, and that can be given up.
    let mut rotation = Running::start(&store, &ROTATE);
    let made = hears(&mut rotation, "a new key was made and added: keep a copy of this file now");
    assert!(made.contains(store.master_key().to_str().unwrap()), "{made}");
    hears(&mut rotation, "waiting for node-two (all), which does not have the new key");
    let refused = run(&store, &ROTATE);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another process is rotating"), "{refused:?}");
    rotation.kill9();
    let keys = keys_in(&store.master_key());
    assert!(keys.len() == 2 && keys[0] == old, "{keys:?}");
    let waited = run(&store, &[&ROTATE[..], &["--wait-s-max", "2"]].concat());
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
    assert_eq!(keys_in(&store.master_key()), keys, "the same new key is waited for");
    fs::write(&theirs, format!("{}\n{}\n", keys[0], keys[1])).unwrap();

    // Killed while everything is wrapped anew, it is gone on with.
    let mut rotation = Running::start(&store, &ROTATE);
    hears(&mut rotation, "wrapping anew");
    rotation.kill9();
    assert_eq!(keys_in(&store.master_key()), keys);
    let so_far = load.done.load(Ordering::Relaxed);
    until("the load goes on", Duration::from_secs(20), async || load.done.load(Ordering::Relaxed) > so_far).await;
    let done = run(&store, &ROTATE);
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && told.contains("making sure") && told.contains("opens nothing"), "{told}");
    assert!(!told.contains("keep a copy"), "the key was made before: {told}");
    assert_eq!(keys_in(&store.master_key()), keys[1..]);
    let so_far = load.done.load(Ordering::Relaxed);
    until("the load goes on", Duration::from_secs(20), async || load.done.load(Ordering::Relaxed) > so_far + 5).await;
    let issued = load.stop().await;
    assert!(one.terminate().success() && two.terminate().success());

    // The old key is done with, and everything opens with the new one.
    fs::write(&theirs, &old).unwrap();
    let refused = std::process::Command::new(CREDENCE)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .envs(store.environment())
        .env("CREDENCE_MASTER_KEY_FILE", their)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("does not open the vault"), "{refused:?}");
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    for id in issued.iter().chain([&before.id()]) {
        let shown = client.get(&format!("/v1/credentials/{id}")).await.expect(200);
        assert!(shown.body["document"].is_object(), "{shown:?}");
    }
    logs_in(&client, "afterwards").await;
    client.post("/v1/auth/login", &json!({"identifier": "ada0x0", "password": "a long and winding password"})).await.expect(200);
    run_well(&store, &["fsck"]);
    let recorded = run_well(&store, &["replay", "--log", "audit", "--type", "MasterKeyRotated"]);
    assert_eq!(String::from_utf8_lossy(&recorded).lines().count(), 2, "one rotation, however often it was gone on with");
}

on_both_engines!(a_master_key_is_rotated_under_load_by_a_process_that_is_killed_without_one_failed_request);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_comes_from_elsewhere_is_rotated_by_whoever_gives_it() {
    let store = Store::sqlite();
    let (old, new) = ("a1".repeat(32), "b2".repeat(32));
    let serve = |key: &str| Start::on(&store).variable("CREDENCE_MASTER_KEY", key);
    let rotate = |key: &str| {
        let mut command = std::process::Command::new(CREDENCE);
        command.args(ROTATE).envs(store.environment()).env("CREDENCE_MASTER_KEY", key).output().unwrap()
    };
    let server = serve(&old).start();
    let issued = server.admin(&store).issue(1).await.expect(201);
    assert!(!store.folder().join("master.key").exists());
    let refused = rotate(&old);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("CREDENCE_MASTER_KEY: add the new key"), "{refused:?}");
    // The server is given both by being started again.
    assert!(server.terminate().success());
    let server = serve(&format!("{old} {new}")).start();
    let done = rotate(&format!("{old} {new}"));
    assert!(done.status.success(), "{done:?}");
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(told.contains("CREDENCE_MASTER_KEY: take the old key out") && !told.contains(&old) && !told.contains(&new), "{told}");
    // It does not go back to the key that was.
    let over = rotate(&format!("{old} {new}"));
    assert!(over.status.success() && String::from_utf8_lossy(&over.stderr).contains("was over before"), "{over:?}");
    server.admin(&store).get(&format!("/v1/credentials/{}", issued.id())).await.expect(200);
    assert!(!server.log.lock().unwrap().contains(&new));
    assert!(server.terminate().success());
    let server = Start::on(&store).variable("CREDENCE_MASTER_KEY_COMMAND", &format!("echo {new} | cat")).start();
    server.admin(&store).get(&format!("/v1/credentials/{}", issued.id())).await.expect(200);
    assert!(server.terminate().success());
}
