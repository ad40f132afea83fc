//! What an erasure makes of the verification model, whenever and however it is applied.

use std::collections::HashSet;
use std::time::Duration;

use credence_ledger::Position;
use credence_ledger::log::Log;
use credence_projections::projection::{Error, Projection};
use credence_projections::table::{Row, Value};
use credence_projections::verification::{At, Erased, Filter, Found, Lookup, OfSubject};

use crate::common::{Engine, Logs, applied, credential, digest_of, digest_of_serving, id, rows_of_serving};

const VERIFICATION: Projection = Projection::Verification;
const ALL: Filter = Filter { issuer: None, credential_type: None, subjects: None, status: None, before: None, limit: 1000 };

async fn of_an_erased_credential_is_left_what_its_document_is_known_by_at_every_moment(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    logs.register(id(0), "default").await;
    let issued = logs.issue(id(1), id(0), |issued| issued.subject_id = Some(id(100))).await;
    let suspended = logs.suspend(id(1)).await;
    let other = logs.issue(id(2), id(0), |issued| issued.subject_id = Some(id(200))).await;
    let second = logs.issue(id(3), id(0), |issued| issued.subject_id = Some(id(100))).await;
    let erased = logs.erase(id(100)).await;
    applied(&store, erased).await;

    let left = Found::Erased(Erased {
        id: id(1),
        issuer: id(0),
        issuer_name: "default".to_owned(),
        subject_id: id(100),
        digest: digest_of(id(1)),
        position: issued,
    });
    for at in [At::Newest, At::Position(Position(0)), At::Position(issued), At::Position(suspended), At::Position(erased)] {
        for lookup in [Lookup::Id(id(1)), Lookup::Document(digest_of(id(1)))] {
            let (found, cursor) = store.find(&lookup, at).await.unwrap();
            assert_eq!((found, cursor.position), (Some(left.clone()), Some(erased)), "{lookup:?} {at:?}");
        }
        assert_eq!(store.decided_by(id(1), at).await.unwrap().0, None);
    }
    let (found, _) = store.find_by_ids(&[id(2), id(1), id(9)]).await.unwrap();
    assert_eq!(found.iter().flatten().map(Found::id).collect::<Vec<_>>(), [id(2), id(1)]);
    assert_eq!(found[1], Some(left));
    assert!(credential(&store, &Lookup::Id(id(2)), At::Newest).await.is_some());

    // No list has it, whatever it asks for.
    let listed = async |filter: Filter| store.list(&filter).await.unwrap().0.iter().map(|found| found.id).collect::<Vec<_>>();
    assert_eq!(listed(ALL).await, [id(2)]);
    assert!(listed(Filter { subjects: Some(vec![id(100)]), ..ALL }).await.is_empty());
    assert_eq!(listed(Filter { issuer: Some(id(0)), ..ALL }).await, [id(2)]);
    assert_eq!(listed(Filter { credential_type: Some("badge".to_owned()), ..ALL }).await, [id(2)]);

    // Who has to do with the subject still learns which they were.
    let of = async |subjects: &[uuid::Uuid], from, limit| store.credentials_of(subjects, from, limit).await.unwrap().0;
    let first = OfSubject { id: id(1), subject_id: id(100), position: issued, is_erased: true };
    let second = OfSubject { id: id(3), subject_id: id(100), position: second, is_erased: true };
    let other = OfSubject { id: id(2), subject_id: id(200), position: other, is_erased: false };
    assert_eq!(of(&[id(100)], Position(0), 10).await, [first.clone(), second.clone()]);
    assert_eq!(of(&[id(200), id(100)], Position(0), 10).await, [first.clone(), other.clone(), second.clone()]);
    assert_eq!(of(&[id(200), id(100)], Position(0), 2).await, [first.clone(), other]);
    assert_eq!(of(&[id(100)], first.position.next(), 10).await, [second]);
    assert_eq!(of(&[id(300)], Position(0), 10).await, []);
    assert_eq!(of(&[], Position(0), 10).await, []);
    runner.stop().await;
}

