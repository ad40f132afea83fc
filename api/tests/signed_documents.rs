//! Documents' proofs: carried by every answer, checked when presented, by keys that can be rotated.

#![cfg(test)]

mod support;

use std::time::{Duration, Instant};

use credence_api::caller::Caller;
use credence_api::use_cases::{Error, rotate};
use credence_ledger::document::{Unsecured, proof};
use credence_ledger::event::audit::{AuditEvent, Cause, SigningKeyRotated};
use credence_ledger::event::issuer::{IssuerEvent, IssuerKeyRotated};
use credence_ledger::event::{New, Origination};
use credence_ledger::log::{Append, Expected, Query};
use credence_ledger::random::SystemRandom;
use credence_ledger::signing::SigningKey;
use credence_ledger::vault::{Issuer, KeyState};
use credence_ledger::{Stream, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, Engine, TestApp, User, run, send, unsigned};

engines!(
    every_answer_carries_the_documents_one_proof,
    a_secret_credential_has_no_proof,
    a_document_is_verified_with_its_proof,
    a_proof_that_does_not_hold_is_tampered_with,
    a_rotated_key_signs_what_is_issued_from_then_on_everywhere,
    a_rotation_that_broke_off_is_finished_by_the_next,
    a_vault_older_than_the_ledger_catches_up,
    a_key_is_not_used_before_its_rotation_is_recorded,
    of_rotations_at_once_every_process_knows_the_last,
    a_key_of_nobody_is_not_rotated,
);

fn ada() -> Value {
    json!({"type": "badge", "subject": {"name": "Ada Lovelace", "email": "ada@example.org"}, "claims": {"level": 1.50, "größe": [1, {}]}})
}

async fn default_issuer(app: &TestApp) -> Issuer {
    app.services().vault.ensure_issuer("default", Timestamp::EPOCH).await.unwrap()
}

async fn rotate(app: &TestApp) -> String {
    rotate::rotate(app.services(), &Caller::operator("test"), &default_issuer(app).await).await.unwrap()
}

/// The did by whose key the document's proof holds.
#[track_caller]
fn signer(credential: &Value) -> String {
    let document = &credential["document"];
    assert_eq!(document["proof"]["created"], credential["issued_at"]);
    proof::check_by_issuer(document, Timestamp::MAX).unwrap_or_else(|error| panic!("{error}: {document}"))
}

/// Presents a document, once the read model has applied all that the ledger holds.
async fn present(app: &TestApp, document: &Value) -> Answer {
    let last = app.services().ledger().unwrap().log.head().await.unwrap().last().unwrap();
    let request = app.anonymous().request(Method::POST, "/v1/verifications").json(&json!({"document": document}));
    send(request.header("ledger-min-position", format!("ledger@{last}"))).await.expect(200)
}

/// A command on these stores, and what it wrote to standard output.
async fn every_answer_carries_the_documents_one_proof(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let post = || send(issuer.request(Method::POST, "/v1/credentials").json(&ada()).header("idempotency-key", "once"));
    let issued = post().await.expect(201).body;
    let document = &issued["document"];
    assert_eq!(signer(&issued), default_issuer(&app).await.did);
    assert_eq!(document["proof"]["@context"], document["@context"]);
    assert_eq!(document["proof"].as_object().unwrap().len(), 7);
    assert_eq!(issued["digest"], format!("blake3:{}", hex::encode(credence_ledger::document::digest(document))));
    // Rotated or not, by whichever process: it is the same document.
    rotate(&app).await;
    let twin = TestApp::on(app.stores.clone()).start().await;
    let path = format!("/v1/credentials/{}", issued["id"].as_str().unwrap());
    let repeated = post().await.expect(201);
    assert_eq!(repeated.header("idempotency-replayed"), "true");
    assert_eq!(repeated.body["document"], *document);
    let read = issuer.get(&path).await.expect(200).body;
    assert_eq!(read["document"], *document);
    let elsewhere = twin.issuer().await.get(&path).await.expect(200).body;
    assert_eq!(elsewhere["document"], *document);
    for act in ["suspend", "reinstate", "revoke"] {
        let changed = issuer.post_empty(&format!("{path}/{act}")).await.expect(200).body;
        assert_eq!(changed["document"], *document, "{act}");
    }
    // It is made when it is answered: the log holds the document as it was.
    let query = Query { limit: 1, ..Query::stream(&format!("credential/{}", issued["id"].as_str().unwrap()).parse().unwrap()) };
    let event = app.services().ledger().unwrap().log.read(&query).await.unwrap().remove(0);
    let admin = app.operator().await;
    let page = admin.get(&format!("/v1/logs/ledger/events?from={}&limit=1&open=true", event.position)).await.expect(200).body;
    let kept = &page["items"][0]["payload"]["document"];
    assert_eq!(*kept, unsigned(document));
}

