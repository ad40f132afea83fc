//! The appender on a log that can be made to fail and to wait. What is checked in the end is always the log itself.

use std::collections::HashMap;

use async_trait::async_trait;
use futures::future::join_all;
use tokio::sync::Semaphore;

use super::*;
use crate::chain::Origin;
use crate::clock::ManualClock;
use crate::event::audit::{AccessRefused, KeyRevoked};
use crate::event::{New, Origination};
use crate::log::contract::noon;
use crate::log::memory::Memory;
use crate::log::{Expected, Head, KeyOwner, Listed, Refusal, UniqueKey};
use crate::random::SystemRandom;
use crate::stream::category;
use crate::{LogName, Stream, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Head,
    Commit,
    Read,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The call goes through.
    None,
    /// It fails, and says that nothing was done.
    Failed,
    /// It is lost, and nobody says what was done: nothing.
    Lost,
    /// It is done, and nobody says so.
    StoredButLost,
    /// The store refuses what was planned.
    Contradiction,
    /// It never ends.
    Hanging,
}

/// A log in memory whose next calls fail as told, and whose commits wait for permits.
struct Faulty {
    memory: Memory,
    faults: Mutex<HashMap<Step, VecDeque<Fault>>>,
    permits: Semaphore,
    batches: Mutex<Vec<usize>>,
    /// How many events were read.
    read: Mutex<usize>,
    /// Another process appends before and after each of our commits.
    crowded: bool,
}

impl Faulty {
    fn new(faults: &[(Step, &[Fault])], crowded: bool) -> Arc<Faulty> {
        let clock = Arc::new(ManualClock::at(noon()));
        Arc::new(Faulty {
            memory: Memory::new(LogName::AUDIT, Origin::new("faulty.example", &LogName::AUDIT), clock),
            faults: Mutex::new(faults.iter().map(|(step, faults)| (*step, faults.iter().copied().collect())).collect()),
            permits: Semaphore::new(Semaphore::MAX_PERMITS),
            batches: Mutex::new(Vec::new()),
            read: Mutex::new(0),
            crowded,
        })
    }

    fn gated() -> Arc<Faulty> {
        let log = Faulty::new(&[], false);
        log.permits.forget_permits(Semaphore::MAX_PERMITS);
        log
    }

    fn fault(&self, step: Step) -> Fault {
        self.faults.lock().unwrap().get_mut(&step).and_then(VecDeque::pop_front).unwrap_or(Fault::None)
    }

    async fn others_append(&self) {
        if self.crowded {
            self.memory.commit((0..3).map(|_| one()).collect()).await.unwrap();
        }
    }

    async fn events(&self) -> Vec<Recorded> {
        self.memory.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap()
    }

    fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }
}

fn broken() -> store::Error {
    store::Error::Unavailable("told to fail".into())
}

#[async_trait]
impl Log for Faulty {
    fn name(&self) -> &LogName {
        self.memory.name()
    }

    fn origin(&self) -> &Origin {
        self.memory.origin()
    }

    fn schema(&self) -> usize {
        self.memory.schema()
    }

    async fn head(&self) -> Result<Head, store::Error> {
        if self.fault(Step::Head) == Fault::None { self.memory.head().await } else { Err(broken()) }
    }

