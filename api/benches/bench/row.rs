//! One row of the table: what was measured and what came out.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::engine::Engine;

/// A measurement.
pub(crate) struct Row<'a> {
    pub(crate) what: String,
    pub(crate) engine: &'a Engine,
    pub(crate) elapsed: Duration,
    /// How many operations, or events, were done in that time.
    pub(crate) count: u64,
    /// One value an operation, in microseconds; `None` where there is but one operation.
    pub(crate) latencies: Option<Histogram<u64>>,
    /// Events a commit, where it is known.
    pub(crate) batch: Option<f64>,
}

/// An empty histogram of microseconds, up to a minute.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

/// The table's head.
pub(crate) fn print_head() {
    println!("{:<44} {:>9} {:>10} {:>9} {:>9} {:>7}  durability", "what", "engine", "per second", "p50 ms", "p99 ms", "batch");
}

impl Row<'_> {
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn print(&self) {
        let milliseconds = |quantile| {
            let value = self.latencies.as_ref().map(|latencies| latencies.value_at_quantile(quantile) as f64 / 1000.0);
            value.map_or("-".to_owned(), |value| format!("{value:.3}"))
        };
        let batch = self.batch.map_or("-".to_owned(), |batch| format!("{batch:.1}"));
        println!(
            "{:<44} {:>9} {:>10.0} {:>9} {:>9} {:>7}  {}",
            self.what,
            self.engine.name(),
            self.rate(),
            milliseconds(0.5),
            milliseconds(0.99),
            batch,
            self.engine.durability()
        );
    }
}
