//! How long work gets on, told on standard error: a bar with rate and time left on a terminal, a line now and then in a pipe.

use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// In a pipe, not more often than this.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of one piece of work, counted in events.
pub(super) struct Progress {
    what: String,
    bar: Option<ProgressBar>,
    started: Instant,
    told: Instant,
}

impl Progress {
    /// Work called `what` begins.
    pub(super) fn new(what: impl Into<String>) -> Progress {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            let template = "{msg}  {wide_bar} {human_pos}/{human_len} events, {per_sec}, {eta} left";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(what.clone());
            bar
        });
        Progress { what, bar, started: Instant::now(), told: Instant::now() }
    }

    /// `done` of `total` events are done.
    pub(super) fn at(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        } else if self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            // Nobody may be reading; that must not stop the work.
            let _ = writeln!(std::io::stderr(), "{}", line(&self.what, done, total, self.started.elapsed()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let rate = u128::from(done) * 1000 / elapsed.as_millis().max(1);
    let left = u128::from(total.saturating_sub(done)).checked_div(rate).map(|seconds| format!(", {seconds} s left")).unwrap_or_default();
    format!("{what}: {done} of {total} events, {rate}/s{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_rate_and_the_time_left() {
        assert_eq!(line("fsck ledger", 5000, 20_000, Duration::from_secs(5)), "fsck ledger: 5000 of 20000 events, 1000/s, 15 s left");
        assert_eq!(line("fsck ledger", 0, 20_000, Duration::from_secs(5)), "fsck ledger: 0 of 20000 events, 0/s");
    }
}