async fn a_secret_credential_has_no_proof(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issued = app.issuer().await.post("/v1/credentials", &json!({"type": "code", "secret": "open sesame"})).await.expect(201);
    assert_eq!(issued.body["document"], Value::Null);
    assert!(!issued.text.contains("proof"));
}

async fn a_document_is_verified_with_its_proof(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issued = app.issuer().await.post("/v1/credentials", &ada()).await.expect(201).body;
    let own = issued["document"]["proof"].clone();
    let foreign = json!({"type": "DataIntegrityProof", "cryptosuite": "ecdsa-rdfc-2019", "proofValue": "z1"});
    let many = vec![foreign.clone(); 1000];
    for proof in [own.clone(), Value::Null, foreign.clone(), json!([]), json!([own]), json!([foreign, own, {"type": "Other"}]), json!(many)]
    {
        let mut document = issued["document"].clone();
        document["proof"] = proof;
        let verdict = present(&app, &document).await.body;
        assert_eq!((&verdict["valid"], &verdict["status"]), (&json!(true), &json!("active")), "{document}");
    }
    assert_eq!(present(&app, &unsigned(&issued["document"])).await.body["status"], "active");
}

async fn a_proof_that_does_not_hold_is_tampered_with(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issuer = app.issuer().await;
    let issued = issuer.post("/v1/credentials", &ada()).await.expect(201).body;
    let (document, own) = (&issued["document"], &issued["document"]["proof"]);
    let with = |member: &str, value: Value| {
        let mut proof = own.clone();
        proof[member] = value;
        proof
    };
    let by_another = proof::sign(
        Unsecured::new(document.clone()),
        issued["issued_at"].as_str().unwrap().parse().unwrap(),
        &SigningKey::generate(&SystemRandom),
    );
    let of_another = issuer.issue("Grace", "grace@example.org").await["document"]["proof"].clone();
    let value = own["proofValue"].as_str().unwrap();
    let flipped = if value.ends_with('1') { "2" } else { "1" };
    for proof in [
        with("proofValue", json!(format!("{}{flipped}", &value[..value.len() - 1]))),
        with("proofValue", Value::Null),
        with("created", json!("2026-01-01T00:00:00Z")),
        with("more", json!(1)),
        with("proofPurpose", json!("authentication")),
        with("verificationMethod", json!("https://example.org/keys#1")),
        by_another["proof"].clone(),
        of_another,
        json!([own, by_another["proof"]]),
        json!("a text"),
        json!([own, 1]),
        json!({}),
        json!([own, {}]),
        json!({"type": "DataIntegrityProof"}),
        json!(vec![own; 17]),
    ] {
        let mut presented = document.clone();
        presented["proof"] = proof;
        let verdict = present(&app, &presented).await.body;
        assert_eq!((&verdict["valid"], &verdict["status"]), (&json!(false), &json!("tampered")), "{presented}");
        assert_eq!(verdict["credential"], Value::Null);
        let at = verdict["audit_position"].as_str().unwrap().strip_prefix("audit@").unwrap().parse().unwrap();
        let recorded = app.services().audit.log.read_at(&[credence_ledger::Position(at)]).await.unwrap().remove(0);
        let AuditEvent::CredentialVerified(verified) = AuditEvent::decode(&recorded).unwrap() else { panic!("{recorded:?}") };
        assert_eq!((verified.cause, verified.status.as_str()), (Cause::Tampered, "tampered"));
        assert_eq!(verified.credential.unwrap().to_string(), issued["id"].as_str().unwrap());
    }
    // What is not known stays unknown, whoever signed it.
    let mut unknown = document.clone();
    unknown["id"] = json!("urn:uuid:0198c5a2-0000-7000-8000-000000000001");
    assert_eq!(present(&app, &unknown).await.body["status"], "not_found");
}

