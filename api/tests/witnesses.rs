//! Checkpoints that witnesses cosign: over HTTP, with witnesses that are well, slow, dead, or lie.

#![cfg(test)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use credence_api::config::{Config, ServeOptions, StoreOptions};
use credence_api::http::health::READINESS_KEPT;
use credence_api::node::Node;
use credence_api::stores::{self, Schema, Sources};
use credence_ledger::LogName;
use credence_ledger::checkpoint::{Checkpoint, VerifierKey};
use serde_json::{Value, json};
use support::witness::{Manner, TestWitness};
use support::{Child, Engine, Stores, TestApp, User, command, eventually};

engines!(
    cosignatures_stand_in_the_checkpoint_and_hold,
    two_of_three_are_enough_and_the_third_is_asked_again_when_it_is_back,
    without_a_quorum_no_checkpoint_is_published_until_it_is_back,
    no_append_waits_for_a_witness,
    what_an_ill_behaved_witness_answers_is_not_taken,
    what_is_wrong_with_each_witness_is_told,
    one_that_lies_is_heard_and_two_of_three_are_believed,
    a_witness_that_forgot_everything_is_shown_the_whole_tree,
    a_slow_witness_that_is_not_wanted_keeps_nobody_waiting_for_long,
    an_anchor_that_has_seen_more_refuses_the_start,
    an_anchor_that_does_not_answer_keeps_nobody_from_starting,
);

/// Stores, and witnesses that know their logs.
struct Scene {
    stores: Arc<Stores>,
    witnesses: Vec<TestWitness>,
    origin: String,
}

impl Scene {
    async fn new(engine: Engine, count: u8) -> Scene {
        let stores = Arc::new(Stores::new(engine).await);
        let sources = Sources::default();
        let vault = stores::vault(&stores.config().store, Schema::Migrate, &sources).await.unwrap();
        let mut keys: Vec<VerifierKey> = Vec::new();
        for log in [LogName::LEDGER, LogName::AUDIT] {
            keys.push(vault.log_key(&log, sources.clock().now()).await.unwrap().verifier());
        }
        let witnesses: Vec<TestWitness> = (1..=count).map(TestWitness::start).collect();
        for witness in &witnesses {
            witness.trust(&keys);
        }
        Scene { stores, witnesses, origin: keys[0].name().to_owned() }
    }

    /// Writes the policy and answers its path: these witnesses and, after them, these lines.
    fn policy(&self, rest: &str) -> String {
        let path = self.stores.folder.path().join("policy");
        let lines: String = self.witnesses.iter().map(TestWitness::line).collect();
        std::fs::write(&path, format!("{lines}{rest}\n")).unwrap();
        path.display().to_string()
    }

    /// A process with this policy and anchor. It publishes when it is asked to.
    fn configured(&self, policy: &str, anchor: Option<&str>) -> impl FnOnce(&mut Config) + use<> {
        let serve = ServeOptions {
            witness_policy_file: Some(self.policy(policy)),
            checkpoint_anchor: anchor.map(str::to_owned),
            ..ServeOptions::default()
        };
        let (read, _) = Config::read(&StoreOptions::default(), &serve, std::iter::empty()).unwrap();
        |config| {
            config.witnesses = read.witnesses;
            config.checkpoint_anchor = read.checkpoint_anchor;
            config.checkpoint_interval = Duration::from_secs(3600);
        }
    }

    async fn start(&self, policy: &str) -> TestApp {
        TestApp::on(self.stores.clone()).with(self.configured(policy, None)).start().await
    }

    /// The numbers of those whose cosignatures stand in the newest checkpoint, in no order, and the checkpoint's size.
    async fn cosigners(&self, app: &TestApp) -> (Vec<usize>, u64) {
        let keys = app.anonymous().get("/v1/logs/ledger/keys").await.expect(200).text;
        let mut known: Vec<VerifierKey> = keys.lines().map(|line| line.parse().unwrap()).collect();
        known.extend(self.witnesses.iter().map(|witness| witness.key.clone()));
        let checkpoint = Checkpoint::parse(&app.anonymous().get("/v1/logs/ledger/checkpoint").await.expect(200).text).unwrap();
        let signers = checkpoint.verify(&known).unwrap();
        let by = |witness: &TestWitness| signers.witnesses.iter().any(|(key, _)| *key == witness.key);
        let numbers = (1..).zip(&self.witnesses).filter(|(_, witness)| by(witness)).map(|(number, _)| number);
        (numbers.collect(), checkpoint.head().size.0)
    }
}

const TWO_OF_THREE: &str = "group all 2 w1 w2 w3\nquorum all";

fn secret(text: &str) -> Value {
    json!({"type": "code", "secret": text, "receipt": true})
}

