//! How a projection is kept up with its log, and what stops it.

use std::sync::Arc;
use std::time::Duration;

use credence_ledger::codec;
use credence_ledger::event::New;
use credence_ledger::log::{Log, Query};
use credence_ledger::store::Url;
use credence_ledger::testing::postgres::Server;
use credence_ledger::{Clock, Position, Stream};
use credence_projections::fold::fold;
use credence_projections::generation::{Applied, Mode, Seen, Stage, Store};
use credence_projections::projection::{Cursor, Error, Projection};
use credence_projections::read_store;
use credence_projections::runner::{self, Runner};
use credence_projections::verification::{At, Found, Lookup, State};
use proptest::prelude::*;

use crate::common::{Engine, Logs, applied, credential, digest_of_serving, eventually, id};

const VERIFICATION: Projection = Projection::Verification;

fn unknown_event() -> New {
    let empty = codec::encode(&std::collections::BTreeMap::<String, u8>::new());
    New { kind: "CredentialMoved", schema: 1, event_id: [0; 16], metadata: empty.clone().into(), payload: empty.into() }
}

async fn unhealthy(store: &Arc<dyn Store>) -> Cursor {
    eventually("the projection is unhealthy", || async {
        store.cursor(VERIFICATION).await.ok().filter(|cursor| cursor.unhealthy.is_some())
    })
    .await
}

async fn any_chunks_and_restarts_give_the_digest_of_a_rebuild(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let mut filled = 0;
    for chunk in [1, 7, 1000, 2, 50] {
        let runner = logs.run_in_chunks(VERIFICATION, &store, chunk);
        let last = logs.fill(filled, 40).await;
        filled += 40;
        // Stopped wherever it happens to be, but for the last time.
        if chunk == 50 {
            applied(&store, last).await;
        }
        runner.stop().await;
    }
    let (live, position) = digest_of_serving(&store, VERIFICATION).await;
    assert_eq!(position, logs.ledger.head().await.unwrap().last());
    let rebuilt = logs.rebuild(VERIFICATION, &store).await;
    assert_eq!(rebuilt.equal, Some(true));
    assert_eq!(digest_of_serving(&store, VERIFICATION).await, (live, position));
    assert_eq!(store.standings().await.unwrap()[0].digest, Some((live, position)));
}

async fn an_unknown_event_in_a_folded_category_stops_the_projection(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let before = logs.fill(0, 3).await;
    logs.append(&logs.ledger, Stream::credential(id(1)), unknown_event()).await;
    logs.revoke(id(2)).await;
    let first = logs.run(VERIFICATION, &store);
    let cursor = unhealthy(&store).await;
    assert_eq!(cursor.position, Some(before));
    let reason = cursor.unhealthy.clone().unwrap();
    assert!(reason.contains(&format!("ledger@{}", before.0 + 1)) && reason.contains("CredentialMoved"), "{reason}");
    assert!(matches!(cursor.check(logs.clock.now(), Duration::from_secs(300)), Err(Error::Unhealthy { .. })));
    first.stop().await;
    // A program that still does not know the event stops there again.
    let second = logs.run(VERIFICATION, &store);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let again = store.cursor(VERIFICATION).await.unwrap();
    assert_eq!(again.lag_events(), 2, "how far it is behind is told all the same");
    assert_eq!((again.position, again.unhealthy, again.confirmed_at), (cursor.position, cursor.unhealthy, cursor.confirmed_at));
    second.stop().await;
}

async fn a_rotated_key_changes_no_row(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 3).await).await;
    let (before, _) = digest_of_serving(&store, VERIFICATION).await;
    let rotated = logs.rotate(id(0), "did:key:z6Mk").await;
    applied(&store, rotated).await;
    assert_eq!(digest_of_serving(&store, VERIFICATION).await, (before, Some(rotated)));
    applied(&store, logs.issue(id(50), id(0), |_| ()).await).await;
    runner.stop().await;
}

async fn an_unknown_event_that_comes_later_stops_it_there(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 3).await).await;
    let before = logs.issue(id(50), id(0), |_| ()).await;
    logs.append(&logs.ledger, Stream::credential(id(1)), unknown_event()).await;
    logs.revoke(id(50)).await;
    assert_eq!(unhealthy(&store).await.position, Some(before));
    runner.stop().await;
}

