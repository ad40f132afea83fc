//! The runs of one engine, and what they are held against.

use super::run::{Run, median};

/// All that was measured on one engine, in the order in which it was first measured.
pub(crate) struct Book {
    pub(crate) engine: &'static str,
    pub(crate) entries: Vec<Entry>,
}

/// What was measured, as often as it was.
pub(crate) struct Entry {
    pub(crate) what: String,
    pub(crate) values: Values,
    pub(crate) comparisons: Vec<Comparison>,
}

/// What came out, run by run.
pub(crate) enum Values {
    /// So many a second.
    Rates(Vec<Run>),
    /// A figure in this unit.
    Figures(&'static str, Vec<f64>),
}

/// One number held against another.
pub(crate) struct Comparison {
    /// Against what, for people.
    pub(crate) with: String,
    /// One a run.
    pub(crate) values: Vec<f64>,
    pub(crate) target: Option<Bound>,
}

/// Where a target lies.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Book {
    pub(crate) fn new(engine: &'static str) -> Book {
        Book { engine, entries: Vec::new() }
    }

    /// Notes one more run of `what`.
    pub(crate) fn run(&mut self, what: &str, run: Run) {
        let entry = self.entry_or(what, || Values::Rates(Vec::new()));
        let Values::Rates(runs) = &mut entry.values else { panic!("{what} is no rate") };
        runs.push(run);
    }

    /// Notes one more value of `what`.
    pub(crate) fn figure(&mut self, what: &str, unit: &'static str, value: f64) {
        let entry = self.entry_or(what, || Values::Figures(unit, Vec::new()));
        let Values::Figures(_, values) = &mut entry.values else { panic!("{what} is a rate") };
        values.push(value);
    }

    /// The rate of the newest run of `what`.
    pub(crate) fn newest_rate(&self, what: &str) -> f64 {
        self.runs(what).last().expect("it was run").per_second()
    }

    /// Holds the rate of `what` against that of `floor`.
    pub(crate) fn ratio(&mut self, what: &str, floor: &str, target: Option<Bound>) {
        let pairs = self.runs(what).iter().zip(self.runs(floor));
        let values = pairs.map(|(run, floor)| run.per_second() / floor.per_second()).collect();
        self.compare(what, format!("of {floor}"), values, target);
    }

    /// What `what` was last held against, run by run.
    pub(crate) fn ratios(&self, what: &str) -> &[f64] {
        &self.entry(what).comparisons.last().expect("it was held against something").values
    }

    /// Holds the slowest of a hundred operations against the usual one.
    pub(crate) fn tail(&mut self, what: &str, target: Option<Bound>) {
        let values = self.runs(what).iter().filter_map(|run| Some(run.quantile_ms(0.99)? / run.quantile_ms(0.5)?)).collect();
        self.compare(what, "× p50 at p99".to_owned(), values, target);
    }

    /// Holds the usual latency of `what` against that of `floor`.
    pub(crate) fn latency(&mut self, what: &str, floor: &str, target: Option<Bound>) {
        let pairs = self.runs(what).iter().zip(self.runs(floor));
        let values = pairs.filter_map(|(run, floor)| Some(run.quantile_ms(0.5)? / floor.quantile_ms(0.5)?)).collect();
        self.compare(what, format!("× p50 of {floor}"), values, target);
    }

    /// Holds a figure against a bound.
    pub(crate) fn bound(&mut self, what: &str, target: Bound) {
        let Values::Figures(unit, values) = &self.entry(what).values else { panic!("{what} is a rate") };
        let (unit, values) = ((*unit).to_owned(), values.clone());
        self.compare(what, unit, values, Some(target));
    }

    fn compare(&mut self, what: &str, with: String, values: Vec<f64>, target: Option<Bound>) {
        let entry = self.entries.iter_mut().find(|entry| entry.what == what).expect("it was measured");
        entry.comparisons.push(Comparison { with, values, target });
    }

    fn runs(&self, what: &str) -> &[Run] {
        let Values::Rates(runs) = &self.entry(what).values else { panic!("{what} is no rate") };
        runs
    }

    fn entry(&self, what: &str) -> &Entry {
        self.entries.iter().find(|entry| entry.what == what).unwrap_or_else(|| panic!("{what} was not measured"))
    }

    fn entry_or(&mut self, what: &str, values: impl FnOnce() -> Values) -> &mut Entry {
        if let Some(at) = self.entries.iter().position(|entry| entry.what == what) {
            return &mut self.entries[at];
        }
        self.entries.push(Entry { what: what.to_owned(), values: values(), comparisons: Vec::new() });
        self.entries.last_mut().expect("just pushed")
    }
}

impl Values {
    /// The numbers themselves, one a run.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        match self {
            Values::Rates(runs) => runs.iter().map(Run::per_second).collect(),
            Values::Figures(_, values) => values.clone(),
        }
    }

    /// The median over the runs of something that not every run has.
    pub(crate) fn median_of(&self, value: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        match self {
            Values::Rates(runs) => median(runs.iter().filter_map(value)),
            Values::Figures(..) => None,
        }
    }
}

impl Comparison {
    pub(crate) fn median(&self) -> f64 {
        median(self.values.iter().copied()).unwrap_or(f64::NAN)
    }

    /// Whether the target is met, if there is one.
    pub(crate) fn met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Bound::AtLeast(bound) => self.median() >= bound,
            Bound::AtMost(bound) => self.median() <= bound,
        })
    }
}
