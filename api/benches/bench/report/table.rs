//! How a book is shown.

use serde_json::{Value, json};

use super::book::{Book, Bound, Comparison, Entry, Values};
use super::run::{Run, median};

/// Prints a row for each thing measured: the median of its runs, how far they lie apart, and what it is held against.
pub(crate) fn print(book: &Book) {
    println!(
        "\n{:<30} {:>8} {:>13} {:>21} {:>8} {:>8} {:>6}  ratios (targets)",
        "what", "engine", "per second", "least..most", "p50 ms", "p99 ms", "batch"
    );
    for entry in &book.entries {
        let values = &entry.values;
        let decimal = |value: Option<f64>, digits| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
        let numbers = values.numbers();
        let (least, most) = span(&numbers);
        let line = format!(
            "{:<30} {:>8} {:>13} {:>21} {:>8} {:>8} {:>6}  {}",
            entry.what,
            book.engine,
            with_unit(values, median(numbers).unwrap_or(f64::NAN)),
            format!("{}..{}", short(least), short(most)),
            decimal(values.median_of(|run| run.quantile_ms(0.5)), 3),
            decimal(values.median_of(|run| run.quantile_ms(0.99)), 3),
            decimal(values.median_of(Run::batch), 1),
            entry.comparisons.iter().map(told).collect::<Vec<_>>().join("; "),
        );
        println!("{}", line.trim_end());
    }
}

/// Everything in it, every single run included.
pub(crate) fn json(book: &Book) -> Value {
    json!({ "engine": book.engine, "measurements": book.entries.iter().map(entry).collect::<Vec<_>>() })
}

fn entry(entry: &Entry) -> Value {
    let Entry { what, values, comparisons } = entry;
    let numbers = values.numbers();
    let (least, most) = span(&numbers);
    let (unit, runs): (_, Vec<Value>) = match values {
        Values::Rates(runs) => ("per second", runs.iter().map(Run::json).collect()),
        Values::Figures(unit, values) => (*unit, values.iter().map(|value| json!(value)).collect()),
    };
    json!({
        "what": what, "unit": unit, "median": median(numbers), "least": least, "most": most,
        "p50_ms": values.median_of(|run| run.quantile_ms(0.5)), "p99_ms": values.median_of(|run| run.quantile_ms(0.99)),
        "batch": values.median_of(Run::batch), "runs": runs,
        "held_against": comparisons.iter().map(comparison).collect::<Vec<_>>(),
    })
}

fn comparison(comparison: &Comparison) -> Value {
    let (at_least, at_most) = match comparison.target {
        Some(Bound::AtLeast(bound)) => (Some(bound), None),
        Some(Bound::AtMost(bound)) => (None, Some(bound)),
        None => (None, None),
    };
    json!({
        "with": comparison.with, "median": comparison.median(), "runs": comparison.values,
        "at_least": at_least, "at_most": at_most, "met": comparison.met(),
    })
}

fn told(comparison: &Comparison) -> String {
    let Comparison { with, target, .. } = comparison;
    let target = target.map_or_else(String::new, |target| {
        let met = if comparison.met() == Some(true) { "met" } else { "missed" };
        match target {
            Bound::AtLeast(bound) => format!(" (≥ {bound}: {met})"),
            Bound::AtMost(bound) => format!(" (≤ {bound}: {met})"),
        }
    });
    format!("{} {with}{target}", short(comparison.median()))
}

fn span(numbers: &[f64]) -> (f64, f64) {
    (numbers.iter().copied().fold(f64::INFINITY, f64::min), numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

fn with_unit(values: &Values, number: f64) -> String {
    match values {
        Values::Rates(_) => short(number),
        Values::Figures(unit, _) => format!("{} {unit}", short(number)),
    }
}

/// Three digits at least, and none after the point where there are enough before it.
fn short(number: f64) -> String {
    match number.abs() {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}
