//! A log in memory, events to put into it, and a read store to fold it into: real files or a real server.

use std::sync::Arc;
use std::time::Duration;

use credence_ledger::chain::Origin;
use credence_ledger::clock::ManualClock;
use credence_ledger::event::audit::{Cause, CredentialVerified, PresentedBy};
use credence_ledger::event::credential::{CredentialEvent, CredentialIssued, CredentialReinstated, CredentialRevoked, CredentialSuspended};
use credence_ledger::event::issuer::{IssuerKeyRotated, IssuerRegistered};
use credence_ledger::event::subject::SubjectErased;
use credence_ledger::event::{New, Origination};
use credence_ledger::log::memory::Memory;
use credence_ledger::log::{Append, Expected, Log, Outcome};
use credence_ledger::random::SystemRandom;
use credence_ledger::store::Url;
use credence_ledger::stream::category;
use credence_ledger::testing::postgres::Database;
use credence_ledger::{LogName, Position, Stream, Timestamp};
use credence_projections::digest::digest;
use credence_projections::generation::{Lock, Store};
use credence_projections::projection::{Error, Projection};
use credence_projections::projector::Projector;
use credence_projections::read_store::{self, Rebuild};
use credence_projections::runner::Runner;
use credence_projections::table::Row;
use credence_projections::verification::{At, Credential, Found, Lookup};
use credence_projections::{rebuild, runner, table};
use serde_bytes::ByteArray;
use sqlx::Connection;
use tempfile::TempDir;
use uuid::Uuid;

/// Where a test's read store lives.
pub(crate) enum Engine {
    Sqlite(TempDir),
    Postgres(Database),
}