async fn other_categories_are_skipped(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    logs.append(&logs.ledger, Stream::new("weather", id(1)), unknown_event()).await;
    logs.fill(0, 3).await;
    let last = logs.append(&logs.ledger, Stream::new("weather", id(1)), unknown_event()).await;
    applied(&store, last).await;
    let (found, cursor) = store.find(&Lookup::Id(id(3)), At::Newest).await.unwrap();
    assert_eq!(found.and_then(Found::credential).unwrap().state, State::Suspended);
    assert_eq!(cursor.position, Some(last));
    runner.stop().await;
}

async fn an_event_that_contradicts_the_model_stops_it_exactly_there(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 3).await).await;
    let before = logs.issue(id(50), id(0), |_| ()).await;
    // A change of a credential that was never issued.
    logs.suspend(id(99)).await;
    logs.revoke(id(50)).await;
    let cursor = unhealthy(&store).await;
    assert_eq!(cursor.position, Some(before));
    let found = credential(&store, &Lookup::Id(id(50)), At::Newest).await;
    assert_eq!(found.unwrap().state, State::Active);
    runner.stop().await;
    // Built from nothing it comes just as far.
    engine.lose(Some(VERIFICATION)).await;
    let runner = logs.run(VERIFICATION, &store);
    let built = eventually("another generation serves", || async {
        store.cursor(VERIFICATION).await.ok().filter(|built| built.generation > cursor.generation)
    })
    .await;
    assert!(built.unhealthy.is_some());
    assert_eq!((built.position, built.chain_hash), (cursor.position, cursor.chain_hash));
    assert!(store.find(&Lookup::Id(id(50)), At::Newest).await.unwrap().0.is_some());
    runner.stop().await;
}

async fn of_two_runners_one_applies_and_the_other_takes_over(engine: &Engine) {
    let (here, there, logs) = (engine.open().await, engine.open().await, Logs::new());
    let first = logs.run(VERIFICATION, &here);
    applied(&here, logs.fill(0, 5).await).await;
    let second = logs.run(VERIFICATION, &there);
    let last = logs.fill(5, 5).await;
    applied(&there, last).await;
    first.stop().await;
    applied(&there, logs.fill(10, 5).await).await;
    second.stop().await;
    assert_eq!(logs.rebuild(VERIFICATION, &here).await.equal, Some(true));
}

async fn a_paused_twin_is_fenced_off(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    let seen_by_twin = logs.fill(0, 5).await;
    applied(&store, seen_by_twin).await;
    let generation = store.cursor(VERIFICATION).await.unwrap().generation;
    let place = store.generation(VERIFICATION, generation).await.unwrap().unwrap().place();
    let last = logs.fill(5, 5).await;
    applied(&store, last).await;
    runner.stop().await;
    let before = digest_of_serving(&store, VERIFICATION).await;
    // The twin comes back with what it had read, and believes that nothing has happened.
    let events = logs.ledger.read(&Query::from(seen_by_twin.next(), 100)).await.unwrap();
    let seen = Seen { head: Some(last), confirmed_at: Some(logs.clock.now()) };
    for mode in [Mode::Live, Mode::Load] {
        assert_eq!(store.apply(place, fold(VERIFICATION, &events), seen, mode).await.unwrap(), Applied::Fenced);
    }
    assert!(!store.confirm(place, seen).await.unwrap());
    assert!(!store.stop(place, Some("a twin says so")).await.unwrap());
    assert_eq!(digest_of_serving(&store, VERIFICATION).await, before);
    assert_eq!(store.cursor(VERIFICATION).await.unwrap().unhealthy, None);
}

async fn an_idle_log_is_confirmed_and_a_stopped_runner_confirms_nothing(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    let last = logs.fill(0, 2).await;
    applied(&store, last).await;
    logs.clock.advance(Duration::from_secs(3600));
    let now = logs.clock.now();
    let cursor = eventually("the idle log is confirmed", || async {
        store.cursor(VERIFICATION).await.ok().filter(|cursor| cursor.confirmed_at == now)
    })
    .await;
    assert_eq!((cursor.position, cursor.head_seen, cursor.lag_events()), (Some(last), Some(last), 0));
    let (max, late) = (Duration::from_secs(300), now.plus(Duration::from_secs(301)));
    assert!(cursor.check(now, max).is_ok());
    runner.stop().await;
    logs.clock.set(late);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let cursor = store.cursor(VERIFICATION).await.unwrap();
    assert!(matches!(cursor.check(late, max), Err(Error::Stale { .. })));
}

