//! The contract suite: what every engine must keep, one sentence a test. [`log_contract!`](crate::log_contract) runs all of it.
//!
//! A sentence gets a [`Fixture`]: a fresh, empty log that can be opened several times, as several processes would, and whose
//! clock the suite sets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests, compiled for other crates' tests too")]

mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Append, Expected, Idempotency, KeyOwner, Log, Outcome, Query, Refusal, Restore, StreamAppend, UniqueKey, Walk};
use crate::clock::ManualClock;
use crate::event::audit::{AccessRefused, KeyRevoked};
use crate::event::{New, Origination, Recorded};
use crate::random::SystemRandom;
use crate::stream::category;
use crate::{Clock, Position, Stream, Timestamp, Version, chain};

/// A log that is empty at first.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// One more handle on it, as another process would open.
    async fn open(&self) -> Arc<dyn Log>;

    /// The same, to fill it with what another log recorded.
    async fn restorable(&self) -> Arc<dyn Restore>;

    /// The clock of all its handles.
    fn clock(&self) -> &ManualClock;
}

/// Makes a `#[tokio::test]` of every sentence. `$fresh` is an async function without arguments that makes a [`Fixture`].
#[macro_export]
macro_rules! log_contract {
    ($fresh:path) => {
        $crate::log_contract! { $fresh:
            an_empty_log_has_a_head_and_nothing_else
            every_handle_knows_the_same_log
            an_empty_batch_does_nothing
            positions_and_versions_are_dense
            what_was_appended_reads_back_as_it_was_answered
            large_events_and_large_batches_go_through
            the_chain_can_be_recomputed_from_the_origin
            recorded_at_never_decreases_although_the_clock_may
            the_head_tells_the_clock_and_the_end
            what_a_head_says_is_complete_stays_so
            expected_none_wants_a_stream_without_events
            expected_exact_wants_the_last_version
            expected_any_takes_every_stream
            a_precondition_without_events_guards_and_leaves_no_trace
            an_append_commits_whole_or_not_at_all
            an_append_sees_what_its_batch_mates_before_it_did
            a_stale_version_fails_alone_in_its_batch
            a_taken_key_fails_alone_in_its_batch
            a_repeated_idempotency_key_is_answered_alone_in_its_batch
            a_batch_of_refusals_leaves_the_log_as_it_was
            a_key_has_one_owner_until_it_is_released
            a_key_is_claimed_released_and_claimed_again_within_a_batch
            a_key_passes_from_one_stream_to_another_in_one_append
            a_refused_append_releases_nothing
            a_key_that_nobody_owns_may_be_released
            keys_are_listed_by_their_bytes_page_by_page
            versions_are_listed_stream_by_stream_page_by_page
            the_first_events_of_streams_are_read_in_order
            a_repeat_answers_the_first_position_and_appends_nothing
            an_idempotency_key_is_bound_to_its_command
            an_idempotency_key_expires_by_the_logs_clock
            a_refused_append_is_not_remembered
            old_idempotency_rows_are_forgotten_and_younger_ones_kept
            a_key_whose_command_was_forgotten_repeats_whatever_is_asked
            a_read_answers_what_the_query_wants
            a_walk_tells_what_the_query_wants_once_and_in_order
            a_walk_tells_what_is_appended_before_it_has_ended
            positions_are_read_in_order_whatever_the_order_asked
            a_handle_sees_what_another_committed
            handles_that_commit_at_once_leave_one_dense_log
            of_handles_that_claim_one_key_at_once_exactly_one_gets_it
            what_another_log_recorded_is_restored_as_it_is
            a_restored_log_is_appended_to_like_any_other
            a_batch_whose_key_passes_on_is_restored_whole
            a_key_that_has_passed_on_is_not_released_by_who_had_it
            events_that_do_not_go_on_from_the_end_are_not_restored
            whoever_restores_notices_another_that_appends
            idempotency_rows_are_taken_over
        }
    };
    ($fresh:path: $($sentence:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() {
                $crate::log::contract::$sentence(&$fresh().await).await;
            }
        )+
    };
}

/// A present for clocks to begin with.
#[must_use]
pub fn noon() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

const KEPT: Duration = Duration::from_secs(3600);

fn stream() -> Stream {
    Stream::new(category::KEY, crate::event::new_id(&crate::clock::SystemClock, &SystemRandom))
}

fn event() -> New {
    New::of(&KeyRevoked {}, &Origination::system("contract").metadata(&SystemRandom))
}

fn refusal(padding: usize) -> New {
    let payload = AccessRefused { via: "x".repeat(padding), problem: "forbidden".to_owned() };
    New::of(&payload, &Origination::system("contract").metadata(&SystemRandom))
}