async fn a_rotated_key_signs_what_is_issued_from_then_on_everywhere(engine: Engine) {
    let app = TestApp::start(engine).await;
    let twin = TestApp::on(app.stores.clone()).start().await;
    let (issuer, elsewhere) = (app.issuer().await, twin.issuer().await);
    let before = issuer.issue("Ada", "0@example.org").await;
    assert_eq!(signer(&elsewhere.issue("Ada", "1@example.org").await), signer(&before));

    let did = run(&app.stores, &["keys", "rotate", "--issuer", "default"], 0).await;
    let (rotated, did) = (Instant::now(), did.strip_suffix('\n').unwrap());
    assert!(did.starts_with("did:key:z6Mk") && did != signer(&before));
    for (at, user) in [&issuer, &elsewhere].into_iter().enumerate() {
        for number in 2.. {
            let asked = rotated.elapsed();
            let issued = user.issue("Ada", &format!("{number}@{at}.example.org")).await;
            if signer(&issued) == did {
                break;
            }
            assert_eq!(signer(&issued), signer(&before));
            assert!(asked < Duration::from_secs(1), "within a second every process issues under the new key");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // What was issued under the key before stays as it was, and counts.
    let path = format!("/v1/credentials/{}", before["id"].as_str().unwrap());
    assert_eq!(elsewhere.get(&path).await.expect(200).body["document"], before["document"]);
    let verdict = present(&twin, &before["document"]).await.body;
    assert_eq!(verdict["status"], "active");

    // The history is the ledger's; the vault says what is current.
    let id = default_issuer(&app).await.id;
    let events = app.operator().await.get(&format!("/v1/logs/ledger/events?stream=issuer/{id}")).await.expect(200).body;
    let told: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| (&event["type"], &event["payload"]["did"])).collect();
    assert_eq!(told, [(&json!("IssuerRegistered"), &json!(signer(&before))), (&json!("IssuerKeyRotated"), &json!(did))]);
    let list = run(&app.stores, &["keys", "list", "--issuers", "--format", "json"], 0).await;
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    let listed = |at: usize, state: &str| {
        let event = &events["items"][at];
        json!({"issuer": "default", "did": event["payload"]["did"], "state": state, "since": event["recorded_at"], "position": event["position"]})
    };
    assert_eq!(list, [listed(0, "retired"), listed(1, "current")]);
    let table = run(&app.stores, &["keys", "list", "--issuers"], 0).await;
    assert!(table.lines().count() == 3 && table.lines().last().unwrap().ends_with(did), "{table}");
    let audit = app.services().audit.log.read(&Query::stream(&Stream::issuer(id))).await.unwrap();
    let recorded: Vec<_> = audit.iter().map(|event| (AuditEvent::decode(event).unwrap(), event.metadata().unwrap().actor)).collect();
    assert_eq!(recorded, [(AuditEvent::SigningKeyRotated(SigningKeyRotated { did: did.to_owned() }), "system".to_owned())]);
}

/// Each step but the last may have been the last one before a crash.
async fn a_rotation_that_broke_off_is_finished_by_the_next(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, services) = (default_issuer(&app).await, app.services());
    let (ledger, stream) = (services.ledger().unwrap(), Stream::issuer(issuer.id));
    let pending = services.vault.next_issuer_key(issuer.id).await.unwrap().unwrap();
    // A key that the ledger does not know signs nothing.
    let issued = app.issuer().await.issue("Ada", "ada@example.org").await;
    assert_eq!(signer(&issued), issuer.did);
    assert_eq!(rotate(&app).await, pending);

    let pending = services.vault.next_issuer_key(issuer.id).await.unwrap().unwrap();
    let event = New::of(&IssuerKeyRotated { did: pending.clone() }, &Origination::system("crashed").metadata(&SystemRandom));
    ledger.append(Append::to(stream.clone(), Expected::Any, vec![event])).await.unwrap();
    assert_eq!(rotate(&app).await, pending);

    let third = rotate(&app).await;
    let keys = services.vault.issuer_keys(issuer.id).await.unwrap();
    assert_eq!(
        keys.iter().map(|key| key.state).collect::<Vec<_>>(),
        [KeyState::Retired, KeyState::Retired, KeyState::Retired, KeyState::Current]
    );
    let events = ledger.log.read(&Query::stream(&stream)).await.unwrap();
    let dids: Vec<String> = events.iter().map(|event| IssuerEvent::decode(event).unwrap().did().to_owned()).collect();
    assert_eq!(dids, keys.iter().map(|key| key.did.clone()).collect::<Vec<_>>());
    assert_eq!(dids[3], third);
    let recorded = services.audit.log.read(&Query::stream(&stream)).await.unwrap();
    assert_eq!(recorded.len(), 3, "each is recorded once");
}

