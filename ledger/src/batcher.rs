//! Many callers that ask a store alike, one call for all of them.
//!
//! One task each. Idle, it asks for what arrives at once; while a call runs, what arrives becomes the next one. Nobody is
//! answered before the store has answered, and the queue is bounded.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// How many callers may wait.
const QUEUE_MAX: usize = 20_000;

/// How much one call asks for at most.
const BATCH_MAX: usize = 2_000;

/// There is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many callers wait. This one was not taken; a later try can help.
    #[error("too many callers wait")]
    Full,
    /// The task has ended, which only a panic makes it do before its callers.
    #[error("the task that asks the store has stopped")]
    Stopped,
}

/// The way to the task, which ends when all its clones are dropped and everybody is answered.
pub struct Batcher<Q, A> {
    queue: mpsc::Sender<Waiting<Q, A>>,
}

impl<Q, A> Clone for Batcher<Q, A> {
    fn clone(&self) -> Self {
        Batcher { queue: self.queue.clone() }
    }
}

struct Waiting<Q, A> {
    question: Q,
    answer: oneshot::Sender<A>,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts the task, which needs a tokio runtime. `ask` answers each question in its place.
    #[must_use]
    pub fn start<F: Future<Output = Vec<A>> + Send + 'static>(ask: impl Fn(Vec<Q>) -> F + Send + 'static) -> Batcher<Q, A> {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(serve(ask, waiting));
        Batcher { queue }
    }

    /// Asks together with whoever else asks now. Dropping the future may come too late to take the question back.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn ask(&self, question: Q) -> Result<A, Refused> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Waiting { question, answer }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Stopped,
        })?;
        answered.await.map_err(|_| Refused::Stopped)
    }
}

async fn serve<Q, A, F: Future<Output = Vec<A>>>(ask: impl Fn(Vec<Q>) -> F, mut queue: mpsc::Receiver<Waiting<Q, A>>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        batch.retain(|waiting| !waiting.answer.is_closed());
        let (questions, callers): (Vec<Q>, Vec<oneshot::Sender<A>>) =
            batch.drain(..).map(|Waiting { question, answer }| (question, answer)).unzip();
        if questions.is_empty() {
            continue;
        }
        for (caller, answer) in callers.into_iter().zip(ask(questions).await) {
            // Whoever went away meanwhile misses nothing.
            let _ = caller.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    /// Answers each number with itself and counts the calls.
    fn echo(calls: &Arc<AtomicUsize>) -> Batcher<usize, usize> {
        let calls = Arc::clone(calls);
        Batcher::start(move |questions| {
            calls.fetch_add(1, Ordering::SeqCst);
            async move { questions }
        })
    }

    #[tokio::test]
    async fn callers_that_wait_together_share_a_call_and_each_gets_its_own_answer() {
        let calls = Arc::default();
        let batcher = echo(&calls);
        let answers = join_all((0..500).map(|number| batcher.ask(number))).await;
        assert_eq!(answers, (0..500).map(Ok).collect::<Vec<_>>());
        assert_eq!(calls.load(Ordering::SeqCst), 1, "on this runtime the task runs once all have asked");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_answers_those_it_took() {
        let batcher = echo(&Arc::default());
        let answers = join_all((0..QUEUE_MAX + 7).map(|number| batcher.ask(number))).await;
        assert_eq!(answers.iter().filter(|answer| **answer == Err(Refused::Full)).count(), 7);
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), QUEUE_MAX);
    }

    #[tokio::test]
    async fn a_task_that_panicked_is_told() {
        let batcher: Batcher<(), ()> = Batcher::start(|_| async { panic!("as this test wants") });
        assert_eq!(batcher.ask(()).await, Err(Refused::Stopped));
        assert_eq!(batcher.ask(()).await, Err(Refused::Stopped));
    }
}
