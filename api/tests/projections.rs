//! Where the read models stand, their rebuilds over HTTP, and the list of processes.

#![cfg(test)]

mod support;

use credence_ledger::log::Query;
use credence_ledger::{Position, Stream};
use credence_projections::generation::Lock;
use credence_projections::projection::Projection;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Engine, Operator, TestApp, User, send};

engines!(
    the_read_models_standing_is_told,
    a_rebuild_is_begun_watched_and_recorded,
    one_rebuild_a_projection_runs_at_a_time,
    without_a_record_nothing_is_rebuilt,
    live_processes_are_listed_until_they_say_goodbye,
);

const REBUILDS: &str = "/v1/projections/verification/rebuilds";

/// Begins a rebuild and follows it to its end.
async fn rebuild(admin: &Operator) -> Value {
    let begun = admin.post_empty(REBUILDS).await.expect(202);
    let path = begun.header("location").to_owned();
    assert_eq!(path, format!("{REBUILDS}/{}", begun.body["id"].as_str().unwrap()));
    for _ in 0..1000 {
        let rebuild = admin.get(&path).await.expect(200).body;
        if rebuild["phase"] == "done" || rebuild["phase"] == "failed" {
            return rebuild;
        }
        assert!(["building", "catching_up", "comparing"].contains(&rebuild["phase"].as_str().unwrap()), "{rebuild}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a rebuild without an end");
}

async fn the_read_models_standing_is_told(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.issuer().await.issue("Ada", "ada@example.org").await;
    let auditor = app.inspector().await;
    app.eventually("the read model is up to date", || async {
        let list = auditor.get("/v1/projections").await.expect(200).body;
        list["items"][0]["cursor"] == "ledger@1" && list["items"][0]["health"] == "healthy"
    })
    .await;
    let list = auditor.get("/v1/projections").await.expect(200).body;
    let names: Vec<&str> = list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["verification", "history"]);
    let verification = &list["items"][0];
    assert_eq!((&verification["head_seen"], &verification["lag_events"]), (&json!("ledger@1"), &json!(0)));
    assert_eq!(verification["version"], 2);
    assert!(verification["lag_s"].is_u64() && verification["generation"].is_u64());
    app.anonymous().get("/v1/projections").await.expect_problem(401, "unauthenticated");
    app.issuer().await.get("/v1/projections").await.expect_problem(403, "forbidden");
}

async fn a_rebuild_is_begun_watched_and_recorded(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let (admin, issuer) = (app.operator().await, app.issuer().await);
    for name in ["Ada", "Bob", "Cyd"] {
        issuer.issue(name, "one@example.org").await;
    }
    let generation = || async { admin.get("/v1/projections").await.expect(200).body["items"][0].clone() };
    // Both generations are compared where the serving one is.
    app.eventually("the read model is up to date", || async { generation().await["cursor"] == "ledger@3" }).await;
    let before = generation().await["generation"].as_u64().unwrap();
    let done = rebuild(&admin).await;
    assert_eq!((&done["phase"], &done["done"], &done["total"], &done["equal"]), (&json!("done"), &json!(4), &json!(4), &json!(true)));
    assert_eq!(done["projection"], "verification");
    assert_eq!(done["eta_s"], Value::Null);
    let after = generation().await;
    assert!(after["generation"].as_u64().unwrap() > before);
    assert_eq!(after["digest"].as_str().unwrap().len(), 64);
    assert_eq!(after["digest_at"], "ledger@3");

    let stream: Stream = format!("rebuild/{}", done["id"].as_str().unwrap()).parse().unwrap();
    app.eventually("the end is recorded", || async {
        let events = app.services().audit.log.read(&Query::stream(&stream)).await.unwrap();
        let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        assert!(events.iter().all(|event| event.metadata().unwrap().actor.starts_with("key/")));
        kinds == ["RebuildStarted", "RebuildFinished"]
    })
    .await;
    // A rebuild of one projection is none of the other.
    let path = format!("/v1/projections/history/rebuilds/{}", done["id"].as_str().unwrap());
    admin.get(&path).await.expect_problem(404, "not-found");
}

