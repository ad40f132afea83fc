//! What a read store answers, on every engine.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Engine, Logs, applied, applied_by, credential, digest_of, id};
use credence_ledger::Position;
use credence_ledger::store::Url;
use credence_ledger::store::postgres::CONNECT_TIMEOUT;
use credence_ledger::testing::postgres::Server;
use credence_projections::lookups::Lookups;
use credence_projections::projection::{Error, Projection};
use credence_projections::read_store;
use credence_projections::verification::{At, AtIssuer, Filter, Found, Lookup, State, Status};
use credence_projections::waits::Waits;
use serde_bytes::ByteArray;

const VERIFICATION: Projection = Projection::Verification;

async fn finds_credentials_as_they_are_and_as_they_were(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(Projection::Verification, &store);
    logs.register(id(1), "default").await;
    let issued = logs.issue(id(10), id(1), |_| ()).await;
    let suspended = logs.suspend(id(10)).await;
    let reinstated = logs.reinstate(id(10)).await;
    let revoked = logs.revoke(id(10)).await;
    applied(&store, revoked).await;

    let (found, cursor) = store.find(&Lookup::Id(id(10)), At::Newest).await.unwrap();
    let found = found.and_then(Found::credential).unwrap();
    assert_eq!((found.state, found.position, found.issuer_name.as_str()), (State::Revoked, issued, "default"));
    assert_eq!((found.issued_by.as_str(), found.credential_type.as_str(), found.digest), ("w", "badge", digest_of(id(10))));
    assert_eq!(cursor.position, Some(revoked));
    let changed = found.status_changed_at.unwrap();

    for (position, state) in
        [(issued, State::Active), (suspended, State::Suspended), (reinstated, State::Active), (revoked, State::Revoked)]
    {
        let found = credential(&store, &Lookup::Id(id(10)), At::Position(position)).await;
        assert_eq!(found.unwrap().state, state, "{position}");
    }
    let found = credential(&store, &Lookup::Id(id(10)), At::Position(credence_ledger::Position(0))).await;
    assert_eq!(found, None);
    let found = credential(&store, &Lookup::Document(digest_of(id(10))), At::Time(changed)).await;
    assert_eq!(found.unwrap().state, State::Revoked);
    let before = credence_ledger::Timestamp::from_micros(changed.as_micros() - 1);
    let found = credential(&store, &Lookup::Document(digest_of(id(10))), At::Time(before)).await;
    let found = found.unwrap();
    assert_eq!(found.state, State::Active);
    assert!(found.status_changed_at.is_some_and(|at| at < changed));
    assert_eq!(store.position_at(before).await.unwrap().0, Some(reinstated));
    assert_eq!(store.position_at(changed).await.unwrap().0, Some(revoked));
    assert_eq!(store.position_at(crate::common::start_time()).await.unwrap().0, None);
    for (at, event) in [
        (At::Newest, Some(revoked)),
        (At::Position(reinstated), Some(reinstated)),
        (At::Position(issued), None),
        (At::Time(changed), Some(revoked)),
        (At::Time(before), Some(reinstated)),
    ] {
        assert_eq!(store.decided_by(id(10), at).await.unwrap().0, event, "{at:?}");
    }
    let found = credential(&store, &Lookup::Id(id(11)), At::Newest).await;
    assert_eq!(found, None);
    runner.stop().await;
}

async fn many_look_ups_at_once_answer_as_each_alone_does(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let lookups = Lookups::start(Arc::clone(&store));
    assert!(matches!(lookups.by_id(id(1)).await, Err(Error::Vanished(Projection::Verification))), "nobody has built it");
    let runner = logs.run(Projection::Verification, &store);
    let last = logs.fill(0, 30).await;
    applied(&store, last).await;
    // Each twice, and some that nobody has issued.
    let ids: Vec<_> = (0..40).chain((0..40).rev()).map(id).collect();
    let found = futures::future::join_all(ids.iter().map(|id| lookups.by_id(*id))).await;
    let mut known = 0;
    for (id, found) in ids.iter().zip(found) {
        let (found, cursor) = found.unwrap();
        assert_eq!(found, store.find(&Lookup::Id(*id), At::Newest).await.unwrap().0);
        assert_eq!(cursor.position, Some(last));
        known += usize::from(found.is_some());
    }
    assert_eq!(known, 60);
    let (found, cursor) = store.find_by_ids(&[]).await.unwrap();
    assert_eq!((found, cursor.position), (Vec::new(), Some(last)));
    runner.stop().await;
}

