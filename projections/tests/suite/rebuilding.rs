//! Building a generation beside the one that serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use credence_ledger::log::Log;
use credence_projections::projection::Projection;
use credence_projections::read_store::Phase;
use credence_projections::rebuild::{self, Error, Options};
use credence_projections::verification::{At, Found, Lookup, State};
use uuid::Uuid;

use crate::common::{Engine, Logs, applied, applied_by, digest_of_serving, id};

const VERIFICATION: Projection = Projection::Verification;

async fn a_rebuild_equals_what_was_applied_live_while_both_go_on(engine: &Engine) {
    let (store, elsewhere, logs) = (engine.open().await, engine.open().await, Arc::new(Logs::new()));
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 300).await).await;
    let stop = Arc::new(AtomicBool::new(false));
    let appending = tokio::spawn({
        let (logs, stop) = (logs.clone(), stop.clone());
        async move {
            let mut filled = 300;
            while !stop.load(Ordering::SeqCst) {
                logs.fill(filled, 5).await;
                filled += 5;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    for _ in 0..3 {
        let before = store.cursor(VERIFICATION).await.unwrap().generation;
        // As another process does it.
        let rebuilt = logs.rebuild(VERIFICATION, &elsewhere).await;
        assert_eq!((rebuilt.equal, rebuilt.phase), (Some(true), Phase::Done));
        assert_eq!(store.rebuild(rebuilt.id).await.unwrap(), Some(rebuilt));
        assert!(store.cursor(VERIFICATION).await.unwrap().generation > before);
    }
    stop.store(true, Ordering::SeqCst);
    appending.await.unwrap();
    let last = logs.ledger.head().await.unwrap().last().unwrap();
    applied(&store, last).await;
    runner.stop().await;
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, Some(true));
}

async fn readers_never_go_back_or_miss_anything_while_the_pointer_flips(engine: &Engine) {
    let (store, elsewhere, logs) = (engine.open().await, engine.open().await, Arc::new(Logs::new()));
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 100).await).await;
    let (_, cursor) = elsewhere.find(&Lookup::Id(id(1)), At::Newest).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for reader in [store.clone(), elsewhere.clone()] {
        let (stop, mut newest) = (stop.clone(), cursor.position);
        tasks.push(tokio::spawn(async move {
            let mut answers = 0;
            while !stop.load(Ordering::SeqCst) {
                let (found, cursor) = reader.find(&Lookup::Id(id(4)), At::Newest).await.unwrap();
                assert_eq!(found.and_then(Found::credential).unwrap().state, State::Revoked);
                assert!(cursor.position >= newest, "{:?} after {newest:?}", cursor.position);
                newest = cursor.position;
                answers += 1;
            }
            assert!(answers > 100);
        }));
    }
    for round in 0..4 {
        let rebuilding = logs.rebuild(VERIFICATION, if round % 2 == 0 { &store } else { &elsewhere });
        let appending = logs.fill(100 + round * 50, 50);
        let (rebuilt, _) = tokio::join!(rebuilding, appending);
        assert_eq!(rebuilt.equal, Some(true));
    }
    stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    runner.stop().await;
}

async fn an_interrupted_rebuild_leaves_what_serves_alone_and_is_gone_on_with(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 60).await).await;
    logs.no_rebuild_runs(VERIFICATION, &store).await;
    let mut at_work = None;
    for phase in [Phase::Building, Phase::CatchingUp, Phase::Comparing] {
        let serving = store.cursor(VERIFICATION).await.unwrap().generation;
        let mut options = Options { chunk: 7, ..Options::new(Uuid::new_v4()) };
        let cancel = options.cancel.clone();
        options.observer = Arc::new(move |rebuild| {
            if rebuild.phase == phase {
                cancel.cancel();
            }
        });
        let (id, job) = (options.id, rebuild::start(logs.projector(VERIFICATION, &store), options).await.unwrap());
        // What was built is gone on with, not begun anew.
        assert_eq!(*at_work.get_or_insert(job.generation()), job.generation());
        assert!(matches!(job.run().await, Err(Error::Interrupted)), "{phase:?}");
        let written = store.rebuild(id).await.unwrap().unwrap();
        assert_eq!((written.phase, written.failure.as_deref()), (Phase::Failed, Some("the rebuild was interrupted")));
        assert_eq!(written.equal, None, "it is not first compared to the end");
        assert_eq!(store.cursor(VERIFICATION).await.unwrap().generation, serving);
        applied(&store, logs.issue(crate::common::id(1000 + phase as u64), crate::common::id(0), |_| ()).await).await;
    }
    let rebuilt = logs.rebuild(VERIFICATION, &store).await;
    assert_eq!(rebuilt.equal, Some(true));
    assert_eq!(Some(store.cursor(VERIFICATION).await.unwrap().generation), at_work);
    runner.stop().await;
}

