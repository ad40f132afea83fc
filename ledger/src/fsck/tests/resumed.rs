//! A check that was interrupted and is gone on with.

use super::proofs::{Store, kept, key, on_sqlite, sign};
use super::*;
use crate::tiles::grow;

/// Keeps every state that is handed out.
#[derive(Default)]
struct All(Vec<String>);

impl Keep for All {
    fn is_due(&mut self) -> bool {
        true
    }

    fn keep(&mut self, state: &State) {
        self.0.push(state.to_text());
    }
}

/// Of a log of a few pages; a third of its credentials are revoked.
async fn many(store: &dyn Store) {
    let issuer = id();
    let made = issue_many(store.log(), issuer, 3 * PAGE).await;
    grow(store.tiles(), &mut None).await.unwrap();
    store.log().commit(made.iter().step_by(3).map(revoke).collect()).await.unwrap();
    issue_many(store.log(), issuer, PAGE).await;
    grow(store.tiles(), &mut None).await.unwrap();
}

async fn from(store: &dyn Store, against: &Against<'_>, text: &str) -> (Vec<String>, Summary, Vec<u64>) {
    let state = State::from_text(text, store.log().origin(), against).unwrap();
    let (mut found, mut steps) = (Vec::new(), Vec::new());
    let mut report = |finding: Finding| found.push(finding.to_string());
    let summary =
        check_from(store.log(), against, Some(state), &mut KeepNothing, &mut report, &mut |done, _| steps.push(done)).await.unwrap();
    (found, summary, steps)
}

async fn all_states(store: &dyn Store, against: &Against<'_>) -> (Vec<String>, Summary) {
    let mut all = All::default();
    let summary = check_from(store.log(), against, None, &mut all, &mut |finding| panic!("{finding}"), &mut |_, _| ()).await.unwrap();
    (all.0, summary)
}

#[tokio::test]
async fn a_check_goes_on_from_anywhere_and_comes_to_the_same_end() {
    let store = on_sqlite().await;
    many(&store).await;
    let (known, held) = ([key(&store).verifier()], [kept("hand", sign(&store, TreeSize(300)).await)]);
    let against = Against { tiles: store.tiles(), known: &known, held: &held };
    let (states, whole) = all_states(&store, &against).await;
    assert_eq!(states.len() as u64, whole.events.div_ceil(PAGE as u64));
    for text in &states {
        let (found, summary, steps) = from(&store, &against, text).await;
        assert_eq!((found, &summary), (vec![], &whole));
        assert!(steps.iter().all(|done| *done > State::from_text(text, store.log().origin(), &against).unwrap().events()));
    }
    // And when the log has grown since.
    issue_many(store.log(), id(), PAGE).await;
    for text in &states {
        assert_eq!(from(&store, &against, text).await.0, [""; 0]);
    }
    grow(store.tiles(), &mut None).await.unwrap();
    for text in &states {
        assert_eq!(from(&store, &against, text).await.0, [""; 0]);
    }
}

#[tokio::test]
async fn what_lies_after_is_found_and_so_is_what_the_sums_tell() {
    let store = on_sqlite().await;
    many(&store).await;
    let against = Against { tiles: store.tiles(), known: &[], held: &[] };
    let (states, _) = all_states(&store, &against).await;
    for (damage, expected) in [
        ("update events set payload = x'a1' where position = 4000", "ledger@4000 event-hash: "),
        ("delete from unique_keys where position = 100", "ledger@100 unique-key: "),
        ("update tiles set hashes = zeroblob(8192) where level = 0 and number = 15", "ledger@3840 tile: "),
    ] {
        store.raw(format!("create table was_events as select * from events; create table was_tiles as select * from tiles; create table was_keys as select * from unique_keys; {damage}")).await;
        let found = from(&store, &against, &states[2]).await.0;
        assert!(found.iter().any(|found| found.starts_with(expected)), "{damage}: {found:#?}");
        store.raw("delete from events; insert into events select * from was_events; delete from tiles; insert into tiles select * from was_tiles; delete from unique_keys; insert into unique_keys select * from was_keys; drop table was_events; drop table was_tiles; drop table was_keys".to_owned()).await;
    }
    assert_eq!(from(&store, &against, &states[2]).await.0, [""; 0]);
}

#[tokio::test]
async fn a_log_that_is_another_since_is_named_and_read_from_the_beginning() {
    let store = on_sqlite().await;
    many(&store).await;
    let against = Against { tiles: store.tiles(), known: &[], held: &[] };
    let (states, _) = all_states(&store, &against).await;
    store.raw("update events set chain_hash = zeroblob(32) where position = 1999".to_owned()).await;
    let (found, _, steps) = from(&store, &against, &states[1]).await;
    assert!(found[0].starts_with("ledger@1999 chain-hash: an earlier check has read the chain hash "), "{found:#?}");
    assert_eq!(steps[0], PAGE as u64);
    store.raw("delete from events where position >= 500; update head set size = 500".to_owned()).await;
    let (found, _, _) = from(&store, &against, &states[1]).await;
    assert_eq!(found[0], "ledger@499 head: the log was cut: an earlier check has read 2000 events, the head says 500");
}

#[tokio::test]
async fn a_state_that_is_damaged_foreign_or_of_another_form_is_refused() {
    let store = on_sqlite().await;
    let known = [key(&store).verifier()];
    let against = Against { tiles: store.tiles(), known: &known, held: &[] };
    let text = all_states(&store, &against).await.0.remove(0);
    let origin = store.log().origin();
    let read = |text: &str| State::from_text(text, origin, &against).map(|state| state.events());
    assert_eq!(read(&text), Ok(super::proofs::SIZE));
    for damaged in ["", "x", &text[1..], &text[..text.len() - 1], &text.replacen("\"next\":6", "\"next\":5", 1)] {
        assert_eq!(read(damaged), Err(Refused::Damaged));
    }
    let (_, body) = text.split_once('\n').unwrap();
    let body = body.trim_end().replacen("\"form\":1", "\"form\":2", 1);
    assert_eq!(read(&format!("{}\n{body}\n", blake3::hash(body.as_bytes()).to_hex())), Err(Refused::OtherForm));
    let other = Origin::new("other.example", &LogName::LEDGER);
    assert_eq!(State::from_text(&text, &other, &against).err(), Some(Refused::OtherLog));
    assert_eq!(State::from_text(&text, origin, &Against { known: &[], ..against }).err(), Some(Refused::OtherEvidence));
}

#[tokio::test]
async fn nothing_is_kept_once_something_was_found() {
    let store = on_sqlite().await;
    many(&store).await;
    store.raw("update events set payload = x'a0' where position = 1500".to_owned()).await;
    let against = Against { tiles: store.tiles(), known: &[], held: &[] };
    let mut all = All::default();
    check_from(store.log(), &against, None, &mut all, &mut |_| (), &mut |_, _| ()).await.unwrap();
    assert_eq!(all.0.len(), 1);
}
