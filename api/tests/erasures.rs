//! A person is erased: over HTTP and at the command line, beside everything else that happens to it.

#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use credence_ledger::event::subject::{SubjectErased, SubjectEvent};
use credence_ledger::log::{Append, Expected, Outcome, Query};
use credence_ledger::sealing::KeyId;
use credence_ledger::stream::category;
use credence_ledger::vault::Role;
use credence_ledger::{Position, Stream};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, Engine, Issuer, Operator, Session, TestApp, User, run, send};
use tokio::sync::Barrier;
use uuid::Uuid;

engines!(
    a_person_is_erased_and_its_credentials_with_it,
    a_dry_run_tells_and_changes_nothing,
    an_erasure_says_who_ordered_it_and_keeps_the_reason_sealed,
    an_administrator_erases_its_own_organisations_subjects_and_an_operator_all,
    every_rule_of_an_erasure_is_told,
    an_erasure_repeats_by_its_key,
    the_keys_of_what_was_erased_are_answered_as_erased,
    whoever_was_erased_can_come_back_as_another,
    what_a_killed_process_left_is_finished_by_the_next_start,
    an_issuance_finishes_an_erasure_that_was_left,
    a_note_whose_erasure_never_began_is_dropped,
    the_command_line_erases_with_and_without_a_service,
    fsck_names_a_key_that_came_back_and_what_was_appended_since,
    an_erasure_that_races_issuances_ends_in_an_order,
    an_erasure_that_races_changes_ends_in_an_order,
    an_erasure_that_races_verifications_ends_in_an_order,
    erasures_at_once_erase_once,
    orders_under_one_key_at_once_are_one_order,
    a_repeat_tells_its_own_order_and_all_of_it,
    a_key_that_came_back_opens_nothing_and_goes_with_the_next_order,
    whose_key_was_lost_can_be_revoked,
);

const NAME: &str = "Ada Lovelace";
const EMAIL: &str = "ada@example.org";

fn body() -> Value {
    json!({"email": EMAIL, "reason": "requested by letter"})
}

fn with(member: &str, value: impl Into<Value>) -> Value {
    let mut body = body();
    body[member] = value.into();
    body
}

async fn erase(user: &impl User, body: &Value) -> Answer {
    user.post("/v1/subjects/erasures", body).await
}

