//! What the tests of several crates share: time and randomness that the test owns, real stores. Compiled for tests only (feature
//! `testing`).

pub mod history;
pub mod postgres;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::{Clock, Random, Timestamp};

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    micros: AtomicU64,
    /// Where the next reading is told, and what lets it go.
    held: Mutex<Option<(Sender<Timestamp>, Receiver<()>)>>,
}

/// Holds up whoever reads a [`ManualClock`] next, on its thread, until this is dropped.
#[derive(Debug)]
pub struct Held {
    reading: Receiver<Timestamp>,
    _release: Sender<()>,
}

impl Held {
    /// Waits, and blocks the thread, until the clock was read: the time that was read, and is not handed out yet. `None` if
    /// nobody reads it for ten seconds.
    #[must_use]
    pub fn reading(&self) -> Option<Timestamp> {
        self.reading.recv_timeout(Duration::from_secs(10)).ok()
    }
}

impl ManualClock {
    /// Stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> ManualClock {
        ManualClock { micros: AtomicU64::new(now.as_micros()), held: Mutex::new(None) }
    }

    /// The next reading takes the time as ever, but returns only when the answer is dropped. Later readings are not held.
    #[must_use]
    pub fn hold_next(&self) -> Held {
        let ((told, reading), (release, released)) = (mpsc::channel(), mpsc::channel());
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some((told, released));
        Held { reading, _release: release }
    }

    /// Moves it to `now`, back if need be.
    pub fn set(&self, now: Timestamp) {
        self.micros.store(now.as_micros(), Ordering::SeqCst);
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let later = |micros| Some(Timestamp::from_micros(micros).plus(by).as_micros());
        let _ = self.micros.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
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
        let now = Timestamp::from_micros(self.micros.load(Ordering::SeqCst));
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((told, released)) = held {
            let _ = told.send(now);
            let _ = released.recv();
        }
        now
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
