//! The end of a log that is gone through event by event, and whether an event goes on from it.

use super::{Hash, Origin, chain_hash, event_hash};
use crate::event::Recorded;
use crate::{Position, Timestamp, codec};

/// How far one has come: all that is needed of the events before, to judge the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How many events there are; also the next position.
    pub size: u64,
    /// The chain hash of the last event, or the origin's [`Origin::genesis`].
    pub chain_hash: Hash,
    /// When the last event was recorded; the epoch before the first.
    pub recorded_at: Timestamp,
}

/// Why an event does not go on from a log's end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It stands at another position.
    #[error("position {found} stands where {expected} is expected")]
    Gap {
        /// The next position.
        expected: Position,
        /// The event's.
        found: Position,
    },
    /// It is older than the event before it.
    #[error("it was recorded at {found}, before the event before it ({before})")]
    Time {
        /// The event before.
        before: Timestamp,
        /// The event.
        found: Timestamp,
    },
    /// Its metadata or payload is not as this program writes it.
    #[error("its {what} is not as it is written")]
    Encoding {
        /// Which of the two.
        what: &'static str,
        /// What is wrong with it.
        source: codec::NotDeterministic,
    },
    /// Its hash is not that of its content.
    #[error("its event hash is {found}, but its content hashes to {expected}")]
    EventHash {
        /// Of its content.
        expected: Hash,
        /// As it stands.
        found: Hash,
    },
    /// Its chain hash does not follow from the one before.
    #[error("its chain hash is {found}, but {expected} follows")]
    ChainHash {
        /// What follows.
        expected: Hash,
        /// As it stands.
        found: Hash,
    },
}

impl End {
    /// Of the empty log.
    #[must_use]
    pub fn of_nothing(origin: &Origin) -> End {
        End { size: 0, chain_hash: origin.genesis(), recorded_at: Timestamp::EPOCH }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// It does not go on from here; then nothing changes. What is wrong with the event alone is told before what is wrong with its place in the chain.
    pub fn follow(&mut self, event: &Recorded) -> Result<(), Broken> {
        let (expected, found) = (Position(self.size), event.position);
        if expected != found {
            return Err(Broken::Gap { expected, found });
        }
        for (what, bytes) in [("metadata", &event.metadata), ("payload", &event.payload)] {
            codec::check(bytes).map_err(|source| Broken::Encoding { what, source })?;
        }
        let (expected, found) = (event_hash(&event.content()), event.event_hash);
        if expected != found {
            return Err(Broken::EventHash { expected, found });
        }
        if event.recorded_at < self.recorded_at {
            return Err(Broken::Time { before: self.recorded_at, found: event.recorded_at });
        }
        let (expected, found) = (chain_hash(self.chain_hash, event.event_hash), event.chain_hash);
        if expected != found {
            return Err(Broken::ChainHash { expected, found });
        }
        *self = End { size: self.size + 1, chain_hash: found, recorded_at: event.recorded_at };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::audit::KeyRevoked;
    use crate::event::{New, Origination};
    use crate::random::SystemRandom;
    use crate::stream::category;
    use crate::{LogName, Stream, Version};

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn placed(end: &End, recorded_at: Timestamp) -> Recorded {
        let new = New::of(&KeyRevoked {}, &Origination::system("test").metadata(&SystemRandom));
        let stream = Stream::new(category::KEY, uuid::Uuid::from_u128(7));
        Recorded::place(&new, &stream, Position(end.size), Version(end.size), recorded_at, end.chain_hash)
    }

    #[test]
    fn what_goes_on_is_taken_and_what_does_not_is_told_and_changes_nothing() {
        let mut end = End::of_nothing(&Origin::new("test.example", &LogName::AUDIT));
        let first = placed(&end, at(7));
        end.follow(&first).unwrap();
        assert_eq!(end, End { size: 1, chain_hash: first.chain_hash, recorded_at: at(7) });
        let next = placed(&end, at(7));
        let broken = |event: &Recorded| {
            let mut here = end;
            let broken = here.follow(event).unwrap_err();
            assert_eq!(here, end);
            broken
        };
        assert!(matches!(broken(&Recorded { position: Position(2), ..next.clone() }), Broken::Gap { .. }));
        assert!(matches!(broken(&first), Broken::Gap { .. }));
        assert!(matches!(broken(&placed(&end, at(6))), Broken::Time { .. }));
        assert!(matches!(broken(&Recorded { kind: "Other".to_owned(), ..next.clone() }), Broken::EventHash { .. }));
        assert!(matches!(broken(&Recorded { event_hash: next.chain_hash, ..next.clone() }), Broken::EventHash { .. }));
        assert!(matches!(broken(&Recorded { chain_hash: next.event_hash, ..next.clone() }), Broken::ChainHash { .. }));
        assert!(matches!(broken(&Recorded { payload: vec![0xb8, 0].into(), ..next.clone() }), Broken::Encoding { .. }));
        end.follow(&next).unwrap();
    }
}
