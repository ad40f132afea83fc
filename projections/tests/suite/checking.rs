//! Comparing what serves with what the log says.

use std::sync::Arc;

use credence_projections::check::{Checked, check};
use credence_projections::generation::{Pointer, Stage, Store};
use credence_projections::projection::{self, Projection};
use credence_projections::read_store::Phase;
use credence_projections::rebuild::{Error, Options};
use uuid::Uuid;

use crate::common::{Engine, Logs, applied, eventually, id};

const VERIFICATION: Projection = Projection::Verification;

async fn run(logs: &Logs, store: &Arc<dyn Store>) -> (Checked, Vec<String>) {
    let mut told = Vec::new();
    logs.no_rebuild_runs(VERIFICATION, store).await;
    let options = Options::new(Uuid::new_v4());
    let checked = check(logs.projector(VERIFICATION, store), options, |difference| told.push(difference.to_string())).await.unwrap();
    assert_eq!(checked.differences, told.len() as u64);
    let generations = store.generations(VERIFICATION).await.unwrap();
    assert!(generations.iter().all(|generation| generation.stage != Stage::Temporary), "the compared generation is thrown away");
    (checked, told)
}

async fn what_was_altered_deleted_or_added_is_named(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    let last = logs.fill(0, 3).await;
    applied(&store, last).await;
    // Issuer at 0, credentials at 1, 2 and 3, of which the last is suspended at 4.
    let serving = store.cursor(VERIFICATION).await.unwrap().generation;
    let (checked, told) = run(&logs, &store).await;
    assert_eq!((checked.position, checked.rows, told), (Some(last), 5, vec![]));

    engine.tamper(&store, VERIFICATION, "credentials", "update {table} set type = 'medal', valid_until = 7 where position = 1").await;
    engine.tamper(&store, VERIFICATION, "credentials", "delete from {table} where position = 2").await;
    let added = "insert into {table} select 77, credential, recorded_at, 2 from {table} where position = 4";
    engine.tamper(&store, VERIFICATION, "status_changes", added).await;
    engine.tamper(&store, VERIFICATION, "issuers", "update {table} set name = 'Default' where position = 0").await;
    let (_, told) = run(&logs, &store).await;
    let expected = [
        format!("verification issuers {} name: expected \"default\", found \"Default\"", id(0)),
        format!("verification credentials {} type: expected \"badge\", found \"medal\"", id(1)),
        format!("verification credentials {} valid_until: expected null, found 7", id(1)),
        format!("verification credentials {} row: expected present, found absent", id(2)),
        "verification status_changes ledger@77 row: expected absent, found present".to_owned(),
    ];
    assert_eq!(told, expected);
    assert_eq!(store.cursor(VERIFICATION).await.unwrap().generation, serving, "a check repairs nothing");
    runner.stop().await;
}

async fn a_check_holds_while_the_model_moves_on(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 100).await).await;
    for round in 1..4 {
        let ((_, told), _) = tokio::join!(run(&logs, &store), logs.fill(round * 100, 100));
        assert_eq!(told, [""; 0]);
    }
    runner.stop().await;
}

async fn a_check_that_is_interrupted_while_it_compares_leaves_nothing(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 60).await).await;
    runner.stop().await;
    logs.no_rebuild_runs(VERIFICATION, &store).await;
    let serving = store.cursor(VERIFICATION).await.unwrap();
    let mut options = Options::new(Uuid::new_v4());
    let cancel = options.cancel.clone();
    options.observer = Arc::new(move |rebuild| {
        if rebuild.phase == Phase::Comparing {
            cancel.cancel();
        }
    });
    let checked = check(logs.projector(VERIFICATION, &store), options, |_| ()).await;
    assert!(matches!(checked, Err(Error::Interrupted)), "{checked:?}");
    assert_eq!(store.cursor(VERIFICATION).await.unwrap(), serving);
    assert!(!engine.keeps(serving.generation + 1).await);
}

async fn a_model_that_stopped_is_not_ok(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let last = logs.fill(0, 3).await;
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, last).await;
    // A change of a credential that was never issued.
    logs.suspend(id(99)).await;
    eventually("it is stopped", || async { store.cursor(VERIFICATION).await.ok().filter(|cursor| cursor.unhealthy.is_some()) }).await;
    runner.stop().await;
    let (checked, told) = run(&logs, &store).await;
    assert_eq!((told, checked.is_ok()), (vec![], false));
    let stood = checked.to_string();
    assert!(stood.starts_with("5 rows at ledger@4, stopped there: the event ledger@5 cannot be applied"), "{stood}");
}

async fn a_model_ahead_of_a_restored_log_is_not_ok(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 3).await).await;
    runner.stop().await;
    let restored = Logs::new();
    restored.fill(0, 1).await;
    let (checked, told) = run(&restored, &store).await;
    assert_eq!((checked.is_ok(), told), (false, vec![]));
    assert!(checked.to_string().starts_with("0 rows at ledger@4, stopped there: it tells of another log"), "{checked}");
}

async fn a_model_of_another_version_is_left_where_it_is(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 3).await).await;
    runner.stop().await;
    logs.no_rebuild_runs(VERIFICATION, &store).await;
    let old = store.cursor(VERIFICATION).await.unwrap().generation;
    drop(store);
    engine.as_of_the_version_before_erasures(old).await;

    let store = engine.open().await;
    let checked = check(logs.projector(VERIFICATION, &store), Options::new(Uuid::new_v4()), |_| ()).await;
    assert!(matches!(checked, Err(Error::Store(projection::Error::Vanished(VERIFICATION)))), "{checked:?}");
    assert_eq!(store.pointer(VERIFICATION).await.unwrap(), Some(Pointer { generation: old, version: 1 }));
    assert!(engine.keeps(old).await, "a program of its version still reads it");
    assert!(!engine.keeps(old + 1).await, "what was built to compare is thrown away");
}

on_every_engine!(
    what_was_altered_deleted_or_added_is_named,
    a_check_holds_while_the_model_moves_on,
    a_check_that_is_interrupted_while_it_compares_leaves_nothing,
    a_model_that_stopped_is_not_ok,
    a_model_ahead_of_a_restored_log_is_not_ok,
    a_model_of_another_version_is_left_where_it_is,
);