async fn what_comes_after_the_erasure_goes_the_same_way(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run_in_chunks(VERIFICATION, &store, 1);
    applied(&store, logs.register(id(0), "default").await).await;
    logs.issue(id(1), id(0), |issued| issued.subject_id = Some(id(100))).await;
    logs.erase(id(100)).await;
    // Decided by those who had not heard of it.
    logs.revoke(id(1)).await;
    let late = logs.issue(id(2), id(0), |issued| issued.subject_id = Some(id(100))).await;
    logs.suspend(id(2)).await;
    // And where nothing is known of, an erasure takes nothing away.
    let last = logs.erase(id(300)).await;
    applied(&store, last).await;
    runner.stop().await;
    let (found, _) = store.find(&Lookup::Id(id(2)), At::Position(late)).await.unwrap();
    assert!(matches!(found, Some(Found::Erased(_))), "{found:?}");
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, Some(true));
}

async fn an_id_that_was_erased_is_not_issued_again(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    logs.register(id(0), "default").await;
    logs.issue(id(1), id(0), |_| ()).await;
    let erased = logs.erase(id(1)).await;
    applied(&store, erased).await;
    logs.issue(id(1), id(0), |issued| issued.subject_id = Some(id(2))).await;
    let cursor = crate::common::eventually("it is stopped", || async {
        store.cursor(VERIFICATION).await.ok().filter(|cursor| cursor.unhealthy.is_some())
    })
    .await;
    runner.stop().await;
    assert_eq!(cursor.position, Some(erased));
    // Built from nothing it comes just as far.
    engine.lose(Some(VERIFICATION)).await;
    let runner = logs.run(VERIFICATION, &store);
    let built = crate::common::eventually("it is stopped there again", || async {
        store.cursor(VERIFICATION).await.ok().filter(|cursor| cursor.unhealthy.is_some())
    })
    .await;
    runner.stop().await;
    assert_eq!((built.position, built.chain_hash), (cursor.position, cursor.chain_hash));
}

