use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use super::*;
use crate::clock::ManualClock;
use crate::event::audit::KeyRevoked;
use crate::event::{New, Origination};
use crate::log::contract::{Fixture, noon};
use crate::log::{Expected, Refusal, Restore};
use crate::random::SystemRandom;
use crate::stream::category;
use crate::testing::postgres::{Database, Server, prepare_all};

struct Shared(Database, Arc<ManualClock>);

#[async_trait]
impl Fixture for Shared {
    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(open(&self.0.url, Some(self.1.clone())).await)
    }

    async fn restorable(&self) -> Arc<dyn Restore> {
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

/// Handles that have met the log's end where they had left it, and so try to append with one statement. The server's clock dates
/// their events, so that they are held to sentences without a clock only.
struct Familiar(Shared);

#[async_trait]
impl Fixture for Familiar {
    async fn open(&self) -> Arc<dyn Log> {
        let log = open(&self.0.0.url, None).await;
        for _ in 0..2 {
            let stream = Stream::new(category::KEY, Uuid::from_u128(9));
            let refused = Append::to(stream, Expected::Exact(Version(9)), one().remove(0).streams.remove(0).events);
            assert!(matches!(&log.commit(vec![refused]).await.unwrap()[..], [Outcome::Refused(_)]));
        }
        Arc::new(log)
    }

    async fn restorable(&self) -> Arc<dyn Restore> {
        self.0.restorable().await
    }

    fn clock(&self) -> &ManualClock {
        self.0.clock()
    }
}

mod familiar {
    use super::*;

    async fn fresh() -> Familiar {
        Familiar(super::fresh().await)
    }

    crate::log_contract! { fresh:
        every_handle_knows_the_same_log
        positions_and_versions_are_dense
        large_events_and_large_batches_go_through
        the_chain_can_be_recomputed_from_the_origin
        expected_none_wants_a_stream_without_events
        expected_exact_wants_the_last_version
        expected_any_takes_every_stream
        a_precondition_without_events_guards_and_leaves_no_trace
        an_append_commits_whole_or_not_at_all
        an_append_sees_what_its_batch_mates_before_it_did
        a_stale_version_fails_alone_in_its_batch
        a_taken_key_fails_alone_in_its_batch
        a_repeated_idempotency_key_is_answered_alone_in_its_batch
        a_batch_of_refusals_leaves_the_log_as_it_was
        a_key_has_one_owner_until_it_is_released
        a_key_is_claimed_released_and_claimed_again_within_a_batch
        a_key_passes_from_one_stream_to_another_in_one_append
        a_refused_append_releases_nothing
        handles_that_commit_at_once_leave_one_dense_log
    }
}

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
    let database = migrated().await;
    crate::vault::postgres::Postgres::migrate(&database.url).await.unwrap();
    prepare_all(&database.url, "ledger", "log").await;
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
    assert_eq!(Postgres::pending(&database.url, &LogName::LEDGER).await.unwrap(), ["events", "append_if_unchanged", "tree"]);
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

#[tokio::test]
async fn a_head_read_from_a_standby_stays_behind_what_its_primary_may_record() {
    let mut server = Server::start_private().await;
    let url = server.url("postgres");
    Postgres::migrate(&url, &LogName::LEDGER).await.unwrap();
    let clock = Arc::new(ManualClock::at(noon()));
    let (log, timed) = (open(&url, None).await, open(&url, Some(clock)).await);
    log.commit(one()).await.unwrap();
    let before = log.head().await.unwrap();
    assert!(before.now > before.recorded_at, "{before:?}");
    // A standby that hears nothing from its primary lags as far behind as can be.
    server.stop_fast();
    std::fs::write(server.data_folder().join("standby.signal"), "").unwrap();
    server.start().await;
    for log in [&log, &timed] {
        let standby = log.head().await.unwrap();
        assert_eq!((standby.size, standby.now), (before.size, settled_before(before.recorded_at)));
    }
    execute(&url, "select pg_promote()").await.unwrap();
    assert!(log.head().await.unwrap().now > before.now);
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

/// A standby that never answers keeps commits under way: they are durable here, and nobody sees them yet. `None` ends it.
async fn wait_for_standby(url: &str, name: Option<&str>) {
    let mut session = PgConnection::connect(url).await.unwrap();
    let setting =
        name.map_or_else(|| "reset synchronous_standby_names".to_owned(), |name| format!("set synchronous_standby_names = '{name}'"));
    sqlx::query(AssertSqlSafe(format!("alter system {setting}"))).execute(&mut session).await.unwrap();
    sqlx::query("select pg_reload_conf()").execute(&mut session).await.unwrap();
}

/// A server of its own with a log, whose commits wait for a standby that is not there.
async fn waiting_for_nobody() -> (Server, String, Postgres) {
    let server = Server::start_private().await;
    let url = server.url("postgres");
    Postgres::migrate(&url, &LogName::LEDGER).await.unwrap();
    let log = open(&url, None).await;
    wait_for_standby(&url, Some("nobody")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    (server, url, log)
}

#[tokio::test]
async fn heads_asked_for_after_an_unknown_commit_wait_for_it() {
    let (mut server, url, log) = waiting_for_nobody().await;
    assert!(tokio::time::timeout(Duration::from_millis(500), log.commit(one())).await.is_err());
    let other = open(&url, None).await;
    assert_eq!(other.head().await.unwrap().size, 0);
    let heal = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        wait_for_standby(&url, None).await;
    };
    let (first, second, ()) = futures::join!(log.head(), log.head(), heal);
    assert_eq!((first.unwrap().size, second.unwrap().size), (1, 1));
    server.stop_fast();
}

#[tokio::test]
async fn a_commit_that_never_reached_its_synchronous_standby_is_not_told_before_it_has() {
    let (mut server, url, log) = waiting_for_nobody().await;
    // The server that stops ends the wait: the commit is in its own log only.
    let stop = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.stop_fast();
    };
    let (committed, ()) = futures::join!(log.commit(one()), stop);
    assert!(matches!(committed, Err(CommitError::Unknown { from: Position(0), .. })), "{committed:?}");
    server.start().await;
    assert_eq!(open(&url, None).await.head().await.unwrap().size, 1);
    assert!(tokio::time::timeout(Duration::from_secs(1), log.head()).await.is_err());
    wait_for_standby(&url, None).await;
    assert_eq!(log.head().await.unwrap().size, 1);
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

#[tokio::test]
async fn a_time_that_is_not_reached_yet_bounds_a_read_to_what_was_there_when_it_was_looked_for() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    log.commit(vec![one().remove(0), one().remove(0)]).await.unwrap();
    let since = |since| Query { since: Some(since), ..Query::from(Position::FIRST, 9) };
    // An event that is appended before the read begins would stand at 2.
    assert_eq!(log.bounds(&since(Timestamp::MAX)).await.unwrap(), None);
    assert_eq!(log.bounds(&since(Timestamp::EPOCH)).await.unwrap(), Some((0, 1)));
}

/// Whether the last commit of all was one statement.
async fn went_short(url: &str) -> bool {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let last = "select query ~ 'append_if_unchanged' from pg_stat_activity
        where datname = current_database() and query ~ 'append_if_unchanged|^commit' and pid <> pg_backend_pid()
        order by query_start desc limit 1";
    sqlx::query_scalar(last).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_log_that_nobody_else_appends_to_takes_one_statement_a_batch() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    let mut ways = Vec::new();
    for _ in 0..20 {
        log.commit(one()).await.unwrap();
        ways.push(went_short(&database.url).await);
    }
    // Not before the end was met where it had been left, and then but for a late lock now and then.
    assert!(!ways[0] && !ways[1] && ways.iter().filter(|short| **short).count() >= 10, "{ways:?}");
    let other = open(&database.url, None).await;
    other.commit(one()).await.unwrap();
    for _ in 0..2 {
        log.commit(one()).await.unwrap();
        assert!(!went_short(&database.url).await, "the end has moved");
    }
    let events = log.read(&Query::from(Position::FIRST, 100)).await.unwrap();
    assert_eq!(events.len(), 23);
    assert!(events.is_sorted_by_key(|event| event.recorded_at));
}

#[tokio::test]
async fn a_time_is_never_behind_the_clock_under_the_lock() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    for _ in 0..3 {
        log.commit(one()).await.unwrap();
    }
    // The lock is held by somebody for longer than was foreseen.
    let mut holder = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("set search_path = ledger; begin; select size from head for update").execute(&mut holder).await.unwrap();
    let commit = log.commit(one());
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = crate::clock::SystemClock.now();
        sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
        now
    };
    let (committed, released) = tokio::join!(commit, release);
    let [Outcome::Appended(events)] = &committed.unwrap()[..] else { panic!("not appended") };
    assert!(events[0].recorded_at >= released, "{} {released}", events[0].recorded_at);
}

