//! A log that lies: whoever owns the store has rewritten what it likes and computed anew what it can, hashes, chain, head, keys and tiles
//! included. What it cannot do is to sign, and to reach what others keep. Each lie is named as what it is.

use super::proofs::{OnPostgres, OnSqlite, SIGNED, SIZE, Store, found, found_with, kept, on_postgres, on_sqlite, sign};
use super::*;
use crate::checkpoint::TreeHead;
use crate::tiles::grow;

macro_rules! lies {
    ($($lie:ident),+ $(,)?) => {
        mod told_on_sqlite {
            $(#[tokio::test]
            async fn $lie() {
                super::$lie(&super::on_sqlite().await as &super::OnSqlite).await;
            })+
        }

        mod told_on_postgres {
            $(#[tokio::test]
            async fn $lie() {
                super::$lie(&super::on_postgres().await as &super::OnPostgres).await;
            })+
        }
    };
}

lies!(
    a_fork,
    a_truncation,
    a_reordering,
    an_altered_payload,
    altered_metadata,
    a_replayed_old_checkpoint,
    two_histories,
    a_restored_old_backup,
);

/// All events.
async fn events(store: &dyn Store) -> Vec<Recorded> {
    store.log().read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap()
}

/// Puts these events in the place of all, with hashes, chain, head and unique keys as they follow from them.
async fn rewrite(store: &dyn Store, events: &[Recorded]) {
    let mut chain = store.log().origin().genesis();
    let mut statements = "delete from events; delete from unique_keys;".to_owned();
    for (position, event) in events.iter().enumerate() {
        let Recorded { stream, version, kind, schema, recorded_at, .. } = event;
        let (hash, at) = (chain::event_hash(&event.content()), recorded_at.as_micros());
        chain = chain::chain_hash(chain, hash);
        let [metadata, payload, hash, chained] = [&event.metadata[..], &event.payload, &hash.0, &chain.0].map(|bytes| store.bytes(bytes));
        statements.push_str(&format!(
            "insert into events (position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash)
             values ({position}, '{stream}', {version}, '{kind}', {schema}, {at}, {metadata}, {payload}, {hash}, {chained});"
        ));
        if let Some(key) = crate::log::claimed(event).unwrap() {
            let key = store.bytes(&key.0);
            statements.push_str(&format!("insert into unique_keys (key, stream, position) values ({key}, '{stream}', {position});"));
        }
    }
    let (size, last) = (events.len(), events.last().unwrap().recorded_at.as_micros());
    statements.push_str(&format!("update head set size = {size}, chain_hash = {}, recorded_at = {last};", store.bytes(&chain.0)));
    store.raw(statements).await;
}

/// Grows the tree anew from what the events are now.
async fn regrow(store: &dyn Store) {
    store.raw("delete from tiles; update tree set size = 0".to_owned()).await;
    grow(store.tiles(), &mut None).await.unwrap();
}

#[track_caller]
fn only(found: &[String], expected: &[&str]) {
    let are_told = found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(are_told, "{found:#?}\n{expected:#?}");
}

async fn a_fork(store: &dyn Store) {
    let mut forked = events(store).await;
    for event in &mut forked[350..] {
        event.stream = Stream::credential(id());
    }
    rewrite(store, &forked).await;
    regrow(store).await;
    let found = found(store).await;
    only(&found, &["ledger checkpoint: the log forks from number 2 (size 600): its root is "]);
    assert!(found[0].ends_with("; number 1 (size 300) is the last that agrees with the log"), "{found:?}");
}

async fn a_truncation(store: &dyn Store) {
    let all = events(store).await;
    rewrite(store, &all[..500]).await;
    let cut = "ledger checkpoint: the log was cut: number 2 is of size 600, the log has 500 events";
    only(&found(store).await, &["ledger tree: the log was cut: its tree stands for 600 events, the log has 500", cut]);
    regrow(store).await;
    only(&found(store).await, &[cut]);
}

async fn a_reordering(store: &dyn Store) {
    let mut reordered = events(store).await;
    // Of one batch, so that not even the times tell.
    reordered.swap(110, 290);
    rewrite(store, &reordered).await;
    let forks = "ledger checkpoint: the log forks from number 1 (size 300): ";
    let reordered = "tree: events were reordered: the tree holds here the event that now stands at";
    let told = [format!("ledger@110 {reordered} ledger@290"), format!("ledger@290 {reordered} ledger@110"), forks.to_owned()];
    only(&found(store).await, &told.each_ref().map(String::as_str));
    regrow(store).await;
    let found = found(store).await;
    only(&found, &[forks]);
    assert!(found[0].ends_with("; so do 1 after it; number 0 (size 100) is the last that agrees with the log"), "{found:?}");
}

