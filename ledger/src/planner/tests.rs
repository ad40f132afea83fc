//! Properties of the planner, over random appends to few streams, keys and idempotency keys, so that they meet often.

use std::time::Duration;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::chain::{self, Origin};
use crate::event::New;
use crate::log::StreamAppend;
use crate::stream::category;
use crate::{LogName, chain::Hash};

/// What an engine holds, as simply as can be.
#[derive(Debug, Clone, PartialEq)]
struct Store {
    events: Vec<Recorded>,
    versions: HashMap<Stream, Version>,
    keys: HashMap<UniqueKey, KeyOwner>,
    idempotency: HashMap<[u8; 32], Remembered>,
}

fn genesis() -> Hash {
    Origin::new("planner.example", &LogName::LEDGER).genesis()
}

impl Store {
    fn new() -> Store {
        Store { events: Vec::new(), versions: HashMap::new(), keys: HashMap::new(), idempotency: HashMap::new() }
    }

    /// Commits as an engine does: it knows no more than what is wanted.
    fn commit(&mut self, now: Timestamp, batch: &[Append]) -> Vec<Outcome> {
        let last = self.events.last();
        let head = Head {
            size: self.events.len() as u64,
            chain_hash: last.map_or_else(genesis, |event| event.chain_hash),
            recorded_at: last.map_or(Timestamp::EPOCH, |event| event.recorded_at),
            now,
        };
        let wanted = wanted(batch);
        let found = Found {
            versions: self.versions.clone().into_iter().filter(|(stream, _)| wanted.streams.contains(stream)).collect(),
            keys: self.keys.clone().into_iter().filter(|(key, _)| wanted.keys.contains(key)).collect(),
            idempotency: self.idempotency.clone().into_iter().filter(|(key, _)| wanted.idempotency.contains(key)).collect(),
            ..Found::default()
        };
        let plan = plan(&head, found, batch);
        assert_eq!(plan.outcomes.len(), batch.len());
        for event in plan.events() {
            self.versions.insert(event.stream.clone(), event.version);
            self.events.push(event.clone());
        }
        for (key, change) in plan.keys {
            match change {
                KeyChange::Claimed(owner) => assert_eq!(self.keys.insert(key, owner), None, "a row is there already"),
                KeyChange::Moved(owner) => {
                    let before = self.keys.insert(key, owner.clone()).expect("a row that changes is there");
                    assert_ne!(before, owner, "a row was to be written that was so already");
                }
                KeyChange::Released => assert!(self.keys.remove(&key).is_some(), "a row to delete is there"),
            }
        }
        self.idempotency.extend(plan.idempotency);
        let last = self.events.last();
        assert_eq!(plan.size, self.events.len() as u64);
        assert_eq!(plan.chain_hash, last.map_or_else(genesis, |event| event.chain_hash));
        assert_eq!(plan.recorded_at, last.map_or(Timestamp::EPOCH, |event| event.recorded_at));
        plan.outcomes
    }

    /// Forgets the commands of every third position, as an engine does.
    fn forget_commands(&mut self) {
        self.idempotency.values_mut().filter(|row| row.position.0 % 3 == 0).for_each(|row| row.command = None);
    }

    /// What the contract says of one append, told again without the planner: whether it goes through.
    fn goes_through(&self, now: Timestamp, append: &Append) -> bool {
        let now = self.events.last().map_or(now, |last| now.max(last.recorded_at));
        let remembered = append.idempotency.as_ref().and_then(|idempotency| Some((idempotency, self.idempotency.get(&idempotency.key)?)));
        let repeats = remembered.is_some_and(|(idempotency, row)| now.since(row.recorded_at) < idempotency.kept);
        let versions_hold = append.streams.iter().all(|part| {
            let events = self.events.iter().filter(|event| event.stream == part.stream).count() as u64;
            match part.expected {
                Expected::None => events == 0,
                Expected::Exact(version) => events == version.0 + 1,
                Expected::Any => true,
            }
        });
        let keys_free = append.claims.iter().all(|(key, _)| append.releases.contains(key) || !self.keys.contains_key(key));
        !repeats && versions_hold && keys_free
    }
}

fn stream(number: u8) -> Stream {
    Stream::new(category::CREDENTIAL, Uuid::from_u128(number.into()))
}

fn key(number: u8) -> UniqueKey {
    UniqueKey::issuer_name(&number.to_string())
}

fn event(id: [u8; 16]) -> New {
    New { kind: "Happened", schema: 1, event_id: id, metadata: id.to_vec().into(), payload: vec![0xa0].into() }
}

fn part(stream_number: u8) -> impl Strategy<Value = StreamAppend> {
    let expected = prop_oneof![Just(Expected::None), (0..3u64).prop_map(|version| Expected::Exact(Version(version))), Just(Expected::Any)];
    (expected, vec(any::<[u8; 16]>().prop_map(event), 0..3)).prop_map(move |(expected, events)| StreamAppend {
        stream: stream(stream_number),
        expected,
        events,
    })
}

fn idempotency() -> impl Strategy<Value = Idempotency> {
    (0..3u8, 0..2u8, 0..6u64).prop_map(|(key, command, kept)| Idempotency {
        key: [key; 32],
        command: [command; 32],
        kept: Duration::from_micros(kept),
    })
}

