use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::*;
use crate::clock::ManualClock;
use crate::event::audit::KeyRevoked;
use crate::event::{New, Origination};
use crate::log::Expected;
use crate::log::contract::{Fixture, noon};
use crate::random::SystemRandom;
use crate::stream::category;
use crate::testing::postgres::{Database, Server, prepare_all};

struct Shared(Database, Arc<ManualClock>);

#[async_trait]
impl Fixture for Shared {
    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(open(&self.0.url, Some(self.1.clone())).await)
    }

    fn clock(&self) -> &ManualClock {
        &self.1
    }
}

async fn fresh() -> Shared {
    Shared(migrated().await, Arc::new(ManualClock::at(noon())))
}

crate::log_contract!(fresh);

async fn migrated() -> Database {
    let database = Database::create().await;
    Postgres::migrate(&database.url, &LogName::LEDGER).await.unwrap();
    database
}

async fn open(url: &str, clock: Option<Arc<dyn Clock>>) -> Postgres {
    Postgres::open(url, LogName::LEDGER, Some("log.example"), clock, Durability::Durable).await.unwrap()
}

fn one() -> Vec<Append> {
    let stream = Stream::new(category::KEY, crate::event::new_id(&crate::clock::SystemClock, &SystemRandom));
    let event = New::of(&KeyRevoked {}, &Origination::system("test").metadata(&SystemRandom));
    vec![Append::to(stream, Expected::None, vec![event])]
}

async fn execute(url: &str, statement: &'static str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("set search_path = ledger; {statement}"))).execute(&mut connection).await.map(|_| ())
}

#[tokio::test]
async fn every_statement_is_one_that_postgres_takes() {
    prepare_all(&migrated().await.url, "ledger", "log").await;
}

#[tokio::test]
async fn events_are_append_only_even_to_their_owner() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    log.commit(one()).await.unwrap();
    for statement in ["update events set type = 'x'", "delete from events", "truncate events"] {
        let refused = execute(&database.url, statement).await.unwrap_err();
        assert!(refused.to_string().contains("never changed"), "{statement}: {refused}");
    }
    assert_eq!(log.read(&Query::from(Position::FIRST, 10)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_log_that_is_not_there_or_not_ours_is_named() {
    let database = Database::create().await;
    let open = |base| Postgres::open(&database.url, LogName::LEDGER, base, None, Durability::Durable);
    assert!(matches!(open(None).await, Err(Error::NotMigrated)));
    assert_eq!(Postgres::pending(&database.url, &LogName::LEDGER).await.unwrap(), ["events"]);
    Postgres::migrate(&database.url, &LogName::LEDGER).await.unwrap();
    assert!(matches!(open(None).await, Err(Error::NotMigrated)));
    assert_eq!(open(Some("a.example")).await.unwrap().origin().as_str(), "a.example/v1/logs/ledger");
    assert_eq!(open(Some("b.example")).await.unwrap().origin().as_str(), "a.example/v1/logs/ledger");
    assert_eq!(open(None).await.unwrap().origin().as_str(), "a.example/v1/logs/ledger");
    execute(&database.url, "insert into _sqlx_migrations values (99, 'later', now(), true, '', 0)").await.unwrap();
    assert!(matches!(open(None).await, Err(Error::NewerSchema)));
}

#[tokio::test]
async fn the_servers_clock_is_the_logs_clock() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    let before = crate::clock::SystemClock.now();
    log.commit(one()).await.unwrap();
    let head = log.head().await.unwrap();
    let after = crate::clock::SystemClock.now();
    assert!(before <= head.recorded_at && head.recorded_at <= head.now && head.now <= after, "{before} {head:?} {after}");
}

#[tokio::test]
async fn a_head_stays_behind_what_a_transaction_in_flight_may_record() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    log.commit(one()).await.unwrap();
    let mut appender = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("set search_path = ledger").execute(&mut appender).await.unwrap();
    for step in ["select size from head for update", "update head set recorded_at = recorded_at"] {
        for end in ["rollback", "commit"] {
            let before = log.head().await.unwrap();
            assert!(before.now > before.recorded_at, "{before:?}");
            sqlx::raw_sql(AssertSqlSafe(format!("begin; {step}"))).execute(&mut appender).await.unwrap();
            let during = log.head().await.unwrap();
            assert_eq!((during.size, during.now), (before.size, settled_before(before.recorded_at)), "{step}");
            // Others may have begun since: what is in flight is older than they.
            execute(&database.url, "create table others (); drop table others").await.unwrap();
            assert_eq!(log.head().await.unwrap(), during, "{step}");
            sqlx::raw_sql(end).execute(&mut appender).await.unwrap();
            let after = log.head().await.unwrap();
            assert!(after.now > before.now, "{step}, {end}: {after:?}");
        }
    }
}