/// Issues and waits for the receipt, so that a checkpoint covers it.
async fn issue(app: &TestApp, text: &str) -> Value {
    app.issuer().await.post("/v1/credentials", &secret(text)).await.expect(201).body
}

async fn readiness(app: &TestApp) -> Value {
    tokio::time::sleep(READINESS_KEPT).await;
    app.anonymous().get("/health/ready").await.body
}

/// What readiness warns of, or names as failing, under the name `checkpoints`.
async fn said(app: &TestApp, where_: &str) -> String {
    let told = readiness(app).await;
    let reasons = told[where_].as_array().unwrap().iter().filter(|one| one["name"] == "checkpoints");
    reasons.map(|one| one["reason"].as_str().unwrap().to_owned()).collect::<Vec<String>>().join("\n")
}

async fn cosignatures_stand_in_the_checkpoint_and_hold(engine: Engine) {
    let scene = Scene::new(engine, 3).await;
    scene.witnesses[1].does(Manner::Grease);
    let app = scene.start(TWO_OF_THREE).await;
    for text in ["a", "b", "c"] {
        let issued = issue(&app, text).await;
        let (by, size) = scene.cosigners(&app).await;
        assert_eq!(by, [1, 2, 3]);
        assert_eq!([0, 1, 2].map(|place| scene.witnesses[place].seen(&scene.origin)), [size; 3]);
        let receipt = issued["receipt"]["tlog_proof"].as_str().unwrap();
        assert!(receipt.contains("— w1.example/witness ") && !receipt.contains("grease"), "{receipt}");
    }
    assert_eq!(readiness(&app).await["warnings"], json!([]), "a quorum that is wanted keeps the size outside");
}

async fn two_of_three_are_enough_and_the_third_is_asked_again_when_it_is_back(engine: Engine) {
    let mut scene = Scene::new(engine, 3).await;
    let app = scene.start(TWO_OF_THREE).await;
    scene.witnesses[2].die();
    assert!(issue(&app, "a").await["receipt"].is_object());
    assert_eq!(scene.cosigners(&app).await.0, [1, 2]);
    scene.witnesses[2].live();
    let number = AtomicU32::new(0);
    eventually("the third cosigns again", || async {
        issue(&app, &number.fetch_add(1, Ordering::Relaxed).to_string()).await;
        scene.cosigners(&app).await.0 == [1, 2, 3]
    })
    .await;
    assert_eq!(readiness(&app).await["warnings"], json!([]));
}

async fn without_a_quorum_no_checkpoint_is_published_until_it_is_back(engine: Engine) {
    let mut scene = Scene::new(engine, 3).await;
    let configured = scene.configured(TWO_OF_THREE, None);
    let app = TestApp::on(scene.stores.clone()).with(configured).with(|config| config.wait_max = Duration::from_millis(300)).start().await;
    eventually("a first checkpoint", || async { app.anonymous().get("/v1/logs/ledger/checkpoint").await.status == 200 }).await;
    let (_, before) = scene.cosigners(&app).await;
    scene.witnesses[0].die();
    scene.witnesses[1].does(Manner::Status(500));
    let issued = issue(&app, "a").await;
    assert_eq!(issued["receipt"], Value::Null);
    let receipt = format!("/v1/credentials/{}/receipt", issued["id"].as_str().unwrap());
    let issuer = app.issuer().await;
    assert_eq!(issuer.get(&receipt).await.status, 503);
    eventually("readiness warns", || async { said(&app, "warnings").await.contains("too few witnesses") }).await;
    let warning = said(&app, "warnings").await;
    assert!(warning.contains("w1.example/witness: the witness did not answer: it cannot be reached"), "{warning}");
    assert!(warning.contains("w2.example/witness: the witness did not answer: status 500"), "{warning}");
    assert_eq!(app.anonymous().get("/health/ready").await.expect(200).body["status"], "ready");
    assert_eq!(scene.cosigners(&app).await.1, before);
    scene.witnesses[0].live();
    eventually("the receipt", || async { issuer.get(&receipt).await.status == 200 }).await;
    eventually("readiness is content", || async { readiness(&app).await["warnings"] == json!([]) }).await;
}

