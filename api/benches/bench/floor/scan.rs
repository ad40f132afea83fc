//! The floors of reading a whole log: scan and load, for rebuilds; scan and decode, for checks. They read the product's own
//! store of this run.
//!
//! Scan and load makes the verification model's tables and indexes, by the product's own definitions, from a scan of the
//! events: no cursor, no checks, no settling of states, everything in one transaction. Reading and decoding goes on while rows
//! are written, as both cores are there for it.

use std::sync::mpsc;
use std::time::Instant;

use rusqlite::params;
use serde::Deserialize;
use serde_bytes::ByteArray;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use crate::engine::{Engine, Store, scratch};
use crate::report::Run;

const PAGE: i64 = 2000;
const SQLITE_SELECT: &str = "select position, stream, type, recorded_at, metadata, payload from events order by position";
const POSTGRES_SELECT: &str = "
    select position, stream, type, recorded_at, metadata, payload from ledger.events
    where position >= $1 and position < $2 order by position";

/// The definitions that the product's read store is made by.
mod model {
    pub(super) const SQLITE_TABLES: &str = include_str!("../../../../projections/sql/sqlite/verification_tables.sql");
    pub(super) const SQLITE_INDEXES: &str = include_str!("../../../../projections/sql/sqlite/verification_indexes.sql");
    pub(super) const SQLITE_CREDENTIAL: &str = include_str!("../../../../projections/sql/sqlite/insert_credential.sql");
    pub(super) const SQLITE_CHANGE: &str = include_str!("../../../../projections/sql/sqlite/insert_status_change.sql");
    pub(super) const POSTGRES_TABLES: &str = include_str!("../../../../projections/sql/postgres/verification_tables.sql");
    pub(super) const POSTGRES_INDEXES: &str = include_str!("../../../../projections/sql/postgres/verification_indexes.sql");
    pub(super) const POSTGRES_CREDENTIALS: &str = include_str!("../../../../projections/sql/postgres/copy_credentials.sql");
    pub(super) const POSTGRES_CHANGES: &str = include_str!("../../../../projections/sql/postgres/copy_status_changes.sql");
}

/// Reads, decodes what the verification model holds, loads it and makes the indexes. Events a second.
pub(crate) async fn and_load(engine: &Engine, store: &Store) -> Run {
    match engine {
        Engine::Sqlite => {
            let log = store.folder.path().join("ledger.sqlite");
            tokio::task::spawn_blocking(move || load_sqlite(&log)).await.unwrap()
        }
        Engine::Postgres(server) => {
            let scratch = server.create_database().await;
            load_postgres(&store.url, &scratch.url).await.unwrap()
        }
    }
}

/// Reads, and decodes payload and metadata whatever they hold. Events a second.
pub(crate) async fn and_decode(engine: &Engine, store: &Store) -> Run {
    let start = Instant::now();
    let events = match engine {
        Engine::Sqlite => {
            let log = store.folder.path().join("ledger.sqlite");
            tokio::task::spawn_blocking(move || decode_sqlite(&log).unwrap()).await.unwrap()
        }
        Engine::Postgres(_) => decode_postgres(&store.url).await.unwrap(),
    };
    Run::over(events, start.elapsed())
}

fn decode(bytes: &[u8]) -> ciborium::Value {
    ciborium::from_reader(bytes).unwrap()
}

fn decode_sqlite(log: &std::path::Path) -> rusqlite::Result<u64> {
    let log = open_log(log);
    let mut select = log.prepare(SQLITE_SELECT)?;
    let mut rows = select.query([])?;
    let mut events = 0;
    while let Some(row) = rows.next()? {
        for column in [4, 5] {
            std::hint::black_box(decode(row.get_ref(column)?.as_blob()?));
        }
        events += 1;
    }
    Ok(events)
}

async fn decode_postgres(url: &str) -> sqlx::Result<u64> {
    let mut log = PgConnection::connect(url).await?;
    let (mut events, mut page) = (0, page(&mut log, 0).await?);
    while !page.is_empty() {
        for row in &page {
            for column in [4, 5] {
                std::hint::black_box(decode(row.try_get(column)?));
            }
        }
        events += page.len() as u64;
        page = self::page(&mut log, i64::try_from(events).unwrap()).await?;
    }
    Ok(events)
}

