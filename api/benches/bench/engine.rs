//! The engines that are measured, each fresh and with full durability.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use credence_ledger::LogName;
use credence_ledger::clock::SystemClock;
use credence_ledger::log::Log;
use credence_ledger::log::postgres::Postgres;
use credence_ledger::log::sqlite::Sqlite;
use credence_ledger::store::postgres::Durability;
use credence_ledger::testing::postgres::{Database, Server};

/// An engine, with a server of its own where it needs one.
pub(crate) enum Engine {
    Sqlite,
    Postgres(Server),
}

/// A fresh store on an engine. Gone when dropped.
pub(crate) struct Store {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) url: String,
    _database: Option<Database>,
}

impl Engine {
    pub(crate) fn sqlite() -> Engine {
        Engine::Sqlite
    }

    pub(crate) async fn postgres() -> Engine {
        Engine::Postgres(Server::start_private_with(&[("shared_buffers", "512MB"), ("max_wal_size", "4GB")]).await)
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Engine::Sqlite => "sqlite",
            Engine::Postgres(_) => "postgres",
        }
    }

    /// The settings that decide whether an acknowledgement survives a power failure.
    pub(crate) fn durability(&self) -> &'static str {
        match self {
            Engine::Sqlite => "WAL, synchronous=FULL",
            Engine::Postgres(_) => "fsync=on, synchronous_commit=on",
        }
    }

    pub(crate) async fn store(&self) -> Store {
        let folder = tempfile::tempdir_in(scratch()).unwrap();
        match self {
            Engine::Sqlite => Store { url: format!("sqlite:{}", folder.path().display()), folder, _database: None },
            Engine::Postgres(server) => {
                let database = server.create_database().await;
                std::fs::write(folder.path().join("master.key"), "5a".repeat(32)).unwrap();
                Store { url: database.url.clone(), folder, _database: Some(database) }
            }
        }
    }

    /// The ledger log of a fresh store.
    pub(crate) async fn log(&self, store: &Store) -> Arc<dyn Log> {
        match self {
            Engine::Sqlite => {
                Arc::new(Sqlite::open(store.folder.path(), LogName::LEDGER, "bench.example", Arc::new(SystemClock)).await.unwrap())
            }
            Engine::Postgres(_) => {
                Postgres::migrate(&store.url, &LogName::LEDGER).await.unwrap();
                let origin = Some("bench.example");
                Arc::new(Postgres::open(&store.url, LogName::LEDGER, origin, None, Durability::Durable).await.unwrap())
            }
        }
    }
}

/// Where the stores lie: on the disk that the build lies on, since the folder for temporary files may be memory.
pub(crate) fn scratch() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Processor, cores, and what one forced write costs: the floor beneath every durable commit.
pub(crate) fn print_machine() {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{model}, {cores} cores; a forced write of 4 KiB takes {:.0} µs (median of 200)\n", forced_write_us());
}

fn forced_write_us() -> f64 {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile_in(scratch()).unwrap();
    file.write_all(&[0; 4096]).unwrap();
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let start = Instant::now();
            file.rewind().unwrap();
            file.write_all(&[1; 4096]).unwrap();
            file.sync_data().unwrap();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