/// With the hashes left as they were, and with everything computed anew.
async fn an_altered_event(store: &dyn Store, alter: impl Fn(&mut Recorded)) {
    let mut altered = events(store).await;
    alter(&mut altered[200]);
    let (metadata, payload) = (store.bytes(&altered[200].metadata), store.bytes(&altered[200].payload));
    store.raw(format!("update events set metadata = {metadata}, payload = {payload} where position = 200")).await;
    let hashes = found(store).await;
    assert!(hashes[0].starts_with("ledger@200 event-hash: the content hashes to "), "{hashes:#?}");
    assert!(hashes.iter().all(|found| found.starts_with("ledger@200 ")), "{hashes:#?}");
    rewrite(store, &altered).await;
    let forks = "ledger checkpoint: the log forks from number 1 (size 300): ";
    only(&found(store).await, &["ledger@200 tree: the event was altered or exchanged: the tree holds ", forks]);
    regrow(store).await;
    only(&found(store).await, &[forks]);
}

async fn an_altered_payload(store: &dyn Store) {
    let payload = encode(&issued(id(), Some(id()), 9)).payload;
    an_altered_event(store, |event| event.payload = payload.clone()).await;
}

async fn altered_metadata(store: &dyn Store) {
    let metadata = Origination::system("another worker").metadata(&SystemRandom);
    let metadata = New::of(&KeyRevoked {}, &metadata).metadata;
    an_altered_event(store, |event| event.metadata = metadata.clone()).await;
}

async fn a_replayed_old_checkpoint(store: &dyn Store) {
    let newest = kept("an auditor's pocket", sign(store, TreeSize(SIGNED[2])).await);
    let replay = |from: usize| {
        format!(
            "update checkpoints set size = {}, note = (select note from checkpoints where number = {from}) where number = 2",
            SIGNED[from]
        )
    };
    for from in [1, 0] {
        store.raw(replay(from)).await;
        let told = format!(
            "ledger checkpoint: an older one was put in the place of a newer: number 2 is of size {}, number 1 before it of 300",
            SIGNED[from]
        );
        only(&found(store).await, &[&told]);
    }
    store.raw("delete from checkpoints where number = 2".to_owned()).await;
    assert_eq!(found(store).await, [""; 0], "by itself the store cannot tell");
    let told = "ledger checkpoint: an older one was put in the place of a newer: one of size 600 is kept at an auditor's pocket, the newest that is stored is of 300";
    only(&found_with(store, &[newest]).await, &[told]);
}

async fn two_histories(store: &dyn Store) {
    let head = sign(store, TreeSize(450)).await.head().clone();
    let other = Checkpoint::sign(TreeHead { root: TreeHash([9; 32]), ..head.clone() }, &super::proofs::key(store));
    let held = [kept("one witness", Checkpoint::sign(head, &super::proofs::key(store))), kept("another", other)];
    let told = "ledger checkpoint: two histories: the one kept at another (size 450) has the root CQkJ";
    only(&found_with(store, &held).await, &[told]);
}

async fn a_restored_old_backup(store: &dyn Store) {
    let newest = kept("the vault", sign(store, TreeSize(SIGNED[2])).await);
    // The whole store as it was at 300 events, with nothing wrong in it.
    rewrite(store, &events(store).await[..300]).await;
    store.raw("delete from checkpoints where number = 2".to_owned()).await;
    regrow(store).await;
    assert_eq!(found(store).await, [""; 0], "by itself it is a log as good as any");
    let told =
        "ledger checkpoint: the log was cut, or is an older one restored: one of size 600 is kept at the vault, the log has 300 events";
    only(&found_with(store, std::slice::from_ref(&newest)).await, &[told]);
    // And when it has grown beyond that again, by other events.
    issue_many(store.log(), id(), usize::try_from(SIZE).unwrap()).await;
    only(
        &found_with(store, &[newest]).await,
        &[
            "ledger checkpoint: two histories: the one kept at the vault (size 600) has the root ",
            "ledger checkpoint: an older one was put in the place of a newer: ",
        ],
    );
}
