//! What a log promises that is filled with what another one recorded.

use std::sync::Arc;
use std::time::Duration;

use super::{Fixture, KEPT, all, append, claim, commit_one, noon, one, remember, stream};
use crate::clock::ManualClock;
use crate::event::Recorded;
use crate::log::memory::Memory;
use crate::log::{Expected, KeyOwner, Log, Outcome, Refusal, Restore, RestoreError};
use crate::planner::{Restored, Unfit};
use crate::testing::history;
use crate::{Position, Timestamp, Version, chain};

/// A log of the same name and origin, elsewhere, with a history.
async fn source(log: &dyn Log, credentials: u128) -> Memory {
    let source = Memory::new(log.name().clone(), log.origin().clone(), Arc::new(ManualClock::at(noon())));
    history::issue(&source, 0..credentials).await;
    source
}

async fn restore(log: &dyn Restore, events: &[Recorded]) -> Result<(), RestoreError> {
    log.restore(Restored::into(log, events.to_vec()).await.unwrap()).await
}

async fn unfit(log: &dyn Restore, events: &[Recorded]) -> Unfit {
    match restore(log, events).await {
        Err(RestoreError::Unfit(unfit)) => unfit,
        other => panic!("expected it not to fit: {other:?}"),
    }
}

/// The same event with its hashes made anew, as a forger would.
fn forged(event: &Recorded, previous: &Recorded) -> Recorded {
    let event_hash = chain::event_hash(&event.content());
    Recorded { event_hash, chain_hash: chain::chain_hash(previous.chain_hash, event_hash), ..event.clone() }
}

#[expect(missing_docs, reason = "each name is its sentence")]
mod sentences {
    use super::*;

    pub async fn what_another_log_recorded_is_restored_as_it_is(fixture: &dyn Fixture) {
        let log = fixture.restorable().await;
        // Another process may have had its own end in mind.
        log.head().await.unwrap();
        let source = source(&*log, 40).await;
        let events = all(&source).await;
        for (at, batch) in [1, 2, 3, 5, 1, 8].iter().cycle().scan(0, |at, size| Some((std::mem::replace(at, *at + size), size))) {
            let Some(rest) = events.get(at..).filter(|rest| !rest.is_empty()) else { break };
            restore(&*log, &rest[..rest.len().min(*batch)]).await.unwrap();
        }
        assert_eq!(all(&*log).await, events);
        assert_eq!(log.keys(None, usize::MAX).await.unwrap(), source.keys(None, usize::MAX).await.unwrap());
        let (ours, theirs) = (log.head().await.unwrap(), source.head().await.unwrap());
        assert_eq!((ours.size, ours.chain_hash, ours.recorded_at), (theirs.size, theirs.chain_hash, theirs.recorded_at));
    }

    pub async fn a_restored_log_is_appended_to_like_any_other(fixture: &dyn Fixture) {
        let log = fixture.restorable().await;
        let events = all(&source(&*log, 6).await).await;
        restore(&*log, &events).await.unwrap();
        let revoked = history::credential(2);
        let owner = KeyOwner { stream: history::credential(3), position: Position(6) };
        let taken = Outcome::Refused(Refusal::KeyTaken { key: history::key(3), owner });
        assert_eq!(commit_one(&*log, claim(&history::key(3))).await, taken);
        let event = append(&*log, one(&revoked, Expected::Exact(Version(1)))).await.remove(0);
        assert_eq!((event.position.0, event.version), (events.len() as u64, Version(2)));
        assert_eq!(event.chain_hash, chain::chain_hash(events.last().unwrap().chain_hash, event.event_hash));
    }

    pub async fn a_key_that_has_passed_on_is_not_released_by_who_had_it(fixture: &dyn Fixture) {
        let log = fixture.restorable().await;
        let events = all(&source(&*log, 4).await).await;
        let revoked = events.iter().find(|event| event.stream == history::credential(2) && event.version == Version(1)).unwrap();
        // No decision makes it; whoever can write a file can.
        let last = events.last().unwrap();
        let again = Recorded { position: last.position.next(), version: Version(2), recorded_at: last.recorded_at, ..revoked.clone() };
        restore(&*log, &events).await.unwrap();
        restore(&*log, &[forged(&again, last)]).await.unwrap();
        assert_eq!(log.key_owner(&history::key(2)).await.unwrap().unwrap().stream, history::credential(3));
    }

