//! A disk that is full: what cannot be written is refused, said, and written again once there is room.

use std::process::Command;
use std::time::Duration;

use credence_api::http::health::READINESS_KEPT;
use serde_json::{Value, json};

use crate::client::Client;
use crate::process::{CREDENCE, Server, Start, UNDISTURBED, until};
use crate::store::Store;

const ROOM: &str = "524288";
const NONE: &str = "4096";
const PATIENCE: Duration = Duration::from_secs(60);

async fn failing(server: &Server) -> Vec<String> {
    tokio::time::sleep(READINESS_KEPT).await;
    let readiness = server.anonymous().get("/health/ready").await;
    let names = readiness.body["failing"].as_array().unwrap().iter().map(|failing| failing["name"].as_str().unwrap().to_owned());
    let names: Vec<String> = names.collect();
    assert_eq!(
        (readiness.status, readiness.body["status"].as_str().unwrap()),
        if names.is_empty() { (200, "ready") } else { (503, "not_ready") }
    );
    names
}

/// A credential of some pages.
fn large(n: usize) -> Value {
    let subject = json!({"name": format!("Subject {n}"), "email": format!("subject-{n}@example.org")});
    json!({"type": "badge", "subject": subject, "claims": {"text": "x".repeat(30_000)}})
}

/// Issues until that is refused for the store.
async fn fill(client: &Client) {
    for n in 0..100 {
        let answer = client.post("/v1/credentials", &large(n)).await;
        if answer.status != 201 {
            assert_eq!((answer.status, answer.body["type"].as_str().unwrap()), (503, "/problems/store-unavailable"));
            return;
        }
    }
    panic!("the disk is never full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_not_ready_while_its_stores_cannot_be_written_and_is_again_once_they_can() {
    let store = Store::sqlite();
    let server = Start::on(&store).under(&UNDISTURBED).start();
    let client = server.admin(&store);
    client.issue(1000).await.expect(201);
    assert_eq!(failing(&server).await, [""; 0]);

    // The ledger answers whoever asks, and takes nothing.
    server.limit_files(ROOM);
    fill(&client).await;
    assert!(failing(&server).await.contains(&"ledger".to_owned()));

    // Nobody asks for anything, and yet the vault and what keeps the read models up find it out.
    server.limit_files(NONE);
    until("vault and read models are named", PATIENCE, async || {
        let failing = failing(&server).await;
        ["vault", "history"].iter().all(|name| failing.iter().any(|failing| failing == name))
    })
    .await;
    assert!(server.log.lock().unwrap().contains("the projection cannot go on"));

    // Of all this nothing is left once there is room, but what an append must say.
    server.limit_files("unlimited");
    until("only the logs are left", PATIENCE, async || {
        failing(&server).await.iter().all(|name| ["ledger", "audit"].contains(&name.as_str()))
    })
    .await;
    let issued = client.post("/v1/credentials", &large(1001)).await.expect(201);
    client.verify_at_least(&issued.id(), issued.position()).await.expect(200);
    until("ready", PATIENCE, async || failing(&server).await.is_empty()).await;
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_says_that_a_read_model_is_not_compared_where_there_is_no_room() {
    let store = Store::sqlite();
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    for n in 0..10 {
        let issued = client.issue(n).await.expect(201);
        client.verify_at_least(&issued.id(), issued.position()).await.expect(200);
    }
    let mut fsck = Command::new(UNDISTURBED[0]);
    fsck.args(&UNDISTURBED[1..]).args(["prlimit", "--fsize=40960:", CREDENCE, "fsck"]).envs(store.environment());
    let checked = fsck.output().unwrap();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{checked:?}");
    for line in ["ledger: 11 events", "audit: 11 events", "verification: not compared: the store cannot be reached: "] {
        assert!(told.lines().any(|told| told.starts_with(line)), "{line}: {told}");
    }
}