async fn one_rebuild_a_projection_runs_at_a_time(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let admin = app.operator().await;
    let held = app.hold(Lock::Rebuild(Projection::Verification)).await;
    admin.post_empty(REBUILDS).await.expect_problem(409, "rebuild-running");
    admin.post_empty("/v1/projections/history/rebuilds").await.expect(202);
    drop(held);
    app.eventually("the lock is free", || async { admin.post_empty(REBUILDS).await.status == 202 }).await;
}

async fn without_a_record_nothing_is_rebuilt(engine: Engine) {
    let app = TestApp::start(engine).await.with_read_models().await;
    let admin = app.operator().await;
    let before = app.services().read.cursor(Projection::Verification).await.unwrap().generation;
    app.services().audit.appender.shutdown().await;
    admin.post_empty(REBUILDS).await.expect_problem(503, "audit-unavailable");
    assert_eq!(app.services().read.cursor(Projection::Verification).await.unwrap().generation, before);
}

#[tokio::test]
async fn administrators_alone_rebuild_and_what_is_asked_wrongly_is_told() {
    let app = TestApp::start(Engine::Sqlite).await.with_read_models().await;
    let (admin, auditor) = (app.operator().await, app.inspector().await);
    app.anonymous().post_empty(REBUILDS).await.expect_problem(401, "unauthenticated");
    auditor.post_empty(REBUILDS).await.expect_problem(403, "forbidden");
    auditor.get(&format!("{REBUILDS}/0198c5a2-0000-7000-8000-000000000001")).await.expect_problem(403, "forbidden");
    admin.post_empty("/v1/projections/other/rebuilds").await.expect_problem(404, "not-found");
    for id in ["0198c5a2-0000-7000-8000-000000000001", "x"] {
        admin.get(&format!("{REBUILDS}/{id}")).await.expect_problem(404, "not-found");
    }
    admin.post_empty(&format!("{REBUILDS}?now=1")).await.expect_field("now", "unknown");
    admin.post(REBUILDS, &json!({"force": true})).await.expect_field("force", "unknown");
    send(admin.request(Method::POST, REBUILDS).header("content-type", "text/plain").body("x"))
        .await
        .expect_problem(415, "unsupported-media-type");
    admin.post(REBUILDS, &json!({})).await.expect(202);
    // Each refusal of a known caller is recorded.
    app.eventually("the auditor's refusals are recorded", || async {
        let query = Query { kind: Some("AccessRefused".to_owned()), ..Query::from(Position::FIRST, 10) };
        app.services().audit.log.read(&query).await.unwrap().len() == 2
    })
    .await;
}

async fn live_processes_are_listed_until_they_say_goodbye(engine: Engine) {
    let app = TestApp::start(engine).await;
    let admin = app.operator().await;
    let other = TestApp::on(app.stores.clone()).with(|config| config.store.worker = "another".to_owned()).start().await;
    let names = || async {
        let list = admin.get("/v1/services").await.expect(200).body;
        let names = list["items"].as_array().unwrap().iter().map(|item| item["worker"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    app.eventually("both are there", || async { names().await == ["another", "test-worker"] }).await;
    let worker = admin.get("/v1/services").await.expect(200).body["items"][0].clone();
    assert_eq!((&worker["role"], &worker["version"]), (&json!("all"), &json!(env!("CARGO_PKG_VERSION"))));
    assert!(worker["started_at"].is_string() && worker["last_seen_at"].is_string() && worker["cursors"].is_object());
    other.shutdown().await;
    assert_eq!(names().await, ["test-worker"]);
    app.inspector().await.get("/v1/services").await.expect(200);
    app.issuer().await.get("/v1/services").await.expect_problem(403, "forbidden");
    app.anonymous().get("/v1/services").await.expect_problem(401, "unauthenticated");
}
