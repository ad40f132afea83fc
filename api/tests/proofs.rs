//! Checkpoints, tiles, keys, proofs and receipts, as somebody outside gets and checks them.

#![cfg(test)]

mod support;

use std::time::Duration;

use credence_api::config::{Config, Role};
use credence_api::http::docs;
use credence_ledger::checkpoint::{Checkpoint, VerifierKey};
use credence_ledger::publisher::anchor::Anchor;
use credence_ledger::receipt::Receipt;
use credence_ledger::tree::proof::{check_consistency, check_inclusion};
use credence_ledger::tree::{Frontier, Hash, TreeSize};
use credence_ledger::{LogName, Position, chain};
use serde_json::{Value, json};
use support::{Anonymous, Answer, Engine, Issuer, TestApp, User, eventually, run};

engines!(
    a_checkpoint_is_signed_by_the_keys_that_the_log_tells,
    bundles_and_tiles_add_up_to_the_checkpoints_root,
    a_tile_is_told_what_it_may_be_kept_for_and_only_where_it_is,
    inclusion_and_consistency_are_proved_between_sizes_that_the_tree_had,
    a_receipt_answered_with_the_act_holds_offline,
    a_receipt_can_be_asked_for_later_of_every_event,
    a_verdict_is_proved_by_the_event_that_decided_it,
    the_audit_logs_tree_is_for_auditors_unless_it_was_opened,
    a_process_that_verifies_serves_what_others_publish,
    another_key_signs_from_then_on_and_the_old_one_is_still_told,
    readiness_tells_where_the_last_checkpoint_is_kept,
);

fn quick(config: &mut Config) {
    config.checkpoint_interval = Duration::from_secs(3600);
}

/// Publishes when it is asked to, and at the end.
async fn started(engine: Engine) -> TestApp {
    TestApp::builder(engine).await.with(quick).start().await
}

async fn keys(anyone: &Anonymous) -> Vec<VerifierKey> {
    let told = anyone.get("/v1/logs/ledger/keys").await.expect(200);
    assert_eq!(told.header("content-type"), "text/plain; charset=utf-8");
    told.text.lines().map(|line| line.parse().unwrap()).collect()
}

async fn checkpoint(anyone: &Anonymous) -> Checkpoint {
    let told = anyone.get("/v1/logs/ledger/checkpoint").await.expect(200);
    assert_eq!((told.header("content-type"), told.header("cache-control")), ("text/plain; charset=utf-8", "public, max-age=1"));
    let checkpoint = Checkpoint::parse(&told.text).unwrap();
    checkpoint.verify(&keys(anyone).await).unwrap();
    checkpoint
}

