//! The engines that are measured, each fresh and with full durability.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use credence_ledger::LogName;
use credence_ledger::chain::Origin;
use credence_ledger::clock::SystemClock;
use credence_ledger::log::Log;
use credence_ledger::log::postgres::Postgres;
use credence_ledger::log::sqlite::Sqlite;
use credence_ledger::store::postgres::{Durability, Sessions};
use credence_ledger::store::sqlite;
use credence_ledger::testing::postgres::{Database, Server};
use credence_ledger::tiles::{self, Tiles};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

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

    pub(crate) async fn version(&self, store: &Store) -> String {
        match self {
            Engine::Sqlite => rusqlite::version().to_owned(),
            Engine::Postgres(_) => show(store, "server_version").await,
        }
    }

    /// What decides whether an acknowledgement survives a power failure, and what else the rates rest on, as a session of the
    /// product on the ledger log finds it.
    pub(crate) async fn settings(&self, store: &Store) -> BTreeMap<&'static str, String> {
        let mut settings = BTreeMap::new();
        match self {
            Engine::Sqlite => {
                let options =
                    sqlite::Options { access: sqlite::Access::Existing, durability: sqlite::Durability::Durable, cache_kib: 1024 };
                let connection = sqlite::open(&store.folder.path().join("ledger.sqlite"), options).unwrap();
                for name in ["journal_mode", "synchronous", "wal_autocheckpoint", "page_size"] {
                    let value = connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
                    settings.insert(name, told(name, value));
                }
            }
            Engine::Postgres(_) => {
                let names =
                    ["fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_wal_size", "wal_level"];
                for name in names {
                    settings.insert(name, show(store, name).await);
                }
            }
        }
        settings
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

    /// Has a store that was just filled looked through at once, which the engine would otherwise do in the midst of a measurement.
    pub(crate) async fn tidy(&self, store: &Store) {
        if let Engine::Postgres(_) = self {
            let mut session = PgConnection::connect(&store.url).await.unwrap();
            sqlx::raw_sql("vacuum (analyze)").execute(&mut session).await.unwrap();
        }
    }

    /// The ledger log's tree and checkpoints, of a store whose log was opened.
    pub(crate) fn tiles(&self, store: &Store) -> Arc<dyn Tiles> {
        let (log, origin) = (LogName::LEDGER, Origin::new("bench.example", &LogName::LEDGER));
        match self {
            Engine::Sqlite => Arc::new(tiles::sqlite::Sqlite::new(store.folder.path(), log, origin)),
            Engine::Postgres(_) => Arc::new(tiles::postgres::Postgres::new(&store.url, log, origin, Durability::Durable).unwrap()),
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

fn told(name: &str, value: rusqlite::types::Value) -> String {
    match value {
        rusqlite::types::Value::Text(text) => text,
        // SQLite's documentation of `pragma synchronous` names its numbers.
        rusqlite::types::Value::Integer(level @ 0..=3) if name == "synchronous" => {
            ["off", "normal", "full", "extra"][usize::try_from(level).unwrap()].to_owned()
        }
        rusqlite::types::Value::Integer(number) => number.to_string(),
        other => panic!("{name} is {other:?}"),
    }
}

async fn show(store: &Store, setting: &str) -> String {
    let mut session = Sessions::new(&store.url, "ledger", Durability::Durable).unwrap().connect().await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(format!("show {setting}"))).fetch_one(&mut session).await.unwrap()
}

/// Where the stores lie: on the disk that the build lies on, since the folder for temporary files may be memory.
pub(crate) fn scratch() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