/// It was restored from a backup that had the next key, but neither its use nor the key after it.
async fn a_vault_older_than_the_ledger_catches_up(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, services) = (default_issuer(&app).await, app.services());
    let (ledger, stream) = (services.ledger().unwrap(), Stream::issuer(issuer.id));
    let pending = services.vault.next_issuer_key(issuer.id).await.unwrap().unwrap();
    let lost = SigningKey::generate(&SystemRandom).did().to_owned();
    for did in [&pending, &lost] {
        let event = New::of(&IssuerKeyRotated { did: did.clone() }, &Origination::system("lost").metadata(&SystemRandom));
        ledger.append(Append::to(stream.clone(), Expected::Any, vec![event])).await.unwrap();
    }
    let did = rotate(&app).await;
    assert!(did != pending && did != lost);
    assert_eq!(default_issuer(&app).await.did, did);
    let events = ledger.log.read(&Query::stream(&stream)).await.unwrap();
    let dids: Vec<String> = events.iter().map(|event| IssuerEvent::decode(event).unwrap().did().to_owned()).collect();
    assert_eq!(dids, [issuer.did, pending, lost, did]);
}

async fn a_key_is_not_used_before_its_rotation_is_recorded(engine: Engine) {
    let app = TestApp::start(engine).await;
    let before = default_issuer(&app).await;
    let found_again = app.stores.lose("audit").await;
    let failed = rotate::rotate(app.services(), &Caller::operator("test"), &before).await;
    assert!(matches!(failed, Err(Error::Audit(_))), "{failed:?}");
    assert_eq!(signer(&app.issuer().await.issue("Ada", "ada@example.org").await), before.did);
    found_again.await;
    app.eventually("the audit log answers", async || app.services().audit.log.head().await.is_ok()).await;
    let did = rotate(&app).await;
    let keys = app.services().vault.issuer_keys(before.id).await.unwrap();
    assert_eq!(keys.iter().map(|key| key.did.as_str()).collect::<Vec<_>>(), [&*before.did, &*did]);
    assert_eq!(app.services().audit.log.read(&Query::stream(&Stream::issuer(before.id))).await.unwrap().len(), 1);
}

async fn of_rotations_at_once_every_process_knows_the_last(engine: Engine) {
    let app = TestApp::start(engine).await;
    let twin = TestApp::on(app.stores.clone()).start().await;
    futures::future::join_all([&app, &twin, &app, &twin].map(rotate)).await;
    let issuer = default_issuer(&app).await;
    let events = app.services().ledger().unwrap().log.read(&Query::stream(&Stream::issuer(issuer.id))).await.unwrap();
    let dids: Vec<String> = events.iter().map(|event| IssuerEvent::decode(event).unwrap().did().to_owned()).collect();
    let keys = app.services().vault.issuer_keys(issuer.id).await.unwrap();
    assert!((2..=5).contains(&dids.len()), "{dids:?}");
    assert_eq!(dids, keys.iter().map(|key| key.did.clone()).collect::<Vec<_>>());
    assert_eq!(dids.last(), Some(&issuer.did));
    let recorded = app.services().audit.log.read(&Query::stream(&Stream::issuer(issuer.id))).await.unwrap();
    assert!(recorded.len() >= dids.len() - 1, "each is recorded");
}

async fn a_key_of_nobody_is_not_rotated(engine: Engine) {
    let app = TestApp::start(engine).await;
    assert_eq!(run(&app.stores, &["keys", "rotate", "--issuer", "nobody"], 2).await, "");
    assert_eq!(run(&app.stores, &["keys", "rotate"], 2).await, "");
    assert_eq!(app.services().vault.issuers().await.unwrap().len(), 1);
}