fn load_sqlite(log: &std::path::Path) -> Run {
    let folder = tempfile::tempdir_in(scratch()).unwrap();
    let mut model = rusqlite::Connection::open(folder.path().join("model.sqlite")).unwrap();
    let settings = "pragma journal_mode = wal; pragma synchronous = normal; pragma cache_size = -65536; pragma temp_store = memory";
    model.execute_batch(settings).unwrap();
    let start = Instant::now();
    model.execute_batch(model::SQLITE_TABLES).unwrap();
    let (sender, pages) = mpsc::sync_channel(2);
    let events = std::thread::scope(|scope| {
        let reading = scope.spawn(move || read_sqlite(log, &sender).unwrap());
        insert(&mut model, pages).unwrap();
        reading.join().unwrap()
    });
    model.execute_batch(model::SQLITE_INDEXES).unwrap();
    Run::over(events, start.elapsed())
}

fn read_sqlite(log: &std::path::Path, pages: &mpsc::SyncSender<Vec<Loaded>>) -> rusqlite::Result<u64> {
    let log = open_log(log);
    let mut select = log.prepare(SQLITE_SELECT)?;
    let mut rows = select.query([])?;
    let (mut events, mut page) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let event = Event {
            position: row.get(0)?,
            stream: row.get_ref(1)?.as_str()?,
            kind: row.get_ref(2)?.as_str()?,
            recorded_at: row.get(3)?,
            metadata: row.get_ref(4)?.as_blob()?,
            payload: row.get_ref(5)?.as_blob()?,
        };
        page.extend(event.fold());
        events += 1;
        if events % PAGE.unsigned_abs() == 0 {
            pages.send(std::mem::take(&mut page)).unwrap();
        }
    }
    pages.send(page).unwrap();
    Ok(events)
}

fn insert(model: &mut rusqlite::Connection, pages: mpsc::Receiver<Vec<Loaded>>) -> rusqlite::Result<()> {
    let transaction = model.transaction()?;
    let mut credential = transaction.prepare(model::SQLITE_CREDENTIAL)?;
    let mut change = transaction.prepare(model::SQLITE_CHANGE)?;
    for loaded in pages.into_iter().flatten() {
        match loaded {
            Loaded::Credential { position, id, issued, issued_at, issued_by } => credential.execute(params![
                position,
                id.as_bytes(),
                issued.credential_type,
                issued.issuer.as_bytes(),
                issued.subject_id.as_ref().map(Uuid::as_bytes),
                *issued.digest,
                issued.valid_from,
                issued.valid_until,
                issued_at,
                issued_by,
                0,
                None::<i64>,
            ])?,
            Loaded::Change { position, credential, recorded_at, state } => {
                change.execute(params![position, credential.as_bytes(), recorded_at, state])?
            }
        };
    }
    drop((credential, change));
    transaction.commit()
}

async fn load_postgres(log: &str, model: &str) -> sqlx::Result<Run> {
    let (mut log, mut model) = (PgConnection::connect(log).await?, PgConnection::connect(model).await?);
    let here = |text: &str| text.replace("{generation}", "1");
    let start = Instant::now();
    sqlx::raw_sql(AssertSqlSafe(here(model::POSTGRES_TABLES))).execute(&mut model).await?;
    let mut credentials = model.copy_in_raw(&here(model::POSTGRES_CREDENTIALS)).await?;
    let mut changes = COPY_HEADER.to_vec();
    let (mut events, mut page) = (0, page(&mut log, 0).await?);
    credentials.send(COPY_HEADER).await?;
    while !page.is_empty() {
        events += i64::try_from(page.len()).unwrap();
        let mut rows = Vec::with_capacity(page.len() * 256);
        for row in &page {
            if let Some(loaded) = Event::of(row)?.fold() {
                loaded.copy(&mut rows, &mut changes);
            }
        }
        let (sent, read) = tokio::join!(credentials.send(rows), self::page(&mut log, events));
        sent?;
        page = read?;
    }
    credentials.send(COPY_END).await?;
    credentials.finish().await?;
    let mut copying = model.copy_in_raw(&here(model::POSTGRES_CHANGES)).await?;
    changes.extend_from_slice(COPY_END);
    copying.send(changes).await?;
    copying.finish().await?;
    let mut transaction = model.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(here(model::POSTGRES_INDEXES))).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Run::over(events.unsigned_abs(), start.elapsed()))
}