/// What rows would be without a subject: as if all that is told of its credentials had never been written.
fn without(rows: &[(&'static str, Vec<Row>)], subject: uuid::Uuid) -> Vec<(&'static str, Vec<Row>)> {
    let subject = Value::from(subject);
    let credentials: HashSet<String> = rows[1].1.iter().filter(|row| row.0[4] == subject).map(|row| row.0[1].to_string()).collect();
    let is_others = |table: &str, row: &Row| match table {
        "credentials" => row.0[4] != subject,
        "status_changes" => !credentials.contains(&row.0[1].to_string()),
        "erasures" => row.0[1] != subject,
        "erased_credentials" => row.0[3] != subject,
        _ => true,
    };
    rows.iter().map(|(table, rows)| (*table, rows.iter().filter(|row| is_others(table, row)).cloned().collect())).collect()
}

async fn a_rebuild_before_an_erasure_minus_the_subject_is_a_rebuild_after_it(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    logs.fill(0, 120).await;
    let subject = id(3000);
    for n in 3001..3020 {
        logs.issue(id(n), id(0), |issued| issued.subject_id = Some(if n % 2 == 0 { subject } else { id(n) })).await;
        if n % 3 == 0 {
            logs.suspend(id(n)).await;
        }
    }
    logs.rebuild(VERIFICATION, &store).await;
    let before = rows_of_serving(&store, VERIFICATION).await;
    assert!(before.iter().all(|(_, rows)| !rows.is_empty()), "there is something to keep in every table");
    let erased = logs.erase(subject).await;
    logs.rebuild(VERIFICATION, &store).await;
    let after = rows_of_serving(&store, VERIFICATION).await;
    assert_eq!(store.cursor(VERIFICATION).await.unwrap().position, Some(erased));
    assert_ne!(before, after);
    assert_eq!(without(&before, subject), without(&after, subject));
    // And of the subject there is its erasure, and of its credentials what is kept, and nothing else.
    let kept: Vec<(&str, usize)> = after.iter().map(|(table, rows)| (*table, rows.len())).collect();
    let others: Vec<(&str, usize)> = without(&after, subject).iter().map(|(table, rows)| (*table, rows.len())).collect();
    let of_subject: Vec<usize> = kept.iter().zip(&others).map(|((_, all), (_, others))| all - others).collect();
    assert_eq!(of_subject, [0, 0, 0, 1, 9]);
}

async fn an_erasure_that_races_with_a_rebuild_is_in_what_comes_of_it(engine: &Engine) {
    let (store, elsewhere, logs) = (engine.open().await, engine.open().await, Logs::new());
    let runner = logs.run_in_chunks(VERIFICATION, &store, 7);
    applied(&store, logs.fill(0, 60).await).await;
    for round in 0..5_u64 {
        // Sooner or later within the rebuild.
        let erasing = async {
            tokio::time::sleep(Duration::from_millis(round * 7)).await;
            for n in 1..4 {
                logs.erase(id(round * 4 + n)).await;
                logs.suspend(id(round * 4 + n)).await;
            }
            logs.ledger.head().await.unwrap().last().unwrap()
        };
        let (rebuilt, last) = tokio::join!(logs.rebuild(VERIFICATION, &elsewhere), erasing);
        assert_eq!(rebuilt.equal, Some(true));
        applied(&elsewhere, last).await;
        for n in 1..4 {
            let (found, _) = elsewhere.find(&Lookup::Id(id(round * 4 + n)), At::Newest).await.unwrap();
            assert!(matches!(found, Some(Found::Erased(_))), "{found:?}");
        }
    }
    runner.stop().await;
    let (live, position) = digest_of_serving(&store, VERIFICATION).await;
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, Some(true));
    assert_eq!(digest_of_serving(&store, VERIFICATION).await, (live, position));
}

async fn a_read_store_of_the_version_before_erasures_is_built_anew(engine: &Engine) {
    let (store, logs) = (engine.open().await, Logs::new());
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 40).await).await;
    runner.stop().await;
    let whole = rows_of_serving(&store, VERIFICATION).await;
    let old = store.cursor(VERIFICATION).await.unwrap().generation;
    drop(store);
    engine.as_of_the_version_before_erasures(old).await;

    let store = engine.open().await;
    let found = store.find(&Lookup::Id(id(1)), At::Newest).await;
    assert!(matches!(found, Err(Error::Vanished(VERIFICATION))), "what cannot be read is not served: {found:?}");
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.ledger.head().await.unwrap().last().unwrap()).await;
    runner.stop().await;
    assert_eq!(rows_of_serving(&store, VERIFICATION).await, whole);
    assert!(store.cursor(VERIFICATION).await.unwrap().generation > old);
    assert_eq!(store.standings().await.unwrap()[0].version, VERIFICATION.version());
}

on_every_engine!(
    of_an_erased_credential_is_left_what_its_document_is_known_by_at_every_moment,
    what_comes_after_the_erasure_goes_the_same_way,
    an_id_that_was_erased_is_not_issued_again,
    a_rebuild_before_an_erasure_minus_the_subject_is_a_rebuild_after_it,
    an_erasure_that_races_with_a_rebuild_is_in_what_comes_of_it,
    a_read_store_of_the_version_before_erasures_is_built_anew,
);

/// Live and rebuilt: neither file holds what was told of the credential, once the log beside it has been emptied.
#[tokio::test]
async fn what_was_erased_is_overwritten_in_the_file() {
    let (engine, logs) = (Engine::sqlite(), Logs::new());
    let store = engine.open().await;
    let runner = logs.run(VERIFICATION, &store);
    applied(&store, logs.fill(0, 20).await).await;
    let rare = "a type that nobody else has";
    let issued = logs.issue(id(500), id(0), |issued| issued.credential_type = rare.to_owned()).await;
    applied(&store, issued).await;
    assert!(engine.has_bytes(rare).await, "it is looked for where it would be");
    applied(&store, logs.erase(id(500)).await).await;
    assert!(!engine.has_bytes(rare).await);
    runner.stop().await;
    assert_eq!(logs.rebuild(VERIFICATION, &store).await.equal, Some(true));
    assert!(!engine.has_bytes(rare).await);
}
