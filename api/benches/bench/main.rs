//! `make bench`: what the product does in a second on this machine, with full durability.
//!
//! Three rooms: appending in the process (`append`), issuing and verifying over HTTP (`load`), rebuilding a read model
//! (`rebuild`). Each prints one row a measurement: rate, latencies, batch size, engine and durability settings. A
//! measurement in which anything fails stops the bench: a rate with failures in it says nothing.
//!
//! `--quick` measures for a shorter time, `--only append|load|rebuild` one room.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench stops at the first thing that is not as it should be")]

mod append;
mod engine;
mod load;
mod rebuild;
mod row;

use std::time::Duration;

use engine::Engine;

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    /// How long each rate is measured, after a warm-up of a quarter of it.
    time: Duration,
    /// How many events the rebuilt model is folded from.
    events: usize,
    /// How many credentials are verified.
    credentials: usize,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // cargo asks a bench without a harness for its tests, too.
    if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let only = arguments.iter().skip_while(|argument| *argument != "--only").nth(1).cloned();
    let wanted = |room: &str| only.as_ref().is_none_or(|only| only == room);
    let extent = if quick {
        Extent { time: Duration::from_secs(3), events: 50_000, credentials: 2_000 }
    } else {
        Extent { time: Duration::from_secs(10), events: 1_000_000, credentials: 100_000 }
    };
    engine::print_machine();
    row::print_head();
    for engine in [Engine::sqlite(), Engine::postgres().await] {
        if wanted("append") {
            append::measure(&engine, extent).await;
        }
        if wanted("load") {
            load::measure(&engine, extent).await;
        }
        if wanted("rebuild") {
            rebuild::measure(&engine, extent).await;
        }
    }
}