fn open_log(path: &std::path::Path) -> rusqlite::Connection {
    let log = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    log.execute_batch("pragma cache_size = -8192").unwrap();
    log
}

async fn page(log: &mut PgConnection, from: i64) -> sqlx::Result<Vec<PgRow>> {
    sqlx::query(POSTGRES_SELECT).bind(from).bind(from + PAGE).fetch_all(log).await
}

/// What is read of an event.
struct Event<'a> {
    position: i64,
    stream: &'a str,
    kind: &'a str,
    recorded_at: i64,
    metadata: &'a [u8],
    payload: &'a [u8],
}

/// What the verification model holds of a `CredentialIssued`.
#[derive(Deserialize)]
struct Issued {
    #[serde(rename = "type")]
    credential_type: String,
    digest: ByteArray<32>,
    issuer: Uuid,
    subject_id: Option<Uuid>,
    valid_from: Option<i64>,
    valid_until: Option<i64>,
}

/// And of its metadata.
#[derive(Deserialize)]
struct Origin {
    worker: String,
}

/// A row of the model.
enum Loaded {
    Credential { position: i64, id: Uuid, issued: Issued, issued_at: i64, issued_by: String },
    Change { position: i64, credential: Uuid, recorded_at: i64, state: i64 },
}

impl<'a> Event<'a> {
    fn of(row: &'a PgRow) -> sqlx::Result<Event<'a>> {
        Ok(Event {
            position: row.try_get(0)?,
            stream: row.try_get(1)?,
            kind: row.try_get(2)?,
            recorded_at: row.try_get(3)?,
            metadata: row.try_get(4)?,
            payload: row.try_get(5)?,
        })
    }

    /// `None` for an issuer: there is one.
    fn fold(self) -> Option<Loaded> {
        let Event { position, recorded_at, .. } = self;
        let id = Uuid::try_parse(self.stream.strip_prefix("credential/")?).unwrap();
        let change = |state| Some(Loaded::Change { position, credential: id, recorded_at, state });
        match self.kind {
            "CredentialIssued" => {
                let issued = ciborium::from_reader(self.payload).unwrap();
                let Origin { worker } = ciborium::from_reader(self.metadata).unwrap();
                Some(Loaded::Credential { position, id, issued, issued_at: recorded_at, issued_by: worker })
            }
            "CredentialReinstated" => change(0),
            "CredentialSuspended" => change(1),
            "CredentialRevoked" => change(2),
            other => panic!("an event {other}"),
        }
    }
}

/// PostgreSQL's documentation of `copy`, "Binary Format".
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_END: &[u8] = &[0xff, 0xff];

impl Loaded {
    fn copy(&self, credentials: &mut Vec<u8>, changes: &mut Vec<u8>) {
        match self {
            Loaded::Credential { position, id, issued, issued_at, issued_by } => {
                let mut row = CopyRow::begin(credentials, 12);
                row.integer(Some(*position));
                row.bytes(Some(id.as_bytes()));
                row.bytes(Some(issued.credential_type.as_bytes()));
                row.bytes(Some(issued.issuer.as_bytes()));
                row.bytes(issued.subject_id.as_ref().map(|id| id.as_bytes().as_slice()));
                row.bytes(Some(issued.digest.as_slice()));
                row.integer(issued.valid_from);
                row.integer(issued.valid_until);
                row.integer(Some(*issued_at));
                row.bytes(Some(issued_by.as_bytes()));
                row.integer(Some(0));
                row.integer(None);
            }
            Loaded::Change { position, credential, recorded_at, state } => {
                let mut row = CopyRow::begin(changes, 4);
                row.integer(Some(*position));
                row.bytes(Some(credential.as_bytes()));
                row.integer(Some(*recorded_at));
                row.integer(Some(*state));
            }
        }
    }
}

struct CopyRow<'a>(&'a mut Vec<u8>);

impl CopyRow<'_> {
    fn begin(to: &mut Vec<u8>, fields: i16) -> CopyRow<'_> {
        to.extend_from_slice(&fields.to_be_bytes());
        CopyRow(to)
    }

    fn integer(&mut self, value: Option<i64>) {
        self.bytes(value.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    }

    fn bytes(&mut self, value: Option<&[u8]>) {
        let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value.unwrap_or_default());
    }
}
