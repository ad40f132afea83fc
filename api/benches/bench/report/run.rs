//! One run: what was done in a span of time, and how long each took.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// What came out of measuring something once.
pub(crate) struct Run {
    pub(crate) elapsed: Duration,
    /// How many operations, or events, were done in that time.
    pub(crate) count: u64,
    /// One value an operation, in microseconds; `None` where there is but one operation.
    pub(crate) latencies: Option<Histogram<u64>>,
    /// Durable commits in that time, where they are known.
    pub(crate) commits: Option<u64>,
}

impl Run {
    /// Operations that were timed one by one.
    pub(crate) fn of(latencies: Histogram<u64>, elapsed: Duration) -> Run {
        Run { elapsed, count: latencies.len(), latencies: Some(latencies), commits: None }
    }

    /// One operation over many events.
    pub(crate) fn over(events: u64, elapsed: Duration) -> Run {
        Run { elapsed, count: events, latencies: None, commits: None }
    }

    /// The same operations, measured in two spans of time.
    pub(crate) fn and(mut self, other: Run) -> Run {
        if let (Some(latencies), Some(others)) = (&mut self.latencies, other.latencies) {
            latencies.add(others).expect("all histograms have the same bounds");
        }
        let commits = self.commits.zip(other.commits).map(|(commits, others)| commits + others);
        Run { elapsed: self.elapsed + other.elapsed, count: self.count + other.count, commits, ..self }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the operations stayed within.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        self.latencies.as_ref().map(|latencies| latencies.value_at_quantile(share) as f64 / 1000.0)
    }

    /// Operations a commit.
    pub(crate) fn batch(&self) -> Option<f64> {
        self.commits.map(|commits| self.count as f64 / commits.max(1) as f64)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "elapsed_s": self.elapsed.as_secs_f64(), "count": self.count, "per_second": self.per_second(),
            "p50_ms": self.quantile_ms(0.5), "p99_ms": self.quantile_ms(0.99), "batch": self.batch(),
        })
    }
}

/// An empty histogram of microseconds, up to ten minutes.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are in order")
}

/// Notes how long something took. What took longer than the histogram holds is noted as its end.
pub(crate) fn record(latencies: &mut Histogram<u64>, took: Duration) {
    latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