impl Engine {
    pub(crate) fn sqlite() -> Engine {
        Engine::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn postgres() -> Engine {
        Engine::Postgres(Database::create().await)
    }

    /// Opens the store, as another process would.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        let url = match self {
            Engine::Sqlite(folder) => Url::Sqlite(folder.path().to_owned()),
            Engine::Postgres(database) => Url::Postgres(database.url.clone().into()),
        };
        read_store::open(&url).await.unwrap()
    }

    /// Alters the serving generation behind the program's back. `{table}` stands for the table's name.
    pub(crate) async fn tamper(&self, store: &Arc<dyn Store>, projection: Projection, table: &str, statement: &str) {
        let generation = store.cursor(projection).await.unwrap().generation;
        match self {
            Engine::Sqlite(folder) => {
                let path = folder.path().join(format!("read-{projection}-{generation}.sqlite"));
                let connection = rusqlite::Connection::open(path).unwrap();
                assert_eq!(connection.execute(&statement.replace("{table}", table), []).unwrap(), 1, "{statement}");
            }
            Engine::Postgres(database) => {
                let statement = statement.replace("{table}", &format!("read.{table}_{generation}"));
                assert_eq!(execute(database, &statement).await, 1, "{statement}");
            }
        }
    }

    /// Overwrites the SQLite files whose names begin so.
    pub(crate) async fn ruin(&self, prefix: &str) {
        let Engine::Sqlite(folder) = self else { panic!("only files can be ruined") };
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let is_meant = |path: &std::path::PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(prefix) && name.ends_with(".sqlite")
        };
        let ruined: Vec<_> = names.filter(is_meant).collect();
        assert!(!ruined.is_empty());
        for path in ruined {
            // Connections close in the background, and the last one writes what the log beside the file holds. Two that close at once can
            // leave it there, empty.
            while path.with_extension("sqlite-wal").metadata().is_ok_and(|log| log.len() > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            std::fs::write(path, "what a broken disk gives back, which is no database. ".repeat(99)).unwrap();
        }
    }

    /// Makes of the generation of the verification model what version 1 of it was, as far as its readers can tell.
    pub(crate) async fn as_of_the_version_before_erasures(&self, generation: u64) {
        match self {
            Engine::Sqlite(folder) => {
                let execute = |file: &str, statements: &str| {
                    rusqlite::Connection::open(folder.path().join(file)).unwrap().execute_batch(statements).unwrap();
                };
                let drop = "drop table erasures; drop table erased_credentials; update cursor set version = 1;";
                execute(&format!("read-verification-{generation}.sqlite"), drop);
                execute("read.sqlite", "update serving set version = 1 where projection = 'verification'");
            }
            Engine::Postgres(database) => {
                execute(database, &format!("drop table read.erasures_{generation}, read.erased_credentials_{generation}")).await;
                execute(database, "update read.cursors set version = 1 where projection = 'verification'").await;
            }
        }
    }

    /// Makes of the generation of the verification model one of a later version, which has all tables of this one.
    pub(crate) async fn as_of_a_later_version(&self, generation: u64) {
        match self {
            Engine::Sqlite(folder) => {
                let later = |file: &str, statement: &str| {
                    assert_eq!(rusqlite::Connection::open(folder.path().join(file)).unwrap().execute(statement, []).unwrap(), 1);
                };
                later(&format!("read-verification-{generation}.sqlite"), "update cursor set version = version + 1");
                later("read.sqlite", "update serving set version = version + 1 where projection = 'verification'");
            }
            Engine::Postgres(database) => {
                let later = "update read.cursors set version = version + 1 where projection = 'verification' and serving";
                assert_eq!(execute(database, later).await, 1);
            }
        }
    }

    /// How many rebuilds are written down.
    pub(crate) async fn rebuilds(&self) -> i64 {
        match self {
            Engine::Sqlite(folder) => {
                let connection = rusqlite::Connection::open(folder.path().join("read.sqlite")).unwrap();
                connection.query_row("select count(*) from rebuilds", [], |row| row.get(0)).unwrap()
            }
            Engine::Postgres(database) => {
                let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
                sqlx::query_scalar("select count(*) from read.rebuilds").fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    /// Whether a generation of the verification model is still kept, whatever tables it has.
    pub(crate) async fn keeps(&self, generation: u64) -> bool {
        match self {
            Engine::Sqlite(folder) => folder.path().join(format!("read-verification-{generation}.sqlite")).exists(),
            Engine::Postgres(database) => {
                let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
                let kept = "select to_regclass('read.credentials_' || $1::bigint) is not null \
                            and exists (select 1 from read.cursors where projection = 'verification' and generation = $1::bigint)";
                sqlx::query_scalar(kept).bind(generation.cast_signed()).fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    /// Whether any SQLite file holds this text, once what stands in the logs beside them has been written into them.
    pub(crate) async fn has_bytes(&self, text: &str) -> bool {
        let Engine::Sqlite(folder) = self else { panic!("only files can be looked through") };
        let paths: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "sqlite")) {
            let connection = rusqlite::Connection::open(path).unwrap();
            eventually("the log beside the file is emptied", || async {
                let busy: i64 = connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0)).unwrap();
                (busy == 0).then_some(())
            })
            .await;
        }
        paths.iter().any(|path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
    }

    /// Deletes a projection's generations, or the whole store, under whoever uses it.
    pub(crate) async fn lose(&self, projection: Option<Projection>) {
        let prefix = projection.map_or("read".to_owned(), |projection| format!("read-{projection}-"));
        match self {
            Engine::Sqlite(folder) => {
                for entry in std::fs::read_dir(folder.path()).unwrap() {
                    let path = entry.unwrap().path();
                    if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix)) {
                        std::fs::remove_file(path).unwrap();
                    }
                }
            }
            Engine::Postgres(database) => {
                let tables = match projection {
                    None => {
                        execute(database, "drop schema read cascade").await;
                        return;
                    }
                    Some(projection) => table::of(projection),
                };
                for table in tables {
                    let drop = format!(
                        "do $$ declare name text; begin for name in select tablename from pg_tables where schemaname = 'read' and \
                         tablename ~ '^{}_[0-9]+$' loop execute 'drop table read.' || name; end loop; end $$",
                        table.name
                    );
                    execute(database, &drop).await;
                }
            }
        }
    }
}