/// Sits between begin and commit, wherever the future happens to be dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_commit_holds_nothing_and_the_head_tells_what_became_of_it() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    for delay_us in (0..4000).step_by(100) {
        let _ = tokio::time::timeout(Duration::from_micros(delay_us), log.commit(one())).await;
        let size = log.head().await.unwrap().size;
        assert_eq!(log.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap().len() as u64, size);
        tokio::time::timeout(Duration::from_secs(2), log.commit(one())).await.unwrap().unwrap();
        assert_eq!(log.head().await.unwrap().size, size + 1);
    }
}

#[tokio::test]
async fn a_head_asked_for_after_an_unknown_commit_waits_for_it() {
    let mut server = Server::start_private().await;
    let url = server.url("postgres");
    Postgres::migrate(&url, &LogName::LEDGER).await.unwrap();
    let log = open(&url, None).await;
    // A standby that never answers keeps the commit under way: it is durable here, and nobody sees it yet.
    let mut session = PgConnection::connect(&url).await.unwrap();
    sqlx::query("alter system set synchronous_standby_names = 'nobody'").execute(&mut session).await.unwrap();
    sqlx::query("select pg_reload_conf()").execute(&mut session).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(tokio::time::timeout(Duration::from_millis(500), log.commit(one())).await.is_err());
    let other = open(&url, None).await;
    assert_eq!(other.head().await.unwrap().size, 0);
    let heal = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        sqlx::query("alter system reset synchronous_standby_names").execute(&mut session).await.unwrap();
        sqlx::query("select pg_reload_conf()").execute(&mut session).await.unwrap();
    };
    let (head, ()) = futures::join!(log.head(), heal);
    assert_eq!(head.unwrap().size, 1);
    server.stop_fast();
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_servers_death() {
    let mut server = Server::start_private().await;
    let url = server.url("postgres");
    Postgres::migrate(&url, &LogName::LEDGER).await.unwrap();
    let log = Arc::new(open(&url, None).await);
    let mut acknowledged = Vec::new();
    for _ in 0..2 {
        let writer = {
            let log = log.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                loop {
                    match log.commit(one()).await {
                        Ok(outcomes) => acknowledged.extend(outcomes),
                        Err(CommitError::Contradiction(what)) => panic!("{what}"),
                        Err(_) => return acknowledged,
                    }
                }
            })
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.kill9();
        acknowledged.extend(writer.await.unwrap());
        assert!(matches!(log.commit(one()).await, Err(CommitError::NotCommitted(Error::Unavailable(_)))));
        server.start().await;
    }
    let size = log.head().await.unwrap().size;
    let events = log.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap();
    assert_eq!(events.len() as u64, size);
    assert!(acknowledged.len() as u64 <= size && size <= acknowledged.len() as u64 + 2);
    for outcome in acknowledged {
        let Outcome::Appended(appended) = outcome else { panic!("{outcome:?}") };
        assert_eq!(events[usize::try_from(appended[0].position.0).unwrap()], appended[0]);
    }
}

#[tokio::test]
async fn a_session_lost_between_commits_is_replaced() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    log.commit(one()).await.unwrap();
    execute(
        &database.url,
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'credence'",
    )
    .await
    .unwrap();
    log.commit(one()).await.unwrap();
    assert_eq!(log.head().await.unwrap().size, 2);
}

#[tokio::test]
async fn a_commit_is_heard_by_other_processes() {
    let database = migrated().await;
    let (writer, reader) = (open(&database.url, None).await, open(&database.url, None).await);
    let mut wakeups = reader.wakeups().unwrap();
    let started = Instant::now();
    // The listener may begin after the first commit: a hint may be missed, not all of them.
    loop {
        writer.commit(one()).await.unwrap();
        if tokio::time::timeout(Duration::from_millis(100), wakeups.changed()).await.is_ok() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "no hint ever came");
    }
    assert!(*wakeups.borrow_and_update() > 0);
}

#[tokio::test]
async fn a_row_that_cannot_be_is_reported_as_corruption() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    log.commit(one()).await.unwrap();
    execute(&database.url, "alter table events disable trigger events_are_append_only; update events set stream = 'x'").await.unwrap();
    let corrupt = log.read(&Query::from(Position::FIRST, 1)).await.unwrap_err();
    assert!(matches!(&corrupt, Error::Corrupt(what) if what.starts_with("ledger@0: ")), "{corrupt:?}");
}

#[tokio::test]
async fn what_contradicts_the_planner_stops_with_the_constraints_name() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    log.commit(one()).await.unwrap();
    execute(&database.url, "update head set size = 0").await.unwrap();
    let contradiction = log.commit(one()).await.unwrap_err();
    assert!(matches!(&contradiction, CommitError::Contradiction(what) if what == "events_position"), "{contradiction:?}");
}

#[test]
fn the_newest_migration_is_the_schema_told() {
    assert_eq!(STEPS.last().map(|(number, ..)| *number), i64::try_from(crate::log::SCHEMA).ok());
}
