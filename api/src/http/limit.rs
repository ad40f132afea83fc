//! How much anonymous verification a process takes.
//!
//! One limit a process, not one an address: addresses behind a proxy say little, and keeping none is kept best. Callers with a key
//! are not limited.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue};
use governor::clock::{Clock as _, QuantaClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::problem::{Kind, Problem};
use crate::config::RateLimit;

/// Counts, by the generic cell rate algorithm: the whole count at once, then evenly.
pub struct Limiter {
    rate: RateLimit,
    limiter: RateLimiter<NotKeyed, InMemoryState, QuantaClock, StateInformationMiddleware>,
    clock: QuantaClock,
}

/// Where the limit stands after one more request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    limit: u32,
    remaining: u32,
    /// Until all is free again, when allowed; until one more is, when not.
    reset_s: u64,
    allowed: bool,
}

impl Limiter {
    /// Nothing has been taken yet.
    #[must_use]
    pub fn new(rate: RateLimit) -> Limiter {
        // Neither is zero: the configuration saw to it.
        let each = (rate.per / rate.count.get()).max(std::time::Duration::from_nanos(1));
        let quota = Quota::with_period(each).unwrap_or(Quota::per_minute(rate.count)).allow_burst(rate.count);
        let clock = QuantaClock::default();
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware::<StateInformationMiddleware>();
        Limiter { rate, limiter, clock }
    }

    /// Takes one, if there is one.
    pub fn take(&self) -> Standing {
        let limit = self.rate.count.get();
        match self.limiter.check() {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let full = self.rate.per.mul_f64(f64::from(limit.saturating_sub(remaining)) / f64::from(limit));
                Standing { limit, remaining, reset_s: seconds(full), allowed: true }
            }
            Err(refused) => {
                let wait = refused.wait_time_from(self.clock.now());
                Standing { limit, remaining: 0, reset_s: seconds(wait).max(1), allowed: false }
            }
        }
    }
}

/// Whole seconds, rounded up: who waits so long waits long enough.
fn seconds(duration: std::time::Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl Standing {
    /// 429 when there was none to take.
    ///
    /// # Errors
    /// That.
    pub fn judge(self) -> Result<(), Problem> {
        if self.allowed {
            return Ok(());
        }
        Err(Problem::new(Kind::RATE_LIMITED).header(RETRY_AFTER, self.reset_s.into()))
    }

    /// Tells the caller.
    pub fn put(self, headers: &mut HeaderMap) {
        headers.insert("ratelimit-limit", HeaderValue::from(self.limit));
        headers.insert("ratelimit-remaining", HeaderValue::from(self.remaining));
        headers.insert("ratelimit-reset", HeaderValue::from(self.reset_s));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_taken_as_allowed_and_the_next_is_told_when() {
        let limiter = Limiter::new("3/1h".parse().unwrap());
        for remaining in [2, 1, 0] {
            let standing = limiter.take();
            assert_eq!((standing.allowed, standing.remaining), (true, remaining));
        }
        let standing = limiter.take();
        assert!(!standing.allowed && standing.reset_s <= 1200 && standing.reset_s > 1190, "{standing:?}");
        let problem = standing.judge().unwrap_err();
        assert!(problem.headers.iter().any(|(name, value)| *name == RETRY_AFTER && value.to_str().unwrap().parse::<u64>().unwrap() > 1190));
    }
}