impl Engine {
    /// How many transactions PostgreSQL has ended in the database, once all who ran them are gone; give or take those that look.
    pub(crate) async fn transactions(&self) -> i64 {
        let Engine::Postgres(database) = self else { panic!("only PostgreSQL counts them") };
        let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
        loop {
            let others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
            let (others,): (i64,) = sqlx::query_as(others).fetch_one(&mut connection).await.unwrap();
            if others == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let count = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
        sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap()
    }
}

async fn execute(database: &Database, statement: &str) -> u64 {
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap().rows_affected()
}

/// The digest of what serves, with its position.
pub(crate) async fn digest_of_serving(store: &Arc<dyn Store>, projection: Projection) -> ([u8; 32], Option<Position>) {
    let generation = store.cursor(projection).await.unwrap().generation;
    let mut snapshot = store.snapshot(projection, generation).await.unwrap();
    let digest = digest(snapshot.as_mut()).await.unwrap();
    (digest, snapshot.generation().cursor.position)
}

/// Every row of what serves, by table.
pub(crate) async fn rows_of_serving(store: &Arc<dyn Store>, projection: Projection) -> Vec<(&'static str, Vec<Row>)> {
    let generation = store.cursor(projection).await.unwrap().generation;
    let mut snapshot = store.snapshot(projection, generation).await.unwrap();
    let mut all = Vec::new();
    for table in table::of(projection) {
        all.push((table.name, snapshot.rows(table, None, usize::MAX).await.unwrap()));
    }
    all
}

/// The credential looked up, unless it is not there, or was erased.
pub(crate) async fn credential(store: &Arc<dyn Store>, lookup: &Lookup, at: At) -> Option<Credential> {
    store.find(lookup, at).await.unwrap().0.and_then(Found::credential)
}

/// The time at which every test begins.
pub(crate) fn start_time() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// Two logs and a clock.
pub(crate) struct Logs {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ledger: Arc<Memory>,
    pub(crate) audit: Arc<Memory>,
}

impl Logs {
    pub(crate) fn new() -> Logs {
        let clock = Arc::new(ManualClock::at(start_time()));
        let log = |name: LogName| {
            let origin = Origin::new("test.example", &name);
            Arc::new(Memory::new(name, origin, clock.clone()))
        };
        Logs { ledger: log(LogName::LEDGER), audit: log(LogName::AUDIT), clock }
    }

    pub(crate) fn of(&self, projection: Projection) -> Arc<dyn Log> {
        match projection {
            Projection::Verification => self.ledger.clone(),
            Projection::History => self.audit.clone(),
        }
    }

    pub(crate) fn projector(&self, projection: Projection, store: &Arc<dyn Store>) -> Projector {
        Projector { projection, log: self.of(projection), store: store.clone(), clock: self.clock.clone(), random: Arc::new(SystemRandom) }
    }

    pub(crate) fn run(&self, projection: Projection, store: &Arc<dyn Store>) -> Runner {
        self.run_in_chunks(projection, store, 100)
    }

    pub(crate) fn run_in_chunks(&self, projection: Projection, store: &Arc<dyn Store>, chunk: usize) -> Runner {
        let options = runner::Options { poll: Duration::from_millis(10), chunk, ..runner::Options::default() };
        Runner::start(self.projector(projection, store), options)
    }

    /// Rebuilds a projection and answers how that went.
    pub(crate) async fn rebuild(&self, projection: Projection, store: &Arc<dyn Store>) -> Rebuild {
        self.no_rebuild_runs(projection, store).await;
        let job = rebuild::start(self.projector(projection, store), rebuild::Options::new(Uuid::new_v4()));
        job.await.unwrap().run().await.unwrap()
    }

    /// A runner that has just built the model may still be writing down that it is done.
    pub(crate) async fn no_rebuild_runs(&self, projection: Projection, store: &Arc<dyn Store>) {
        let lock = eventually("no rebuild runs", || async { store.try_lock(Lock::Rebuild(projection)).await.unwrap() }).await;
        lock.release().await;
    }

    /// One issuer, and `count` credentials of which some are suspended, reinstated, revoked or erased. Answers the last position.
    pub(crate) async fn fill(&self, from: u64, count: u64) -> Position {
        if from == 0 {
            self.register(id(0), "default").await;
        }
        let mut last = Position::FIRST;
        for n in from + 1..=from + count {
            last = self.issue(id(n), id(0), |_| ()).await;
            if n % 3 == 0 {
                last = self.suspend(id(n)).await;
            }
            if n % 6 == 0 {
                last = self.reinstate(id(n)).await;
            }
            if n % 5 == 0 {
                last = self.revoke(id(n - 1)).await;
            }
            if n % 11 == 0 {
                last = self.erase(id(n - 1)).await;
            }
            if n % 22 == 0 {
                // Somebody had decided it before the erasure.
                last = self.suspend(id(n - 12)).await;
            }
        }
        last
    }