async fn many_that_wait_are_answered_when_the_position_is_applied(engine: &Engine) {
    // As a process that only reads waits for one that projects.
    let (store, elsewhere, logs) = (engine.open().await, engine.open().await, Logs::new());
    let waits = Waits::start(&elsewhere);
    let passed = |position| waits.until(VERIFICATION, move |cursor| Ok(cursor.position >= Some(position)), Duration::from_secs(20));
    assert!(matches!(passed(Position::FIRST).await, Err(Error::Vanished(VERIFICATION))), "nobody has built it");
    let runner = logs.run(VERIFICATION, &store);
    applied(&elsewhere, logs.fill(0, 3).await).await;
    let all = futures::future::join_all((0..300).map(|n| passed(Position(n % 100))));
    let (all, last) = tokio::join!(all, logs.fill(3, 100));
    assert!(last >= Position(99));
    for (n, cursor) in all.into_iter().enumerate() {
        assert!(cursor.unwrap().position >= Some(Position(n as u64 % 100)));
    }
    let given_up = waits.until(VERIFICATION, |_| Ok(false), Duration::from_millis(30)).await;
    assert!(matches!(given_up, Err(Error::NotCaughtUp { projection: VERIFICATION, position: Some(_) })));
    runner.stop().await;
}

async fn a_secret_is_found_at_its_issuer_and_the_newest_speaks(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(Projection::Verification, &store);
    logs.register(id(1), "default").await;
    logs.register(id(2), "other").await;
    for (credential, issuer) in [(id(10), id(1)), (id(11), id(1)), (id(12), id(2))] {
        logs.issue(credential, issuer, |issued| {
            issued.subject_id = None;
            issued.digest = ByteArray::new([7; 32]);
        })
        .await;
    }
    let last = logs.issue(id(13), id(1), |issued| issued.digest = ByteArray::new([7; 32])).await;
    applied(&store, last).await;
    let name = |name: &str| AtIssuer::Name(name.to_owned());
    let expected = [
        (name("default"), Some(id(11))),
        (name("other"), Some(id(12))),
        (name("unknown"), None),
        (AtIssuer::Id(id(1)), Some(id(11))),
        (AtIssuer::Id(id(2)), Some(id(12))),
        (AtIssuer::Id(id(3)), None),
    ];
    for (issuer, expected) in expected {
        let lookup = Lookup::Secret { digest: [7; 32], issuer };
        let found = credential(&store, &lookup, At::Newest).await;
        assert_eq!(found.map(|found| found.id), expected, "{lookup:?}");
    }
    let found = credential(&store, &Lookup::Document([7; 32]), At::Newest).await;
    assert_eq!(found.map(|found| found.id), Some(id(13)));
    runner.stop().await;
}

