//! The buckets of this process, in bounded memory.
//!
//! A bucket that has filled up is the same as one that was never there, and is forgotten. Should there be too many all the same, those go
//! that are nearest to being full: whoever floods a process with ever new addresses does not free an account that is being guessed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Bucket, Standing, Whose};

/// The most buckets that are kept; about 8 MiB.
pub const BUCKETS_MAX: usize = 100_000;
/// Below so many nothing is looked for that could be forgotten.
const BUCKETS_FEW: usize = 1000;

/// See the module.
pub struct Local {
    buckets: Mutex<Buckets>,
}

/// By how much whoever looked at the clock earlier comes later, at most.
const LATE_US: u64 = 1_000_000;

struct Buckets {
    full_at: HashMap<Whose, u64>,
    /// At so many it is looked for some that can be forgotten.
    sweep_at: usize,
    /// The latest time that anybody came with: who looked at the clock earlier and came later is counted as of now, or the last token of
    /// a bucket would not be there for it.
    latest: u64,
}

impl Default for Local {
    fn default() -> Local {
        Local { buckets: Mutex::new(Buckets { full_at: HashMap::new(), sweep_at: BUCKETS_FEW, latest: 0 }) }
    }
}

impl Local {
    /// Takes one from each of these buckets, or from none of them: how the tightest stands then, or the one that refused.
    pub fn take(&self, wanted: &[Bucket], now: u64) -> Standing {
        let mut buckets = self.lock();
        let now = buckets.at(now);
        let refused = wanted.iter().find(|bucket| bucket.quota.take(buckets.full_at(bucket.whose), now).is_none());
        if let Some(Bucket { whose, quota }) = refused {
            return Standing::refused(*quota, quota.lack_us(buckets.full_at(*whose), now));
        }
        let mut tightest = Standing::UNLIMITED;
        for Bucket { whose, quota } in wanted {
            let Some(full_at) = quota.take(buckets.full_at(*whose), now) else { continue };
            buckets.put(*whose, full_at, now);
            tightest = tightest.tighter(Standing::allowed(*quota, quota.lack_us(full_at, now)));
        }
        tightest
    }

    /// Puts back into each of these buckets what was taken from it.
    pub fn give_back(&self, taken: &[Bucket], now: u64) {
        let mut buckets = self.lock();
        let now = buckets.at(now);
        for Bucket { whose, quota } in taken {
            let full_at = quota.give_back(buckets.full_at(*whose), now);
            buckets.put(*whose, full_at, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    /// A clock that was set back is followed, at once; or nothing would be given back until it is where it was.
    fn at(&mut self, now: u64) -> u64 {
        if self.latest.saturating_sub(now) > LATE_US {
            self.latest = now;
        }
        self.latest = self.latest.max(now);
        self.latest
    }

    fn full_at(&self, whose: Whose) -> u64 {
        self.full_at.get(&whose).copied().unwrap_or(0)
    }

    fn put(&mut self, whose: Whose, full_at: u64, now: u64) {
        self.full_at.insert(whose, full_at);
        if self.full_at.len() >= self.sweep_at {
            self.sweep(now);
        }
    }

    /// Forgets at least half of [`BUCKETS_MAX`] if there are so many, so that it costs a bucket little however many come.
    fn sweep(&mut self, now: u64) {
        self.full_at.retain(|_, full_at| *full_at > now);
        let kept_max = BUCKETS_MAX / 2;
        if self.full_at.len() > kept_max {
            let mut all: Vec<u64> = self.full_at.values().copied().collect();
            let nearest = all.len() - kept_max;
            let (_, full_at, _) = all.select_nth_unstable(nearest);
            let bound = *full_at;
            // Of those that are full at the very same moment, all go or none would.
            self.full_at.retain(|_, full_at| *full_at > bound);
        }
        self.sweep_at = (2 * self.full_at.len()).clamp(BUCKETS_FEW, BUCKETS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::{Network, Quota};
    use super::*;

    fn of(address: u32, quota: Quota) -> Bucket {
        Bucket { whose: Whose::Address(Network::of(IpAddr::V4(Ipv4Addr::from(address)))), quota }
    }

    #[test]
    fn a_clock_that_jumped_ahead_and_came_back_shuts_nobody_out() {
        let (local, quota) = (Local::default(), Quota::from("5/5s".parse::<crate::config::RateLimit>().unwrap()));
        assert!(local.take(&[of(1, quota)], 3_600_000_000).allowed);
        for now in 1..=5 {
            assert!(local.take(&[of(2, quota)], now).allowed);
        }
        assert!(!local.take(&[of(2, quota)], 6).allowed);
        assert!(local.take(&[of(2, quota)], 6_000_000).allowed);
    }

    #[test]
    fn who_looked_at_the_clock_earlier_and_comes_later_gets_the_last_one() {
        let (local, quota) = (Local::default(), Quota::from("5/15m".parse::<crate::config::RateLimit>().unwrap()));
        for now in [1_000_000, 1_000_000, 1_000_000, 1_000_000, 999_999] {
            assert!(local.take(&[of(1, quota)], now).allowed);
        }
        assert!(!local.take(&[of(1, quota)], 1_000_000).allowed);
    }

    #[test]
    fn of_several_buckets_all_give_or_none() {
        let (narrow, wide) = (Quota { count: 1, interval_us: 1000 }, Quota { count: 5, interval_us: 1000 });
        let local = Local::default();
        let (a, b) = (of(1, narrow), of(2, wide));
        assert_eq!(local.take(&[a, b], 0).remaining, 0);
        assert!(!local.take(&[a, b], 0).allowed);
        assert_eq!(local.take(&[b], 0).remaining, 3, "the refused attempt took nothing from it");
        local.give_back(&[a], 0);
        assert!(local.take(&[a], 0).allowed);
    }

    #[test]
    fn full_buckets_are_forgotten_and_those_nearest_to_it_when_there_are_too_many() {
        let (short, long) = (Quota { count: 10, interval_us: 1000 }, Quota { count: 1, interval_us: 1_000_000_000 });
        let local = Local::default();
        let guessed = of(u32::MAX, long);
        assert!(local.take(&[guessed], 0).allowed);
        let bound = u32::try_from(3 * BUCKETS_MAX).unwrap();
        for address in 0..bound {
            local.take(&[of(address, short)], 1);
            assert!(local.lock().full_at.len() <= BUCKETS_MAX);
        }
        assert!(!local.take(&[guessed], 2).allowed, "what is empty for long is remembered");
        local.lock().sweep(5000);
        assert_eq!(local.lock().full_at.len(), 1);
    }
}
