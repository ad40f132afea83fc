//! A token bucket as one number: the generic cell rate algorithm, pure.
//!
//! The number is the moment at which the bucket will be full, in µs of whatever clock the store has. One that is past, or that was never
//! kept, is a full bucket; so what has filled up may be forgotten. A moment much further ahead than an empty bucket takes to fill comes
//! of a clock that was set back: nobody is shut out for as long. `take.lua` says the same for Redis, and a test holds the two against
//! each other.

use crate::config::RateLimit;

/// How much a bucket holds, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many it holds.
    pub count: u32,
    /// How long one takes to come back, in µs.
    pub interval_us: u64,
}

impl From<RateLimit> for Quota {
    /// The whole count at once, then evenly.
    fn from(rate: RateLimit) -> Quota {
        let per_us = u64::try_from(rate.per.as_micros()).unwrap_or(u64::MAX);
        Quota { count: rate.count.get(), interval_us: per_us.div_ceil(u64::from(rate.count.get())) }
    }
}

impl Quota {
    /// How long an empty bucket takes to fill, in µs.
    #[must_use]
    pub fn capacity_us(self) -> u64 {
        self.interval_us * u64::from(self.count)
    }

    /// What lacks until a bucket that will be full then is full, in µs.
    #[must_use]
    pub fn lack_us(self, full_at: u64, now: u64) -> u64 {
        let ahead_us = full_at.saturating_sub(now);
        if ahead_us > 2 * self.capacity_us() { 0 } else { ahead_us.min(self.capacity_us()) }
    }

    /// How many there are in a bucket that lacks so much.
    #[must_use]
    pub fn remaining(self, lack_us: u64) -> u32 {
        let whole = (self.capacity_us() - lack_us.min(self.capacity_us())) / self.interval_us;
        u32::try_from(whole).unwrap_or(u32::MAX)
    }

    /// Takes one: when the bucket will be full now. `None` if there is none.
    #[must_use]
    pub fn take(self, full_at: u64, now: u64) -> Option<u64> {
        let lack_us = self.lack_us(full_at, now) + self.interval_us;
        (lack_us <= self.capacity_us()).then_some(now + lack_us)
    }

    /// Puts one back that was taken: when the bucket will be full now.
    #[must_use]
    pub fn give_back(self, full_at: u64, now: u64) -> u64 {
        now + self.lack_us(full_at, now).saturating_sub(self.interval_us)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quota(rate: &str) -> Quota {
        rate.parse::<RateLimit>().unwrap().into()
    }

    #[test]
    fn a_rate_that_does_not_divide_evenly_never_gives_more_than_it_says() {
        let quota = quota("7/1m");
        assert_eq!(quota.interval_us, 8_571_429);
        assert!(quota.capacity_us() >= 60_000_000);
    }

    #[test]
    fn as_many_are_taken_as_there_are_and_one_comes_back_after_its_interval() {
        let quota = quota("3/1h");
        let (mut full_at, now) = (0, 5_000_000_000);
        for remaining in [2, 1, 0] {
            full_at = quota.take(full_at, now).unwrap();
            assert_eq!(quota.remaining(quota.lack_us(full_at, now)), remaining);
        }
        let third_us = 1_200_000_000;
        assert_eq!(quota.take(full_at, now), None);
        assert_eq!(quota.take(full_at, now + third_us - 1), None);
        assert!(quota.take(full_at, now + third_us).is_some());
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out() {
        let quota = quota("1/1s");
        let full_at = quota.take(0, 1_000_000_000).unwrap();
        assert_eq!(quota.take(full_at, 999_990_000), None);
        assert!(quota.take(full_at, 500_000_000).is_some());
    }

    proptest! {
        /// In any stretch of time no more is given than the bucket holds and what comes back meanwhile.
        #[test]
        fn never_is_more_given_than_the_rate_allows(count in 1_u32..50, per_s in 1_u64..100, waits in prop::collection::vec(0_u64..3_000_000, 1..200)) {
            let quota = quota(&format!("{count}/{per_s}s"));
            let (start, mut full_at, mut given) = (1_000_000, 0, 0_u64);
            let mut now = start;
            for wait in waits {
                now += wait;
                if let Some(after) = quota.take(full_at, now) {
                    (full_at, given) = (after, given + 1);
                }
                prop_assert!(given <= u64::from(count) + (now - start) / quota.interval_us);
            }
        }

        #[test]
        fn what_is_given_back_at_once_was_never_taken(count in 1_u32..50, lack in 0_u64..50_000_000, now in 0_u64..1 << 52) {
            let quota = quota(&format!("{count}/1m"));
            let full_at = now + lack;
            if let Some(after) = quota.take(full_at, now) {
                prop_assert_eq!(quota.give_back(after, now), full_at);
            }
        }
    }
}
