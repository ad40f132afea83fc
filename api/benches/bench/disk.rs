//! What a store takes on the disk, once everything is where it belongs.
//!
//! Verdicts are apart from credentials: how many of them a credential gets is its holders' affair.

use std::path::Path;

use sqlx::{Connection as _, PgConnection};

use crate::engine::{Engine, Store};
use crate::product;

/// The store's bytes by what they are for.
pub(crate) struct Disk {
    /// Ledger, vault, verification model.
    of_credentials: u64,
    credentials: u64,
    /// Audit log, history model.
    of_verdicts: u64,
    verdicts: u64,
}

/// Beyond an empty database.
const POSTGRES_OF_ALL: &str = "select greatest(0, pg_database_size(current_database()) - pg_database_size('template1'))";
const POSTGRES_OF_VERDICTS: &str = "
    select coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)::bigint
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where relkind = 'r' and (nspname = 'audit' or (nspname = 'read' and relname like 'verifications%'))";
const POSTGRES_CREDENTIALS: &str = "select count(*) from ledger.events where type = 'CredentialIssued'";
const SQLITE_CREDENTIALS: &str = "select count(*) from events where type = 'CredentialIssued'";

impl Disk {
    /// Of everything.
    pub(crate) fn bytes(&self) -> f64 {
        (self.of_credentials + self.of_verdicts) as f64
    }

    pub(crate) fn bytes_a_credential(&self) -> f64 {
        self.of_credentials as f64 / self.credentials.max(1) as f64
    }

    pub(crate) fn bytes_a_verdict(&self) -> f64 {
        self.of_verdicts as f64 / self.verdicts.max(1) as f64
    }
}

/// Of a store that nobody has open.
pub(crate) async fn measure(engine: &Engine, store: &Store) -> Disk {
    let verdicts = product::log_sizes(store).audit;
    match engine {
        Engine::Sqlite => sqlite(store.folder.path(), verdicts),
        Engine::Postgres(_) => postgres(&store.url, verdicts).await.unwrap(),
    }
}

fn sqlite(folder: &Path, verdicts: u64) -> Disk {
    let mut disk = Disk { of_credentials: 0, credentials: 0, of_verdicts: 0, verdicts };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "sqlite") {
            continue;
        }
        let file = rusqlite::Connection::open(&path).unwrap();
        file.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "ledger" {
            disk.credentials = file.query_row(SQLITE_CREDENTIALS, [], |row| row.get(0)).unwrap();
        }
        let bytes = std::fs::metadata(&path).unwrap().len();
        if name == "audit" || name.starts_with("read-history") { disk.of_verdicts += bytes } else { disk.of_credentials += bytes }
    }
    disk
}

async fn postgres(url: &str, verdicts: u64) -> sqlx::Result<Disk> {
    let mut session = PgConnection::connect(url).await?;
    sqlx::raw_sql("checkpoint").execute(&mut session).await?;
    let all: i64 = sqlx::query_scalar(POSTGRES_OF_ALL).fetch_one(&mut session).await?;
    let of_verdicts: i64 = sqlx::query_scalar(POSTGRES_OF_VERDICTS).fetch_one(&mut session).await?;
    let credentials: i64 = sqlx::query_scalar(POSTGRES_CREDENTIALS).fetch_one(&mut session).await?;
    let (of_credentials, of_verdicts) = (all.saturating_sub(of_verdicts).unsigned_abs(), of_verdicts.unsigned_abs());
    Ok(Disk { of_credentials, credentials: credentials.unsigned_abs(), of_verdicts, verdicts })
}
