//! Rebuilding a read model while everything else goes on; killed at every stage; compared with the log.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use crate::client::{Client, place};
use crate::process::{Running, Start, run, until};
use crate::store::Store;
use crate::{figure, on_both_engines, replayed};

on_both_engines!(rebuilding_disturbs_nobody_and_gives_the_same_model);
on_both_engines!(a_killed_rebuild_leaves_the_serving_model_and_is_resumed);
on_both_engines!(events_appended_by_64_clients_are_all_in_the_rebuilt_model);

/// What a client knows of one credential: what each position made of it, from its issuance on.
type Changes = HashMap<String, Vec<(u64, &'static str)>>;

/// Issues `count` credentials by 64 clients; every twentieth is suspended, every other twentieth revoked.
async fn populate(client: &Client, count: usize) -> Changes {
    let changes = join_all((0..64).map(|lane| async move {
        let mut changes = Changes::new();
        for n in (lane..count).step_by(64) {
            let issued = client.issue(n).await.expect(201);
            let mut known = vec![(issued.position(), "active")];
            let act = match n / 64 % 20 {
                0 => Some(("suspend", "suspended")),
                10 => Some(("revoke", "revoked")),
                _ => None,
            };
            if let Some((act, status)) = act {
                known.push((client.act(&issued.id(), act).await.expect(200).position(), status));
            }
            changes.insert(issued.id(), known);
        }
        changes
    }))
    .await;
    changes.into_iter().flatten().collect()
}

/// The status that `changes` give at `position`.
fn status_at(changes: &[(u64, &'static str)], position: u64) -> &'static str {
    changes.iter().rev().find(|(at, _)| *at <= position).map_or("not_found", |(_, status)| status)
}

/// Traffic that goes on beside a rebuild: issuing, revoking, verifying. Every answer is looked at.
struct Traffic {
    stop: AtomicBool,
    changes: Mutex<Changes>,
    verdicts: Mutex<Vec<(String, u64, Value)>>,
}

impl Traffic {
    async fn issue_and_revoke(&self, client: &Client, first: usize) {
        for n in first.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let issued = client.issue(n).await.expect(201);
            let mut known = vec![(issued.position(), "active")];
            if n % 2 == 0 {
                known.push((client.act(&issued.id(), "revoke").await.expect(200).position(), "revoked"));
            }
            self.changes.lock().unwrap().insert(issued.id(), known);
        }
    }

    async fn verify(&self, client: &Client, lane: usize) {
        let mut step = lane;
        while !self.stop.load(Ordering::SeqCst) {
            step += 7919;
            let id = {
                let changes = self.changes.lock().unwrap();
                changes.keys().nth(step % changes.len().min(5000)).unwrap().clone()
            };
            let answer = client.verify(&id).await.expect(200);
            let position = place(answer.body["as_of_position"].as_str().unwrap());
            self.verdicts.lock().unwrap().push((id, position, answer.body["status"].clone()));
        }
    }

    /// Each verdict is what the client knows of its `as_of_position`.
    fn check(&self) -> usize {
        let (changes, verdicts) = (self.changes.lock().unwrap(), self.verdicts.lock().unwrap());
        for (id, position, status) in verdicts.iter() {
            assert_eq!(status, status_at(&changes[id], *position), "{id} at {position}: {:?}", changes[id]);
        }
        verdicts.len()
    }
}

async fn rebuilding_disturbs_nobody_and_gives_the_same_model(store: Store) {
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    let count = figure(15_000, 910_000);
    let changes = populate(&client, count).await;
    let traffic = Arc::new(Traffic { stop: AtomicBool::new(false), changes: Mutex::new(changes), verdicts: Mutex::default() });
    let mut tasks = Vec::new();
    for lane in 0..2 {
        let (traffic, client) = (Arc::clone(&traffic), client.clone());
        tasks.push(tokio::spawn(async move { traffic.issue_and_revoke(&client, count + lane * 10_000_000).await }));
    }
    for lane in 0..4 {
        let (traffic, client) = (Arc::clone(&traffic), client.clone());
        tasks.push(tokio::spawn(async move { traffic.verify(&client, lane).await }));
    }
    let rebuild = Running::start(&store, &["rebuild", "verification"]);
    let (status, progress) = tokio::task::spawn_blocking(move || {
        let mut rebuild = rebuild;
        let mut progress = Vec::new();
        while let Some(line) = rebuild.line() {
            progress.push(line);
        }
        (rebuild.finish().0, progress)
    })
    .await
    .unwrap();
    // The rebuilt model serves: let it answer for a while, too.
    tokio::time::sleep(Duration::from_secs(2)).await;
    traffic.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.expect("not one failed answer");
    }
    assert!(status.success(), "{progress:?}");
    assert!(progress.iter().any(|line| line.contains("verification")), "progress is shown: {progress:?}");
    let verdicts = traffic.check();
    assert!(verdicts > 100, "verifying went on: {verdicts}");
    println!("rebuilt {} events beside {verdicts} verdicts; last line: {:?}", replayed::ledger(&store).len(), progress.last());

    let standing = client.get("/v1/projections").await.expect(200);
    let verification = standing.body["items"].as_array().unwrap().iter().find(|item| item["name"] == "verification").unwrap().clone();
    assert!(verification["generation"].as_u64().unwrap() > 1, "{verification}");
    let checked = run(&store, &["rebuild", "--check", "verification"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

async fn a_killed_rebuild_leaves_the_serving_model_and_is_resumed(store: Store) {
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    let changes = populate(&client, figure(15_000, 200_000)).await;
    let (revoked, last) =
        changes.iter().find(|(_, known)| known.len() == 2 && known[1].1 == "revoked").map(|(id, known)| (id.clone(), known[1].0)).unwrap();
    let generation = async || {
        let standing = client.get("/v1/projections").await.expect(200);
        standing.body["items"].as_array().unwrap().iter().find(|item| item["name"] == "verification").unwrap()["generation"]
            .as_u64()
            .unwrap()
    };
    let serving = generation().await;
    // Comparing takes long enough to be caught at it only when there is much to compare; in between, the suite of the projections
    // interrupts a rebuild at each of its phases.
    let stages: &[&str] = if figure(0, 1) == 0 { &["25%", "50%", "75%"] } else { &["25%", "50%", "75%", "comparing"] };
    for stage in stages {
        let mut rebuild = Running::start(&store, &["rebuild", "verification"]);
        let stage = (*stage).to_owned();
        let wanted = stage.clone();
        let reached = tokio::task::spawn_blocking(move || {
            while let Some(line) = rebuild.line() {
                if reaches(&line, &wanted) {
                    rebuild.kill9();
                    return true;
                }
            }
            false
        })
        .await
        .unwrap();
        assert!(reached, "the rebuild ended before {stage}");
        assert_eq!(generation().await, serving, "killed at {stage}, the serving model is untouched");
        assert_eq!(client.verify_at_least(&revoked, last).await.expect(200).body["status"], "revoked");
    }
    let resumed = run(&store, &["rebuild", "verification"]);
    let told = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(resumed.status.success(), "{told}");
    assert!(told.contains("resum"), "the next run resumes: {told}");
    until("the new model serves", Duration::from_secs(10), async || generation().await > serving).await;
    assert_eq!(client.verify_at_least(&revoked, last).await.expect(200).body["status"], "revoked");
}

/// Whether a line of progress, such as `verification: building 42% …`, has come as far as `stage`.
fn reaches(line: &str, stage: &str) -> bool {
    if let Some(wanted) = stage.strip_suffix('%') {
        let wanted: f64 = wanted.parse().unwrap();
        let shown = line.split_whitespace().find_map(|word| word.trim_matches(',').strip_suffix('%')?.parse::<f64>().ok());
        return line.contains("building") && shown.is_some_and(|shown| shown >= wanted);
    }
    line.contains(stage)
}

async fn events_appended_by_64_clients_are_all_in_the_rebuilt_model(store: Store) {
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    let count = figure(3_000, 50_000);
    let rebuilding = AtomicBool::new(true);
    let (changes, ()) = tokio::join!(
        async {
            let changes = populate(&client, count).await;
            rebuilding.store(false, Ordering::SeqCst);
            changes
        },
        async {
            while rebuilding.load(Ordering::SeqCst) {
                let mut rebuild = Running::start(&store, &["rebuild", "verification"]);
                let (status, told) = tokio::task::spawn_blocking(move || {
                    let told: Vec<String> = std::iter::from_fn(|| rebuild.line()).collect();
                    (rebuild.finish().0, told)
                })
                .await
                .unwrap();
                assert!(status.success(), "{told:?}");
            }
        }
    );
    let newest = changes.values().flatten().map(|(position, _)| *position).max().unwrap();
    let mut listed = 0;
    let mut cursor = String::new();
    loop {
        client.verify_at_least(changes.keys().next().unwrap(), newest).await.expect(200);
        let page = client.get(&format!("/v1/credentials?limit=100{cursor}")).await.expect(200);
        for item in page.body["items"].as_array().unwrap() {
            let known = &changes[item["id"].as_str().unwrap()];
            assert_eq!(item["status"], known.last().unwrap().1, "{item}");
            listed += 1;
        }
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, count);
}
