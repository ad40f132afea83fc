//! How limits are told: three headers on every answer of a limited route, and a problem when nothing is left.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::problem::{Kind, Problem};
use crate::limits::Standing;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

impl Standing {
    /// 429 when there was none to take.
    ///
    /// # Errors
    /// That.
    pub fn judge(self) -> Result<(), Problem> {
        if self.allowed { Ok(()) } else { Err(self.into()) }
    }

    /// Tells the caller, unless the answer tells of a tighter limit already.
    pub fn put(self, headers: &mut HeaderMap) {
        for (name, value) in self.headers() {
            headers.entry(name).or_insert(value);
        }
    }

    fn headers(self) -> [(HeaderName, HeaderValue); 3] {
        [(LIMIT, self.limit.into()), (REMAINING, self.remaining.into()), (RESET, self.reset_s.into())]
    }
}

impl From<Standing> for Problem {
    /// A refusal.
    fn from(standing: Standing) -> Problem {
        let problem = Problem::new(Kind::RATE_LIMITED).header(RETRY_AFTER, standing.reset_s.into());
        standing.headers().into_iter().fold(problem, |problem, (name, value)| problem.header(name, value))
    }
}
