//! Retention of the audit log: months of details that are older than they are kept are let go, and nothing else.

#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credence_api::services::App;
use credence_api::use_cases::retention;
use credence_ledger::event::audit::AuditDetailsShredded;
use credence_ledger::log::Query;
use credence_ledger::testing::ManualClock;
use credence_ledger::{Stream, Timestamp};
use serde_json::{Value, json};
use sqlx::Connection as _;
use support::{Builder, Engine, Stores, TestApp, User};

engines!(
    details_that_are_older_than_they_are_kept_are_let_go_and_nothing_else,
    without_a_policy_details_are_kept_for_ever,
    processes_that_let_go_at_once_record_it_once,
    what_was_recorded_is_destroyed_by_whoever_comes_next,
    a_key_that_came_back_with_a_backup_is_reported_and_destroyed_again,
    a_clock_that_is_set_back_gets_no_key_for_a_month_that_was_let_go,
);

const DAY: Duration = Duration::from_secs(24 * 3600);

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(time("2026-01-15T12:00:00Z")))
}

fn keeping(builder: Builder, clock: &Arc<ManualClock>, days: u32) -> Builder {
    builder.clock(clock.clone()).with(|config| config.audit_details_kept = Some(DAY * days))
}

/// Leaves an address in the audit log.
async fn verify(app: &TestApp) {
    app.eventually("the read model is fresh", || async {
        app.anonymous().post("/v1/verifications", &json!({"digest": format!("blake3:{}", "00".repeat(32))})).await.status == 200
    })
    .await;
}

async fn events(app: &TestApp, query: &str) -> Vec<Value> {
    let answer = app.inspector().await.get(&format!("/v1/logs/audit/events?limit=1000&{query}")).await.expect(200);
    answer.body["items"].as_array().unwrap().clone()
}

/// When, and what is shown of the details, of each verdict.
async fn verdicts(app: &TestApp) -> Vec<(String, Value)> {
    let verdicts = events(app, "type=CredentialVerified").await;
    let shown = |event: &Value| (event["recorded_at"].as_str().unwrap()[..7].to_owned(), event["metadata"]["details"].clone());
    verdicts.iter().map(shown).collect()
}

fn sealed(month: &str) -> (String, Value) {
    (month.to_owned(), json!({"sealed": format!("month/{month}")}))
}

fn erased() -> Value {
    json!({"sealed": "erased"})
}

/// The months of each event that tells of any.
async fn recorded(app: &App) -> Vec<Vec<String>> {
    let events = app.audit.log.read(&Query::stream(&Stream::retention())).await.unwrap();
    events.iter().map(|event| event.payload::<AuditDetailsShredded>().unwrap().months).collect()
}

async fn details_that_are_older_than_they_are_kept_are_let_go_and_nothing_else(engine: Engine) {
    let clock = clock();
    let app = keeping(TestApp::builder(engine).await, &clock, 31).start().await.with_read_models().await;
    verify(&app).await;
    clock.set(time("2026-02-10T12:00:00Z"));
    verify(&app).await;
    let before = events(&app, "").await;

    // The last moment of January is not that old yet.
    clock.set(time("2026-03-03T23:59:59.999999Z"));
    assert!(retention::shred(app.services()).await.unwrap().is_empty());
    assert_eq!(verdicts(&app).await, [sealed("2026-01"), sealed("2026-02")]);
    clock.set(time("2026-03-04T00:00:05Z"));
    // The log tells the clock's time once no commit can be under way that bears an earlier one.
    app.eventually("January is let go", || async { retention::shred(app.services()).await.unwrap() == ["2026-01"] }).await;
    assert_eq!(verdicts(&app).await, [("2026-01".to_owned(), erased()), sealed("2026-02")]);
    // Once and for all.
    assert!(retention::shred(app.services()).await.unwrap().is_empty());
    assert_eq!(recorded(app.services()).await, [["2026-01"]]);
    let told = events(&app, "type=AuditDetailsShredded").await;
    assert_eq!((&told[0]["metadata"]["actor"], &told[0]["payload"]), (&json!("system"), &json!({"months": ["2026-01"]})));

    // Whoever may open what is sealed opens what is left.
    let opened = app.operator().await.get("/v1/logs/audit/events?type=CredentialVerified&open=true").await.expect(200).body;
    let details = |at: usize| opened["items"][at]["metadata"]["details"].clone();
    assert_eq!((details(0), &details(1)["address"]), (erased(), &json!("127.0.0.1")));
    // Hashes, positions, counts: every event is what it was, but for what is shown of details.
    let after = events(&app, "").await;
    let without = |events: &[Value]| {
        let mut events = events.to_vec();
        events.iter_mut().for_each(|event| drop(event["metadata"].as_object_mut().unwrap().remove("details")));
        events
    };
    assert_eq!(without(&after[..before.len()]), without(&before));
    let stores = app.shutdown().await;
    let checked = support::run(&stores, &["fsck"], 0).await;
    assert!(checked.contains("audit: ") && !checked.contains("finding"), "{checked}");
}

async fn without_a_policy_details_are_kept_for_ever(engine: Engine) {
    let clock = clock();
    let app = TestApp::builder(engine).await.clock(clock.clone()).start().await.with_read_models().await;
    verify(&app).await;
    clock.advance(DAY * 36_500);
    assert!(retention::shred(app.services()).await.unwrap().is_empty());
    assert_eq!(app.services().vault.months().await.unwrap(), ["2026-01"]);
    assert!(recorded(app.services()).await.is_empty());
}

