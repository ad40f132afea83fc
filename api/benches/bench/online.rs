//! What is measured while the product serves: floors and product, round by round, beside each other in time.

use crate::Extent;
use crate::append::Appending;
use crate::engine::{Engine, Store};
use crate::floor::commit::Floor;
use crate::floor::handler::Handler;
use crate::generator::{self, Target, Window};
use crate::load::{Ask, Load};
use crate::logins::{self, Logins};
use crate::product::{self, Server};
use crate::report::{Book, Bound};
use crate::requests::Issuance;

/// The load at which floors and product are held against each other.
const CONNECTIONS: usize = 64;
/// The share of its best rate at which an open loop drives the product.
const OPEN_LOAD: f64 = 0.6;

const HANDLER: &str = "handler floor";
const COMMIT: &str = "commit floor";
const WITH_TREE: &str = "append, 64 writers, tree";
const WRONG: &str = "login, wrong password";
const NOBODY: &str = "login, unknown account";
const ONE_COMMIT: &str = "one durable commit";

/// Measures all rounds on a fresh store, and leaves it with as many events as are wanted.
pub(crate) async fn measure(engine: &Engine, store: &Store, extent: Extent, book: &mut Book) {
    let server = Server::start(store);
    eprintln!("{}: issuing {} credentials", engine.name(), extent.credentials);
    let mut load = Load::fill(store, &server, extent.credentials, CONNECTIONS).await;
    let handler = Handler::start();
    let mut floors = Floors { handler: Target::anonymous(&handler.address), commit: Floor::new(engine).await };
    let (appending, logins) = (Appending::new(engine).await, Logins::new(&server).await);
    for round in 1..=extent.rounds {
        eprintln!("{}: round {round} of {}", engine.name(), extent.rounds);
        floors = at_64(&mut load, floors, extent, book).await;
        beside(&mut load, &mut floors, &appending, extent, book).await;
        for (what, identifier) in [(WRONG, logins::KNOWN), (NOBODY, logins::UNKNOWN)] {
            book.run(what, logins.run(identifier, Window::of(extent.time_beside)).await);
        }
    }
    compare(engine, book);
    let events = product::log_sizes(store).ledger;
    if let Some(missing @ 1..) = extent.events.and_then(|wanted| wanted.checked_sub(events)) {
        eprintln!("{}: issuing {missing} more credentials", engine.name());
        load.add(missing, CONNECTIONS).await;
    }
    load.settle().await;
    server.stop();
}

struct Floors {
    handler: Target,
    commit: Floor,
}

/// What is held against floors: each right after the other.
async fn at_64(load: &mut Load<'_>, floors: Floors, extent: Extent, book: &mut Book) -> Floors {
    let window = Window::of(extent.time);
    let (run, _) = generator::closed(&floors.handler, Issuance::to_handler(CONNECTIONS), window).await;
    book.run(HANDLER, run);
    let (commit, run) = floors.commit.grouped(CONNECTIONS, window).await;
    book.run(COMMIT, run);
    for ask in [Ask::Issue, Ask::Verify] {
        book.run(&format!("{}, 64 connections", ask.name()), load.run(ask, CONNECTIONS, window, None).await);
    }
    Floors { commit, ..floors }
}

/// The latencies of one that is alone, of many, and of some that come when they come; and appending without HTTP.
async fn beside(load: &mut Load<'_>, floors: &mut Floors, appending: &Appending, extent: Extent, book: &mut Book) {
    let window = Window::of(extent.time_beside);
    // Before and after: the disk's mood changes faster than anything else's.
    let before = floors.commit.one_by_one(extent.time_beside / 2).await;
    for ask in [Ask::Issue, Ask::Verify] {
        book.run(&format!("{}, 1 connection", ask.name()), load.run(ask, 1, window, None).await);
    }
    book.run(ONE_COMMIT, before.and(floors.commit.one_by_one(extent.time_beside / 2).await));
    for ask in [Ask::Issue, Ask::Verify] {
        let name = ask.name();
        book.run(&format!("{name}, 256 connections"), load.run(ask, 256, window, None).await);
        let per_second = book.newest_rate(&format!("{name}, 64 connections")) * OPEN_LOAD;
        book.run(&format!("{name}, 64 connections at 60 %"), load.run(ask, CONNECTIONS, window, Some(per_second)).await);
    }
    book.run(WITH_TREE, appending.run_with_tree(64, window).await);
    for (writers, what) in [(1, "append, 1 writer"), (64, "append, 64 writers"), (256, "append, 256 writers")] {
        book.run(what, appending.run(writers, window).await);
    }
}

fn compare(engine: &Engine, book: &mut Book) {
    let (of_handler, of_commit) = match engine {
        Engine::Sqlite => ([None, Some(Bound::AtLeast(0.28))], 0.15),
        Engine::Postgres(_) => ([Some(Bound::AtLeast(0.18)), Some(Bound::AtLeast(0.25))], 0.17),
    };
    book.ratio("issue, 64 connections", HANDLER, of_handler[0]);
    book.ratio("issue, 64 connections", COMMIT, Some(Bound::AtLeast(of_commit)));
    book.ratio("verify, 64 connections", HANDLER, of_handler[1]);
    book.ratio("verify, 64 connections", COMMIT, None);
    book.ratio("append, 64 writers", COMMIT, None);
    book.ratio("append, 64 writers", "append, 1 writer", None);
    book.ratio(WITH_TREE, "append, 64 writers", Some(Bound::AtLeast(0.95)));
    book.latency(NOBODY, WRONG, None);
    for ask in [Ask::Issue, Ask::Verify] {
        let name = ask.name();
        book.tail(&format!("{name}, 64 connections"), Some(Bound::AtMost(4.0)));
        book.tail(&format!("{name}, 64 connections at 60 %"), None);
        book.latency(&format!("{name}, 1 connection"), ONE_COMMIT, Some(Bound::AtMost(4.0)));
    }
}