async fn an_empty_log_is_a_model_too(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    assert!(matches!(store.find(&Lookup::Id(id(1)), At::Newest).await, Err(Error::Vanished(VERIFICATION))));
    let runner = logs.run(VERIFICATION, &store);
    let cursor = eventually("the model is built", || async { store.cursor(VERIFICATION).await.ok() }).await;
    assert_eq!((cursor.position, cursor.chain_hash), (None, logs.ledger.origin().genesis()));
    assert!(cursor.check(logs.clock.now(), Duration::from_secs(300)).is_ok());
    assert_eq!(store.find(&Lookup::Id(id(1)), At::Newest).await.unwrap().0, None);
    runner.stop().await;
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, Some(true));
}

async fn a_deleted_model_is_built_again(engine: &Engine) {
    let (store, reader, logs) = (engine.open().await, engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    let last = logs.fill(0, 10).await;
    applied(&reader, last).await;
    let before = digest_of_serving(&store, VERIFICATION).await;
    for lost in [Some(VERIFICATION), None] {
        engine.lose(lost).await;
        let last = logs.issue(id(100 + u64::from(lost.is_none())), id(0), |_| ()).await;
        applied(&reader, last).await;
        applied(&store, last).await;
    }
    runner.stop().await;
    assert_ne!(digest_of_serving(&store, VERIFICATION).await, before);
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, Some(true));
}

async fn a_model_that_is_deleted_while_nothing_happens_is_built_again(engine: &Engine) {
    let (store, reader, logs) = (engine.open().await, engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    let last = logs.fill(0, 10).await;
    applied(&reader, last).await;
    let (before, lost) = (digest_of_serving(&store, VERIFICATION).await, reader.cursor(VERIFICATION).await.unwrap().generation);
    engine.lose(Some(VERIFICATION)).await;
    eventually("another generation serves", || async { reader.cursor(VERIFICATION).await.ok().filter(|cursor| cursor.generation > lost) })
        .await;
    assert_eq!(digest_of_serving(&reader, VERIFICATION).await, before);
    assert!(credential(&reader, &Lookup::Id(id(1)), At::Newest).await.is_some());
    runner.stop().await;
}

/// On a clock that leaps to whatever is waited for, once nobody works.
#[tokio::test]
async fn a_server_that_falls_silent_holds_no_writer_for_ever() {
    let (server, logs) = (Server::start_private().await, Logs::new());
    let store = read_store::open(&Url::Postgres(server.url("postgres").into())).await.unwrap();
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 3).await).await;
    runner.stop().await;
    let generation = store.cursor(VERIFICATION).await.unwrap().generation;
    let place = store.generation(VERIFICATION, generation).await.unwrap().unwrap().place();
    let next = logs.issue(id(50), id(0), |_| ()).await;
    let events = logs.ledger.read(&Query::from(next, 1)).await.unwrap();
    let seen = Seen { head: Some(next), confirmed_at: None };
    for write in ["apply", "confirm", "stop", "create", "flip"] {
        // So that there is a session on which to wait for the server.
        assert!(store.confirm(place, seen).await.unwrap());
        server.pause();
        tokio::time::pause();
        let writing = async {
            match write {
                "apply" => store.apply(place, fold(VERIFICATION, &events), seen, Mode::Live).await.map(drop),
                "confirm" => store.confirm(place, seen).await.map(drop),
                "stop" => store.stop(place, None).await.map(drop),
                "create" => store.create(VERIFICATION, Stage::Loading, logs.ledger.origin().genesis()).await.map(drop),
                _ => store.flip(VERIFICATION, Some(generation), generation + 1, None).await.map(drop),
            }
        };
        let written = tokio::time::timeout(Duration::from_secs(60), writing).await;
        tokio::time::resume();
        server.resume();
        assert!(matches!(&written, Ok(Err(Error::Store(failed))) if failed.is_transient()), "{write}: {written:?}");
    }
    assert_eq!(store.apply(place, fold(VERIFICATION, &events), seen, Mode::Live).await.unwrap(), Applied::Moved);
}