/// One event for one stream.
fn one(stream: &Stream, expected: Expected) -> Append {
    Append::to(stream.clone(), expected, vec![event()])
}

/// One event for a fresh stream, which claims a key.
fn claim(key: &UniqueKey) -> Append {
    let stream = stream();
    Append { claims: vec![(key.clone(), stream.clone())], ..one(&stream, Expected::None) }
}

/// One event for a fresh stream, after which a key is free.
fn release(key: &UniqueKey) -> Append {
    Append { releases: vec![key.clone()], ..one(&stream(), Expected::None) }
}

/// One event for a fresh stream under an idempotency key.
fn remember(key: u8, command: u8) -> Append {
    let idempotency = Idempotency { key: [key; 32], command: [command; 32], kept: KEPT };
    Append { idempotency: Some(idempotency), ..one(&stream(), Expected::None) }
}

fn name_key(name: &str) -> UniqueKey {
    UniqueKey::issuer_name(name)
}

async fn commit_one(log: &dyn Log, append: Append) -> Outcome {
    let outcomes = log.commit(vec![append]).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes.into_iter().next().unwrap()
}

async fn append(log: &dyn Log, append: Append) -> Vec<Recorded> {
    appended(commit_one(log, append).await)
}

fn appended(outcome: Outcome) -> Vec<Recorded> {
    match outcome {
        Outcome::Appended(events) => events,
        other => panic!("expected it to be appended: {other:?}"),
    }
}

fn owner(append: &Append) -> &Stream {
    &append.streams[0].stream
}

async fn all(log: &dyn Log) -> Vec<Recorded> {
    log.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap()
}

/// Apart from the test's own threads, which it may block.
fn on_a_thread<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work))
}

fn stale(stream: &Stream, actual: Option<u64>) -> Outcome {
    Outcome::Refused(Refusal::StaleVersion { stream: stream.clone(), actual: actual.map(Version) })
}

fn taken(key: &UniqueKey, stream: &Stream, position: u64) -> Outcome {
    let owner = KeyOwner { stream: stream.clone(), position: Position(position) };
    Outcome::Refused(Refusal::KeyTaken { key: key.clone(), owner })
}

#[expect(missing_docs, reason = "each name is its sentence")]
mod sentences {
    use super::*;

    pub async fn an_empty_log_has_a_head_and_nothing_else(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let head = log.head().await.unwrap();
        assert_eq!((head.size, head.last(), head.recorded_at), (0, None, Timestamp::EPOCH));
        assert_eq!(head.chain_hash, log.origin().genesis());
        assert_eq!(head.now, fixture.clock().now());
        assert_eq!(all(&*log).await, []);
        let since = Query { since: Some(noon()), until: Some(noon()), ..Query::from(Position::FIRST, 10) };
        assert_eq!(log.read(&since).await.unwrap(), []);
        assert_eq!(log.read_at(&[Position(0)]).await.unwrap(), []);
        assert_eq!(log.keys(None, 10).await.unwrap(), []);
        assert_eq!(log.key_owner(&name_key("a")).await.unwrap(), None);
        assert_eq!(log.forget_idempotency(Timestamp::MAX).await.unwrap(), 0);
    }

    pub async fn every_handle_knows_the_same_log(fixture: &dyn Fixture) {
        let (a, b) = (fixture.open().await, fixture.open().await);
        assert_eq!((a.name(), a.origin()), (b.name(), b.origin()));
        assert!(a.origin().as_str().ends_with(&format!("/v1/logs/{}", a.name())));
    }

    pub async fn an_empty_batch_does_nothing(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        assert_eq!(log.commit(Vec::new()).await.unwrap(), []);
        assert_eq!(log.head().await.unwrap().size, 0);
    }

