//! What SQLite's engine promises beyond the contract: append-only against raw connections, processes side by side, statements
//! that prepare and use the indexes meant for them.

use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::event::audit::KeyRevoked;
use crate::event::{New, Origination};
use crate::log::contract::{Fixture, noon};
use crate::log::{Expected, Restore};
use crate::random::SystemRandom;
use crate::stream::category;

struct Folder {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Fixture for Folder {
    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(self.log().await)
    }

    async fn restorable(&self) -> Arc<dyn Restore> {
        Arc::new(self.log().await)
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

impl Folder {
    async fn log(&self) -> Sqlite {
        Sqlite::open(self.folder.path(), LogName::AUDIT, "sqlite.example", self.clock.clone()).await.unwrap()
    }

    /// A connection that goes round this program.
    fn raw(&self) -> Connection {
        let connection = Connection::open(path(self.folder.path(), &LogName::AUDIT)).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }
}

async fn fresh() -> Folder {
    Folder { folder: tempfile::tempdir().unwrap(), clock: Arc::new(ManualClock::at(noon())) }
}

crate::log_contract!(fresh);

fn one() -> Append {
    let stream = Stream::new(category::KEY, crate::event::new_id(&crate::clock::SystemClock, &SystemRandom));
    let event = New::of(&KeyRevoked {}, &Origination::system("test").metadata(&SystemRandom));
    Append::to(stream, Expected::None, vec![event])
}

#[tokio::test]
async fn events_are_append_only_over_any_connection() {
    let folder = fresh().await;
    let log = folder.log().await;
    log.commit(vec![one(), one(), one()]).await.unwrap();
    let before = log.read(&Query::from(Position::FIRST, 10)).await.unwrap();
    let raw = folder.raw();
    let copy = |position: &str, stream: &str, version: &str| {
        format!(
            "into events select {position}, {stream}, {version}, type, schema, recorded_at, metadata, payload, event_hash, chain_hash \
             from events where position = 1"
        )
    };
    let refused = [
        "update events set type = 'Other' where position = 1".to_owned(),
        "update or replace events set position = 0 where position = 1".to_owned(),
        "update or ignore events set payload = x'a0'".to_owned(),
        "delete from events where position = 2".to_owned(),
        "delete from events".to_owned(),
        format!("insert or replace {}", copy("1", "stream", "version")),
        format!("replace {}", copy("0", "stream || 'x'", "0")),
        // It would go to the next position and delete the event that has its place in the stream.
        format!("insert or replace {}", copy("3", "stream", "version")),
        format!("insert {}", copy("4", "stream", "1")),
        format!("insert {}", copy("-1", "stream", "1")),
        format!("insert {}", copy("null", "stream", "1")),
        format!("insert {}", copy("3", "stream", "2")),
        format!("insert {} on conflict (position) do update set type = 'Other'", copy("1", "stream", "version")),
    ];
    for statement in refused {
        let failed = raw.execute_batch(&statement).expect_err(&statement);
        assert_eq!(failed.sqlite_error_code(), Some(ErrorCode::ConstraintViolation), "{statement}: {failed}");
    }
    assert_eq!(log.read(&Query::from(Position::FIRST, 10)).await.unwrap(), before);
}

#[tokio::test]
async fn a_head_that_lags_behind_its_events_is_a_contradiction() {
    let folder = fresh().await;
    let log = folder.log().await;
    log.commit(vec![one(), one()]).await.unwrap();
    folder.raw().execute_batch("update head set size = 1").unwrap();
    assert!(matches!(log.commit(vec![one()]).await, Err(CommitError::Contradiction(_))));
}

#[tokio::test]
async fn a_row_that_nobody_here_wrote_is_corrupt() {
    let folder = fresh().await;
    let log = folder.log().await;
    let damages = [("stream", "'key/1'"), ("schema", "70000"), ("event_hash", "x'00'"), ("recorded_at", "-1")];
    for (position, (column, value)) in (0..).zip(damages) {
        log.commit(vec![one()]).await.unwrap();
        let raw = folder.raw();
        let sql: String = raw.query_row("select sql from sqlite_master where name = 'events_no_update'", [], |row| row.get(0)).unwrap();
        raw.execute_batch(&format!(
            "drop trigger events_no_update; update events set {column} = {value} where position = {position}; {sql}"
        ))
        .unwrap();
        let read = log.read_at(&[Position(position)]).await;
        assert!(matches!(&read, Err(Error::Corrupt(what)) if what.contains(column) && what.contains(&position.to_string())), "{read:?}");
    }
}

#[tokio::test]
async fn a_log_that_another_process_holds_for_long_is_busy_and_nothing_is_written() {
    let folder = fresh().await;
    let log = folder.log().await;
    log.writer.call(|connection| connection.busy_timeout(Duration::from_millis(20))).await.unwrap().unwrap();
    let raw = folder.raw();
    raw.execute_batch("begin immediate").unwrap();
    assert!(matches!(log.commit(vec![one()]).await, Err(CommitError::NotCommitted(Error::Busy))));
    // Readers go on beside the writer.
    assert_eq!(log.head().await.unwrap().size, 0);
    raw.execute_batch("rollback").unwrap();
    assert_eq!(log.commit(vec![one()]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_commit_that_ends_unknown_while_a_head_is_asked_for_is_settled_by_the_next() {
    let folder = fresh().await;
    let log = folder.log().await;
    log.unsettled.store(true, Ordering::SeqCst);
    // The writer comes to it once both are waiting: the head, and behind it a commit that ends unknown.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let mut holding = std::pin::pin!(log.writer.call(move |_| held.recv()));
    let mut head = std::pin::pin!(log.head());
    let unsettled = log.unsettled.clone();
    let mut unknown = std::pin::pin!(log.writer.call(move |_| unsettled.store(true, Ordering::SeqCst)));
    assert!(futures::poll!(&mut holding).is_pending() && futures::poll!(&mut head).is_pending());
    assert!(futures::poll!(&mut unknown).is_pending());
    release.send(()).unwrap();
    unknown.await.unwrap();
    head.await.unwrap();
    assert!(log.unsettled.load(Ordering::SeqCst));
    log.head().await.unwrap();
    assert!(!log.unsettled.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_head_stays_behind_the_clock_while_anybody_writes_and_never_goes_back() {
    let folder = fresh().await;
    let (log, other) = (folder.log().await, folder.log().await);
    assert_eq!(log.head().await.unwrap().now, noon());
    let raw = folder.raw();
    raw.execute_batch("begin immediate").unwrap();
    folder.clock.advance(Duration::from_secs(1));
    let asked = std::time::Instant::now();
    assert_eq!(log.head().await.unwrap().now, noon());
    assert_eq!(other.head().await.unwrap().now, Timestamp::EPOCH, "it has never seen the lock free");
    assert!(asked.elapsed() < store::BUSY_TIMEOUT / 2, "nobody waits for the writer");
    raw.execute_batch("rollback").unwrap();
    assert_eq!(log.head().await.unwrap().now, folder.clock.now());
    // The lock was taken for a moment only.
    raw.busy_timeout(Duration::ZERO).unwrap();
    raw.execute_batch("begin immediate").unwrap();
}

#[tokio::test]
async fn heads_that_follow_each_other_closely_leave_the_writers_alone() {
    let folder = fresh().await;
    let log = folder.log().await;
    log.head().await.unwrap();
    folder.clock.advance(PROBE - Duration::from_micros(1));
    assert_eq!(log.head().await.unwrap().now, noon());
    log.commit(vec![one()]).await.unwrap();
    let head = log.head().await.unwrap();
    assert_eq!((head.size, head.recorded_at, head.now), (1, folder.clock.now(), settled_before(folder.clock.now())));
    folder.clock.advance(Duration::from_micros(1));
    assert_eq!(log.head().await.unwrap().now, folder.clock.now());
}

#[tokio::test]
async fn the_origin_is_that_of_the_first_opening() {
    let folder = fresh().await;
    let first = folder.log().await;
    let second = Sqlite::open(folder.folder.path(), LogName::AUDIT, "other.example", folder.clock.clone()).await.unwrap();
    assert_eq!(first.origin().as_str(), "sqlite.example/v1/logs/audit");
    assert_eq!(first.origin(), second.origin());
}

#[tokio::test]
async fn a_log_is_made_only_when_asked() {
    let folder = fresh().await;
    let opened = Sqlite::open_existing(folder.folder.path(), LogName::LEDGER, folder.clock.clone()).await;
    assert!(matches!(opened, Err(Error::NotMigrated)));
    assert_eq!(std::fs::read_dir(folder.folder.path()).unwrap().count(), 0);
    folder.log().await.commit(vec![one()]).await.unwrap();
    let existing = Sqlite::open_existing(folder.folder.path(), LogName::AUDIT, folder.clock.clone()).await.unwrap();
    assert_eq!(existing.head().await.unwrap().size, 1);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = fresh().await;
    folder.log().await;
    folder.raw().execute_batch("pragma user_version = 1000").unwrap();
    let opened = Sqlite::open(folder.folder.path(), LogName::AUDIT, "sqlite.example", folder.clock.clone()).await;
    assert!(matches!(opened, Err(Error::NewerSchema)));
}

#[tokio::test]
async fn the_writer_is_durable() {
    let log = fresh().await.log().await;
    let settings = log.writer.call(|connection| {
        let pragma = |name: &str| connection.query_row(&format!("pragma {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0));
        [pragma("journal_mode").unwrap(), pragma("synchronous").unwrap()]
    });
    assert_eq!(settings.await.unwrap(), ["wal".to_owned().into(), 2i64.into()]);
}

#[tokio::test]
async fn every_statement_prepares_and_none_scans_what_grows() {
    let folder = fresh().await;
    folder.log().await;
    let raw = folder.raw();
    let mut files = 0;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/sqlite/log")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(sql::ALL.iter().any(|(_, used)| *used == text), "used nowhere: {text}");
        files += 1;
    }
    assert_eq!(files, sql::ALL.len());
    for (name, text) in sql::ALL {
        let mut statement = raw.prepare(&format!("explain query plan {text}")).unwrap_or_else(|failed| panic!("{name}: {failed}"));
        let nulls = vec![rusqlite::types::Null; statement.parameter_count()];
        let plan: Vec<String> =
            statement.query_map(rusqlite::params_from_iter(nulls), |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        // The oldest rows first, a thousand at most; and once an erasure, beside whoever appends.
        let bounded = ["delete_old_idempotency", "select_commands"].contains(name);
        assert!(
            bounded || !plan.iter().any(|step| step.starts_with("SCAN") && step != "SCAN CONSTANT ROW" || step.contains("TEMP B-TREE")),
            "{name}: {plan:?}"
        );
    }
}

#[tokio::test]
async fn the_newest_migration_is_the_schema_told() {
    let folder = Folder { folder: tempfile::TempDir::new().unwrap(), clock: Arc::new(ManualClock::at(noon())) };
    let log = folder.log().await;
    let version: usize = folder.raw().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, log.schema());
}

#[tokio::test]
async fn nothing_is_acknowledged_once_the_file_was_deleted_or_replaced() {
    let folder = fresh().await;
    let log = folder.log().await;
    log.commit(vec![one()]).await.unwrap();
    let file = path(folder.folder.path(), &LogName::AUDIT);
    for replaced in [false, true] {
        if replaced {
            std::fs::write(&file, "").unwrap();
        } else {
            std::fs::rename(&file, folder.folder.path().join("aside")).unwrap();
        }
        assert!(matches!(log.commit(vec![one()]).await, Err(CommitError::NotCommitted(Error::Unavailable(_)))));
        assert!(matches!(log.head().await, Err(Error::Unavailable(_))));
        assert!(matches!(log.read(&Query::from(Position::FIRST, 9)).await, Err(Error::Unavailable(_))));
        assert!(matches!(log.forget_idempotency(Timestamp::MAX).await, Err(Error::Unavailable(_))));
        assert!(matches!(log.forget_commands(&[Position(0)]).await, Err(Error::Unavailable(_))));
    }
    std::fs::rename(folder.folder.path().join("aside"), &file).unwrap();
    log.commit(vec![one()]).await.unwrap();
    assert_eq!(log.head().await.unwrap().size, 2);
}
