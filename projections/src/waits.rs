//! Waiting until a read model has come far enough, for many callers at once: one question to the store for all of them.
//!
//! A task each projection. It asks while somebody waits, one question after the other: at once when somebody comes, when this
//! process moves a model on, and else after pauses that grow, since another process may move it on. Who waits for what makes no
//! difference to the store, nor how many do. Nobody is answered by what was asked before he came.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use credence_ledger::batcher::Refused;
use credence_ledger::store;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::projection::{Cursor, Error, Projection};
use crate::read_store::ReadStore;

/// The pause after which the store is asked again for whoever has just come.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Whether a wait is over, or must be given up.
type Judge = Box<dyn Fn(&Cursor) -> Result<bool, Error> + Send>;

/// The way to the tasks, which end when all its clones are dropped.
#[derive(Clone)]
pub struct Waits {
    verification: Waiters,
    history: Waiters,
}

impl Waits {
    /// Starts the tasks, which need a tokio runtime.
    #[must_use]
    pub fn start<S: ReadStore + ?Sized>(store: &Arc<S>) -> Waits {
        let of = |projection| {
            let (waiters, queue) = mpsc::unbounded_channel();
            let store = Arc::clone(store);
            tokio::spawn(async move { serve(|| store.cursor(projection), store.moved(), queue).await });
            Waiters { projection, queue: waiters }
        };
        Waits { verification: of(Projection::Verification), history: of(Projection::History) }
    }

    /// Waits until a projection's cursor is one that `judge` takes, at most for `timeout`, and answers it. The store is asked at least once.
    ///
    /// # Errors
    /// [`Error::NotCaughtUp`] after `timeout`; at once what `judge` answers, and whatever keeps the cursor from being read.
    pub async fn until(
        &self,
        projection: Projection,
        judge: impl Fn(&Cursor) -> Result<bool, Error> + Send + 'static,
        timeout: Duration,
    ) -> Result<Cursor, Error> {
        let waiters = match projection {
            Projection::Verification => &self.verification,
            Projection::History => &self.history,
        };
        waiters.until(Box::new(judge), timeout).await
    }
}

/// The way to one task. Its queue needs no bound of its own: whoever waits in it is a request that is being answered.
#[derive(Clone)]
struct Waiters {
    projection: Projection,
    queue: mpsc::UnboundedSender<Waiter>,
}