    async fn commit(&self, batch: Vec<Append>) -> Result<Vec<Outcome>, CommitError> {
        self.permits.acquire().await.unwrap().forget();
        self.batches.lock().unwrap().push(batch.len());
        self.others_append().await;
        let unknown = CommitError::Unknown { from: Position(self.events().await.len() as u64), source: broken() };
        let committed = match self.fault(Step::Commit) {
            Fault::None => self.memory.commit(batch).await,
            Fault::Failed => Err(CommitError::NotCommitted(broken())),
            Fault::Lost => Err(unknown),
            Fault::StoredButLost => self.memory.commit(batch).await.and(Err(unknown)),
            Fault::Contradiction => Err(CommitError::Contradiction("told to".to_owned())),
            Fault::Hanging => std::future::pending().await,
        };
        self.others_append().await;
        committed
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>, store::Error> {
        match self.fault(Step::Read) {
            Fault::None => {
                let events = self.memory.read(query).await?;
                *self.read.lock().unwrap() += events.len();
                Ok(events)
            }
            Fault::Hanging => std::future::pending().await,
            _ => Err(broken()),
        }
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<Recorded>, store::Error> {
        self.memory.read_at(positions).await
    }

    async fn read_first(&self, streams: &[Stream]) -> Result<Vec<Recorded>, store::Error> {
        self.memory.read_first(streams).await
    }

    async fn versions(&self, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, store::Error> {
        self.memory.versions(after, limit).await
    }

    async fn key_owner(&self, key: &UniqueKey) -> Result<Option<KeyOwner>, store::Error> {
        self.memory.key_owner(key).await
    }

    async fn keys(&self, after: Option<&UniqueKey>, limit: usize) -> Result<Vec<(UniqueKey, KeyOwner)>, store::Error> {
        self.memory.keys(after, limit).await
    }

    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64, store::Error> {
        self.memory.forget_idempotency(before).await
    }

    async fn forget_commands(&self, positions: &[Position]) -> Result<u64, store::Error> {
        self.memory.forget_commands(positions).await
    }
}

fn stream() -> Stream {
    Stream::new(category::KEY, crate::event::new_id(&crate::clock::SystemClock, &SystemRandom))
}

fn event() -> New {
    New::of(&KeyRevoked {}, &Origination::system("test").metadata(&SystemRandom))
}

fn one() -> Append {
    Append::to(stream(), Expected::None, vec![event(), event()])
}

fn of_size(padding: usize) -> Append {
    let payload = AccessRefused { via: "x".repeat(padding), problem: "forbidden".to_owned() };
    let event = New::of(&payload, &Origination::system("test").metadata(&SystemRandom));
    Append::to(stream(), Expected::None, vec![event])
}

fn limits() -> Limits {
    Limits { resolve_within: Duration::from_millis(200), ..Limits::default() }
}

fn start(log: &Arc<Faulty>, limits: Limits) -> Appender {
    Appender::start(log.clone(), limits)
}

/// Queues appends and lets the task see them.
async fn queued(appender: &Appender, appends: impl IntoIterator<Item = Append>) -> Vec<tokio::task::JoinHandle<Result<Outcome, Error>>> {
    let mut waiting = Vec::new();
    for append in appends {
        let appender = appender.clone();
        waiting.push(tokio::spawn(async move { appender.append(append).await }));
        // The test's runtime has one thread, so the append is in the queue, and the task has taken it if it was idle.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
    waiting
}

/// Appends in waves, under the faults given, and holds every answer against the log.
async fn hold(faults: &[(Step, &[Fault])], crowded: bool) {
    let log = Faulty::new(faults, crowded);
    let unresolvable = faults.iter().any(|(_, faults)| faults.len() > 10);
    let resolve_within = if unresolvable { Duration::from_millis(100) } else { Duration::from_secs(60) };
    let appender = start(&log, Limits { resolve_within, ..limits() });
    let mut answers = Vec::new();
    for _ in 0..4 {
        let appends: Vec<Append> = (0..3).map(|_| one()).collect();
        let results = join_all(appends.iter().map(|append| appender.append(append.clone()))).await;
        answers.extend(appends.into_iter().zip(results));
    }
    appender.shutdown().await;

    let events = log.events().await;
    let mut at: HashMap<[u8; 16], &Recorded> = HashMap::new();
    for event in &events {
        let id = *event.metadata().unwrap().event_id;
        assert!(at.insert(id, event).is_none(), "an event stands twice: {faults:?}");
    }
    for (append, answer) in &answers {
        let stored: Vec<&Recorded> = append.events().filter_map(|event| at.get(&event.event_id).copied()).collect();
        match answer {
            Ok(Outcome::Appended(events)) => assert_eq!(events.iter().collect::<Vec<_>>(), stored, "{faults:?}"),
            Err(Error::Store(_)) => assert!(stored.is_empty(), "said to be unwritten, but stored: {faults:?}"),
            Err(Error::Unknown(_)) => assert!(stored.is_empty() || stored.len() == 2, "{faults:?}"),
            other => panic!("{other:?} under {faults:?}"),
        }
    }
    let unknown = answers.iter().filter(|(_, answer)| matches!(answer, Err(Error::Unknown(_)))).count();
    assert!(unresolvable || unknown == 0, "{faults:?}");
}

#[tokio::test]
async fn under_every_fault_twice_over_each_acknowledged_append_is_there_exactly_once() {
    use Fault::{Failed, Lost, StoredButLost};
    let many = [Failed; 1000];
    let pairs =
        [Fault::None, Failed, Lost, StoredButLost].map(|first| [Fault::None, Failed, Lost, StoredButLost].map(|second| [first, second]));
    let commits: Vec<[Fault; 2]> = pairs.into_iter().flatten().collect();
    // Heads are asked for what became of a lost commit.
    let heads: [&[Fault]; 6] = [&[], &[Failed], &[Failed, Failed], &[Fault::None, Failed], &[Fault::None, Failed, Failed], &many];
    let reads: [&[Fault]; 4] = [&[], &[Failed], &[Failed, Failed], &many];
    let mut scenarios = Vec::new();
    for commit in &commits {
        for head in heads {
            for read in reads {
                for crowded in [false, true] {
                    scenarios.push(async move { hold(&[(Step::Commit, commit), (Step::Head, head), (Step::Read, read)], crowded).await });
                }
            }
        }
    }
    assert_eq!(join_all(scenarios).await.len(), 16 * 6 * 4 * 2);
}

#[tokio::test]
async fn what_became_of_a_commit_is_looked_for_where_it_would_stand_however_much_others_append() {
    let log = Faulty::new(&[(Step::Commit, &[Fault::Lost, Fault::StoredButLost])], true);
    log.memory.commit((0..1000).map(|_| one()).collect()).await.unwrap();
    let appender = start(&log, limits());
    assert!(matches!(appender.append(one()).await, Err(Error::Store(_))));
    log.memory.commit((0..1000).map(|_| one()).collect()).await.unwrap();
    assert!(matches!(appender.append(one()).await, Ok(Outcome::Appended(events)) if events.len() == 2));
    assert_eq!(*log.read.lock().unwrap(), 4);
}

#[tokio::test]
async fn what_became_of_a_commit_stays_unknown_once_the_log_took_too_long_to_tell() {
    let log = Faulty::new(&[(Step::Commit, &[Fault::StoredButLost]), (Step::Read, &[Fault::Hanging])], false);
    let appender = start(&log, limits());
    let answer = tokio::time::timeout(Duration::from_secs(20), appender.append(one())).await;
    assert!(matches!(answer, Ok(Err(Error::Unknown(_)))));
    appender.append(one()).await.unwrap();
}

#[tokio::test]
async fn an_idle_appender_commits_at_once_and_a_busy_one_collects() {
    let log = Faulty::gated();
    let appender = start(&log, limits());
    let waiting = queued(&appender, (0..8).map(|_| one())).await;
    log.permits.add_permits(10);
    for answer in waiting {
        assert!(matches!(answer.await.unwrap(), Ok(Outcome::Appended(events)) if events.len() == 2));
    }
    assert_eq!(log.batches(), [1, 7]);
}

#[tokio::test]
async fn a_batch_is_bounded_by_count_and_by_bytes() {
    let log = Faulty::gated();
    let appender = start(&log, Limits { batch_count: 4, batch_bytes: 10_000, ..limits() });
    let mut waiting = queued(&appender, [one()]).await;
    waiting.extend(queued(&appender, (0..5).map(|_| one())).await);
    waiting.extend(queued(&appender, [6000, 6000, 20_000, 10].map(of_size)).await);
    log.permits.add_permits(10);
    join_all(waiting).await;
    assert_eq!(log.batches(), [1, 4, 2, 1, 1, 1]);
}

#[tokio::test]
async fn a_full_queue_hands_the_append_back() {
    let log = Faulty::gated();
    let appender = start(&log, Limits { queue_count: 2, queue_bytes: 10_000, ..limits() });
    let first = queued(&appender, [one()]).await;
    // Alone in the queue even an append beyond the bound may wait.
    let large = queued(&appender, [of_size(20_000)]).await;
    let refused = one();
    assert!(matches!(appender.append(refused.clone()).await, Err(Error::Full(back)) if *back == refused));
    log.permits.add_permits(2);
    join_all(first.into_iter().chain(large)).await;
    let mut waiting = queued(&appender, [one(), one(), one()]).await;
    assert!(matches!(appender.append(refused.clone()).await, Err(Error::Full(back)) if *back == refused));
    log.permits.add_permits(10);
    waiting.extend(queued(&appender, [refused]).await);
    for answer in join_all(waiting).await {
        assert!(matches!(answer.unwrap(), Ok(Outcome::Appended(_))));
    }
}

#[tokio::test]
async fn a_refusal_is_answered_to_its_own_append() {
    let log = Faulty::gated();
    let appender = start(&log, limits());
    let stream = stream();
    let again = || Append::to(stream.clone(), Expected::None, vec![event()]);
    let waiting = queued(&appender, [one(), again(), again(), one()]).await;
    log.permits.add_permits(2);
    let answers: Vec<_> = join_all(waiting).await.into_iter().map(|answer| answer.unwrap().unwrap()).collect();
    assert!(matches!(
        &answers[..],
        [Outcome::Appended(_), Outcome::Appended(_), Outcome::Refused(Refusal::StaleVersion { .. }), Outcome::Appended(_)]
    ));
}

#[tokio::test]
async fn a_contradiction_stops_it_for_good() {
    let log = Faulty::new(&[(Step::Commit, &[Fault::None, Fault::Contradiction])], false);
    let appender = start(&log, limits());
    appender.append(one()).await.unwrap();
    assert!(appender.is_healthy());
    let both = join_all([appender.append(one()), appender.append(one())]).await;
    assert!(both.iter().all(|answer| matches!(answer, Err(Error::Stopped))));
    assert!(matches!(appender.append(one()).await, Err(Error::Stopped)));
    assert!(!appender.is_healthy());
    assert_eq!(log.events().await.len(), 2);
    appender.shutdown().await;
}

#[tokio::test]
async fn what_still_waits_when_it_stops_for_good_is_told_that_nothing_was_written() {
    let log = Faulty::gated();
    log.faults.lock().unwrap().insert(Step::Commit, [Fault::Contradiction].into());
    let appender = start(&log, limits());
    let waiting = queued(&appender, [one(), one(), one()]).await;
    log.permits.add_permits(1);
    for answer in waiting {
        assert!(matches!(answer.await.unwrap(), Err(Error::Stopped)));
    }
    assert_eq!(log.batches(), [1]);
}

#[tokio::test]
async fn a_commit_that_failed_is_told_until_one_goes_well_or_for_a_while() {
    use Fault::{Failed, Lost};
    let log = Faulty::new(&[(Step::Commit, &[Fault::None, Failed, Lost, Fault::None, Failed])], false);
    let appender = start(&log, limits());
    appender.append(one()).await.unwrap();
    assert!(appender.trouble().is_none());
    for _ in 0..2 {
        appender.append(one()).await.unwrap_err();
        assert!(matches!(appender.trouble().as_deref(), Some(store::Error::Unavailable(_))));
    }
    appender.append(one()).await.unwrap();
    assert!(appender.trouble().is_none());
    appender.append(one()).await.unwrap_err();
    drop(appender);
    // Who is not asked any more because of it is asked again.
    let log = Faulty::new(&[(Step::Commit, &[Failed])], false);
    let appender = start(&log, Limits { trouble_kept: Duration::from_millis(50), ..limits() });
    appender.append(one()).await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(appender.trouble().is_none() && appender.is_healthy());
}

#[tokio::test]
async fn shutting_down_commits_what_waits_and_takes_no_more() {
    let log = Faulty::gated();
    let appender = start(&log, Limits { batch_count: 2, ..limits() });
    let waiting = queued(&appender, (0..6).map(|_| one())).await;
    let ending = tokio::spawn({
        let appender = appender.clone();
        async move { appender.shutdown().await }
    });
    tokio::task::yield_now().await;
    assert!(matches!(appender.append(one()).await, Err(Error::Stopped)));
    assert!(!ending.is_finished());
    log.permits.add_permits(10);
    ending.await.unwrap();
    for answer in waiting {
        assert!(matches!(answer.await.unwrap(), Ok(Outcome::Appended(_))));
    }
    assert!(appender.is_healthy());
    appender.shutdown().await;
    assert_eq!(log.events().await.len(), 12);
}

#[tokio::test]
async fn an_append_is_committed_though_its_caller_and_the_last_handle_are_gone() {
    let log = Faulty::gated();
    let appender = start(&log, limits());
    let mut head = appender.head_watch();
    for caller in queued(&appender, [one(), one()]).await {
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
    }
    drop(appender);
    log.permits.add_permits(2);
    while head.changed().await.is_ok() {}
    assert_eq!(log.events().await.len(), 4);
}

#[tokio::test]
async fn the_head_watch_tells_of_every_commit() {
    let appender = start(&Faulty::new(&[], false), limits());
    let mut head = appender.head_watch();
    assert_eq!(*head.borrow_and_update(), None);
    for last in [1, 3] {
        appender.append(one()).await.unwrap();
        assert!(head.has_changed().unwrap());
        assert_eq!(*head.borrow_and_update(), Some(Position(last)));
    }
}

#[tokio::test]
async fn an_append_to_a_file_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = || async {
        let clock = Arc::new(crate::clock::SystemClock);
        Arc::new(crate::log::sqlite::Sqlite::open(folder.path(), LogName::LEDGER, "a.example", clock).await.unwrap())
    };
    let appender = Appender::start(open().await, limits());
    let answers = join_all((0..500).map(|_| appender.append(one()))).await;
    appender.shutdown().await;
    let mut appended: Vec<Recorded> = Vec::new();
    for answer in answers {
        match answer.unwrap() {
            Outcome::Appended(events) => appended.extend(events),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(open().await.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap(), appended);
}