#[tokio::test]
async fn a_model_whose_files_are_no_databases_any_more_is_built_again() {
    let (engine, logs) = (Engine::sqlite(), Logs::new());
    let store = engine.open().await;
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 10).await).await;
    runner.stop().await;
    let whole = digest_of_serving(&store, VERIFICATION).await;
    drop(store);
    for ruined in ["read.sqlite", "read-verification-"] {
        engine.ruin(ruined).await;
        let store = engine.open().await;
        assert!(matches!(store.cursor(VERIFICATION).await, Err(Error::Vanished(VERIFICATION))), "{ruined}");
        let runner = logs.run(VERIFICATION, &store);
        applied(&store, logs.ledger.head().await.unwrap().last().unwrap()).await;
        runner.stop().await;
        assert_eq!(digest_of_serving(&store, VERIFICATION).await, whole, "{ruined}");
    }
}

async fn within_a_second_a_deleted_model_answers_that_it_is_gone(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 3).await).await;
    runner.stop().await;
    engine.lose(Some(VERIFICATION)).await;
    let deleted = std::time::Instant::now();
    loop {
        match store.find(&Lookup::Id(id(1)), At::Newest).await {
            Err(Error::Vanished(VERIFICATION)) => break,
            Ok((found, _)) => assert!(found.is_some(), "gone must never be read as empty"),
            Err(other) => panic!("{other}"),
        }
        assert!(deleted.elapsed() < Duration::from_secs(1));
    }
}

async fn another_log_makes_it_unhealthy_until_it_is_rebuilt(engine: &Engine) {
    let (store, one) = (engine.open().await, Logs::new());
    let runner = one.run(VERIFICATION, &store);
    applied(&store, one.fill(0, 5).await).await;
    runner.stop().await;
    // As many events and more, but others.
    let other = Logs::new();
    other.register(id(1000), "stranger").await;
    let last = other.fill(0, 9).await;
    let runner = other.run(VERIFICATION, &store);
    let cursor = unhealthy(&store).await;
    assert!(cursor.position < Some(last));
    assert_eq!(other.rebuild(VERIFICATION, &store).await.equal, Some(false));
    applied(&store, last).await;
    let last = other.fill(9, 3).await;
    applied(&store, last).await;
    runner.stop().await;
}

async fn a_model_that_is_gone_does_not_hold_up_one_that_stops_before_it(engine: &Engine) {
    let (store, one) = (engine.open().await, Logs::new());
    let runner = one.run(VERIFICATION, &store);
    applied(&store, one.fill(0, 5).await).await;
    runner.stop().await;
    let gone = store.cursor(VERIFICATION).await.unwrap().generation;
    engine.lose(Some(VERIFICATION)).await;
    // A newer program knew the event that this one does not.
    let other = Logs::new();
    let before = other.fill(0, 1).await;
    other.append(&other.ledger, Stream::credential(id(1)), unknown_event()).await;
    other.fill(1, 9).await;
    let runner = other.run(VERIFICATION, &store);
    let cursor = unhealthy(&store).await;
    assert!(cursor.generation > gone && cursor.position == Some(before), "{cursor:?}");
    runner.stop().await;
}

async fn what_cannot_be_built_below_a_later_version_is_told_and_tried_again_under_one_id(engine: &Engine) {
    what_cannot_be_built_leaves_another_version(engine, async |generation| engine.as_of_a_later_version(generation).await).await;
}

async fn what_cannot_be_built_above_an_earlier_version_is_told_and_tried_again_under_one_id(engine: &Engine) {
    what_cannot_be_built_leaves_another_version(engine, async |generation| engine.as_of_the_version_before_erasures(generation).await)
        .await;
}

async fn what_cannot_be_built_leaves_another_version(engine: &Engine, as_of_another: impl AsyncFn(u64)) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    let before = logs.fill(0, 5).await;
    applied(&store, before).await;
    runner.stop().await;
    let other = store.cursor(VERIFICATION).await.unwrap().generation;
    drop(store);
    // The other version knows the event.
    as_of_another(other).await;
    logs.append(&logs.ledger, Stream::credential(id(1)), unknown_event()).await;
    logs.fill(5, 3).await;

    let store = engine.open().await;
    let (rebuilds, options) = (engine.rebuilds().await, runner::Options::default());
    let troubles = options.troubles.clone();
    let runner = Runner::start(logs.projector(VERIFICATION, &store), options);
    let told = eventually("it is told", || async { troubles.all().pop() }).await;
    let stuck = format!("the event ledger@{} cannot be applied: ", before.0 + 1);
    assert!(told.0 == VERIFICATION && told.1.starts_with(&stuck), "{told:?}");
    // It tries again after 100 ms, 200 ms and 400 ms.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(engine.rebuilds().await, rebuilds + 1);
    assert_eq!(store.pointer(VERIFICATION).await.unwrap().map(|pointer| pointer.generation), Some(other), "it is left where it is");
    runner.stop().await;
}