async fn no_append_waits_for_a_witness(engine: Engine) {
    let scene = Scene::new(engine, 3).await;
    let app = scene.start(TWO_OF_THREE).await;
    eventually("a first checkpoint", || async { app.anonymous().get("/v1/logs/ledger/checkpoint").await.status == 200 }).await;
    let before = scene.cosigners(&app).await;
    for witness in &scene.witnesses {
        witness.does(Manner::Hang);
    }
    // Somebody waits for a receipt all the while.
    let waiting = tokio::spawn({
        let issuer = app.issuer().await;
        async move { issuer.post("/v1/credentials", &secret("waits")).await }
    });
    eventually("all witnesses are asked", || async { scene.witnesses.iter().all(|witness| witness.asked() >= 2) }).await;
    let issuer = app.issuer().await;
    for number in 0..200 {
        issuer.post("/v1/credentials", &json!({"type": "code", "secret": format!("s{number}")})).await.expect(201);
    }
    assert_eq!(waiting.await.unwrap().expect(201).body["receipt"], Value::Null);
    assert_eq!(scene.cosigners(&app).await, before, "while they hang nothing is published");
    for witness in &scene.witnesses {
        witness.does(Manner::Well);
    }
    eventually("a checkpoint covers all", || async { scene.cosigners(&app).await.1 > before.1 + 200 }).await;
}

async fn what_an_ill_behaved_witness_answers_is_not_taken(engine: Engine) {
    let scene = Scene::new(engine, 6).await;
    let manners = [Manner::OtherKey, Manner::WrongSignature, Manner::Redirect, Manner::Endless, Manner::Status(204), Manner::Well];
    for (witness, manner) in scene.witnesses.iter().zip(manners) {
        witness.does(manner);
    }
    let app = scene.start("quorum none").await;
    assert!(issue(&app, "a").await["receipt"].is_object());
    assert_eq!(scene.cosigners(&app).await.0, [6]);
    assert_eq!(scene.witnesses[2].seen(&scene.origin), 0, "no redirect is followed");
    assert!(said(&app, "warnings").await.contains("CREDENCE_CHECKPOINT_ANCHOR"), "nobody is wanted, so nobody keeps the size for sure");
}

async fn what_is_wrong_with_each_witness_is_told(engine: Engine) {
    let mut scene = Scene::new(engine, 7).await;
    let manners =
        [Manner::OtherKey, Manner::WrongSignature, Manner::Redirect, Manner::Endless, Manner::Status(404), Manner::Hang, Manner::Well];
    for (witness, manner) in scene.witnesses.iter().zip(manners) {
        witness.does(manner);
    }
    scene.witnesses[6].die();
    let app = scene.start("group all all w1 w2 w3 w4 w5 w6 w7\nquorum all").await;
    eventually("readiness warns", || async { said(&app, "warnings").await.contains("ledger: too few witnesses") }).await;
    let told = said(&app, "warnings").await;
    for (number, what) in (1..).zip([
        "its cosignature does not hold",
        "its cosignature does not hold",
        "the witness did not answer: status 307",
        "the witness did not answer: its answer cannot be read",
        "the witness does not know this log or its key (status 404)",
        "no answer in time",
        "the witness did not answer: it cannot be reached",
    ]) {
        assert!(told.contains(&format!("w{number}.example/witness: {what}")), "{number}: {told}");
    }
    assert!(!told.contains("127.0.0.1"), "no address is told");
    app.anonymous().get("/v1/logs/ledger/checkpoint").await.expect_problem(404, "not-found");
}

async fn one_that_lies_is_heard_and_two_of_three_are_believed(engine: Engine) {
    let scene = Scene::new(engine, 3).await;
    let app = scene.start(TWO_OF_THREE).await;
    issue(&app, "a").await;
    scene.witnesses[0].does(Manner::Ahead(1_000_000));
    assert!(issue(&app, "b").await["receipt"].is_object());
    assert_eq!(scene.cosigners(&app).await.0, [2, 3]);
    eventually("it is heard", || async {
        said(&app, "warnings").await.contains("w1.example/witness: the witness has cosigned a tree of 1000000 events")
    })
    .await;
    app.anonymous().get("/health/ready").await.expect(200);
    scene.witnesses[1].does(Manner::Status(422));
    let (issuer, asked) = (app.issuer().await, secret("c"));
    let unproved = issuer.post("/v1/credentials", &asked);
    let refused = async {
        eventually("two are believed", || async { app.anonymous().get("/health/ready").await.status == 503 }).await;
        let said = said(&app, "failing").await;
        assert!(
            said.contains("w2.example/witness: the witness has cosigned another history") && said.contains("Nothing is signed any more"),
            "{said}"
        );
    };
    let (unproved, ()) = futures::join!(unproved, refused);
    assert_eq!(unproved.expect(201).body["receipt"], Value::Null, "the act itself goes on");
}

async fn a_witness_that_forgot_everything_is_shown_the_whole_tree(engine: Engine) {
    let mut scene = Scene::new(engine, 1).await;
    let app = scene.start("quorum w1").await;
    issue(&app, "a").await;
    scene.witnesses[0].die();
    scene.witnesses[0].forget();
    scene.witnesses[0].live();
    assert!(issue(&app, "b").await["receipt"].is_object());
    let (by, size) = scene.cosigners(&app).await;
    assert_eq!((by, scene.witnesses[0].seen(&scene.origin)), (vec![1], size));
}

