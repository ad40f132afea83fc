//! The whole product as its users run it: real processes of the binary `credence`, a real PostgreSQL, real signals.
//!
//! Nothing here reaches into the program: what a test knows, it knows from HTTP, from the command line, or from files.
//! With `CREDENCE_SOAK=1` (`make soak`) the figures are the full ones; without it, a few of each, so that it takes minutes.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first thing that is not as it should be")]

mod backups;
mod client;
mod durability;
mod erasure;
mod full_disk;
mod kills;
mod master_key;
mod moments;
mod moving;
mod open_files;
mod process;
mod python;
mod races;
mod rebuild;
mod replayed;
mod roles;
mod schemas;
mod script;
#[path = "../support/search.rs"]
mod search;
mod secrecy;
mod staleness;
mod store;

/// The figure for `make test`, or the full one for `make soak`.
pub(crate) fn figure(quick: usize, full: usize) -> usize {
    if std::env::var_os("CREDENCE_SOAK").is_some() { full } else { quick }
}

/// Runs a test's body on each engine, as `sqlite` and `postgres` in a module named after the test.
#[macro_export]
macro_rules! on_both_engines {
    ($(#[$doc:meta])* $name:ident) => {
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name($crate::store::Store::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name($crate::store::Store::postgres().await).await;
            }
        }
    };
}
