//! The floor of every append: group commit of event rows and nothing else.
//!
//! One committer takes whatever waits and writes it in one durable transaction; each writer waits for its row. No head, no
//! unique keys, no hashes, no checks but the two that keep positions and versions apart.

use std::time::{Duration, Instant};

use credence_ledger::clock::SystemClock;
use credence_ledger::event::new_id;
use credence_ledger::random::{SystemRandom, bytes};
use credence_ledger::testing::postgres::Database;
use rusqlite::params;
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::engine::{Engine, scratch};
use crate::generator::Window;
use crate::report::{Run, histogram, record};

/// Like `events` of the product's logs.
const SQLITE_TABLE: &str = "
    create table events (
        position integer primary key, stream text not null, version integer not null, type text not null, schema integer not null,
        recorded_at integer not null, metadata blob not null, payload blob not null, event_hash blob not null,
        chain_hash blob not null, unique (stream, version)
    ) strict";
const SQLITE_INSERT: &str = "
    insert into events (position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const POSTGRES_TABLE: &str = "
    create table events (
        position bigint primary key, stream text not null, version bigint not null, type text not null, schema integer not null,
        recorded_at bigint not null, metadata bytea not null, payload bytea not null, event_hash bytea not null,
        chain_hash bytea not null, unique (stream, version)
    );
    alter table events alter column payload set storage external;
    alter table events alter column metadata set storage external";
const POSTGRES_INSERT: &str = "
    insert into events (position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash)
    select * from unnest(
        $1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::integer[], $6::bigint[], $7::bytea[], $8::bytea[], $9::bytea[],
        $10::bytea[]
    )";

const KIND: &str = "CredentialIssued";

/// An event of about 300 bytes, on a stream of its own whose name grows with time, as the product's do.
struct Row {
    stream: String,
    recorded_at: i64,
    metadata: [u8; 80],
    payload: [u8; 100],
    event_hash: [u8; 32],
    chain_hash: [u8; 32],
}

impl Row {
    fn new() -> Row {
        let id = new_id(&SystemClock, &SystemRandom);
        Row {
            stream: format!("credential/{id}"),
            recorded_at: 1_700_000_000_000_000,
            metadata: bytes(&SystemRandom),
            payload: bytes(&SystemRandom),
            event_hash: bytes(&SystemRandom),
            chain_hash: bytes(&SystemRandom),
        }
    }
}

/// A table on an engine. Gone when dropped.
pub(crate) struct Floor {
    table: Table,
    next_position: i64,
}

enum Table {
    Sqlite { connection: rusqlite::Connection, _folder: tempfile::TempDir },
    Postgres { connection: PgConnection, _database: Database },
}

impl Floor {
    pub(crate) async fn new(engine: &Engine) -> Floor {
        let table = match engine {
            Engine::Sqlite => {
                let folder = tempfile::tempdir_in(scratch()).unwrap();
                let connection = rusqlite::Connection::open(folder.path().join("floor.sqlite")).unwrap();
                let settings = "pragma journal_mode = wal; pragma synchronous = full; pragma cache_size = -65536; \
                                pragma wal_autocheckpoint = 4000; pragma temp_store = memory";
                connection.execute_batch(settings).unwrap();
                connection.execute_batch(SQLITE_TABLE).unwrap();
                Table::Sqlite { connection, _folder: folder }
            }
            Engine::Postgres(server) => {
                let database = server.create_database().await;
                let mut connection = PgConnection::connect(&database.url).await.unwrap();
                sqlx::raw_sql(POSTGRES_TABLE).execute(&mut connection).await.unwrap();
                Table::Postgres { connection, _database: database }
            }
        };
        Floor { table, next_position: 0 }
    }

    /// Row after row, each in a commit of its own, from one task.
    pub(crate) async fn one_by_one(&mut self, time: Duration) -> Run {
        let mut latencies = histogram();
        let start = Instant::now();
        while start.elapsed() < time {
            let row = Row::new();
            let began = Instant::now();
            self.write(&[row]).await;
            record(&mut latencies, began.elapsed());
        }
        let commits = latencies.len();
        Run { commits: Some(commits), ..Run::of(latencies, start.elapsed()) }
    }

    /// So many tasks, each waiting for its row before it brings the next.
    pub(crate) async fn grouped(self, writers: usize, window: Window) -> (Floor, Run) {
        let from = Instant::now() + window.warm_up;
        let until = from + window.time;
        let (sender, receiver) = mpsc::unbounded_channel();
        let committer = self.commit_what_waits(receiver, from, until);
        // SQLite blocks its thread.
        let handle = Handle::current();
        let committing = tokio::task::spawn_blocking(move || handle.block_on(committer));
        let tasks: Vec<_> = (0..writers)
            .map(|_| {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut latencies = histogram();
                    loop {
                        let began = Instant::now();
                        if began >= until {
                            return latencies;
                        }
                        let (answer, answered) = oneshot::channel();
                        sender.send((Row::new(), answer)).unwrap();
                        answered.await.unwrap();
                        let now = Instant::now();
                        if (from..until).contains(&now) {
                            record(&mut latencies, now - began);
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let mut latencies = histogram();
        for task in tasks {
            latencies.add(task.await.unwrap()).unwrap();
        }
        let (floor, commits) = committing.await.unwrap();
        (floor, Run { commits: Some(commits), ..Run::of(latencies, window.time) })
    }

    /// Until no writer is left. Answers how many commits there were between `from` and `until`.
    async fn commit_what_waits(mut self, mut waiting: mpsc::UnboundedReceiver<Waiting>, from: Instant, until: Instant) -> (Floor, u64) {
        let mut commits = 0;
        let (mut rows, mut answers) = (Vec::new(), Vec::new());
        while let Some((row, answer)) = waiting.recv().await {
            rows.push(row);
            answers.push(answer);
            while let Ok((row, answer)) = waiting.try_recv() {
                rows.push(row);
                answers.push(answer);
            }
            self.write(&rows).await;
            commits += u64::from((from..until).contains(&Instant::now()));
            rows.clear();
            for answer in answers.drain(..) {
                let _ = answer.send(());
            }
        }
        (self, commits)
    }

    /// One durable transaction.
    async fn write(&mut self, rows: &[Row]) {
        let first = self.next_position;
        self.next_position += i64::try_from(rows.len()).unwrap();
        match &mut self.table {
            Table::Sqlite { connection, .. } => write_sqlite(connection, first, rows).unwrap(),
            Table::Postgres { connection, .. } => write_postgres(connection, first..self.next_position, rows).await.unwrap(),
        }
    }
}

type Waiting = (Row, oneshot::Sender<()>);

fn write_sqlite(connection: &mut rusqlite::Connection, first: i64, rows: &[Row]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut insert = transaction.prepare_cached(SQLITE_INSERT)?;
    for (position, row) in (first..).zip(rows) {
        let Row { stream, recorded_at, metadata, payload, event_hash, chain_hash } = row;
        insert.execute(params![position, stream, 0, KIND, 1, recorded_at, metadata, payload, event_hash, chain_hash])?;
    }
    drop(insert);
    transaction.commit()
}

async fn write_postgres(connection: &mut PgConnection, positions: std::ops::Range<i64>, rows: &[Row]) -> sqlx::Result<()> {
    let inserted = sqlx::query(POSTGRES_INSERT)
        .bind(positions.collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.stream.as_str()).collect::<Vec<_>>())
        .bind(vec![0_i64; rows.len()])
        .bind(vec![KIND; rows.len()])
        .bind(vec![1_i32; rows.len()])
        .bind(rows.iter().map(|row| row.recorded_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.metadata.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.payload.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.event_hash.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.chain_hash.as_slice()).collect::<Vec<_>>())
        .execute(connection);
    inserted.await.map(|_| ())
}
