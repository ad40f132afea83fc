//! `make bench`: what the product does in a second on this machine, with full durability, and how far that is from what the
//! machine could do.
//!
//! Floors and product are measured in the same run, on the same data, in turns: rates move with the machine's mood, ratios
//! hold. Every figure is the median of some rounds, told with its spread. Anything that goes wrong stops the bench, since a
//! rate with failures in it says nothing; a figure that misses its target is told and stops nothing.
//!
//! ```text
//! machine, engine, product     what is measured on, and the program that is measured
//! floor                        what the machine does without us
//! generator, requests, load    who asks, what for, and what must be true of the answers
//! online, append, logins       while it serves: issuing, verifying; appending without HTTP; being refused
//! offline, disk                at rest: rebuild, fsck, replay, start, memory, size
//! grow, fill                   instead of all that, with `--grow`: the same at sizes up to ten million events
//! sealing                      instead of all that, with `--sealing`: what sealing and the subject look-up cost an issuance
//! report                       medians, ratios, targets, the table and the file
//! ```
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench stops at the first thing that is not as it should be")]

mod append;
mod disk;
mod engine;
mod fill;
mod floor;
mod generator;
mod grow;
mod load;
mod logins;
mod machine;
mod offline;
mod online;
mod product;
mod report;
mod requests;
mod sealing;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use engine::Engine;
use machine::Machine;
use report::Book;

/// The product's, so that a floor is not slower for its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How fast Credence is on this machine, and how far from the machine's floors.
#[derive(Parser)]
struct Options {
    /// Short runs and little data: a look, not a figure to be quoted.
    #[arg(long)]
    quick: bool,
    /// How many events are rebuilt, checked and replayed [default: 1000000; quick: as many as were issued].
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// Measure only what becomes of start, memory, size, issuing and verifying at these numbers of events
    /// [default: 10000,1000000,10000000].
    #[arg(
        long,
        value_name = "N,…",
        num_args = 0..=1,
        value_delimiter = ',',
        default_missing_value = "10000,1000000,10000000",
        value_parser = clap::value_parser!(u64).range(1_000..),
        conflicts_with = "events"
    )]
    grow: Option<Vec<u64>>,
    /// Measure only what sealing and the subject look-up cost an issuance: `make bench-sealing` builds what it is held against.
    #[arg(long, conflicts_with_all = ["events", "grow"])]
    sealing: bool,
    /// One engine only.
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Where the figures are written for programs [default: bench.json, bench-growth.json or bench-sealing.json in cargo's target folder].
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Sqlite,
    Postgres,
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    /// How often each rate is measured.
    rounds: usize,
    /// How long each time, where there is a floor beside; after a warm-up of a quarter of it.
    time: Duration,
    /// How long each time elsewhere.
    time_beside: Duration,
    /// How many credentials are verified.
    credentials: u64,
    /// How many events are rebuilt, at least.
    events: Option<u64>,
}

impl Options {
    /// At which sizes growth is measured, if it is: ascending.
    fn sizes(&self) -> Option<Vec<u64>> {
        let mut sizes = self.grow.clone()?;
        sizes.sort_unstable();
        sizes.dedup();
        Some(sizes)
    }

    fn file(&self) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder of the build's");
        let name = match (&self.grow, self.sealing) {
            (Some(_), _) => "bench-growth.json",
            (None, true) => "bench-sealing.json",
            (None, false) => "bench.json",
        };
        self.json.clone().unwrap_or_else(|| folder.join(name))
    }

    fn extent(&self) -> Extent {
        if self.quick {
            let (time, time_beside) = (Duration::from_millis(1300), Duration::from_millis(300));
            Extent { rounds: 3, time, time_beside, credentials: 5_000, events: self.events }
        } else {
            let (time, time_beside) = (Duration::from_secs(10), Duration::from_secs(5));
            Extent { rounds: 3, time, time_beside, credentials: 100_000, events: Some(self.events.unwrap_or(1_000_000)) }
        }
    }
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == floor::handler::ARGUMENT) {
        return floor::handler::serve().await;
    }
    // cargo runs a bench without a harness for its tests, too; then it does not say this.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let options = Options::parse();
    let machine = Machine::look();
    machine.print();
    let mut engines = Vec::new();
    if options.only != Some(Only::Postgres) {
        engines.push(measure(&Engine::sqlite(), &options).await);
    }
    if options.only != Some(Only::Sqlite) {
        engines.push(measure(&Engine::postgres().await, &options).await);
    }
    let path = options.file();
    let told = json!({ "quick": options.quick, "machine": machine.json(), "engines": engines });
    std::fs::write(&path, format!("{told:#}\n")).unwrap();
    println!("\nevery run is in {}", path.display());
}

/// Everything on one engine: printed, and as JSON.
async fn measure(engine: &Engine, options: &Options) -> Value {
    let extent = options.extent();
    let mut book = Book::new(engine.name());
    let store = match options.sizes() {
        Some(sizes) => grow::measure(engine, &sizes, extent, &mut book).await,
        None if options.sealing => sealing::measure(engine, extent, &mut book).await,
        None => {
            let store = engine.store().await;
            online::measure(engine, &store, extent, &mut book).await;
            offline::measure(engine, &store, extent, &mut book).await;
            store
        }
    };
    let (version, settings) = (engine.version(&store).await, engine.settings(&store).await);
    report::print(&book);
    let told: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    println!("{} {version}: {}; {} events", engine.name(), told.join(", "), product::log_sizes(&store).ledger);
    let mut told = report::json(&book);
    told["version"] = json!(version);
    told["settings"] = json!(settings);
    told["events"] = json!(product::log_sizes(&store).ledger);
    told
}