#[tokio::test]
async fn an_append_whose_subject_was_lost_is_refused_alone_in_its_batch() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    execute(&database.url, "create schema vault; create table vault.subjects (id uuid)").await.unwrap();
    let (there, gone) = (Uuid::from_u128(1), Uuid::from_u128(2));
    execute(&database.url, "insert into vault.subjects values ('00000000-0000-0000-0000-000000000001')").await.unwrap();
    let relying = |subjects: &[Uuid]| Append { relies_on: subjects.to_vec(), ..one().remove(0) };
    let refused = async || {
        let outcomes = log.commit(vec![relying(&[there]), relying(&[there, gone]), relying(&[there])]).await.unwrap();
        let refused = Outcome::Refused(Refusal::SubjectGone { subject: gone });
        matches!(&outcomes[..], [Outcome::Appended(_), second, Outcome::Appended(_)] if *second == refused)
    };
    assert!(refused().await, "on the long way");
    for _ in 0..10 {
        log.commit(vec![relying(&[there])]).await.unwrap();
    }
    assert!(refused().await, "after commits that went the short way");
    assert_eq!(log.head().await.unwrap().size, 14);
}

#[tokio::test]
async fn an_append_whose_subject_was_erased_is_refused_alone_in_its_batch() {
    let database = migrated().await;
    let log = open(&database.url, None).await;
    execute(&database.url, "create schema vault; create table vault.subjects (id uuid)").await.unwrap();
    execute(&database.url, "insert into vault.subjects values ('00000000-0000-0000-0000-000000000001')").await.unwrap();
    let (there, gone) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let relying = |subject: Uuid| Append { relies_on: vec![subject], ..one().remove(0) }.while_empty(Stream::subject(subject));
    let events = one().remove(0).streams.remove(0).events;
    log.commit(vec![Append::to(Stream::subject(gone), Expected::None, events)]).await.unwrap();
    for _ in 0..5 {
        let outcomes = log.commit(vec![relying(there), relying(gone), relying(there)]).await.unwrap();
        let refused = Outcome::Refused(Refusal::StaleVersion { stream: Stream::subject(gone), actual: Some(Version(0)) });
        assert!(matches!(&outcomes[..], [Outcome::Appended(_), second, Outcome::Appended(_)] if *second == refused));
    }
    // What is guarded by a stream without events goes the short way, too.
    for _ in 0..5 {
        log.commit(vec![relying(there)]).await.unwrap();
    }
    assert_eq!(log.head().await.unwrap().size, 16);
}

#[tokio::test]
async fn a_database_whose_transactions_are_stricter_by_default_makes_no_difference() {
    let database = migrated().await;
    execute(&database.url, "do $$ begin execute format('alter database %I set default_transaction_isolation = %L', current_database(), 'serializable'); end $$").await.unwrap();
    let (log, other) = (open(&database.url, None).await, open(&database.url, None).await);
    for _ in 0..4 {
        log.commit(one()).await.unwrap();
    }
    // What waits for the lock on the short way finds the head moved, and goes the long way.
    let mut holder = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("set search_path = ledger; begin; select size from head for update").execute(&mut holder).await.unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    };
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        log.commit(one()).await
    };
    let (first, second, ()) = tokio::join!(other.commit(one()), late, release);
    first.unwrap();
    second.unwrap();
    assert_eq!(log.head().await.unwrap().size, 6);
}