    pub async fn events_that_do_not_go_on_from_the_end_are_not_restored(fixture: &dyn Fixture) {
        let log = fixture.restorable().await;
        let events = all(&source(&*log, 6).await).await;
        restore(&*log, &events[..3]).await.unwrap();
        let before = (all(&*log).await, log.keys(None, usize::MAX).await.unwrap(), log.head().await.unwrap().size);
        assert!(matches!(unfit(&*log, &events[2..4]).await, Unfit::Moved(Position(3))));
        assert!(matches!(unfit(&*log, &events[4..]).await, Unfit::Moved(Position(3))));
        let with = |change: fn(&mut Recorded)| {
            let mut events = events[3..].to_vec();
            change(&mut events[1]);
            events
        };
        for changed in [
            with(|event| event.kind.push('x')),
            with(|event| event.recorded_at = Timestamp::EPOCH),
            with(|event| event.position = Position(9)),
            with(|event| event.chain_hash = event.event_hash),
            with(|event| event.payload = vec![0xb8, 0].into()),
        ] {
            let unfit = unfit(&*log, &changed).await;
            assert!(matches!(unfit, Unfit::Broken(..)), "{unfit:?}");
        }
        // Whoever makes the hashes anew is found out by versions and keys.
        let skipped = forged(&Recorded { version: Version(7), ..events[3].clone() }, &events[2]);
        assert!(matches!(unfit(&*log, &[skipped]).await, Unfit::Version { last: Some(Version(0)), found: Version(7), .. }));
        let first = forged(&Recorded { version: Version(1), stream: history::credential(9), ..events[3].clone() }, &events[2]);
        assert!(matches!(unfit(&*log, &[first]).await, Unfit::Version { last: None, .. }));
        let doubled = Recorded { position: Position(3), stream: history::credential(9), version: Version(0), ..events[1].clone() };
        let doubled = forged(&doubled, &events[2]);
        let owner = KeyOwner { stream: history::credential(0), position: Position(1) };
        assert!(matches!(unfit(&*log, &[doubled]).await, Unfit::KeyTaken { owner: found, .. } if found == owner));
        assert_eq!((all(&*log).await, log.keys(None, usize::MAX).await.unwrap(), log.head().await.unwrap().size), before);
        restore(&*log, &events[3..]).await.unwrap();
        assert_eq!(all(&*log).await, events);
    }

    pub async fn whoever_restores_notices_another_that_appends(fixture: &dyn Fixture) {
        let (log, other) = (fixture.restorable().await, fixture.open().await);
        let events = all(&source(&*log, 6).await).await;
        restore(&*log, &events[..2]).await.unwrap();
        let theirs = append(&*other, one(&stream(), Expected::None)).await;
        assert!(matches!(unfit(&*log, &events[2..]).await, Unfit::Moved(Position(3))));
        // As many events, but not the same ones.
        assert!(matches!(unfit(&*log, &events[3..]).await, Unfit::Broken(Position(3), chain::Broken::ChainHash { .. })));
        assert_eq!(all(&*log).await, [&events[..2], &theirs].concat());
    }

    pub async fn idempotency_rows_are_taken_over(fixture: &dyn Fixture) {
        let log = fixture.restorable().await;
        let clock = Arc::new(ManualClock::at(noon()));
        let source = Memory::new(log.name().clone(), log.origin().clone(), clock.clone());
        for n in 0..5 {
            append(&source, remember(9 - n, n)).await;
            clock.advance(Duration::from_secs(u64::from(n % 2)));
        }
        source.forget_commands(&[Position(1)]).await.unwrap();
        restore(&*log, &all(&source).await).await.unwrap();
        assert_eq!(log.remembered(None, 9).await.unwrap(), []);
        let mut rows = Vec::new();
        loop {
            let page = source.remembered(rows.last(), 2).await.unwrap();
            let is_last = page.len() < 2;
            rows.extend(page.clone());
            // Twice, as after an interruption.
            log.remember(page.clone()).await.unwrap();
            log.remember(page).await.unwrap();
            if is_last {
                break;
            }
        }
        assert_eq!(rows.len(), 5);
        assert!(rows.is_sorted_by_key(|(_, row)| row.recorded_at));
        let mut theirs = Vec::new();
        while let Some(row) = log.remembered(theirs.last(), 1).await.unwrap().pop() {
            theirs.push(row);
        }
        theirs.sort_by_key(|(key, row)| (row.recorded_at, *key));
        assert_eq!(theirs, rows);
        fixture.clock().set(noon().plus(KEPT / 2));
        assert_eq!(commit_one(&*log, remember(9, 0)).await, Outcome::Repeated(Position(0)));
        assert_eq!(commit_one(&*log, remember(8, 0)).await, Outcome::Repeated(Position(1)), "its command was forgotten");
        assert_eq!(commit_one(&*log, remember(5, 0)).await, Outcome::Refused(Refusal::IdempotencyKeyReused));
    }

    pub async fn a_batch_whose_key_passes_on_is_restored_whole(fixture: &dyn Fixture) {
        let log = fixture.restorable().await;
        let source = source(&*log, 200).await;
        restore(&*log, &all(&source).await).await.unwrap();
        assert_eq!(log.keys(None, usize::MAX).await.unwrap(), source.keys(None, usize::MAX).await.unwrap());
        assert_eq!(log.key_owner(&history::key(2)).await.unwrap().unwrap().stream, history::credential(3));
    }
}

pub use sentences::*;