async fn processes_that_let_go_at_once_record_it_once(engine: Engine) {
    let clock = clock();
    let app = keeping(TestApp::builder(engine).await, &clock, 40).start().await.with_read_models().await;
    let other = keeping(TestApp::on(app.stores.clone()), &clock, 40).start().await;
    verify(&app).await;
    clock.advance(DAY * 30);
    verify(&app).await;
    clock.advance(DAY * 70);
    let log = app.services().audit.log.clone();
    app.eventually("nothing is under way", || async { log.head().await.unwrap().now.month() == "2026-04" }).await;
    let shred = |app: &TestApp| {
        let services = app.services().clone();
        tokio::spawn(async move { retention::shred(&services).await.unwrap() })
    };
    let runs = futures::future::join_all([&app, &other, &app, &other, &app, &other].map(shred)).await;
    let told: Vec<Vec<String>> = runs.into_iter().map(Result::unwrap).filter(|months| !months.is_empty()).collect();
    assert_eq!((&told, recorded(app.services()).await), (&vec![vec!["2026-01".to_owned(), "2026-02".to_owned()]], told.clone()));
    assert!(app.services().vault.months().await.unwrap().is_empty());
}

/// A crash between the record and the deed; and a policy that was taken away since.
async fn what_was_recorded_is_destroyed_by_whoever_comes_next(engine: Engine) {
    let clock = clock();
    let app = keeping(TestApp::builder(engine).await, &clock, 31).start().await.with_read_models().await;
    verify(&app).await;
    let keys = Keys::of(&app.stores);
    let kept = keys.read("2026-01").await;
    clock.advance(DAY * 100);
    app.eventually("January is let go", || async { retention::shred(app.services()).await.unwrap() == ["2026-01"] }).await;
    let stores = app.shutdown().await;
    keys.write("2026-01", &kept).await;

    // As a task of its own, at the start.
    let app = TestApp::on(stores).clock(clock).start().await;
    app.eventually("the key is gone", || async { app.services().vault.months().await.unwrap().is_empty() }).await;
    assert_eq!(recorded(app.services()).await.len(), 1);
}

async fn a_key_that_came_back_with_a_backup_is_reported_and_destroyed_again(engine: Engine) {
    let clock = clock();
    let app = keeping(TestApp::builder(engine).await, &clock, 31).start().await.with_read_models().await;
    verify(&app).await;
    let keys = Keys::of(&app.stores);
    let kept = keys.read("2026-01").await;
    clock.advance(DAY * 100);
    app.eventually("January is let go", || async { retention::shred(app.services()).await.unwrap() == ["2026-01"] }).await;
    assert!(keys.read("2026-01").await.is_empty());
    keys.write("2026-01", &kept).await;
    assert_eq!(verdicts(&app).await, [sealed("2026-01")]);

    let position = &events(&app, "type=AuditDetailsShredded").await[0]["position"];
    let expected = format!("{} destroyed: the key month/2026-01 exists, though it was destroyed", position.as_str().unwrap());
    let told = support::run(&app.stores, &["fsck", "--log", "audit"], 1).await;
    assert!(told.contains(&expected) && told.trim_end().ends_with("1 findings"), "{told}");

    retention::shred(app.services()).await.unwrap();
    assert_eq!(verdicts(&app).await, [("2026-01".to_owned(), erased())]);
    assert!(!support::run(&app.stores, &["fsck", "--log", "audit"], 0).await.contains("finding"));
}

async fn a_clock_that_is_set_back_gets_no_key_for_a_month_that_was_let_go(engine: Engine) {
    let clock = clock();
    let app = keeping(TestApp::builder(engine).await, &clock, 31).start().await.with_read_models().await;
    verify(&app).await;
    clock.advance(DAY * 100);
    verify(&app).await;
    app.eventually("January is let go", || async { retention::shred(app.services()).await.unwrap() == ["2026-01"] }).await;
    clock.set(time("2026-01-20T12:00:00Z"));
    // What is recorded bears the log's time, and is sealed by the key of its month.
    verify(&app).await;
    assert_eq!(app.services().vault.months().await.unwrap(), ["2026-04"]);
    let [first, others @ ..] = &*verdicts(&app).await else { panic!("no verdicts") };
    assert_eq!(*first, ("2026-01".to_owned(), erased()));
    assert!(others.len() == 2 && others.iter().all(|verdict| *verdict == sealed("2026-04")), "{others:?}");
}

/// The month keys as the vault stores them: what a restored backup would bring back.
struct Keys {
    url: String,
}

impl Keys {
    fn of(stores: &Stores) -> Keys {
        Keys { url: stores.url() }
    }

    async fn read(&self, month: &str) -> Vec<u8> {
        match self.url.strip_prefix("sqlite:") {
            Some(folder) => {
                let vault = rusqlite::Connection::open(format!("{folder}/vault.sqlite")).unwrap();
                vault.query_row("select wrapped_key from month_keys where month = ?1", [month], |row| row.get(0)).unwrap()
            }
            None => {
                let mut vault = sqlx::PgConnection::connect(&self.url).await.unwrap();
                let key = sqlx::query_scalar("select wrapped_key from vault.month_keys where month = $1").bind(month);
                key.fetch_one(&mut vault).await.unwrap()
            }
        }
    }

    async fn write(&self, month: &str, key: &[u8]) {
        match self.url.strip_prefix("sqlite:") {
            Some(folder) => {
                let vault = rusqlite::Connection::open(format!("{folder}/vault.sqlite")).unwrap();
                vault.execute("update month_keys set wrapped_key = ?2 where month = ?1", rusqlite::params![month, key]).unwrap();
            }
            None => {
                let mut vault = sqlx::PgConnection::connect(&self.url).await.unwrap();
                let write = sqlx::query("update vault.month_keys set wrapped_key = $2 where month = $1").bind(month).bind(key);
                write.execute(&mut vault).await.unwrap();
            }
        }
    }
}