fn append() -> impl Strategy<Value = Append> {
    let parts = btree_set(0..4u8, 1..3).prop_flat_map(|numbers| numbers.into_iter().map(part).collect::<Vec<_>>());
    let keys = || btree_set(0..3u8, 0..3);
    let append =
        (parts, keys(), keys(), proptest::option::weighted(0.3, idempotency())).prop_map(|(streams, claims, releases, idempotency)| {
            let owner = streams.iter().find(|part| !part.events.is_empty()).map(|part| part.stream.clone());
            Append {
                claims: owner.iter().flat_map(|owner| claims.iter().map(|number| (key(*number), owner.clone()))).collect(),
                releases: releases.into_iter().map(key).collect(),
                streams,
                idempotency,
                relies_on: Vec::new(),
            }
        });
    append.prop_filter("an append holds at least one event", |append| append.events().next().is_some())
}

/// Batches, each with the time at which it is committed. The clock may go back.
fn batches() -> impl Strategy<Value = Vec<(Timestamp, Vec<Append>)>> {
    vec(((0..12u64).prop_map(Timestamp::from_micros), vec(append(), 0..8)), 0..8)
}

#[test]
fn what_appends_expect_is_presumed_unless_they_leave_something_open() {
    let on = |number, expected| Append::to(stream(number), expected, vec![event([number; 16])]);
    let exact = |version| Expected::Exact(Version(version));
    let presumed_of = |batch: &[Append]| presumed(batch).map(|found| found.versions);
    assert_eq!(presumed_of(&[on(0, Expected::None), on(1, exact(4))]), Some(HashMap::from([(stream(1), Version(4))])));
    // The second is judged on what the first leaves behind.
    assert_eq!(presumed_of(&[on(0, Expected::None), on(0, exact(0))]), Some(HashMap::new()));
    assert_eq!(
        presumed_of(&[on(0, Expected::None).while_empty(stream(2)), on(1, exact(4)).while_empty(stream(2))]),
        Some([(stream(1), Version(4))].into())
    );
    assert_eq!(presumed_of(&[on(0, Expected::None), on(1, Expected::Any)]), None);
    assert_eq!(presumed_of(&[Append { releases: vec![key(0)], ..on(0, Expected::None) }]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_batch_is_the_same_as_its_appends_one_by_one(batches in batches()) {
        let (mut together, mut apart) = (Store::new(), Store::new());
        for (now, batch) in batches {
            let outcomes = together.commit(now, &batch);
            let one_by_one: Vec<Outcome> = batch.iter().flat_map(|append| apart.commit(now, std::slice::from_ref(append))).collect();
            prop_assert_eq!(outcomes, one_by_one);
            prop_assert_eq!(&together, &apart);
            together.forget_commands();
            apart.forget_commands();
        }
    }

    #[test]
    fn an_append_goes_through_exactly_when_its_preconditions_hold(batches in batches()) {
        let mut store = Store::new();
        for (now, append) in batches.iter().flat_map(|(now, batch)| batch.iter().map(move |append| (*now, append))) {
            let expected = store.goes_through(now, append);
            let before = store.clone();
            let outcome = store.commit(now, std::slice::from_ref(append)).remove(0);
            match outcome {
                Outcome::Appended(events) => {
                    prop_assert!(expected);
                    prop_assert_eq!(&store.events[before.events.len()..], &events[..]);
                    prop_assert!(append.events().map(|event| &event.metadata).eq(events.iter().map(|event| &event.metadata)));
                    for (key, stream) in &append.claims {
                        let owner = &store.keys[key];
                        prop_assert_eq!(&owner.stream, stream);
                        prop_assert_eq!(&store.events[usize::try_from(owner.position.0).unwrap()].stream, stream);
                    }
                }
                Outcome::Repeated(position) => {
                    prop_assert!(!expected);
                    prop_assert!(position.0 < store.events.len() as u64);
                    prop_assert_eq!(store.clone(), before);
                }
                Outcome::Refused(refusal) => {
                    prop_assert!(!expected);
                    prop_assert_eq!(&store, &before);
                    if refusal == Refusal::IdempotencyKeyReused {
                        let asked = append.idempotency.as_ref().unwrap();
                        prop_assert!(store.idempotency[&asked.key].command.is_some_and(|command| command != asked.command));
                    }
                }
            }
            store.forget_commands();
        }
    }

    #[test]
    fn positions_versions_times_and_chain_are_dense_and_unbroken(batches in batches()) {
        let mut store = Store::new();
        for (now, batch) in &batches {
            store.commit(*now, batch);
        }
        let (mut link, mut time, mut versions) = (genesis(), Timestamp::EPOCH, HashMap::new());
        for (position, event) in (0u64..).zip(&store.events) {
            prop_assert_eq!(event.position.0, position);
            let next = versions.entry(&event.stream).or_insert(0);
            prop_assert_eq!(event.version.0, *next);
            *next += 1;
            prop_assert!(event.recorded_at >= time);
            time = event.recorded_at;
            prop_assert_eq!(event.event_hash, chain::event_hash(&event.content()));
            link = chain::chain_hash(link, event.event_hash);
            prop_assert_eq!(event.chain_hash, link);
        }
    }
}
