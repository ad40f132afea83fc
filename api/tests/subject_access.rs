//! Subject access: what a person is told that is held about it, by whom, and that it is recorded.

#![cfg(test)]

mod support;

use credence_ledger::event::audit::{Cause, CredentialVerified, PersonalDataRead, PresentedBy};
use credence_ledger::event::{New, Origination};
use credence_ledger::log::{Append, Expected, Query};
use credence_ledger::stream::category;
use credence_ledger::vault::{Role, Terms};
use credence_ledger::{Position, Stream, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use support::{Bearer, Engine, TestApp, User, send};
use uuid::Uuid;

engines!(
    everything_that_is_held_about_a_person_is_told,
    however_many_events_there_are_each_is_told_once,
    an_administrator_is_told_what_its_organisation_holds_and_an_operator_everything,
    of_whom_nothing_is_held_nothing_is_told,
    who_is_erased_while_it_is_told_is_told_as_erased_and_the_others_whole,
    without_a_record_nothing_is_told,
    a_malformed_question_is_told_what_is_wrong,
);

const EXPORTS: &str = "/v1/subjects/exports";

fn id(issued: &Value) -> Uuid {
    issued["id"].as_str().unwrap().parse().unwrap()
}

fn credential(kind: &str, name: &str, email: &str) -> Value {
    json!({"type": kind, "subject": {"name": name, "email": email}, "claims": {"note": format!("{kind} of {name}")}})
}

async fn audit_size(app: &TestApp) -> u64 {
    app.services().audit.log.head().await.unwrap().size
}

fn ids(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

async fn everything_that_is_held_about_a_person_is_told(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (issuer, operator) = (app.issuer().await, app.operator().await);
    let diploma = issuer.post("/v1/credentials", &credential("diploma", "Ada Lovelace", "ada@example.org")).await.expect(201).body;
    let bob = issuer.post("/v1/credentials", &credential("diploma", "Bob", "bob@example.org")).await.expect(201).body;
    let badge = issuer.post("/v1/credentials", &credential("badge", "Ada Lovelace", "Ada@Example.org")).await.expect(201).body;
    let revoked = format!("/v1/credentials/{}/revoke", id(&badge));
    let revoked = issuer.post(&revoked, &json!({"reason": "left the company"})).await.expect(200);
    for asked in [&diploma, &diploma, &bob, &badge] {
        let request = app.anonymous().request(Method::POST, "/v1/verifications").json(&json!({"id": asked["id"]}));
        send(request.header("Ledger-Min-Position", revoked.header("ledger-position"))).await.expect(200);
    }
    let before = audit_size(&app).await;
    let answer = operator.post(EXPORTS, &json!({"email": " ADA@example.org "})).await.expect(200);
    assert_eq!((answer.header("content-type"), answer.header("cache-control")), ("application/json", "no-store"));
    let [subject] = answer.body["subjects"].as_array().unwrap().as_slice() else { panic!("{}", answer.text) };
    assert_eq!(answer.body["account"], Value::Null);
    assert_eq!((&subject["name"], &subject["email"]), (&json!("Ada Lovelace"), &json!("ada@example.org")));
    assert_eq!(subject["issuer"], "default");

    // Recorded once, before it was told; and told to nobody but who asked what the verifiers' addresses are.
    assert_eq!(audit_size(&app).await, before + 1);
    let recorded = app.services().audit.log.read(&Query::from(Position(before), 1)).await.unwrap().remove(0);
    let read: PersonalDataRead = recorded.payload().unwrap();
    let stream = format!("subject/{}", subject["id"].as_str().unwrap());
    assert_eq!(read, PersonalDataRead { via: format!("POST {EXPORTS}"), what: Some(stream) });

    let held = &subject["credentials"];
    assert_eq!(ids(held, "id"), [diploma["id"].as_str().unwrap(), badge["id"].as_str().unwrap()]);
    for (at, issued) in [(0, &diploma), (1, &badge)] {
        assert_eq!(held[at], issuer.get(&format!("/v1/credentials/{}", id(issued))).await.expect(200).body);
    }
    assert_eq!((&held[0]["document"], &held[1]["status"]), (&diploma["document"], &json!("revoked")));

    let events = &subject["events"];
    assert_eq!(ids(events, "type"), ["CredentialIssued", "CredentialIssued", "CredentialRevoked"]);
    assert_eq!(events[0]["payload"]["document"], support::unsigned(&diploma["document"]));
    assert_eq!(events[2]["payload"]["reason"], "left the company");
    assert_eq!(events[0]["payload"]["subject_id"], subject["id"]);

    let verifications = &subject["verifications"];
    assert_eq!(verifications.as_array().unwrap().len(), 3);
    for (at, issued) in [(0, &diploma), (1, &diploma), (2, &badge)] {
        assert_eq!(
            (&verifications[at]["type"], &verifications[at]["payload"]["credential"]),
            (&json!("CredentialVerified"), &issued["id"])
        );
        assert!(verifications[at]["metadata"]["details"]["sealed"].as_str().unwrap().starts_with("month/"));
    }
    assert!(!answer.text.contains("Bob") && !answer.text.contains("127.0.0.1"), "{}", answer.text);
}

async fn however_many_events_there_are_each_is_told_once(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let issued = app.issuer().await.issue("Ada", "ada@example.org").await;
    let operator = app.operator().await;
    let mut verified = 0_u128;
    for more in [255, 1, 1, 300] {
        let payload = CredentialVerified {
            as_of: Timestamp::EPOCH,
            cause: Cause::Found,
            status: "active".to_owned(),
            position: None,
            credential: Some(id(&issued)),
            presented_by: PresentedBy::Id,
        };
        let append = |number: u128| {
            let event = New::of(&payload, &Origination::system("test").metadata(&app.services().random));
            Append::to(Stream::new(category::VERIFICATION, Uuid::from_u128(number)), Expected::None, vec![event])
        };
        app.services().audit.log.commit((verified..verified + more).map(append).collect()).await.unwrap();
        verified += more;
        let told = operator.post(EXPORTS, &json!({"email": "ada@example.org"})).await.expect(200).body;
        let streams = ids(&told["subjects"][0]["verifications"], "stream");
        let expected: Vec<String> = (0..verified).map(|number| format!("verification/{}", Uuid::from_u128(number))).collect();
        assert_eq!(streams, expected);
    }
}

/// Whom somebody is told about, by organisation and name.
async fn told(user: &impl User, question: Value) -> Vec<(String, String)> {
    let body = user.post(EXPORTS, &question).await.expect(200).body;
    let of = |subject: &Value| (subject["issuer"].as_str().unwrap().to_owned(), subject["name"].as_str().unwrap().to_owned());
    let mut subjects: Vec<_> = body["subjects"].as_array().unwrap().iter().map(of).collect();
    subjects.sort();
    subjects
}

async fn an_administrator_is_told_what_its_organisation_holds_and_an_operator_everything(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (acme, emca) = (app.issuer_of("acme").await, app.issuer_of("emca").await);
    for (issuer, name) in [(&acme, "Ada"), (&acme, "Augusta"), (&emca, "Ada")] {
        issuer.issue(name, "ada@example.org").await;
    }
    let admin = Bearer(app.caller(Role::Admin, "acme").await);
    let operator = app.operator().await;
    let subject = |issuer: &str, name: &str| (issuer.to_owned(), name.to_owned());
    let everybody = json!({"email": "ada@example.org"});
    assert_eq!(told(&admin, everybody.clone()).await, [subject("acme", "Ada"), subject("acme", "Augusta")]);
    assert_eq!(told(&operator, everybody).await, [subject("acme", "Ada"), subject("acme", "Augusta"), subject("emca", "Ada")]);
    assert_eq!(told(&admin, json!({"email": "ada@example.org", "name": "Ada", "issuer": "acme"})).await, [subject("acme", "Ada")]);
    assert_eq!(told(&operator, json!({"email": "ada@example.org", "issuer": "emca"})).await, [subject("emca", "Ada")]);
    let other = json!({"email": "ada@example.org", "issuer": "emca"});
    admin.post(EXPORTS, &other).await.expect_problem(403, "forbidden");
    let nowhere = json!({"email": "ada@example.org", "issuer": "nowhere"});
    admin.post(EXPORTS, &nowhere).await.expect_problem(403, "forbidden");
    operator.post(EXPORTS, &nowhere).await.expect_field("issuer", "unknown");
    for refused in [app.issuer_of("acme").await.0, app.inspector().await.0, app.caller(Role::Auditor, "acme").await] {
        Bearer(refused).post(EXPORTS, &other).await.expect_problem(403, "forbidden");
    }
    app.anonymous().post(EXPORTS, &other).await.expect_problem(401, "unauthenticated");

    // A key that is limited to some types asks about nobody.
    let services = app.services();
    let issuer = services.issuers.by_name("acme").await.unwrap().unwrap().id;
    let terms = Terms { types: Some(vec!["badge".to_owned()].into()), ..Terms::of(Role::Admin, issuer) };
    let (_, limited) = services.vault.create_key(&terms, services.clock.now()).await.unwrap();
    app.bearer(&limited).post(EXPORTS, &json!({"email": "ada@example.org"})).await.expect_problem(403, "forbidden");

    // What an operator was told of one subject is on record where the subject belongs to.
    operator.post(EXPORTS, &json!({"email": "ada@example.org", "issuer": "emca"})).await.expect(200);
    let auditor = Bearer(app.caller(Role::Auditor, "emca").await);
    let events = auditor.get("/v1/logs/audit/events?type=PersonalDataRead&limit=100").await.expect(200).body;
    assert_eq!(events["items"].as_array().unwrap().len(), 2, "{events}");
}

async fn of_whom_nothing_is_held_nothing_is_told(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let operator = app.operator().await;
    let nothing = json!({"account": null, "subjects": [], "erased": []});
    assert_eq!(operator.post(EXPORTS, &json!({"email": "ada@example.org"})).await.expect(200).body, nothing);
    app.issuer().await.issue("Ada", "ada@example.org").await;
    assert_eq!(operator.post(EXPORTS, &json!({"email": "ada@example.org", "name": "Eve"})).await.expect(200).body, nothing);
    // Erased: nobody is left who could be asked about.
    let order = json!({"email": "ada@example.org", "reason": "asked for it"});
    operator.post("/v1/subjects/erasures", &order).await.expect(200);
    assert_eq!(operator.post(EXPORTS, &json!({"email": "ada@example.org"})).await.expect(200).body, nothing);
    // And so of whom the ledger says that it is erased, before the vault has forgotten it.
    let issued = app.issuer().await.issue("Bob", "bob@example.org").await;
    assert_eq!(told(&operator, json!({"email": "bob@example.org"})).await.len(), 1);
    app.append_erasure(&issued).await;
    assert_eq!(operator.post(EXPORTS, &json!({"email": "bob@example.org"})).await.expect(200).body, nothing);
    // An account is told beside, where it belongs to an organisation that is asked.
    let account = json!({"username": "ada", "email": "Ada@example.org", "password": "correct horse battery staple", "first_name": "Ada"});
    let made = operator.post("/v1/auth/register", &account).await.expect(201).body;
    let told = operator.post(EXPORTS, &json!({"email": "ada@example.org"})).await.expect(200).body;
    assert_eq!(told, json!({"account": made, "subjects": [], "erased": []}));
    app.issuer_of("acme").await;
    let elsewhere = Bearer(app.caller(Role::Admin, "acme").await);
    assert_eq!(elsewhere.post(EXPORTS, &json!({"email": "ada@example.org"})).await.expect(200).body, nothing);
}

async fn who_is_erased_while_it_is_told_is_told_as_erased_and_the_others_whole(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (issuer, elsewhere, operator) = (app.issuer().await, app.issuer_of("emca").await, app.operator().await);
    // More than the sockets between the two hold: the server waits in the middle of it for whoever reads.
    let much = "x".repeat(60_000);
    for number in 0..160 {
        let body =
            json!({"type": format!("type-{number}"), "subject": {"name": "Ada", "email": "ada@example.org"}, "claims": {"much": much}});
        issuer.post("/v1/credentials", &body).await.expect(201);
    }
    issuer.issue("Augusta", "ada@example.org").await;
    let other = elsewhere.issue("Ada", "ada@example.org").await;

    let question = operator.request(Method::POST, EXPORTS).json(&json!({"email": "ada@example.org"}));
    let mut answer = question.send().await.unwrap();
    let mut told = answer.chunk().await.unwrap().unwrap().to_vec();
    let order = json!({"email": "ada@example.org", "issuer": "default", "reason": "asked for it"});
    let erasure = operator.post("/v1/subjects/erasures", &order).await.expect(200).body;
    while let Some(more) = answer.chunk().await.unwrap() {
        told.extend(more);
    }
    let told: Value = serde_json::from_slice(&told).unwrap();

    let erased = |at: usize| {
        let subject = &erasure["subjects"][at];
        json!({"id": subject["id"], "issuer": "default", "position": subject["position"]})
    };
    assert_eq!(told["erased"], json!([erased(0), erased(1)]));
    // Of one something had been told, of the other nothing; of the third, whom nobody erased, all.
    let [half, whole] = told["subjects"].as_array().unwrap().as_slice() else { panic!("{}", told["subjects"]) };
    assert_eq!((&half["id"], &half["verifications"]), (&erasure["subjects"][0]["id"], &json!([])));
    let credentials = half["credentials"].as_array().unwrap().len();
    assert!(credentials > 0 && half["events"].as_array().unwrap().len() < 160, "{credentials}");
    assert!(half["events"].as_array().unwrap().iter().all(|event| event["payload"]["document"].is_object()));
    assert_eq!((&whole["issuer"], &whole["credentials"][0]["id"]), (&json!("emca"), &other["id"]));
    assert_eq!(ids(&whole["events"], "type"), ["CredentialIssued"]);
}

async fn without_a_record_nothing_is_told(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    app.issuer().await.issue("Ada", "ada@example.org").await;
    let operator = app.operator().await;
    operator.post(EXPORTS, &json!({"email": "ada@example.org"})).await.expect(200);
    app.services().audit.appender.shutdown().await;
    let answer = operator.post(EXPORTS, &json!({"email": "ada@example.org"})).await.expect_problem(503, "audit-unavailable");
    assert!(!answer.text.contains("Ada"));
}

async fn a_malformed_question_is_told_what_is_wrong(engine: Engine) {
    let app = TestApp::start(engine).await;
    let operator = app.operator().await;
    for (body, field, code) in [
        (json!({}), "email", "required"),
        (json!([]), "", "type"),
        (json!({"email": "nobody"}), "email", "format"),
        (json!({"email": 1}), "email", "type"),
        (json!({"email": "ada@example.org", "name": " "}), "name", "blank"),
        (json!({"email": "ada@example.org", "reason": "x"}), "reason", "unknown"),
    ] {
        operator.post(EXPORTS, &body).await.expect_field(field, code);
    }
    operator.post(&format!("{EXPORTS}?open=true"), &json!({"email": "ada@example.org"})).await.expect_field("open", "unknown");
}