    /// Appends one event; a millisecond passes.
    pub(crate) async fn append(&self, log: &Memory, stream: Stream, event: New) -> Position {
        self.clock.advance(Duration::from_millis(1));
        let outcomes = log.commit(vec![Append::to(stream, Expected::Any, vec![event])]).await.unwrap();
        match &outcomes[..] {
            [Outcome::Appended(recorded)] => recorded[0].position,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn register(&self, id: Uuid, name: &str) -> Position {
        let payload = IssuerRegistered { did: format!("did:key:{name}"), name: name.to_owned() };
        let event = New::of(&payload, &Origination::system("w").metadata(&SystemRandom));
        self.append(&self.ledger, Stream::issuer(id), event).await
    }

    pub(crate) async fn rotate(&self, id: Uuid, did: &str) -> Position {
        let event = New::of(&IssuerKeyRotated { did: did.to_owned() }, &Origination::system("w").metadata(&SystemRandom));
        self.append(&self.ledger, Stream::issuer(id), event).await
    }

    pub(crate) async fn issue(&self, id: Uuid, issuer: Uuid, with: impl FnOnce(&mut CredentialIssued)) -> Position {
        let mut issued = CredentialIssued {
            credential_type: "badge".to_owned(),
            digest: ByteArray::new(digest_of(id)),
            issuer,
            document: None,
            subject_id: Some(id),
            valid_from: None,
            valid_until: None,
        };
        with(&mut issued);
        self.credential(id, CredentialEvent::Issued(issued)).await
    }

    pub(crate) async fn suspend(&self, id: Uuid) -> Position {
        self.credential(id, CredentialEvent::Suspended(CredentialSuspended { reason: None })).await
    }

    pub(crate) async fn reinstate(&self, id: Uuid) -> Position {
        self.credential(id, CredentialEvent::Reinstated(CredentialReinstated { reason: None })).await
    }

    pub(crate) async fn revoke(&self, id: Uuid) -> Position {
        self.credential(id, CredentialEvent::Revoked(CredentialRevoked { reason: None })).await
    }

    pub(crate) async fn credential(&self, id: Uuid, event: CredentialEvent) -> Position {
        let event = event.encode(&Origination::system("w").metadata(&SystemRandom));
        self.append(&self.ledger, Stream::credential(id), event).await
    }

    /// Erases the subject with this id.
    pub(crate) async fn erase(&self, subject: Uuid) -> Position {
        let erased = SubjectErased { keys: vec![format!("subject/{subject}")], order: id(1), issuer: id(0), credentials: 1 };
        let event = New::of(&erased, &Origination::system("w").metadata(&SystemRandom));
        self.append(&self.ledger, Stream::subject(subject), event).await
    }

    pub(crate) async fn verified(&self, verdict: Uuid, credential: Option<Uuid>) -> Position {
        let payload = CredentialVerified {
            as_of: start_time(),
            cause: Cause::Found,
            status: "active".to_owned(),
            position: None,
            credential,
            presented_by: PresentedBy::Id,
        };
        let event = New::of(&payload, &Origination::system("w").metadata(&SystemRandom));
        self.append(&self.audit, Stream::new(category::VERIFICATION, verdict), event).await
    }
}

/// The `n`-th id.
pub(crate) fn id(n: u64) -> Uuid {
    Uuid::from_u64_pair(0x0198_c5a2_0000_7000, 0x8000_0000_0000_0000 | n)
}

pub(crate) fn digest_of(id: Uuid) -> [u8; 32] {
    blake3::hash(id.as_bytes()).into()
}

/// Polls until it holds, or fails after ten seconds.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut holds: impl FnMut() -> F) -> T {
    for _ in 0..1000 {
        if let Some(value) = holds().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}

/// Polls until the ledger's `position` has been applied.
pub(crate) async fn applied(store: &Arc<dyn Store>, position: Position) {
    applied_by(store, Projection::Verification, position).await;
}

/// Polls until a projection has applied `position`, also where it is being built.
pub(crate) async fn applied_by(store: &Arc<dyn Store>, projection: Projection, position: Position) {
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        match store.cursor(projection).await {
            Ok(cursor) if cursor.position >= Some(position) => return,
            Ok(_) | Err(Error::Vanished(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("not within twenty seconds: {position} is applied");
}
