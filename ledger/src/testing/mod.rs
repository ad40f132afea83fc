//! What the tests of several crates share: time and randomness that the test owns, real stores. Compiled for tests only (feature
//! `testing`).

pub mod postgres;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::{Clock, Random, Timestamp};

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> ManualClock {
        ManualClock(AtomicU64::new(now.as_micros()))
    }

    /// Moves it to `now`, back if need be.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |micros| Some(Timestamp::from_micros(micros).plus(by).as_micros()));
    }
}

/// Stands at 2026-01-01T00:00:00Z.
impl Default for ManualClock {
    fn default() -> ManualClock {
        ManualClock::at(Timestamp::from_micros(1_767_225_600_000_000))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// The same bytes for the same seed, in the order in which they are asked for. For tests alone: whoever knows the seed knows
/// every key made with it.
pub struct SeededRandom(Mutex<blake3::OutputReader>);

impl SeededRandom {
    /// A source of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> SeededRandom {
        SeededRandom(Mutex::new(blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof()))
    }
}

impl fmt::Debug for SeededRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededRandom(…)")
    }
}

impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::default();
        assert_eq!(clock.now().to_string(), "2026-01-01T00:00:00Z");
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().to_string(), "2026-01-01T00:00:01.500Z");
        clock.set(Timestamp::EPOCH);
        assert_eq!(clock.now(), Timestamp::EPOCH);
    }

    #[test]
    fn a_seed_gives_the_same_bytes_again_and_another_seed_others() {
        let draw = |seed| {
            let random = SeededRandom::new(seed);
            (crate::random::bytes::<40>(&random), crate::random::bytes::<40>(&random))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1).0, draw(1).1);
    }
}