async fn lists_are_filtered_and_newest_first(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(Projection::Verification, &store);
    logs.register(id(1), "default").await;
    logs.register(id(2), "other").await;
    let now = crate::common::start_time().plus(Duration::from_secs(3600));
    let (past, future) = (now, now.plus(Duration::from_secs(1)));
    let mut positions = Vec::new();
    for n in 10..20 {
        let position = logs
            .issue(id(n), id(1 + n % 2), |issued| {
                issued.credential_type = if n < 15 { "badge" } else { "diploma" }.to_owned();
                match n {
                    12 => issued.valid_until = Some(past),
                    13 => issued.valid_from = Some(future),
                    _ => {}
                }
            })
            .await;
        positions.push(position);
    }
    logs.suspend(id(14)).await;
    let last = logs.revoke(id(15)).await;
    applied(&store, last).await;

    let all = Filter { issuer: None, credential_type: None, subjects: None, status: None, before: None, limit: 100 };
    let of = |filter: Filter| {
        let store = store.clone();
        async move {
            let (found, cursor) = store.list(&filter).await.unwrap();
            assert_eq!(cursor.position, Some(last));
            found.iter().map(|found| found.id.as_u64_pair().1 & 0xff).collect::<Vec<_>>()
        }
    };
    assert_eq!(of(all.clone()).await, (10..20).rev().collect::<Vec<_>>());
    assert_eq!(of(Filter { limit: 3, ..all.clone() }).await, [19, 18, 17]);
    assert_eq!(of(Filter { before: Some(positions[2]), ..all.clone() }).await, [11, 10]);
    assert_eq!(of(Filter { before: Some(positions[0]), ..all.clone() }).await, [0_u64; 0]);
    assert_eq!(of(Filter { issuer: Some(id(1)), ..all.clone() }).await, [18, 16, 14, 12, 10]);
    let badges = Filter { credential_type: Some("badge".to_owned()), ..all.clone() };
    assert_eq!(of(badges.clone()).await, [14, 13, 12, 11, 10]);
    assert_eq!(of(Filter { issuer: Some(id(2)), ..badges.clone() }).await, [13, 11]);
    for (status, expected) in [
        (Status::Active, vec![19, 18, 17, 16, 11, 10]),
        (Status::Suspended, vec![14]),
        (Status::Revoked, vec![15]),
        (Status::Expired, vec![12]),
        (Status::NotYetValid, vec![13]),
    ] {
        assert_eq!(of(Filter { status: Some((status, now)), ..all.clone() }).await, expected, "{status:?}");
    }
    assert_eq!(of(Filter { status: Some((Status::Revoked, now)), ..badges.clone() }).await, [0_u64; 0]);
    assert_eq!(of(Filter { subjects: Some(vec![id(11), id(17), id(99)]), ..all.clone() }).await, [17, 11]);
    assert_eq!(of(Filter { subjects: Some(vec![]), ..all.clone() }).await, [0_u64; 0]);
    runner.stop().await;
}

async fn history_knows_a_credentials_verifications(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(Projection::History, &store);
    let first = logs.verified(id(100), Some(id(10))).await;
    logs.verified(id(101), None).await;
    logs.verified(id(102), Some(id(11))).await;
    let second = logs.verified(id(103), Some(id(10))).await;
    applied_by(&store, Projection::History, second).await;
    let of = |from, limit| {
        let store = store.clone();
        async move { store.verifications(id(10), from, limit).await.unwrap().0 }
    };
    assert_eq!(of(first, 10).await, [first, second]);
    assert_eq!(of(first.next(), 10).await, [second]);
    assert_eq!(of(first, 1).await, [first]);
    assert_eq!(of(second.next(), 10).await, []);
    runner.stop().await;
}

#[tokio::test]
async fn a_model_that_is_gone_costs_the_store_no_question_for_each_who_asks() {
    let (engine, logs) = (Engine::postgres().await, Logs::new());
    let store = engine.open().await;
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 3).await).await;
    runner.stop().await;
    drop(store);
    let find = async |count| {
        let store = engine.open().await;
        let lookup = Lookup::Document(digest_of(id(1)));
        let gone = futures::future::join_all((0..count).map(|_| store.find(&lookup, At::Newest))).await;
        assert!(gone.iter().all(|answer| matches!(answer, Err(Error::Vanished(VERIFICATION)))));
    };
    engine.lose(Some(VERIFICATION)).await;
    let before = engine.transactions().await;
    find(1).await;
    let one = engine.transactions().await - before;
    find(500).await;
    let many = engine.transactions().await - before - one;
    assert!(many < one + 100, "{many} transactions for 500, {one} for one");
}

/// On a clock that leaps to whatever is waited for, once nobody works.
#[tokio::test]
async fn those_who_look_up_together_wait_for_a_store_that_is_silent_once() {
    let server = Server::start_private().await;
    let lookups = Lookups::start(read_store::open(&Url::Postgres(server.url("postgres").into())).await.unwrap());
    server.pause();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let answers = futures::future::join_all((0..500).map(|n| lookups.by_id(id(n)))).await;
    assert!(began.elapsed() < CONNECT_TIMEOUT + Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Store(failed)) if failed.is_transient())));
    server.resume();
}

on_every_engine!(
    finds_credentials_as_they_are_and_as_they_were,
    many_look_ups_at_once_answer_as_each_alone_does,
    many_that_wait_are_answered_when_the_position_is_applied,
    a_secret_is_found_at_its_issuer_and_the_newest_speaks,
    lists_are_filtered_and_newest_first,
    history_knows_a_credentials_verifications,
);