async fn bytes(anyone: &Anonymous, path: &str) -> Vec<u8> {
    let answer = anyone.request(reqwest::Method::GET, &format!("/v1/logs/ledger/tile/{path}")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.bytes().await.unwrap().to_vec()
}

/// Issues so many, the last one with a receipt, so that a checkpoint covers all.
async fn issue(issuer: &Issuer, count: usize) -> Value {
    for number in 1..count {
        issuer.issue("Ada Lovelace", &format!("ada{number}@example.org")).await;
    }
    let last = json!({"type": "badge", "subject": {"name": "Ada", "email": "ada@example.org"}, "receipt": true});
    issuer.post("/v1/credentials", &last).await.expect(201).body
}

fn act(issued: &Value, what: &str) -> String {
    format!("/v1/credentials/{}/{what}", issued["id"].as_str().unwrap())
}

fn hashes(proof: &Value) -> Vec<Hash> {
    proof.as_array().unwrap().iter().map(hash).collect()
}

fn hash(text: &Value) -> Hash {
    Hash(hex::decode(text.as_str().unwrap()).unwrap().try_into().unwrap())
}

async fn a_checkpoint_is_signed_by_the_keys_that_the_log_tells(engine: Engine) {
    let app = started(engine).await;
    let issued = issue(&app.issuer().await, 3).await;
    let checkpoint = checkpoint(&app.anonymous()).await;
    assert_eq!(checkpoint.head().origin, *app.services().ledger().unwrap().log.origin());
    let position: u64 = issued["position"].as_str().unwrap().strip_prefix("ledger@").unwrap().parse().unwrap();
    assert!(checkpoint.head().size.covers(Position(position)));
    app.anonymous().get("/v1/logs/other/checkpoint").await.expect_problem(404, "not-found");
    app.anonymous().get("/v1/logs/ledger/checkpoint?x=1").await.expect_field("x", "unknown");
}

async fn bundles_and_tiles_add_up_to_the_checkpoints_root(engine: Engine) {
    let app = started(engine).await;
    issue(&app.issuer().await, 20).await;
    let anyone = app.anonymous();
    let checkpoint = checkpoint(&anyone).await;
    let size = checkpoint.head().size;
    let (bundle, tile) = (bytes(&anyone, &format!("entries/000.p/{size}")).await, bytes(&anyone, &format!("0/000.p/{size}")).await);
    let mut frontier = Frontier::new();
    for (entry, leaf) in bundle.chunks(34).zip(tile.chunks(32)) {
        assert_eq!(entry[..2], [0, 32], "an entry's length");
        let hash = Hash::leaf(chain::Hash::from_slice(&entry[2..]).unwrap());
        assert_eq!(hash.0, leaf);
        frontier.push(hash);
    }
    assert_eq!((frontier.size(), frontier.root()), (size, checkpoint.head().root));
    let events = app.inspector().await.get("/v1/logs/ledger/events?limit=1000").await.expect(200).body;
    assert_eq!(events["items"][0]["event_hash"], hex::encode(&bundle[2..34]));
}

async fn a_tile_is_told_what_it_may_be_kept_for_and_only_where_it_is(engine: Engine) {
    let app = started(engine).await;
    issue(&app.issuer().await, 2).await;
    let get = async |path: &str| app.anonymous().get(&format!("/v1/logs/ledger/tile/{path}")).await;
    let tile = get("0/000.p/1").await.expect(200);
    assert_eq!(
        (tile.header("content-type"), tile.header("cache-control")),
        ("application/octet-stream", "public, max-age=31536000, immutable")
    );
    for path in ["0/000", "0/000.p/200", "1/000.p/1", "0/001.p/1", "9/000", "0/0", "entries/x000/000", "data/000.p/1", ""] {
        get(path).await.expect_problem(404, "not-found");
    }
}

async fn inclusion_and_consistency_are_proved_between_sizes_that_the_tree_had(engine: Engine) {
    let app = started(engine).await;
    issue(&app.issuer().await, 10).await;
    let anyone = app.anonymous();
    let get = async |path: &str| anyone.get(&format!("/v1/logs/ledger/proofs/{path}")).await;
    let head = checkpoint(&anyone).await.head().clone();
    for (position, size) in [(0, 1), (3, 7), (6, 7), (0, head.size.0)] {
        let told = get(&format!("inclusion?position={position}&size={size}")).await.expect(200).body;
        let event = chain::Hash(hash(&told["event_hash"]).0);
        check_inclusion(&hashes(&told["proof"]), TreeSize(size), hash(&told["root"]), Position(position), Hash::leaf(event)).unwrap();
        assert_eq!((&told["position"], &told["size"]), (&json!(format!("ledger@{position}")), &json!(size)));
    }
    let newest = get("inclusion?position=1").await.expect(200).body;
    assert_eq!((hash(&newest["root"]), newest["size"].as_u64()), (head.root, Some(head.size.0)));
    for (from, to) in [(0, 5), (3, 7), (7, 7), (1, head.size.0)] {
        let told = get(&format!("consistency?from={from}&to={to}")).await.expect(200).body;
        let (old, new) = ((TreeSize(from), hash(&told["from_root"])), (TreeSize(to), hash(&told["to_root"])));
        check_consistency(&hashes(&told["proof"]), old, new).unwrap();
    }
    assert_eq!(hash(&get("consistency?from=1").await.expect(200).body["to_root"]), head.root);
    get("inclusion").await.expect_field("position", "required");
    get("inclusion?position=7&size=7").await.expect_field("position", "range");
    get("inclusion?position=0&size=100000").await.expect_field("size", "range");
    get("inclusion?position=x").await.expect_field("position", "format");
    get("inclusion?position=0&size=9223372036854775808").await.expect_field("size", "range");
    get("consistency").await.expect_field("from", "required");
    get("consistency?from=5&to=4").await.expect_field("from", "range");
}

/// Checks it as its holder would: with the log's keys and nothing else.
fn holds(receipt: &Value, keys: &[VerifierKey]) -> Receipt {
    let read: Receipt = receipt["tlog_proof"].as_str().unwrap().parse().unwrap();
    read.verify(keys).unwrap();
    assert_eq!(receipt["content"], hex::encode(&read.content));
    assert_eq!(receipt["event_hash"], read.event_hash().to_string());
    assert_eq!(receipt["position"], LogName::LEDGER.at(read.position).to_string());
    assert_eq!(hashes(&receipt["inclusion_proof"]), read.proof);
    assert_eq!(receipt["checkpoint"], read.checkpoint.note());
    read
}

async fn a_receipt_answered_with_the_act_holds_offline(engine: Engine) {
    let app = started(engine).await;
    let issuer = app.issuer().await;
    let issued = issue(&issuer, 3).await;
    let keys = keys(&app.anonymous()).await;
    assert_eq!(issued["receipt"]["event_hash"], issued["event_hash"]);
    holds(&issued["receipt"], &keys);
    let revoked = issuer.post(&act(&issued, "revoke"), &json!({"reason": "lost", "receipt": true})).await.expect(200);
    let receipt = holds(&revoked.body["receipt"], &keys);
    assert_eq!(revoked.header("ledger-position"), LogName::LEDGER.at(receipt.position).to_string());
    let secret = issuer.post("/v1/credentials", &json!({"type": "code", "secret": "s", "receipt": true})).await.expect(201).body;
    holds(&secret["receipt"], &keys);
    assert!(issuer.issue("Bob", "bob@example.org").await.get("receipt").is_none(), "only where it was asked for");
    issuer.post("/v1/credentials", &json!({"type": "code", "secret": "t", "receipt": "yes"})).await.expect_field("receipt", "type");
}

async fn a_receipt_can_be_asked_for_later_of_every_event(engine: Engine) {
    let app = started(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.issue("Ada", "ada@example.org").await;
    issuer.post_empty(&act(&issued, "suspend")).await.expect(200);
    let keys = keys(&app.anonymous()).await;
    let first = issuer.get(&act(&issued, "receipt")).await.expect(200).body;
    assert_eq!(first["event_hash"], issued["event_hash"]);
    holds(&first, &keys);
    let second = issuer.get(&act(&issued, "receipt?version=1")).await.expect(200).body;
    assert_ne!(holds(&second, &keys).position, holds(&first, &keys).position);
    let request = issuer.request(reqwest::Method::GET, &act(&issued, "receipt")).header("accept", "text/plain");
    let text = Answer::read(request.send().await.unwrap()).await.expect(200);
    assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    text.text.parse::<Receipt>().unwrap().verify(&keys).unwrap();
    issuer.get(&act(&issued, "receipt?version=2")).await.expect_problem(404, "not-found");
    issuer.get(&act(&issued, "receipt?version=x")).await.expect_field("version", "format");
}

async fn a_verdict_is_proved_by_the_event_that_decided_it(engine: Engine) {
    let app = started(engine).await;
    let issuer = app.issuer().await;
    let issued = issue(&issuer, 2).await;
    let revoked = issuer.post_empty(&act(&issued, "revoke")).await.expect(200);
    let ask = async |question: Value| {
        let request = app.anonymous().request(reqwest::Method::POST, "/v1/verifications").json(&question);
        Answer::read(request.header("ledger-min-position", revoked.header("ledger-position")).send().await.unwrap()).await
    };
    let (id, keys) = (&issued["id"], keys(&app.anonymous()).await);
    let proved = async |question: Value| {
        let proof = ask(question).await.expect(200).body["proof"].clone();
        let checkpoint = Checkpoint::parse(proof["checkpoint"].as_str().unwrap()).unwrap();
        checkpoint.verify(&keys).unwrap();
        let position: u64 = proof["position"].as_str().unwrap().strip_prefix("ledger@").unwrap().parse().unwrap();
        let event = chain::Hash(hash(&proof["event_hash"]).0);
        let (size, root) = (checkpoint.head().size, checkpoint.head().root);
        check_inclusion(&hashes(&proof["inclusion_proof"]), size, root, Position(position), Hash::leaf(event)).unwrap();
        proof["position"].clone()
    };
    assert_eq!(proved(json!({"id": id, "proof": true})).await, revoked.header("ledger-position"));
    assert_eq!(proved(json!({"id": id, "proof": true, "as_of_position": issued["position"]})).await, issued["position"]);
    let unknown = ask(json!({"id": "0198c5a2-0000-7000-8000-000000000001", "proof": true})).await.expect(200).body;
    assert_eq!((&unknown["status"], &unknown["proof"]), (&json!("not_found"), &Value::Null));
    assert!(ask(json!({"id": id})).await.expect(200).body.get("proof").is_none());
    ask(json!({"id": id, "proof": 1})).await.expect_field("proof", "type");
}

async fn the_audit_logs_tree_is_for_auditors_unless_it_was_opened(engine: Engine) {
    let app = started(engine).await;
    let id = app.issuer().await.issue("Ada", "ada@example.org").await["id"].clone();
    app.anonymous().post("/v1/verifications", &json!({"id": id})).await.expect(200);
    let stores = app.shutdown().await;
    let app = TestApp::on(stores.clone()).with(quick).start().await;
    for path in ["checkpoint", "keys", "tile/0/000.p/1", "proofs/inclusion?position=0"] {
        let path = format!("/v1/logs/audit/{path}");
        app.anonymous().get(&path).await.expect_problem(401, "unauthenticated");
        app.issuer().await.get(&path).await.expect_problem(403, "forbidden");
        let told = app.inspector().await.get(&path).await.expect(200);
        assert!(!told.header("cache-control").contains("public"), "{path}");
    }
    app.shutdown().await;
    let app = TestApp::on(stores).with(|config| config.audit_tiles_public = true).start().await;
    let told = app.anonymous().get("/v1/logs/audit/checkpoint").await.expect(200);
    assert!(told.text.contains("/v1/logs/audit\n"));
}

async fn a_process_that_verifies_serves_what_others_publish(engine: Engine) {
    let app = started(engine).await;
    let issued = issue(&app.issuer().await, 2).await;
    let verifier = TestApp::on(app.stores.clone()).with(|config| config.role = Role::Verification).start().await;
    assert_eq!(checkpoint(&verifier.anonymous()).await, checkpoint(&app.anonymous()).await);
    verifier.anonymous().get("/v1/logs/ledger/tile/0/000.p/2").await.expect(200);
    let question = json!({"id": issued["id"], "proof": true});
    eventually("the read model has it", || async {
        let verdict = verifier.anonymous().post("/v1/verifications", &question).await;
        verdict.status == 200 && verdict.body["proof"]["position"] == issued["position"]
    })
    .await;
    verifier.anonymous().get("/v1/logs/ledger/events").await.expect_problem(404, "not-served-by-this-role");
    verifier.shutdown().await;
}

async fn another_key_signs_from_then_on_and_the_old_one_is_still_told(engine: Engine) {
    let app = started(engine).await;
    let issuer = app.issuer().await;
    let old = issue(&issuer, 2).await;
    let before = keys(&app.anonymous()).await;
    let told = run(&app.stores, &["keys", "rotate", "--log", "ledger"], 0).await;
    run(&app.stores, &["keys", "rotate", "--log", "ledger", "--issuer", "default"], 2).await;
    let new = issuer.post("/v1/credentials", &json!({"type": "code", "secret": "s", "receipt": true})).await.expect(201).body;
    let after = keys(&app.anonymous()).await;
    assert_eq!(after.len(), 2);
    assert_eq!(after[1..], before, "newest first");
    assert_eq!(told, format!("{}\n", after[0]));
    let recorded = app.inspector().await.get("/v1/logs/audit/events?type=LogKeyRotated").await.expect(200).body;
    assert_eq!(recorded["items"][0]["payload"], json!({"log": "ledger"}));
    assert_eq!(holds(&new["receipt"], &after).verify(&after).unwrap().logs, after[..1]);
    holds(&old["receipt"], &after);
}

async fn readiness_tells_where_the_last_checkpoint_is_kept(engine: Engine) {
    let app = started(engine).await;
    let ready = app.anonymous().get("/health/ready").await.expect(200).body;
    assert_eq!(ready["warnings"][0]["name"], "checkpoints");
    assert!(ready["warnings"][0]["reason"].as_str().unwrap().contains("CREDENCE_CHECKPOINT_ANCHOR"));
    let stores = app.shutdown().await;
    let anchor = stores.folder.path().join("anchor");
    let app = TestApp::on(stores.clone()).with(|config| config.checkpoint_anchor = Some(Anchor::File(anchor.clone()))).start().await;
    issue(&app.issuer().await, 2).await;
    assert_eq!(app.anonymous().get("/health/ready").await.expect(200).body["warnings"], json!([]));
    let kept = std::fs::read_to_string(stores.folder.path().join("anchor.ledger")).unwrap();
    Checkpoint::parse(&kept).unwrap().verify(&keys(&app.anonymous()).await).unwrap();
}

#[tokio::test]
async fn the_document_names_a_tiles_path_as_openapi_can() {
    assert!(docs::json().contains("\"/v1/logs/{log}/tile/{tile}\""));
}
