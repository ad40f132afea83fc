//! What becomes of the product as its log grows: the same questions to stores of different sizes.
//!
//! All sizes are filled first and then measured in turns, so that what the machine does besides falls upon all of them. At rest
//! and while verifying a store has exactly its size in the ledger. Issuing comes last, since it makes the stores larger.

use std::process::Stdio;
use std::sync::Arc;

use crate::Extent;
use crate::disk;
use crate::engine::{Engine, Store};
use crate::fill;
use crate::generator::Window;
use crate::load::{Ask, Load};
use crate::offline;
use crate::product::{self, Server, command};
use crate::report::{Book, Bound};
use crate::requests::Issued;

/// Connections, in words.
const LOADS: [(usize, &str); 2] = [(1, "1 connection"), (64, "64 connections")];
/// The usual latency at the largest size, in that at the smallest.
const GROWTH: Bound = Bound::AtMost(1.3);
/// Up to so many events a process must be ready soon.
const READY_SOON: u64 = 1_000_000;

/// A store of some size.
struct Grown {
    events: u64,
    store: Store,
    issued: Arc<[Issued]>,
}

/// Measures at these sizes, which ascend, and hands over the largest store.
pub(crate) async fn measure(engine: &Engine, sizes: &[u64], extent: Extent, book: &mut Book) -> Store {
    let mut stores = Vec::new();
    for events in sizes {
        stores.push(Grown::to(engine, *events).await);
    }
    stores[0].check();
    for grown in &stores {
        grown.at_rest(engine, extent, book).await;
    }
    for ask in [Ask::Verify, Ask::Issue] {
        for round in 1..=extent.rounds {
            for grown in &stores {
                eprintln!("{}: {}{}, {round} of {}", engine.name(), ask.name(), at(grown.events), extent.rounds);
                grown.under_load(ask, extent, book).await;
            }
        }
    }
    compare(sizes, book);
    stores.pop().expect("there is a size").store
}

impl Grown {
    async fn to(engine: &Engine, events: u64) -> Grown {
        let store = engine.store().await;
        let issued = fill::fill(engine, &store, events).await;
        Grown { events, store, issued }
    }

    /// Whether it is what the product would have written.
    fn check(&self) {
        product::run(command(&self.store).arg("fsck").stdout(Stdio::piped()));
        product::run(command(&self.store).args(["rebuild", "--check", "verification"]).stdout(Stdio::piped()));
    }

    async fn at_rest(&self, engine: &Engine, extent: Extent, book: &mut Book) {
        let at = at(self.events);
        eprintln!("{}: at rest{at}", engine.name());
        let disk = disk::measure(engine, &self.store).await;
        book.figure(&format!("on disk{at}"), "MB", disk.bytes() / 1e6);
        book.figure(&format!("on disk, a credential{at}"), "B", disk.bytes_a_credential());
        offline::coming_up(&self.store, extent.rounds, &at, book).await;
    }

    async fn under_load(&self, ask: Ask, extent: Extent, book: &mut Book) {
        let (server, _) = Server::start_until_ready(&self.store);
        let mut load = Load::on(&self.store, &server, Arc::clone(&self.issued));
        for (connections, words) in LOADS {
            let run = load.run(ask, connections, Window::of(extent.time_beside), None).await;
            book.run(&what(ask, words, self.events), run);
        }
        server.stop();
    }
}

fn compare(sizes: &[u64], book: &mut Book) {
    let (smallest, largest) = (sizes[0], sizes[sizes.len() - 1]);
    for ask in [Ask::Verify, Ask::Issue] {
        for (_, words) in LOADS {
            book.latency(&what(ask, words, largest), &what(ask, words, smallest), Some(GROWTH));
        }
    }
    for events in sizes {
        let at = at(*events);
        if *events <= READY_SOON {
            book.bound(&format!("start to ready{at}"), offline::READY_MS);
        }
        book.bound(&format!("memory at rest{at}"), offline::MEMORY_MB);
    }
}

fn what(ask: Ask, words: &str, events: u64) -> String {
    format!("{}, {words}{}", ask.name(), at(events))
}

/// A size, as it follows the name of what was measured: ` at 10M`.
fn at(events: u64) -> String {
    match events {
        millions if millions.is_multiple_of(1_000_000) => format!(" at {}M", millions / 1_000_000),
        thousands if thousands.is_multiple_of(1_000) => format!(" at {}k", thousands / 1_000),
        events => format!(" at {events}"),
    }
}