on_every_engine!(
    any_chunks_and_restarts_give_the_digest_of_a_rebuild,
    an_unknown_event_in_a_folded_category_stops_the_projection,
    an_unknown_event_that_comes_later_stops_it_there,
    other_categories_are_skipped,
    a_rotated_key_changes_no_row,
    an_event_that_contradicts_the_model_stops_it_exactly_there,
    of_two_runners_one_applies_and_the_other_takes_over,
    a_paused_twin_is_fenced_off,
    an_idle_log_is_confirmed_and_a_stopped_runner_confirms_nothing,
    an_empty_log_is_a_model_too,
    a_deleted_model_is_built_again,
    a_model_that_is_deleted_while_nothing_happens_is_built_again,
    within_a_second_a_deleted_model_answers_that_it_is_gone,
    another_log_makes_it_unhealthy_until_it_is_rebuilt,
    a_model_that_is_gone_does_not_hold_up_one_that_stops_before_it,
    what_cannot_be_built_below_a_later_version_is_told_and_tried_again_under_one_id,
    what_cannot_be_built_above_an_earlier_version_is_told_and_tried_again_under_one_id,
);

#[derive(Debug, Clone)]
enum Act {
    /// To one of a few subjects, perhaps to one that was erased.
    Issue(u64),
    Suspend(u64),
    Reinstate(u64),
    Revoke(u64),
    /// One of the few subjects.
    Erase(u64),
    /// The runner ends, and begins anew with this chunk.
    Restart(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => any::<u64>().prop_map(Act::Issue),
        1 => any::<u64>().prop_map(Act::Suspend),
        1 => any::<u64>().prop_map(Act::Reinstate),
        1 => any::<u64>().prop_map(Act::Revoke),
        1 => any::<u64>().prop_map(Act::Erase),
        1 => (1_usize..20).prop_map(Act::Restart),
    ];
    prop::collection::vec(act, 1..60)
}

async fn same_digest(acts: Vec<Act>) -> ([u8; 32], [u8; 32], Option<bool>) {
    let (engine, logs) = (Engine::sqlite(), Logs::new());
    let store = engine.open().await;
    let mut last = logs.register(id(0), "default").await;
    let mut issued = 0;
    let subject = |n: u64| id(1000 + n % 5);
    let mut runner = Some(logs.run_in_chunks(VERIFICATION, &store, 3));
    for act in acts {
        let known = |n: u64| id(1 + n % issued);
        last = match act {
            Act::Issue(n) => {
                issued += 1;
                logs.issue(id(issued), id(0), |issued| issued.subject_id = Some(subject(n))).await
            }
            Act::Erase(n) => logs.erase(subject(n)).await,
            Act::Suspend(n) if issued > 0 => logs.suspend(known(n)).await,
            Act::Reinstate(n) if issued > 0 => logs.reinstate(known(n)).await,
            Act::Revoke(n) if issued > 0 => logs.revoke(known(n)).await,
            Act::Restart(chunk) => {
                if let Some(running) = runner.take() {
                    running.stop().await;
                }
                runner = Some(logs.run_in_chunks(VERIFICATION, &store, chunk));
                last
            }
            _ => last,
        };
    }
    applied(&store, last).await;
    if let Some(running) = runner {
        running.stop().await;
    }
    let (live, at) = digest_of_serving(&store, VERIFICATION).await;
    let equal = logs.rebuild(VERIFICATION, &store).await.equal;
    let (rebuilt, rebuilt_at) = digest_of_serving(&store, VERIFICATION).await;
    assert_eq!((at, at), (rebuilt_at, Some(last).max(Some(Position::FIRST))));
    (live, rebuilt, equal)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_live_and_rebuilt_are_one(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (live, rebuilt, equal) = runtime.block_on(same_digest(acts));
        prop_assert_eq!(live, rebuilt);
        prop_assert_eq!(equal, Some(true));
    }
}