impl Waiters {
    async fn until(&self, judge: Judge, timeout: Duration) -> Result<Cursor, Error> {
        let (answer, answered) = oneshot::channel();
        let stopped = || Error::from(store::Error::Unavailable(Refused::Stopped.into()));
        let waiter = Waiter { projection: self.projection, judge, deadline: Instant::now() + timeout, answer };
        self.queue.send(waiter).map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

struct Waiter {
    projection: Projection,
    judge: Judge,
    deadline: Instant,
    answer: oneshot::Sender<Result<Cursor, Error>>,
}

impl Waiter {
    /// Answers, or waits on where the store may be asked again in time.
    fn hear(self, told: &Result<Cursor, Error>, pause: Duration) -> Option<Waiter> {
        if self.answer.is_closed() {
            return None;
        }
        let judged = told.as_ref().map_err(Error::clone).and_then(|cursor| Ok((cursor, (self.judge)(cursor)?)));
        let answer = match judged {
            Ok((cursor, true)) => Ok(cursor.clone()),
            Ok((_, false)) if Instant::now() + pause <= self.deadline => return Some(self),
            Ok((cursor, false)) => Err(Error::NotCaughtUp { projection: self.projection, position: cursor.position }),
            Err(failed) => Err(failed),
        };
        // Whoever went away meanwhile misses nothing.
        let _ = self.answer.send(answer);
        None
    }
}

async fn serve<F>(ask: impl Fn() -> F, moved: &Notify, mut queue: mpsc::UnboundedReceiver<Waiter>)
where
    F: Future<Output = Result<Cursor, Error>>,
{
    while let Some(first) = queue.recv().await {
        let (mut waiting, mut pause) = (vec![first], PAUSE_MIN);
        while !waiting.is_empty() {
            while let Ok(newcomer) = queue.try_recv() {
                waiting.push(newcomer);
                pause = PAUSE_MIN;
            }
            // Listening begins before asking, so that what moves in between is not missed.
            let moves = moved.notified();
            let told = ask().await;
            waiting = waiting.into_iter().filter_map(|waiter| waiter.hear(&told, pause)).collect();
            if waiting.is_empty() {
                break;
            }
            tokio::select! {
                Some(newcomer) = queue.recv() => {
                    waiting.push(newcomer);
                    pause = PAUSE_MIN;
                }
                () = moves => {}
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use credence_ledger::chain::Hash;
    use credence_ledger::{Position, Timestamp};
    use futures::future::join_all;
    use tokio::time::sleep;

    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(5);

    /// A model that counts how often it is asked, on a clock that stands still while anybody works.
    struct Model {
        position: Arc<Mutex<Result<u64, Error>>>,
        asked: Arc<AtomicUsize>,
        moved: Arc<Notify>,
        waiters: Waiters,
    }

    impl Model {
        fn start() -> Model {
            let (waiters, queue) = mpsc::unbounded_channel();
            let (position, asked, moved) = (Arc::new(Mutex::new(Ok(0))), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
            let ask = {
                let (position, asked) = (Arc::clone(&position), Arc::clone(&asked));
                move || {
                    asked.fetch_add(1, Ordering::SeqCst);
                    std::future::ready(position.lock().unwrap().clone().map(cursor))
                }
            };
            let rung = Arc::clone(&moved);
            tokio::spawn(async move { serve(ask, &rung, queue).await });
            Model { position, asked, moved, waiters: Waiters { projection: Projection::Verification, queue: waiters } }
        }

        /// As another process does it: nobody rings.
        fn comes_to(&self, position: Result<u64, Error>) {
            *self.position.lock().unwrap() = position;
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }

        /// Answers when the wait is over, too.
        async fn passes(&self, position: u64) -> (Result<u64, Error>, Instant) {
            let judge = move |cursor: &Cursor| Ok(cursor.position >= Some(Position(position)));
            let cursor = self.waiters.until(Box::new(judge), WAIT_MAX).await;
            (cursor.map(|cursor| cursor.position.unwrap().0), Instant::now())
        }
    }

    fn cursor(position: u64) -> Cursor {
        Cursor {
            projection: Projection::Verification,
            generation: 1,
            position: Some(Position(position)),
            chain_hash: Hash([0; 32]),
            head_seen: None,
            confirmed_at: Timestamp::EPOCH,
            unhealthy: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hundreds_that_wait_ask_as_seldom_as_one_and_all_are_answered_when_the_model_has_passed() {
        for count in [1, 500] {
            let model = Model::start();
            let (waits, ()) = tokio::join!(join_all((0..count).map(|_| model.passes(7))), async {
                sleep(Duration::from_secs(1)).await;
                model.comes_to(Ok(7));
            });
            let (answers, times): (Vec<_>, Vec<_>) = waits.into_iter().unzip();
            assert_eq!(answers.into_iter().collect::<Result<Vec<_>, _>>().unwrap(), vec![7; count]);
            assert!(times.iter().all(|time| *time == times[0]));
            assert_eq!(model.asked(), 25, "of {count}: pauses that grow, then one each 50 ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_late_is_answered_as_if_nobody_else_waited() {
        let model = Model::start();
        let beyond_anything = model.passes(u64::MAX);
        let late = async {
            sleep(Duration::from_millis(3_333)).await;
            let (asked, came) = (model.asked(), Instant::now());
            assert_eq!(model.passes(0).await.1, came, "asked for at once");
            assert_eq!(model.asked(), asked + 1);
            let passes = async {
                sleep(Duration::from_millis(5)).await;
                model.comes_to(Ok(3));
            };
            let ((position, passed), ()) = tokio::join!(model.passes(3), passes);
            assert_eq!((position.unwrap(), passed - came), (3, Duration::from_millis(6)), "after 2 and 4 ms");
        };
        let ((given_up, _), ()) = tokio::join!(beyond_anything, late);
        assert!(matches!(given_up, Err(Error::NotCaughtUp { position: Some(Position(3)), .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_position_beyond_anything_is_waited_for_in_bounds_and_nobody_is_asked_afterwards() {
        let model = Model::start();
        let began = Instant::now();
        let (given_up, at) = model.passes(u64::MAX).await;
        assert!(matches!(given_up, Err(Error::NotCaughtUp { position: Some(Position(0)), .. })), "{given_up:?}");
        assert!((WAIT_MAX - PAUSE_MAX..=WAIT_MAX).contains(&(at - began)), "{:?}", at - began);
        let asked = model.asked();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(model.asked(), asked);
        // Those who went away count for nothing.
        let _ = tokio::time::timeout(Duration::from_secs(1), model.passes(u64::MAX)).await.unwrap_err();
        let asked = model.asked();
        sleep(Duration::from_secs(60)).await;
        assert!(model.asked() <= asked + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_moves_the_model_on_in_this_process_wakes_all_at_once() {
        let model = Model::start();
        let moves = async {
            sleep(Duration::from_millis(3_333)).await;
            model.comes_to(Ok(7));
            model.moved.notify_waiters();
            Instant::now()
        };
        let (waits, moved) = tokio::join!(join_all((0..500).map(|_| model.passes(7))), moves);
        assert!(waits.iter().all(|(answer, time)| matches!(answer, Ok(7)) && *time == moved));
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_gives_no_answer_ends_every_wait_at_once() {
        let model = Model::start();
        let lost = async {
            sleep(Duration::from_secs(1)).await;
            model.comes_to(Err(store::Error::Busy.into()));
        };
        let (waits, ()) = tokio::join!(join_all((0..500).map(|_| model.passes(7))), lost);
        assert!(waits.iter().all(|(answer, _)| matches!(answer, Err(Error::Store(failed)) if matches!(**failed, store::Error::Busy))));
        assert_eq!(model.asked(), 25);
    }

    #[tokio::test(start_paused = true)]
    async fn a_judge_may_give_up() {
        let model = Model::start();
        let judge = |cursor: &Cursor| cursor.check(Timestamp::from_micros(2_000_000), Duration::from_secs(1)).map(|()| true);
        let judged = model.waiters.until(Box::new(judge), WAIT_MAX).await;
        assert!(matches!(judged, Err(Error::Stale { .. })));
        assert_eq!(model.asked(), 1);
    }
}