    pub async fn positions_and_versions_are_dense(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let streams = [stream(), stream(), stream()];
        for round in 0..4 {
            let batch = (0..5).map(|i| {
                let parts = [&streams[(round + i) % 3], &streams[(round + i + 1) % 3]].map(|stream| StreamAppend {
                    stream: stream.clone(),
                    expected: Expected::Any,
                    events: vec![event(), event()],
                });
                Append { streams: parts.into(), claims: Vec::new(), releases: Vec::new(), idempotency: None, relies_on: Vec::new() }
            });
            log.commit(batch.collect()).await.unwrap();
        }
        let events = all(&*log).await;
        assert_eq!(events.len(), 80);
        let mut versions = BTreeMap::new();
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event.position.0, at as u64);
            let next = versions.entry(&event.stream).or_insert(0);
            assert_eq!(event.version.0, *next);
            *next += 1;
        }
    }

    pub async fn what_was_appended_reads_back_as_it_was_answered(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let mut answered = Vec::new();
        for size in 0..3 {
            fixture.clock().advance(Duration::from_micros(1));
            let batch: Vec<Append> = (0..=size).map(|n| Append::to(stream(), Expected::None, vec![event(), refusal(n)])).collect();
            let given: Vec<New> = batch.iter().flat_map(|append| append.events().cloned().collect::<Vec<_>>()).collect();
            let events: Vec<Recorded> = log.commit(batch).await.unwrap().into_iter().flat_map(appended).collect();
            for (given, event) in given.iter().zip(&events) {
                assert_eq!((given.kind, given.schema), (event.kind.as_str(), event.schema));
                assert_eq!((&given.metadata, &given.payload), (&event.metadata, &event.payload));
                assert_eq!(event.recorded_at, fixture.clock().now());
            }
            answered.extend(events);
        }
        assert_eq!(all(&*log).await, answered);
        assert_eq!(all(&*fixture.open().await).await, answered);
    }

    pub async fn large_events_and_large_batches_go_through(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let large = append(&*log, Append::to(stream(), Expected::None, vec![refusal(2 << 20)])).await;
        assert_eq!(log.read_at(&[Position(0)]).await.unwrap(), large);
        let batch = (0..3000u16).map(|n| Append {
            idempotency: Some(Idempotency { key: blake3::hash(&n.to_be_bytes()).into(), command: [0; 32], kept: KEPT }),
            ..claim(&name_key(&n.to_string()))
        });
        let answered: Vec<Recorded> = log.commit(batch.collect()).await.unwrap().into_iter().flat_map(appended).collect();
        assert_eq!(log.read(&Query::from(Position(1), usize::MAX)).await.unwrap(), answered);
        assert_eq!(log.keys(None, usize::MAX).await.unwrap().len(), 3000);
        let positions: Vec<Position> = (1..=3000).map(Position).collect();
        assert_eq!(log.read_at(&positions).await.unwrap(), answered);
    }

    pub async fn the_chain_can_be_recomputed_from_the_origin(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        for size in [1, 3, 2] {
            log.commit((0..size).map(|_| one(&stream(), Expected::None)).collect()).await.unwrap();
        }
        let mut link = log.origin().genesis();
        for event in all(&*log).await {
            assert_eq!(event.event_hash, chain::event_hash(&event.content()));
            link = chain::chain_hash(link, event.event_hash);
            assert_eq!(event.chain_hash, link);
        }
        assert_eq!(log.head().await.unwrap().chain_hash, link);
    }

    pub async fn recorded_at_never_decreases_although_the_clock_may(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let mut times = Vec::new();
        for second in [10, 7, 12, 0, 12, 13] {
            fixture.clock().set(noon().plus(Duration::from_secs(second)));
            times.push(append(&*log, one(&stream(), Expected::None)).await[0].recorded_at.since(noon()).as_secs());
        }
        assert_eq!(times, [10, 10, 12, 12, 12, 13]);
    }

    pub async fn the_head_tells_the_clock_and_the_end(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let events = log.commit(vec![one(&stream(), Expected::None), one(&stream(), Expected::None)]).await.unwrap();
        let last = events.into_iter().flat_map(appended).last().unwrap();
        fixture.clock().advance(Duration::from_secs(5));
        let head = log.head().await.unwrap();
        assert_eq!((head.size, head.last(), head.chain_hash), (2, Some(last.position), last.chain_hash));
        assert_eq!((head.recorded_at, head.now), (last.recorded_at, fixture.clock().now()));
    }

    pub async fn what_a_head_says_is_complete_stays_so(fixture: &dyn Fixture) {
        let (committing, asking, fresh) = (fixture.open().await, fixture.open().await, fixture.open().await);
        append(&*committing, one(&stream(), Expected::None)).await;
        asking.head().await.unwrap();
        fixture.clock().advance(Duration::from_secs(1));
        let held = fixture.clock().hold_next();
        let commit = {
            let log = committing.clone();
            on_a_thread(async move { append(&*log, one(&stream(), Expected::None)).await })
        };
        let recorded_at = held.reading().unwrap();
        fixture.clock().advance(Duration::from_secs(1));
        // A head may wait for the commit, or answer while it is in flight.
        let heads = [&committing, &asking, &fresh].map(|log| {
            let log = log.clone();
            on_a_thread(async move { log.head().await.unwrap() })
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(held);
        assert_eq!(commit.await.unwrap()[0].recorded_at, recorded_at);
        for head in heads {
            let head = head.await.unwrap();
            assert!(head.size == 2 || head.now < recorded_at, "recorded at {recorded_at}: {head:?}");
        }
        fixture.clock().advance(Duration::from_secs(1));
        for log in [&committing, &asking, &fresh] {
            let head = log.head().await.unwrap();
            assert_eq!((head.size, head.now), (2, fixture.clock().now()));
        }
    }

    pub async fn expected_none_wants_a_stream_without_events(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let stream = stream();
        append(&*log, one(&stream, Expected::None)).await;
        assert_eq!(commit_one(&*log, one(&stream, Expected::None)).await, stale(&stream, Some(0)));
        assert_eq!(log.head().await.unwrap().size, 1);
    }

    pub async fn expected_exact_wants_the_last_version(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let stream = stream();
        let at = |version| one(&stream, Expected::Exact(Version(version)));
        assert_eq!(commit_one(&*log, at(0)).await, stale(&stream, None));
        append(&*log, one(&stream, Expected::None)).await;
        assert_eq!(append(&*log, at(0)).await[0].version, Version(1));
        assert_eq!(commit_one(&*log, at(0)).await, stale(&stream, Some(1)));
        assert_eq!(commit_one(&*log, at(2)).await, stale(&stream, Some(1)));
        assert_eq!(append(&*log, at(1)).await[0].version, Version(2));
    }

    pub async fn expected_any_takes_every_stream(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let stream = stream();
        for version in 0..3 {
            assert_eq!(append(&*log, one(&stream, Expected::Any)).await[0].version, Version(version));
        }
    }

    pub async fn a_precondition_without_events_guards_and_leaves_no_trace(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let guarded = stream();
        let under = |expected| Append {
            streams: vec![
                StreamAppend { stream: guarded.clone(), expected, events: Vec::new() },
                StreamAppend { stream: stream(), expected: Expected::None, events: vec![event()] },
            ],
            claims: Vec::new(),
            releases: Vec::new(),
            idempotency: None,
            relies_on: Vec::new(),
        };
        assert_eq!(commit_one(&*log, under(Expected::Exact(Version(0)))).await, stale(&guarded, None));
        assert_eq!(append(&*log, under(Expected::None)).await.len(), 1);
        append(&*log, one(&guarded, Expected::None)).await;
        assert_eq!(commit_one(&*log, under(Expected::None)).await, stale(&guarded, Some(0)));
        assert_eq!(append(&*log, under(Expected::Exact(Version(0)))).await.len(), 1);
        assert_eq!(log.read(&Query::stream(&guarded)).await.unwrap().len(), 1);
        assert_eq!(log.head().await.unwrap().size, 3);
    }

    pub async fn an_append_commits_whole_or_not_at_all(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let (fresh, old, key) = (stream(), stream(), name_key("acme"));
        append(&*log, one(&old, Expected::None)).await;
        let both = Append {
            streams: [&fresh, &old]
                .map(|stream| StreamAppend { stream: stream.clone(), expected: Expected::None, events: vec![event()] })
                .into(),
            claims: vec![(key.clone(), fresh.clone())],
            releases: Vec::new(),
            idempotency: Some(Idempotency { key: [1; 32], command: [1; 32], kept: KEPT }),
            relies_on: Vec::new(),
        };
        assert_eq!(commit_one(&*log, both).await, stale(&old, Some(0)));
        assert_eq!(log.head().await.unwrap().size, 1);
        assert_eq!(log.read(&Query::stream(&fresh)).await.unwrap(), []);
        assert_eq!(log.key_owner(&key).await.unwrap(), None);
        append(&*log, remember(1, 2)).await;
    }

    pub async fn an_append_sees_what_its_batch_mates_before_it_did(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let (stream, key) = (stream(), name_key("acme"));
        let first = Append { claims: vec![(key.clone(), stream.clone())], ..one(&stream, Expected::None) };
        let batch = vec![
            first,
            one(&stream, Expected::Exact(Version(0))),
            one(&stream, Expected::Exact(Version(0))),
            one(&stream, Expected::None),
            claim(&key),
            one(&stream, Expected::Any),
        ];
        let outcomes = log.commit(batch).await.unwrap();
        assert_eq!(appended(outcomes[0].clone())[0].version, Version(0));
        assert_eq!(appended(outcomes[1].clone())[0].version, Version(1));
        assert_eq!(outcomes[2], stale(&stream, Some(1)));
        assert_eq!(outcomes[3], stale(&stream, Some(1)));
        assert_eq!(outcomes[4], taken(&key, &stream, 0));
        assert_eq!(appended(outcomes[5].clone())[0].position, Position(2));
    }

    pub async fn a_stale_version_fails_alone_in_its_batch(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let old = stream();
        append(&*log, one(&old, Expected::None)).await;
        let outcomes =
            log.commit(vec![one(&stream(), Expected::None), one(&old, Expected::None), one(&stream(), Expected::None)]).await.unwrap();
        assert_eq!(appended(outcomes[0].clone())[0].position, Position(1));
        assert_eq!(outcomes[1], stale(&old, Some(0)));
        assert_eq!(appended(outcomes[2].clone())[0].position, Position(2));
    }

    pub async fn a_taken_key_fails_alone_in_its_batch(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let key = name_key("acme");
        let first = claim(&key);
        append(&*log, first.clone()).await;
        let outcomes = log.commit(vec![claim(&name_key("b")), claim(&key), claim(&name_key("c"))]).await.unwrap();
        assert_eq!(appended(outcomes[0].clone())[0].position, Position(1));
        assert_eq!(outcomes[1], taken(&key, owner(&first), 0));
        assert_eq!(appended(outcomes[2].clone())[0].position, Position(2));
    }

    pub async fn a_repeated_idempotency_key_is_answered_alone_in_its_batch(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        append(&*log, one(&stream(), Expected::None)).await;
        append(&*log, remember(1, 1)).await;
        let outcomes = log.commit(vec![remember(2, 2), remember(1, 1), remember(1, 9), remember(2, 2), remember(3, 3)]).await.unwrap();
        assert_eq!(appended(outcomes[0].clone())[0].position, Position(2));
        assert_eq!(outcomes[1], Outcome::Repeated(Position(1)));
        assert_eq!(outcomes[2], Outcome::Refused(Refusal::IdempotencyKeyReused));
        assert_eq!(outcomes[3], Outcome::Repeated(Position(2)));
        assert_eq!(appended(outcomes[4].clone())[0].position, Position(3));
    }

    pub async fn a_batch_of_refusals_leaves_the_log_as_it_was(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let key = name_key("acme");
        let first = claim(&key);
        append(&*log, first.clone()).await;
        let before = log.head().await.unwrap();
        fixture.clock().advance(Duration::from_secs(1));
        log.commit(vec![one(owner(&first), Expected::None), claim(&key)]).await.unwrap();
        let after = log.head().await.unwrap();
        assert_eq!((after.size, after.chain_hash, after.recorded_at), (before.size, before.chain_hash, before.recorded_at));
        assert_eq!(log.keys(None, 10).await.unwrap().len(), 1);
    }

    pub async fn a_key_has_one_owner_until_it_is_released(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let key = name_key("acme");
        append(&*log, one(&stream(), Expected::None)).await;
        let first = claim(&key);
        append(&*log, first.clone()).await;
        assert_eq!(log.key_owner(&key).await.unwrap(), Some(KeyOwner { stream: owner(&first).clone(), position: Position(1) }));
        assert_eq!(commit_one(&*log, claim(&key)).await, taken(&key, owner(&first), 1));
        append(&*log, release(&key)).await;
        assert_eq!(log.key_owner(&key).await.unwrap(), None);
        let second = claim(&key);
        append(&*log, second.clone()).await;
        assert_eq!(log.key_owner(&key).await.unwrap(), Some(KeyOwner { stream: owner(&second).clone(), position: Position(3) }));
    }

    pub async fn a_key_is_claimed_released_and_claimed_again_within_a_batch(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let (kept, given_back) = (name_key("kept"), name_key("given back"));
        let last = claim(&kept);
        let batch = vec![claim(&kept), claim(&kept), release(&kept), last.clone(), claim(&given_back), release(&given_back)];
        let outcomes = log.commit(batch).await.unwrap();
        assert!(matches!(outcomes[1], Outcome::Refused(Refusal::KeyTaken { .. })));
        let position = appended(outcomes[3].clone())[0].position;
        assert_eq!(log.keys(None, 10).await.unwrap(), [(kept, KeyOwner { stream: owner(&last).clone(), position })]);
    }

    pub async fn a_key_passes_from_one_stream_to_another_in_one_append(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let key = name_key("acme");
        append(&*log, claim(&key)).await;
        let heir = Append { releases: vec![key.clone()], ..claim(&key) };
        append(&*log, heir.clone()).await;
        assert_eq!(log.key_owner(&key).await.unwrap(), Some(KeyOwner { stream: owner(&heir).clone(), position: Position(1) }));
    }

    pub async fn a_refused_append_releases_nothing(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let key = name_key("acme");
        let first = claim(&key);
        append(&*log, first.clone()).await;
        let stale_release = Append { releases: vec![key.clone()], ..one(owner(&first), Expected::None) };
        commit_one(&*log, stale_release).await;
        assert_eq!(log.key_owner(&key).await.unwrap(), Some(KeyOwner { stream: owner(&first).clone(), position: Position(0) }));
    }

    pub async fn a_key_that_nobody_owns_may_be_released(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        append(&*log, release(&name_key("acme"))).await;
        assert_eq!(log.keys(None, 10).await.unwrap(), []);
    }

    pub async fn keys_are_listed_by_their_bytes_page_by_page(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let mut keys: Vec<UniqueKey> = ["b", "a", "ab", "é", "", "\u{0}"].map(name_key).into();
        keys.push(UniqueKey(Vec::new()));
        keys.push(UniqueKey::secret(Uuid::nil(), &[0xff; 32]));
        keys.push(UniqueKey::natural(Uuid::max(), Uuid::nil(), "badge"));
        log.commit(keys.iter().map(claim).collect()).await.unwrap();
        keys.sort();
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = log.keys(after.as_ref(), 3).await.unwrap();
            assert!(page.len() <= 3);
            listed.extend(page.iter().map(|(key, _)| key.clone()));
            after = listed.last().cloned();
            if page.len() < 3 {
                break;
            }
        }
        assert_eq!(listed, keys);
    }

    pub async fn versions_are_listed_stream_by_stream_page_by_page(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        assert_eq!(log.versions(None, 10).await.unwrap(), []);
        // Of two categories, and not in the order of their names.
        let streams = [stream(), Stream::issuer(Uuid::max()), stream(), Stream::issuer(Uuid::nil())];
        for round in 0..3 {
            log.commit((0..4).map(|at| one(&streams[(round * 3 + at) % 4], Expected::Any)).collect()).await.unwrap();
        }
        let all = log.versions(None, usize::MAX).await.unwrap();
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = log.versions(after.as_ref(), 5).await.unwrap();
            assert!(page.len() <= 5);
            listed.extend(page.iter().cloned());
            after = page.last().cloned();
            if page.len() < 5 {
                break;
            }
        }
        assert_eq!(listed, all);
        for of_one in all.chunks(3) {
            assert!(of_one.iter().enumerate().all(|(at, listed)| listed.stream == of_one[0].stream && listed.version.0 == at as u64));
        }
        let place = |event: Recorded| (event.position, event.stream, event.version);
        let mut places: Vec<_> = all.into_iter().map(|listed| (listed.position, listed.stream, listed.version)).collect();
        places.sort_unstable();
        assert_eq!(places, super::all(&*log).await.into_iter().map(place).collect::<Vec<_>>());
    }

    pub async fn the_first_events_of_streams_are_read_in_order(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let streams = [stream(), stream(), stream()];
        log.commit([2, 0, 1, 0, 2].map(|at| one(&streams[at], Expected::Any)).into()).await.unwrap();
        assert_eq!(log.read_first(&[]).await.unwrap(), []);
        let events = all(&*log).await;
        let asked = [&streams[..1], &[stream()], &streams[1..]].concat();
        assert_eq!(log.read_first(&asked).await.unwrap(), events[..3]);
        assert_eq!(log.read_first(&[streams[1].clone(), streams[1].clone()]).await.unwrap(), events[2..3]);
    }

    pub async fn a_repeat_answers_the_first_position_and_appends_nothing(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        append(&*log, one(&stream(), Expected::None)).await;
        let first = remember(1, 1);
        append(&*log, first.clone()).await;
        // The very same append would be stale; that it was made before is judged first.
        assert_eq!(commit_one(&*log, first).await, Outcome::Repeated(Position(1)));
        assert_eq!(commit_one(&*fixture.open().await, remember(1, 1)).await, Outcome::Repeated(Position(1)));
        assert_eq!(log.head().await.unwrap().size, 2);
    }

    pub async fn an_idempotency_key_is_bound_to_its_command(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        append(&*log, remember(1, 1)).await;
        assert_eq!(commit_one(&*log, remember(1, 2)).await, Outcome::Refused(Refusal::IdempotencyKeyReused));
        assert_eq!(append(&*log, remember(2, 1)).await[0].position, Position(1));
    }

    pub async fn an_idempotency_key_expires_by_the_logs_clock(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        append(&*log, remember(1, 1)).await;
        fixture.clock().advance(KEPT - Duration::from_micros(1));
        assert_eq!(commit_one(&*log, remember(1, 1)).await, Outcome::Repeated(Position(0)));
        fixture.clock().advance(Duration::from_micros(1));
        assert_eq!(append(&*log, remember(1, 2)).await[0].position, Position(1));
        assert_eq!(commit_one(&*log, remember(1, 2)).await, Outcome::Repeated(Position(1)));
        assert_eq!(commit_one(&*log, remember(1, 1)).await, Outcome::Refused(Refusal::IdempotencyKeyReused));
    }

    pub async fn a_refused_append_is_not_remembered(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let stream = stream();
        let refused = Append { idempotency: remember(1, 1).idempotency, ..one(&stream, Expected::Exact(Version(0))) };
        assert_eq!(commit_one(&*log, refused.clone()).await, stale(&stream, None));
        append(&*log, one(&stream, Expected::None)).await;
        append(&*log, refused).await;
    }

    pub async fn old_idempotency_rows_are_forgotten_and_younger_ones_kept(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        log.commit(vec![remember(1, 1), remember(2, 2)]).await.unwrap();
        fixture.clock().advance(Duration::from_secs(1));
        append(&*log, remember(3, 3)).await;
        assert_eq!(log.forget_idempotency(noon()).await.unwrap(), 0);
        assert_eq!(log.forget_idempotency(noon().plus(Duration::from_secs(1))).await.unwrap(), 2);
        assert_eq!(append(&*log, remember(1, 9)).await[0].position, Position(3));
        assert_eq!(commit_one(&*log, remember(3, 3)).await, Outcome::Repeated(Position(2)));
    }

    pub async fn a_key_whose_command_was_forgotten_repeats_whatever_is_asked(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        log.commit(vec![remember(1, 1), remember(2, 2), remember(3, 3)]).await.unwrap();
        assert_eq!(log.forget_commands(&[]).await.unwrap(), 0);
        assert_eq!(log.forget_commands(&[Position(0), Position(2), Position(9)]).await.unwrap(), 2);
        assert_eq!(log.forget_commands(&[Position(0), Position(2)]).await.unwrap(), 0);
        for (key, command) in [(1, 1), (1, 2)] {
            assert_eq!(commit_one(&*fixture.open().await, remember(key, command)).await, Outcome::Repeated(Position(0)));
        }
        assert_eq!(commit_one(&*log, remember(3, 4)).await, Outcome::Repeated(Position(2)));
        assert_eq!(commit_one(&*log, remember(2, 4)).await, Outcome::Refused(Refusal::IdempotencyKeyReused));
        // The row expires as if nothing had been forgotten, and is then one like any other.
        fixture.clock().advance(KEPT);
        assert_eq!(append(&*log, remember(1, 5)).await[0].position, Position(3));
        assert_eq!(commit_one(&*log, remember(1, 6)).await, Outcome::Refused(Refusal::IdempotencyKeyReused));
    }

    pub async fn a_read_answers_what_the_query_wants(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let streams = [stream(), stream(), stream()];
        for n in 0..40usize {
            // Some events share their time.
            fixture.clock().set(noon().plus(Duration::from_secs(n as u64 / 3)));
            let kind = if n % 4 == 0 { refusal(1) } else { event() };
            append(&*log, Append::to(streams[n % 3].clone(), Expected::Any, vec![kind])).await;
        }
        let events = all(&*log).await;
        let at = |second| Some(noon().plus(Duration::from_secs(second)));
        let mut asked = 0;
        for from in [0, 17, 39, 40, 1000].map(Position) {
            for to in [None, Some(Position(0)), Some(Position(25)), Some(Position(4000))] {
                for (since, until) in [(None, None), (at(4), None), (None, at(9)), (at(3), at(7)), (at(7), at(7)), (at(99), None)] {
                    for stream in [None, Some(streams[1].clone()), Some(super::stream())] {
                        for kind in [None, Some("AccessRefused".to_owned()), Some("Unheard".to_owned())] {
                            for limit in [0, 1, 7, usize::MAX] {
                                let query = Query { from, to, stream: stream.clone(), kind: kind.clone(), since, until, limit };
                                let wanted: Vec<_> = events.iter().filter(|event| query.wants(event)).take(limit).cloned().collect();
                                assert_eq!(log.read(&query).await.unwrap(), wanted, "{query:?}");
                                asked += 1;
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(asked, 5 * 4 * 6 * 3 * 3 * 4);
    }

    pub async fn a_walk_tells_what_the_query_wants_once_and_in_order(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        let streams = [stream(), stream()];
        let kinds = (0..30usize).map(|n| if n % 3 == 0 { refusal(1) } else { event() });
        let appends = kinds.enumerate().map(|(n, kind)| Append::to(streams[n % 2].clone(), Expected::Any, vec![kind]));
        log.commit(appends.collect()).await.unwrap();
        let events = all(&*log).await;
        for from in [0, 7, 29, 30].map(|from| Query::from(Position(from), 0)) {
            for to in [None, Some(Position(3)), Some(Position(24)), Some(Position(29)), Some(Position(99))] {
                for query in [from.clone(), from.clone().of::<AccessRefused>(), Query { stream: Some(streams[1].clone()), ..from.clone() }]
                {
                    for limit in [1, 2, 5, 30, 31, usize::MAX] {
                        let query = Query { to, limit, ..query.clone() };
                        let (mut walk, mut told) = (Walk::over(&*log, query.clone()), Vec::new());
                        while let Some(page) = walk.page().await.unwrap() {
                            assert!((1..=limit).contains(&page.len()));
                            told.extend(page);
                        }
                        assert_eq!(told, events.iter().filter(|event| query.wants(event)).cloned().collect::<Vec<_>>(), "{query:?}");
                    }
                }
            }
        }
    }

    pub async fn a_walk_tells_what_is_appended_before_it_has_ended(fixture: &dyn Fixture) {
        let (log, other) = (fixture.open().await, fixture.open().await);
        let append = async |count: u8| other.commit((0..count).map(|_| one(&stream(), Expected::None)).collect()).await.unwrap();
        append(2).await;
        let mut walk = Walk::over(&*log, Query::from(Position::FIRST, 2));
        assert_eq!(walk.page().await.unwrap().map(|page| page.len()), Some(2));
        assert_eq!(walk.next_position(), Some(Position(2)));
        append(1).await;
        assert_eq!(walk.page().await.unwrap().unwrap()[0].position, Position(2));
        assert_eq!(walk.next_position(), None);
        append(1).await;
        assert_eq!(walk.page().await.unwrap(), None);
    }

    pub async fn positions_are_read_in_order_whatever_the_order_asked(fixture: &dyn Fixture) {
        let log = fixture.open().await;
        log.commit((0..9).map(|_| one(&stream(), Expected::None)).collect()).await.unwrap();
        let events = log.read_at(&[7, 2, 99, 2, 5, u64::MAX].map(Position)).await.unwrap();
        assert_eq!(events.iter().map(|event| event.position.0).collect::<Vec<_>>(), [2, 5, 7]);
        assert_eq!(log.read_at(&[]).await.unwrap(), []);
    }

    pub async fn a_handle_sees_what_another_committed(fixture: &dyn Fixture) {
        let (a, b) = (fixture.open().await, fixture.open().await);
        let (stream, key) = (stream(), name_key("acme"));
        let first = Append { claims: vec![(key.clone(), stream.clone())], ..one(&stream, Expected::None) };
        let events = append(&*a, first).await;
        assert_eq!(all(&*b).await, events);
        assert_eq!(b.head().await.unwrap(), a.head().await.unwrap());
        assert_eq!(commit_one(&*b, claim(&key)).await, taken(&key, &stream, 0));
        assert_eq!(commit_one(&*b, one(&stream, Expected::None)).await, stale(&stream, Some(0)));
        assert_eq!(append(&*b, one(&stream, Expected::Exact(Version(0)))).await[0].position, Position(1));
    }

    pub async fn handles_that_commit_at_once_leave_one_dense_log(fixture: &dyn Fixture) {
        let shared = stream();
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let log = fixture.open().await;
            let shared = shared.clone();
            tasks.push(tokio::spawn(async move {
                let mut events = Vec::new();
                for _ in 0..15 {
                    let batch = vec![one(&shared, Expected::Any), one(&stream(), Expected::None)];
                    events.extend(log.commit(batch).await.unwrap().into_iter().flat_map(appended));
                }
                events
            }));
        }
        let mut answered = Vec::new();
        for task in tasks {
            answered.extend(task.await.unwrap());
        }
        answered.sort_by_key(|event| event.position);
        let log = fixture.open().await;
        assert_eq!(all(&*log).await, answered);
        assert_eq!(answered.len(), 120);
        let mut link = log.origin().genesis();
        for (at, event) in answered.iter().enumerate() {
            assert_eq!(event.position.0, at as u64);
            link = chain::chain_hash(link, event.event_hash);
            assert_eq!(event.chain_hash, link);
        }
        let versions: Vec<u64> = answered.iter().filter(|event| event.stream == shared).map(|event| event.version.0).collect();
        assert_eq!(versions, (0..60).collect::<Vec<_>>());
    }

    pub async fn of_handles_that_claim_one_key_at_once_exactly_one_gets_it(fixture: &dyn Fixture) {
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let log = fixture.open().await;
            tasks.push(tokio::spawn(async move {
                let mut won = BTreeSet::new();
                for n in 0..10u8 {
                    let contested = Append { idempotency: remember(n, 0).idempotency, ..claim(&name_key(&n.to_string())) };
                    let plain = claim(&name_key(&format!("plain {n}")));
                    let outcomes = log.commit(vec![contested, plain]).await.unwrap();
                    match &outcomes[0] {
                        Outcome::Appended(_) => assert!(won.insert(n)),
                        Outcome::Repeated(_) => {}
                        Outcome::Refused(refusal) => panic!("the idempotency key is judged first: {refusal:?}"),
                    }
                    match &outcomes[1] {
                        Outcome::Appended(_) => assert!(won.insert(100 + n)),
                        Outcome::Refused(Refusal::KeyTaken { .. }) => {}
                        other => panic!("expected a taken key: {other:?}"),
                    }
                }
                won
            }));
        }
        let mut won = Vec::new();
        for task in tasks {
            won.extend(task.await.unwrap());
        }
        won.sort_unstable();
        assert_eq!(won, (0..10).chain(100..110).collect::<Vec<_>>());
    }
}

pub use restore::*;
pub use sentences::*;