async fn keyed(user: &impl User, path: &str, key: &str, body: &Value) -> Answer {
    send(user.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await
}

fn badge(kind: &str) -> Value {
    json!({"type": kind, "subject": {"name": NAME, "email": EMAIL}, "claims": {"level": 3}})
}

async fn issue(issuer: &Issuer, kind: &str) -> Value {
    issuer.post("/v1/credentials", &badge(kind)).await.expect(201).body
}

fn id(of: &Value) -> Uuid {
    of["id"].as_str().unwrap().parse().unwrap()
}

fn place(text: &Value) -> u64 {
    text.as_str().unwrap().split_once('@').unwrap().1.parse().unwrap()
}

/// The subject's id, as the ledger has it.
async fn subject_of(app: &TestApp, credential: &Value) -> Uuid {
    let log = &app.services().ledger().unwrap().log;
    let first = log.read_first(&[Stream::credential(id(credential))]).await.unwrap().remove(0);
    first.payload::<credence_ledger::event::credential::CredentialIssued>().unwrap().subject_id.unwrap()
}

async fn key_exists(app: &TestApp, subject: Uuid) -> bool {
    !app.services().vault.open_keys(&[KeyId::Subject(subject)]).await.unwrap().is_empty()
}

async fn verdict(user: &impl User, body: Value) -> Value {
    user.post("/v1/verifications", &body).await.expect(200).body["status"].clone()
}

async fn fsck_is_content(app: &TestApp) {
    app.eventually("the read models are level", || async {
        let head = app.services().ledger().unwrap().log.head().await.unwrap().last();
        app.services().wait_for(credence_projections::projection::Projection::Verification, head).await.is_ok()
    })
    .await;
    run(&app.stores, &["fsck"], 0).await;
}

async fn a_person_is_erased_and_its_credentials_with_it(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (issuer, operator) = (app.issuer().await, app.operator().await);
    let (one, two, other) = (issue(&issuer, "a").await, issue(&issuer, "b").await, issuer.issue("Grace Hopper", "grace@example.org").await);
    issuer.post(&format!("/v1/credentials/{}/revoke", id(&one)), &json!({"reason": "moved"})).await.expect(200);
    let subject = subject_of(&app, &one).await;

    let erased = erase(&operator, &with("email", " ADA@Example.org ")).await.expect(200);
    let position = place(&erased.body["subjects"][0]["position"]);
    assert_eq!(
        erased.body,
        json!({
            "dry_run": false,
            "subjects": [{"id": subject, "issuer": "default", "credentials": [one["id"], two["id"]], "position": format!("ledger@{position}")}],
            "read_models": "purged",
            "message": "1 subject with 2 credentials erased by test-worker",
        })
    );
    assert_eq!(erased.header("ledger-position"), format!("ledger@{position}"));
    let log = &app.services().ledger().unwrap().log;
    let event = log.read_at(&[Position(position)]).await.unwrap().remove(0);
    assert_eq!(event.stream, Stream::subject(subject));
    let issuer_id = app.services().vault.find_issuer("default").await.unwrap().unwrap().id;
    let SubjectEvent::Erased(told) = SubjectEvent::decode(&event).unwrap();
    let payload = SubjectErased { keys: vec![format!("subject/{subject}")], order: told.order, issuer: issuer_id, credentials: 2 };
    assert_eq!(told, payload);
    let order = Stream::new(category::ERASURE, told.order);
    assert_eq!(app.services().audit.log.read_first(&[order]).await.unwrap().len(), 1, "the audit log tells who ordered it");

    assert!(!key_exists(&app, subject).await);
    assert!(app.services().vault.noted_erasures().await.unwrap().is_empty());
    for credential in [&one, &two] {
        let path = format!("/v1/credentials/{}", id(credential));
        issuer.get(&path).await.expect_problem(410, "erased");
        for act in ["revoke", "suspend", "reinstate"] {
            issuer.post_empty(&format!("{path}/{act}")).await.expect_problem(410, "erased");
        }
        let events = issuer.get(&format!("{path}/events")).await.expect(200).body;
        assert_eq!(events["items"][0]["payload"]["document"], json!({"sealed": "erased"}));
        issuer.get(&format!("{path}/receipt")).await.expect(200);
        assert_eq!(verdict(&issuer, json!({"document": credential["document"]})).await, "erased");
        assert_eq!(verdict(&issuer, json!({"id": credential["id"]})).await, "not_found");
    }
    assert!(issuer.post("/v1/credentials/search", &json!({"email": EMAIL})).await.expect(200).body["items"].as_array().unwrap().is_empty());
    assert_eq!(verdict(&issuer, json!({"document": other["document"]})).await, "active");
    let replayed = run(&app.stores, &["replay", "--format", "json", "--open"], 0).await;
    assert!(replayed.contains(r#"{"sealed":"erased"}"#) && !replayed.contains(NAME) && replayed.contains("Grace Hopper"));
    fsck_is_content(&app).await;

    // Twice is once.
    let again = erase(&operator, &body()).await.expect(200);
    assert_eq!(again.body, json!({"dry_run": false, "subjects": [], "read_models": null, "message": "there is nobody to erase"}));
}

async fn a_dry_run_tells_and_changes_nothing(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (issuer, operator) = (app.issuer().await, app.operator().await);
    let issued = issue(&issuer, "a").await;
    let subject = subject_of(&app, &issued).await;
    let audited = app.services().audit.log.head().await.unwrap().size;
    let told = erase(&operator, &with("dry_run", true)).await.expect(200);
    assert_eq!(
        told.body,
        json!({
            "dry_run": true,
            "subjects": [{"id": subject, "issuer": "default", "credentials": [issued["id"]], "position": null}],
            "read_models": null,
            "message": "1 subject with 1 credential would be erased",
        })
    );
    assert_eq!(told.header("ledger-position"), "");
    issuer.get(&format!("/v1/credentials/{}", id(&issued))).await.expect(200);
    let log = &app.services().ledger().unwrap().log;
    assert!(log.read(&Query::stream(&Stream::subject(subject))).await.unwrap().is_empty());
    // The read of the credential, and nothing else.
    assert_eq!(app.services().audit.log.head().await.unwrap().size, audited + 1);
}

async fn an_erasure_says_who_ordered_it_and_keeps_the_reason_sealed(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let issued = issue(&app.issuer().await, "a").await;
    let subject = subject_of(&app, &issued).await;
    let operator = app.operator().await;
    erase(&operator, &body()).await.expect(200);
    let inspector = app.inspector().await;
    let events = "/v1/logs/audit/events?type=ErasureOrdered&limit=9";
    let ordered = inspector.get(events).await.expect(200).body["items"][0].clone();
    let issuer = app.services().vault.find_issuer("default").await.unwrap().unwrap().id;
    let month = ordered["payload"]["reason"]["sealed"].as_str().unwrap().to_owned();
    assert!(month.starts_with("month/"));
    assert_eq!(ordered["payload"], json!({"issuer": issuer, "reason": {"sealed": month}, "subjects": [subject]}));
    let me = operator.get("/v1/me").await.expect(200).body["id"].clone();
    assert_eq!(ordered["metadata"]["actor"], format!("key/{}", me.as_str().unwrap()));
    let opened = inspector.get(&format!("{events}&open=true")).await.expect(200).body;
    assert_eq!(opened["items"][0]["payload"]["reason"], "requested by letter");
    let bytes = app.stores.bytes().await;
    assert!(!bytes.windows(19).any(|window| window == b"requested by letter"));
}

async fn an_administrator_erases_its_own_organisations_subjects_and_an_operator_all(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    for organisation in ["default", "acme", "apex"] {
        issue(&app.issuer_of(organisation).await, "a").await;
    }
    let acme = app.caller(Role::Admin, "acme").await;
    erase(&acme, &with("issuer", "default")).await.expect_problem(403, "forbidden");
    erase(&acme, &with("issuer", "nobody")).await.expect_problem(403, "forbidden");
    let issuers = |answer: Answer| -> Vec<String> {
        let subjects = answer.expect(200).body["subjects"].as_array().unwrap().clone();
        subjects.iter().map(|subject| subject["issuer"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(issuers(erase(&acme, &body()).await), ["acme"]);
    assert_eq!(issuers(erase(&acme, &body()).await), [""; 0]);
    let operator = app.operator().await;
    erase(&operator, &with("issuer", "nobody")).await.expect_field("issuer", "unknown");
    let mut dry = with("issuer", "apex");
    dry["dry_run"] = true.into();
    assert_eq!(issuers(erase(&operator, &dry).await), ["apex"]);
    let all = erase(&operator, &body()).await;
    let positions: Vec<u64> = all.body["subjects"].as_array().unwrap().iter().map(|subject| place(&subject["position"])).collect();
    assert_eq!(positions[1], positions[0] + 1, "all in one append");
    assert_eq!(issuers(all), ["default", "apex"]);
    for role in [Role::Issuer, Role::Auditor, Role::Inspector] {
        erase(&app.caller(role, "acme").await, &body()).await.expect_problem(403, "forbidden");
    }
    erase(&app.anonymous(), &body()).await.expect_problem(401, "unauthenticated");
    // Each organisation's auditors see its own orders.
    let seen = app.caller(Role::Auditor, "acme").await.get("/v1/logs/audit/events?type=ErasureOrdered").await.expect(200).body;
    assert_eq!(seen["items"].as_array().unwrap().len(), 1);
    let seen = app.caller(Role::Auditor, "acme").await.get("/v1/logs/ledger/events?type=SubjectErased").await.expect(200).body;
    assert_eq!(seen["items"].as_array().unwrap().len(), 1);
}

async fn every_rule_of_an_erasure_is_told(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let operator = app.operator().await;
    for (member, value, code) in [
        ("email", json!(null), "required"),
        ("email", json!("ada"), "format"),
        ("email", json!(7), "type"),
        ("name", json!(" "), "blank"),
        ("reason", json!(null), "required"),
        ("reason", json!("x".repeat(1001)), "too_long"),
        ("dry_run", json!("yes"), "type"),
        ("issuer", json!("x".repeat(101)), "too_long"),
        ("subject", json!("x"), "unknown"),
    ] {
        erase(&operator, &with(member, value)).await.expect_field(member, code);
    }
    operator.get("/v1/subjects/erasures").await.expect_problem(405, "method-not-allowed");
    // The name tells persons with one address apart.
    let issuer = app.issuer().await;
    issuer.issue(NAME, EMAIL).await;
    issuer.issue("Ada's Assistant", EMAIL).await;
    let one = erase(&operator, &with("name", "  Ada   Lovelace ")).await.expect(200).body;
    assert_eq!(one["subjects"].as_array().unwrap().len(), 1);
    let other = erase(&operator, &body()).await.expect(200).body;
    assert_eq!(other["subjects"].as_array().unwrap().len(), 1);
}

async fn an_erasure_repeats_by_its_key(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let operator = app.operator().await;
    let erase = async |body: Value| keyed(&operator, "/v1/subjects/erasures", "key-1", &body).await;
    // Nobody was found: nothing was appended, so nothing is remembered.
    assert!(erase(body()).await.expect(200).body["subjects"].as_array().unwrap().is_empty());
    for organisation in ["default", "acme"] {
        issue(&app.issuer_of(organisation).await, "a").await;
    }
    let first = erase(body()).await.expect(200);
    assert_eq!(first.body["subjects"].as_array().unwrap().len(), 2);
    assert_eq!(first.header("idempotency-replayed"), "");
    // Whoever came back meanwhile is not met by the repeat.
    issue(&app.issuer().await, "a").await;
    let again = erase(body()).await.expect(200);
    assert_eq!(again.body, first.body);
    assert_eq!((again.header("idempotency-replayed"), again.header("ledger-position")), ("true", first.header("ledger-position")));
    erase(with("reason", "another")).await.expect_problem(422, "idempotency-key-reused");
}

async fn the_keys_of_what_was_erased_are_answered_as_erased(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (issuer, operator) = (app.issuer().await, app.operator().await);
    let issued = keyed(&issuer, "/v1/credentials", "issuance", &badge("a")).await.expect(201);
    let suspend = format!("/v1/credentials/{}/suspend", id(&issued.body));
    keyed(&issuer, &suspend, "suspension", &json!({"reason": "lost"})).await.expect(200);
    assert_eq!(keyed(&issuer, "/v1/credentials", "issuance", &badge("a")).await.expect(201).header("idempotency-replayed"), "true");
    erase(&operator, &body()).await.expect(200);
    // Whatever is asked under them, and though the same could be issued anew.
    keyed(&issuer, "/v1/credentials", "issuance", &badge("a")).await.expect_problem(410, "erased");
    keyed(&issuer, "/v1/credentials", "issuance", &badge("b")).await.expect_problem(410, "erased");
    keyed(&issuer, &suspend, "suspension", &json!({"reason": "lost"})).await.expect_problem(410, "erased");
    let grace = issuer.issue("Grace Hopper", "grace@example.org").await;
    let suspend = format!("/v1/credentials/{}/suspend", id(&grace));
    keyed(&issuer, &suspend, "suspension", &json!({})).await.expect_problem(410, "erased");
    keyed(&issuer, &suspend, "another", &json!({})).await.expect(200);
    if engine == Engine::Sqlite {
        let ledger = rusqlite::Connection::open(app.stores.folder.path().join("ledger.sqlite")).unwrap();
        ledger.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
    }
    let rows = app.stores.bytes().await;
    let command = app
        .services()
        .vault
        .lookup()
        .idempotency(&[b"command", &credence_ledger::json::canonical(&json!({"id": id(&issued.body), "reason": "lost"}))]);
    assert!(!rows.windows(32).any(|window| window == command), "the command's HMAC is gone");
}

async fn whoever_was_erased_can_come_back_as_another(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (issuer, operator) = (app.issuer().await, app.operator().await);
    let before = issue(&issuer, "a").await;
    erase(&operator, &body()).await.expect(200);
    let after = issue(&issuer, "a").await;
    assert_ne!(subject_of(&app, &before).await, subject_of(&app, &after).await);
    issuer.get(&format!("/v1/credentials/{}", id(&after))).await.expect(200);
    issuer.get(&format!("/v1/credentials/{}", id(&before))).await.expect_problem(410, "erased");
    let second = erase(&operator, &body()).await.expect(200).body;
    assert_eq!(second["subjects"][0]["credentials"], json!([after["id"]]));
    fsck_is_content(&app).await;
}

/// Appends a subject's erasure and does nothing else, as a process does that is killed right after.
async fn erased_and_left(app: &TestApp, credential: &Value, is_noted: bool) -> Uuid {
    let services = app.services();
    let subject = subject_of(app, credential).await;
    let issuer = services.vault.find_issuer("default").await.unwrap().unwrap().id;
    if is_noted {
        services.vault.note_erasures(&[subject], services.clock.now()).await.unwrap();
    }
    let erased = SubjectErased { keys: vec![KeyId::Subject(subject).to_string()], order: Uuid::nil(), issuer, credentials: 1 };
    let metadata = credence_ledger::event::Origination::system("left").metadata(&services.random);
    let append = Append::to(Stream::subject(subject), Expected::None, vec![SubjectEvent::Erased(erased).encode(&metadata)]);
    assert!(matches!(services.ledger().unwrap().append(append).await.unwrap(), Outcome::Appended(_)));
    subject
}

async fn what_a_killed_process_left_is_finished_by_the_next_start(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let issuer = app.issuer().await;
    let issued = keyed(&issuer, "/v1/credentials", "issuance", &badge("a")).await.expect(201).body;
    let subject = erased_and_left(&app, &issued, true).await;
    // What the ledger says holds already.
    issuer.get(&format!("/v1/credentials/{}", id(&issued))).await.expect_problem(410, "erased");
    issuer.post_empty(&format!("/v1/credentials/{}/revoke", id(&issued))).await.expect_problem(410, "erased");
    let stores = app.shutdown().await;
    let app = TestApp::on(stores).start().await;
    app.eventually("the key is destroyed", || async { !key_exists(&app, subject).await }).await;
    app.eventually("it has been seen through", || async { app.services().vault.noted_erasures().await.unwrap().is_empty() }).await;
    keyed(&app.issuer_with(issuer.0.key.as_deref().unwrap()), "/v1/credentials", "issuance", &badge("b"))
        .await
        .expect_problem(410, "erased");
    fsck_is_content(&app).await;
}

async fn an_issuance_finishes_an_erasure_that_was_left(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let issuer = app.issuer().await;
    let before = issue(&issuer, "a").await;
    let subject = erased_and_left(&app, &before, false).await;
    assert!(key_exists(&app, subject).await);
    let after = issue(&issuer, "a").await;
    assert_ne!(subject_of(&app, &after).await, subject);
    assert!(!key_exists(&app, subject).await);
    fsck_is_content(&app).await;
}

async fn a_note_whose_erasure_never_began_is_dropped(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let issued = issue(&app.issuer().await, "a").await;
    let subject = subject_of(&app, &issued).await;
    let services = app.services();
    let now = services.clock.now();
    services.vault.note_erasures(&[subject], now.minus(Duration::from_secs(3601))).await.unwrap();
    // Somebody may be about to append this one's.
    let fresh = Uuid::from_u128(1);
    services.vault.note_erasures(&[fresh], now).await.unwrap();
    let stores = app.shutdown().await;
    let app = TestApp::on(stores).start().await;
    app.eventually("the old note is dropped", || async {
        let noted = app.services().vault.noted_erasures().await.unwrap();
        noted.iter().map(|noted| noted.subject).collect::<Vec<_>>() == [fresh]
    })
    .await;
    assert!(key_exists(&app, subject).await);
}

async fn the_command_line_erases_with_and_without_a_service(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let issuer = app.issuer().await;
    let ada = issue(&issuer, "a").await;
    let grace = issuer.issue("Grace Hopper", "grace@example.org").await;
    let subject = subject_of(&app, &ada).await;
    let arguments = ["erase", "--email", " Ada@example.org", "--name", NAME, "--issuer", "default", "--reason", "by letter"];
    let told = run(&app.stores, &[&arguments[..], &["--dry-run"]].concat(), 0).await;
    assert_eq!(told, format!("subject/{subject}  default  -\n  credential/{}\n1 subject with 1 credential would be erased\n", id(&ada)));
    let erased = run(&app.stores, &arguments, 0).await;
    let (first, rest) = erased.split_once('\n').unwrap();
    assert!(first.starts_with(&format!("subject/{subject}  default  ledger@")), "{erased}");
    assert!(rest.starts_with(&format!("  credential/{}\n1 subject with 1 credential erased by ", id(&ada))), "{erased}");
    issuer.get(&format!("/v1/credentials/{}", id(&ada))).await.expect_problem(410, "erased");
    assert_eq!(run(&app.stores, &arguments, 0).await, "there is nobody to erase\n");
    run(&app.stores, &["erase", "--email", EMAIL, "--issuer", "nobody", "--reason", "x"], 2).await;
    run(&app.stores, &["erase", "--email", "ada", "--reason", "x"], 2).await;
    run(&app.stores, &["erase", "--email", EMAIL], 2).await;
    let stores = app.shutdown().await;
    let erased = run(&stores, &["erase", "--email", "grace@example.org", "--reason", "by letter"], 0).await;
    assert!(erased.contains(&format!("credential/{}", id(&grace))) && !erased.contains("not followed"), "{erased}");
    run(&stores, &["fsck"], 0).await;
}

async fn fsck_names_a_key_that_came_back_and_what_was_appended_since(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let issuer = app.issuer().await;
    let issued = issue(&issuer, "a").await;
    let subject = erased_and_left(&app, &issued, false).await;
    let found = run(&app.stores, &["fsck", "--logs-only"], 1).await;
    assert!(found.contains(&format!("ledger@2 destroyed: the key subject/{subject} exists, though")), "{found}");
    app.services().vault.forget_subjects(&[subject]).await.unwrap();
    run(&app.stores, &["fsck", "--logs-only"], 0).await;
    // Nothing of ours appends this.
    let metadata = credence_ledger::event::Origination::system("forged").metadata(&app.services().random);
    let revoked = credence_ledger::event::credential::CredentialRevoked { reason: None };
    let event = credence_ledger::event::New::of(&revoked, &metadata);
    let append = Append::to(Stream::credential(id(&issued)), Expected::Any, vec![event]);
    app.services().ledger().unwrap().append(append).await.unwrap();
    let found = run(&app.stores, &["fsck", "--logs-only"], 1).await;
    assert!(found.contains(&format!("ledger@3 erased: subject/{subject} was erased at ledger@2")), "{found}");
}

/// Starts all at the same moment.
async fn at_once<F: Future<Output = Answer> + Send + 'static>(requests: Vec<F>) -> Vec<Answer> {
    let together = Arc::new(Barrier::new(requests.len()));
    let started = requests.into_iter().map(|request| {
        let together = together.clone();
        tokio::spawn(async move {
            together.wait().await;
            request.await
        })
    });
    join_all(started).await.into_iter().map(Result::unwrap).collect()
}

async fn two_processes(engine: Engine) -> (TestApp, TestApp) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let other = TestApp::on(app.stores.clone()).start().await;
    (app, other)
}

/// Issues one after the other until two were issued after the erasure was answered.
async fn issue_beside(issuer: Session, kind: String, answered: Arc<AtomicBool>) -> Vec<Value> {
    let (mut issued, mut after) = (Vec::new(), 0);
    while after < 2 {
        after += usize::from(answered.load(Ordering::SeqCst));
        let body = badge(&format!("{kind}-{}", issued.len()));
        issued.push(send(issuer.request(Method::POST, "/v1/credentials").json(&body)).await.expect(201).body);
    }
    issued
}

async fn an_erasure_that_races_issuances_ends_in_an_order(engine: Engine) {
    let (app, other) = two_processes(engine).await;
    let (here, there) = (app.issuer().await, other.issuer().await);
    let operator = app.operator().await;
    let (mut before, mut after) = (0, 0);
    for round in 0..10 {
        issue(&here, &format!("first-{round}")).await;
        let answered = Arc::new(AtomicBool::new(false));
        let lanes = [&here, &there, &here, &there]
            .into_iter()
            .enumerate()
            .map(|(lane, issuer)| tokio::spawn(issue_beside(issuer.0.clone(), format!("race-{round}-{lane}"), answered.clone())));
        let lanes: Vec<_> = lanes.collect();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let erased = erase(&operator, &body()).await.expect(200).body;
        answered.store(true, Ordering::SeqCst);
        let (position, subject) = (place(&erased["subjects"][0]["position"]), id(&erased["subjects"][0]));
        let mut others = BTreeSet::new();
        for issued in join_all(lanes).await.into_iter().flat_map(Result::unwrap) {
            let was_before = place(&issued["position"]) < position;
            let of = subject_of(&app, &issued).await;
            assert_eq!(was_before, of == subject, "what was issued before is erased, what came after is another's");
            let listed = erased["subjects"][0]["credentials"].as_array().unwrap().contains(&issued["id"]);
            assert_eq!(listed, was_before, "{erased}");
            let read = here.get(&format!("/v1/credentials/{}", id(&issued))).await;
            assert_eq!(read.status.as_u16(), if was_before { 410 } else { 200 }, "{}", read.text);
            if was_before {
                before += 1;
            } else {
                after += 1;
                others.insert(of);
            }
        }
        assert_eq!(others.len(), 1, "whoever came after is one subject");
        assert!(!key_exists(&app, subject).await);
        erase(&operator, &body()).await.expect(200);
    }
    println!("{before} issuances came before their erasure, {after} after");
    assert!(before > 10 && after > 10);
    app.eventually("all notes are settled", || async { app.services().vault.noted_erasures().await.unwrap().is_empty() }).await;
    fsck_is_content(&app).await;
}

/// Suspends and reinstates until it is told that the credential is erased, and answers where that was appended.
async fn change_beside(session: Session, credential: Uuid) -> Vec<u64> {
    let mut positions = Vec::new();
    loop {
        let change = ["suspend", "reinstate"][positions.len() % 2];
        let request = session.request(Method::POST, &format!("/v1/credentials/{credential}/{change}")).json(&json!({"reason": "race"}));
        let answer = send(request).await;
        if answer.status.as_u16() != 200 {
            answer.expect_problem(410, "erased");
            return positions;
        }
        positions.push(place(&Value::from(answer.header("ledger-position"))));
    }
}

async fn an_erasure_that_races_changes_ends_in_an_order(engine: Engine) {
    let (app, other) = two_processes(engine).await;
    let (here, there, operator) = (app.issuer().await, other.issuer().await, app.operator().await);
    for round in 0..15 {
        let mut lanes = Vec::new();
        for (lane, issuer) in [&here, &there, &here, &there].into_iter().enumerate() {
            let issued = issue(&here, &format!("race-{round}-{lane}")).await;
            lanes.push(tokio::spawn(change_beside(issuer.0.clone(), id(&issued))));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let erased = erase(&operator, &body()).await.expect(200).body;
        let position = place(&erased["subjects"][0]["position"]);
        for positions in join_all(lanes).await {
            assert!(positions.unwrap().iter().all(|change| *change < position), "no change follows the erasure");
        }
    }
    fsck_is_content(&app).await;
}

async fn an_erasure_that_races_verifications_ends_in_an_order(engine: Engine) {
    let (app, other) = two_processes(engine).await;
    let (here, there) = (app.issuer().await, other.issuer().await);
    let operator = app.operator().await;
    let (mut before, mut after) = (0, 0);
    for round in 0..10 {
        let issued = issue(&here, &format!("race-{round}")).await;
        let receipt = here.get(&format!("/v1/credentials/{}/receipt", id(&issued))).await.expect(200).body;
        let answered = Arc::new(AtomicBool::new(false));
        let lanes = [(&here, "document"), (&there, "document"), (&there, "id")].map(|(issuer, what)| {
            let (session, body, answered) = (issuer.0.clone(), json!({what: issued[what]}), answered.clone());
            let passed = issued["position"].as_str().unwrap().to_owned();
            tokio::spawn(async move {
                let (mut verdicts, mut after) = (Vec::new(), 0);
                while after < 2 {
                    after += usize::from(answered.load(Ordering::SeqCst));
                    let verify = session.request(Method::POST, "/v1/verifications").header("Ledger-Min-Position", &passed).json(&body);
                    verdicts.push((what, send(verify).await.expect(200).body));
                }
                verdicts
            })
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        let erased = erase(&operator, &body()).await.expect(200).body;
        assert_eq!(erased["read_models"], "purged");
        answered.store(true, Ordering::SeqCst);
        let position = place(&erased["subjects"][0]["position"]);
        for (what, verdict) in join_all(lanes).await.into_iter().flat_map(Result::unwrap) {
            let is_after = place(&verdict["as_of_position"]) >= position;
            let expected = match (is_after, what) {
                (false, _) => "active",
                (true, "id") => "not_found",
                (true, _) => "erased",
            };
            assert_eq!(verdict["status"], expected, "{verdict}, erased at {position}");
            *(if is_after { &mut after } else { &mut before }) += 1;
        }
        // A receipt from before is that of the same leaf, in a tree that has grown.
        let later = here.get(&format!("/v1/credentials/{}/receipt", id(&issued))).await.expect(200).body;
        assert_eq!(later["event_hash"], receipt["event_hash"]);
        here.get(&format!("/v1/credentials/{}", id(&issued))).await.expect_problem(410, "erased");
    }
    println!("{before} verdicts before their erasure, {after} after");
    assert!(before > 10 && after > 10);
    fsck_is_content(&app).await;
}

async fn erasures_at_once_erase_once(engine: Engine) {
    let (app, other) = two_processes(engine).await;
    let issuer = app.issuer().await;
    let operators: [Operator; 2] = [app.operator().await, other.operator().await];
    for round in 0..10 {
        issue(&issuer, &format!("a-{round}")).await;
        let requests = (0..4).map(|n| send(operators[n % 2].request(Method::POST, "/v1/subjects/erasures").json(&body()))).collect();
        let answers = at_once(requests).await;
        let found: usize = answers.into_iter().map(|answer| answer.expect(200).body["subjects"].as_array().unwrap().len()).sum();
        assert_eq!(found, 1, "exactly one order erased it");
    }
    let log = &app.services().ledger().unwrap().log;
    let query = Query { kind: Some("SubjectErased".to_owned()), ..Query::from(Position::FIRST, 99) };
    assert_eq!(log.read(&query).await.unwrap().len(), 10);
    app.eventually("all notes are settled", || async { app.services().vault.noted_erasures().await.unwrap().is_empty() }).await;
    fsck_is_content(&app).await;
}

/// A client that waited in vain asks again while the first order is still being carried out, by another process.
async fn orders_under_one_key_at_once_are_one_order(engine: Engine) {
    let (app, other) = two_processes(engine).await;
    let issuer = app.issuer().await;
    let operator = app.operator().await;
    let elsewhere = other.bearer(operator.session().key.as_deref().unwrap());
    for round in 0..10 {
        issue(&issuer, &format!("a-{round}")).await;
        let key = format!("round-{round}");
        let order = |n: usize| {
            let path = "/v1/subjects/erasures";
            let request = if n.is_multiple_of(2) { operator.request(Method::POST, path) } else { elsewhere.request(Method::POST, path) };
            send(request.header("Idempotency-Key", &key).json(&body()))
        };
        let answers = at_once((0..4).map(order).collect()).await;
        let subjects: BTreeSet<String> = answers.into_iter().map(|answer| answer.expect(200).body["subjects"].to_string()).collect();
        assert!(subjects.len() == 1 && !subjects.contains("[]"), "{subjects:?}");
    }
}

async fn a_repeat_tells_its_own_order_and_all_of_it(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (issuer, operator) = (app.issuer().await, app.operator().await);
    let order = |key: String| {
        let request = operator.request(Method::POST, "/v1/subjects/erasures").header("Idempotency-Key", &key).header("X-Request-Id", "one");
        send(request.json(&json!({"email": format!("{key}@example.org"), "reason": "asked for it"})))
    };
    // Appended together, by one caller, under one request's id.
    for round in 0..5 {
        let keys: Vec<String> = (0..4).map(|n| format!("ada.{round}.{n}")).collect();
        for key in &keys {
            issuer.issue("Ada Lovelace", &format!("{key}@example.org")).await;
        }
        let first = at_once(keys.iter().cloned().map(order).collect()).await;
        for (key, first) in keys.into_iter().zip(first) {
            let first = first.expect(200).body;
            assert_eq!(first["subjects"].as_array().unwrap().len(), 1);
            assert_eq!(order(key).await.expect(200).body, first);
        }
    }
}

/// As after a restore of the database's own, which brings back what the vault had forgotten.
async fn a_key_that_came_back_opens_nothing_and_goes_with_the_next_order(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (issuer, operator) = (app.issuer().await, app.operator().await);
    let issued = issue(&issuer, "a").await;
    let subject = erased_and_left(&app, &issued, false).await;
    assert!(key_exists(&app, subject).await);
    issuer.get(&format!("/v1/credentials/{}", id(&issued))).await.expect_problem(410, "erased");
    let opened = operator.get("/v1/logs/ledger/events?open=true").await.expect(200);
    assert!(opened.text.contains(r#""sealed":"erased""#) && !opened.text.contains(NAME), "{}", opened.text);
    let replayed = run(&app.stores, &["replay", "--open", "--format", "json"], 0).await;
    assert!(replayed.contains(r#""sealed":"erased""#) && !replayed.contains(NAME), "{replayed}");

    let again = erase(&operator, &body()).await.expect(200).body;
    assert_eq!((&again["subjects"][0]["id"], &again["subjects"][0]["position"]), (&json!(subject), &json!("ledger@2")));
    assert!(!key_exists(&app, subject).await);
    assert!(erase(&operator, &body()).await.expect(200).body["subjects"].as_array().unwrap().is_empty());
    fsck_is_content(&app).await;
}

/// As after a restore of the vault from before the issuance: nobody can open it, and nobody has erased it.
async fn whose_key_was_lost_can_be_revoked(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let issuer = app.issuer().await;
    let issuance = badge("a");
    let issued = keyed(&issuer, "/v1/credentials", "key-0", &issuance).await.expect(201).body;
    app.services().vault.forget_subjects(&[subject_of(&app, &issued).await]).await.unwrap();
    let path = format!("/v1/credentials/{}", id(&issued));
    issuer.get(&path).await.expect_problem(410, "key-lost");
    keyed(&issuer, "/v1/credentials", "key-0", &issuance).await.expect_problem(410, "key-lost");
    let revoke = format!("{path}/revoke");
    let reason = json!({"reason": "nobody can read it any more"});
    let revoked = keyed(&issuer, &revoke, "key-1", &reason).await.expect(200);
    assert_eq!(
        (&revoked.body["status"], &revoked.body["document"], &revoked.body["subject"]),
        (&json!("revoked"), &Value::Null, &Value::Null)
    );
    let repeated = keyed(&issuer, &revoke, "key-1", &reason).await.expect(200);
    assert_eq!((&repeated.body, repeated.header("idempotency-replayed")), (&revoked.body, "true"));
    let request = app.anonymous().request(Method::POST, "/v1/verifications").json(&json!({"document": issued["document"]}));
    let verdict = send(request.header("Ledger-Min-Position", "ledger@2")).await.expect(200).body;
    assert_eq!(verdict["status"], "revoked");
    let events = app.operator().await.get("/v1/logs/ledger/events?open=true").await.expect(200).body;
    assert_eq!(events["items"][2]["payload"]["reason"], "nobody can read it any more");
    fsck_is_content(&app).await;
}
