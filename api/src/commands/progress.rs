//! How long work gets on, told on standard error: a bar with rate and time left on a terminal, a line now and then in a pipe.

use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// In a pipe, a line after so long.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// And one whenever so much more is done: at most twenty lines a stage, however fast it goes.
const LINE_PERCENT: u64 = 5;

/// The progress of one piece of work, counted in events unless something else is named.
pub(super) struct Progress {
    what: String,
    counted: &'static str,
    bar: Option<ProgressBar>,
    started: Instant,
    stage: &'static str,
    told: Instant,
    told_percent: u64,
}

impl Progress {
    /// Work called `what` begins.
    pub(super) fn new(what: impl Into<String>) -> Progress {
        Progress::counting("events", what)
    }

    /// The same, counted in something else.
    pub(super) fn counting(counted: &'static str, what: impl Into<String>) -> Progress {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            let template = format!("{{msg}}  {{wide_bar}} {{human_pos}}/{{human_len}} {counted}, {{per_sec}}, {{eta}} left");
            bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(what.clone());
            bar
        });
        Progress { what, counted, bar, started: Instant::now(), stage: "", told: Instant::now(), told_percent: 0 }
    }

    /// `done` of `total` are done in this stage of the work.
    pub(super) fn at(&mut self, stage: &'static str, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} {stage}", self.what));
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let percent = percent(done, total);
        if stage != self.stage || percent >= self.told_percent + LINE_PERCENT || self.told.elapsed() >= LINE_EVERY {
            (self.stage, self.told, self.told_percent) = (stage, Instant::now(), percent);
            // Nobody may be reading; that must not stop the work.
            let _ = writeln!(std::io::stderr(), "{}", line(&self.what, stage, (done, total, self.counted), self.started.elapsed()));
        }
    }
}

fn percent(done: u64, total: u64) -> u64 {
    let percent = (u128::from(done) * 100).checked_div(total.into()).unwrap_or(100);
    u64::try_from(percent).unwrap_or(u64::MAX)
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(what: &str, stage: &str, (done, total, counted): (u64, u64, &str), elapsed: Duration) -> String {
    let rate = u128::from(done) * 1000 / elapsed.as_millis().max(1);
    let left = u128::from(total.saturating_sub(done)).checked_div(rate).map(|seconds| format!(", {seconds} s left")).unwrap_or_default();
    format!("{what}: {stage} {}%, {done} of {total} {counted}, {rate}/s{left}", percent(done, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_rate_and_the_time_left() {
        let after_5_s = |done| line("fsck ledger", "checking", (done, 20_000, "events"), Duration::from_secs(5));
        assert_eq!(after_5_s(5000), "fsck ledger: checking 25%, 5000 of 20000 events, 1000/s, 15 s left");
        // A damaged head may say any number.
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(after_5_s(0), "fsck ledger: checking 0%, 0 of 20000 events, 0/s");
    }
}