async fn a_rebuild_that_dies_leaves_a_row_that_says_so(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 20).await).await;
    logs.no_rebuild_runs(VERIFICATION, &store).await;
    let options = Options::new(Uuid::new_v4());
    let id = options.id;
    // Dropped, as by a killed process: nobody writes down how it ended.
    drop(rebuild::start(logs.projector(VERIFICATION, &store), options).await.unwrap());
    assert_eq!(store.rebuild(id).await.unwrap().unwrap().phase, Phase::Building);
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, Some(true));
    assert_eq!(store.rebuild(id).await.unwrap().unwrap().phase, Phase::Failed);
    runner.stop().await;
}

async fn one_rebuild_of_a_projection_runs_at_a_time(engine: &Engine) {
    let (store, elsewhere, logs) = (engine.open().await, engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 5).await).await;
    logs.no_rebuild_runs(VERIFICATION, &store).await;
    let start = |store, projection| rebuild::start(logs.projector(projection, store), Options::new(Uuid::new_v4()));
    let first = start(&store, VERIFICATION).await.unwrap();
    for other in [&store, &elsewhere] {
        assert!(matches!(start(other, VERIFICATION).await, Err(Error::Running(VERIFICATION))));
    }
    assert_eq!(logs.rebuild(Projection::History, &elsewhere).await.equal, None);
    assert_eq!(first.run().await.unwrap().equal, Some(true));
    assert_eq!(logs.rebuild(VERIFICATION, &elsewhere).await.equal, Some(true));
    runner.stop().await;
}

async fn a_rebuild_repairs_what_was_altered_and_says_so(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    let last = logs.fill(0, 20).await;
    applied(&store, last).await;
    let (whole, _) = digest_of_serving(&store, VERIFICATION).await;
    engine.tamper(&store, VERIFICATION, "credentials", "update {table} set state = 2 where position = 1").await;
    assert_ne!(digest_of_serving(&store, VERIFICATION).await.0, whole);
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, Some(false));
    assert_eq!(digest_of_serving(&store, VERIFICATION).await, (whole, Some(last)));
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, Some(true));
    runner.stop().await;
}

async fn a_rebuild_needs_no_runner(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    logs.fill(0, 20).await;
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, None);
    let last = logs.fill(20, 20).await;
    // What serves stands where it stood: the comparison happens there, and the new one goes on to the end.
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, Some(true));
    assert_eq!(store.cursor(VERIFICATION).await.unwrap().position, Some(last));
    let standing = &store.standings().await.unwrap()[0];
    assert!(standing.digest.is_some_and(|(_, position)| position < Some(last)));
}

async fn history_is_rebuilt_like_the_rest(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(Projection::History, &store);
    let mut last = None;
    for n in 0..30 {
        last = Some(logs.verified(id(1000 + n), (n % 4 > 0).then(|| id(n % 4))).await);
    }
    applied_by(&store, Projection::History, last.unwrap()).await;
    let before = store.verifications(id(1), credence_ledger::Position(0), 100).await.unwrap().0;
    assert_eq!(logs.rebuild(Projection::History, &store).await.equal, Some(true));
    assert_eq!(store.verifications(id(1), credence_ledger::Position(0), 100).await.unwrap().0, before);
    runner.stop().await;
}

async fn a_model_of_another_version_ahead_of_a_restored_log_does_not_hold_up_the_flip(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 20).await).await;
    runner.stop().await;
    let old = store.cursor(VERIFICATION).await.unwrap().generation;
    drop(store);
    engine.as_of_the_version_before_erasures(old).await;

    let (store, restored) = (engine.open().await, Logs::new());
    let last = restored.fill(0, 8).await;
    let rebuilt = tokio::time::timeout(Duration::from_secs(20), restored.rebuild(VERIFICATION, &store)).await.expect("it comes to an end");
    assert_eq!((rebuilt.phase, rebuilt.equal), (Phase::Done, None));
    let cursor = store.cursor(VERIFICATION).await.unwrap();
    assert!(cursor.generation > old);
    assert_eq!((cursor.position, cursor.unhealthy), (Some(last), None));
}

on_every_engine!(
    a_rebuild_equals_what_was_applied_live_while_both_go_on,
    readers_never_go_back_or_miss_anything_while_the_pointer_flips,
    an_interrupted_rebuild_leaves_what_serves_alone_and_is_gone_on_with,
    a_rebuild_that_dies_leaves_a_row_that_says_so,
    one_rebuild_of_a_projection_runs_at_a_time,
    a_rebuild_repairs_what_was_altered_and_says_so,
    a_rebuild_needs_no_runner,
    history_is_rebuilt_like_the_rest,
    a_model_of_another_version_ahead_of_a_restored_log_does_not_hold_up_the_flip,
);