async fn a_slow_witness_that_is_not_wanted_keeps_nobody_waiting_for_long(engine: Engine) {
    let scene = Scene::new(engine, 3).await;
    let app = scene.start(TWO_OF_THREE).await;
    issue(&app, "a").await;
    scene.witnesses[2].does(Manner::Slow(Duration::from_secs(60)));
    let before = scene.witnesses[2].asked();
    for text in ["b", "c", "d", "e"] {
        assert!(issue(&app, text).await["receipt"].is_object());
        assert_eq!(scene.cosigners(&app).await.0, [1, 2]);
    }
    // Of four rounds it is asked in the first, and left alone in the others unless those took longer than its rest.
    assert!(scene.witnesses[2].asked() - before <= 3, "it is asked every time");
}

async fn an_anchor_that_has_seen_more_refuses_the_start(engine: Engine) {
    let scene = Scene::new(engine, 1).await;
    let app = TestApp::on(scene.stores.clone()).with(scene.configured("quorum none", Some("witness:w1"))).start().await;
    issue(&app, "a").await;
    assert_eq!((scene.cosigners(&app).await.0, readiness(&app).await["warnings"].clone()), (vec![1], json!([])));
    app.shutdown().await;
    scene.witnesses[0].does(Manner::Ahead(1000));
    let mut config = scene.stores.config();
    scene.configured("quorum none", Some("witness:w1"))(&mut config);
    let refused = Node::start(config, Sources::default()).await.err().unwrap().to_string();
    assert!(refused.contains("w1.example/witness: the witness has cosigned a tree of 1000 events"), "{refused}");
}

async fn an_anchor_that_does_not_answer_keeps_nobody_from_starting(engine: Engine) {
    let scene = Scene::new(engine, 1).await;
    let app = TestApp::on(scene.stores.clone()).with(scene.configured("quorum none", Some("witness:w1"))).start().await;
    issue(&app, "a").await;
    app.shutdown().await;
    scene.witnesses[0].does(Manner::Hang);
    let app = TestApp::on(scene.stores.clone()).with(scene.configured("quorum none", Some("witness:w1"))).start().await;
    app.issuer().await.issue("Ada", "ada@example.org").await;
    eventually("readiness warns", || async { said(&app, "warnings").await.contains("too few witnesses cosigned") }).await;
    scene.witnesses[0].does(Manner::Ahead(1000));
    eventually("a later round finds out", || async { said(&app, "failing").await.contains("it was rolled back") }).await;
}

fn back_up(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (file, copy) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sqlite") => {
                let database = rusqlite::Connection::open(&file).unwrap();
                database.execute("vacuum into ?1", [copy.to_str().unwrap()]).unwrap();
            }
            Some("key") => drop(std::fs::copy(&file, copy).unwrap()),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_and_vault_restored_together_from_an_older_backup_are_refused_by_the_witness_with_3() {
    let scene = Scene::new(Engine::Sqlite, 1).await;
    let app = TestApp::on(scene.stores.clone()).with(scene.configured("quorum none", Some("witness:w1"))).start().await;
    issue(&app, "a").await;
    app.shutdown().await;
    let folder = tempfile::TempDir::new().unwrap();
    let (live, backup) = (scene.stores.folder.path(), folder.path().join("backup"));
    back_up(live, &backup);
    let app = TestApp::on(scene.stores.clone()).with(scene.configured("quorum none", Some("witness:w1"))).start().await;
    issue(&app, "b").await;
    app.shutdown().await;
    let store = format!("sqlite:{}", backup.display());
    let policy = scene.policy("quorum none");
    let arguments = ["--store", &store, "--witness-policy-file", &policy];
    let mut anchored = command(&[&["serve", "--listen", "127.0.0.1:0", "--checkpoint-anchor", "witness:w1"], &arguments[..]].concat());
    let ran = tokio::task::spawn_blocking(move || anchored.output().unwrap()).await.unwrap();
    let told = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(3), "{told}");
    assert!(told.contains("w1.example/witness: the witness has cosigned a tree of") && told.contains("it was rolled back"), "{told}");
    // Where nobody is wanted it starts, and what the witness says is heard.
    let child = Child::serve(folder.path(), &arguments);
    let warned = async |what: &str| {
        eventually(what, || async { child.anonymous().get("/health/ready").await.expect(200).text.contains(what) }).await;
    };
    warned("CREDENCE_CHECKPOINT_ANCHOR").await;
    warned("a witness contradicts it: w1.example/witness").await;
}
