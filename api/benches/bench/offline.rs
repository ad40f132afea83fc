//! What is measured on a store that is at rest: its size, how fast a process comes up on it, and the commands that read all of it.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use crate::Extent;
use crate::disk;
use crate::engine::{Engine, Store};
use crate::floor::scan;
use crate::product::{self, Server, command};
use crate::report::{Book, Bound, Run};

const SCAN_AND_LOAD: &str = "scan and load floor";
const SCAN_AND_DECODE: &str = "scan and decode floor";

/// What a start may take.
pub(crate) const READY_MS: Bound = Bound::AtMost(300.0);
/// What a process may hold that has nothing to do.
pub(crate) const MEMORY_MB: Bound = Bound::AtMost(60.0);

/// How long a process is left alone before its memory is measured.
const REST: Duration = Duration::from_secs(3);

/// Measures on the store that [`crate::online`] has left.
pub(crate) async fn measure(engine: &Engine, store: &Store, extent: Extent, book: &mut Book) {
    let events = product::log_sizes(store).ledger;
    eprintln!("{}: {events} events, at rest", engine.name());
    let disk = disk::measure(engine, store).await;
    book.figure("on disk, a credential", "B", disk.bytes_a_credential());
    book.figure("on disk, a verdict", "B", disk.bytes_a_verdict());
    coming_up(store, extent.rounds, "", book).await;
    for round in 1..=extent.rounds {
        eprintln!("{}: reading everything, {round} of {}", engine.name(), extent.rounds);
        book.run(SCAN_AND_LOAD, scan::and_load(engine, store).await);
        rebuild(store, events, book);
        book.run(SCAN_AND_DECODE, scan::and_decode(engine, store).await);
        let (_, elapsed) = product::run(command(store).args(["fsck", "--log", "ledger"]).stdout(Stdio::piped()));
        book.run("fsck", Run::over(events, elapsed));
        let file: File = tempfile::tempfile_in(store.folder.path()).unwrap();
        let (_, elapsed) = product::run(command(store).args(["replay", "--format", "cbor"]).stdout(file));
        book.run("replay as CBOR", Run::over(events, elapsed));
    }
    book.ratio("rebuild, building", SCAN_AND_LOAD, Some(Bound::AtLeast(0.6)));
    book.ratio("rebuild", SCAN_AND_LOAD, None);
    book.ratio("fsck", SCAN_AND_DECODE, Some(Bound::AtLeast(0.6)));
    book.bound("start to ready", READY_MS);
    book.bound("memory at rest", MEMORY_MB);
}

/// How long a process takes until it is ready, and what it then holds; `at` follows the names.
pub(crate) async fn coming_up(store: &Store, rounds: usize, at: &str, book: &mut Book) {
    for round in 1..=rounds {
        let (server, ready) = Server::start_until_ready(store);
        book.figure(&format!("start to ready{at}"), "ms", ready.as_secs_f64() * 1000.0);
        if round == rounds {
            tokio::time::sleep(REST).await;
            book.figure(&format!("memory at rest{at}"), "MB", server.resident_bytes() / 1e6);
        }
        server.stop();
    }
}

/// The command, and of it what the floor does too; comparing with what served is the rest.
fn rebuild(store: &Store, events: u64, book: &mut Book) {
    let (told, elapsed) = product::run(command(store).args(["rebuild", "verification"]).stdout(Stdio::piped()));
    assert!(told.starts_with(&format!("verification: {events} events, ")) && told.contains("equal to the one before"), "{told}");
    book.run("rebuild", Run::over(events, elapsed));
    for (what, before) in [("rebuild, building", "built in "), ("rebuild, comparing", "compared in ")] {
        let seconds = told.split_once(before).and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        book.run(what, Run::over(events, Duration::from_secs_f64(seconds.unwrap_or_else(|| panic!("no times: {told}")))));
    }
}
