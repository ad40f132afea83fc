//! Many callers that each need a subject, one durable commit for all of them.
//!
//! One task a process. Idle, it asks the vault for what arrives at once; while a commit runs, what arrives becomes the next
//! call. Nobody is answered before the vault has answered, the queue is bounded, and a row that cannot be read fails its own
//! callers only.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{Subject, SubjectRefs, Vault};
use crate::{Timestamp, store};

/// How many callers may wait.
const QUEUE_MAX: usize = 20_000;

/// How many subjects one call asks for at most.
const BATCH_MAX: usize = 2_000;

/// There is no subject.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many callers wait. This one was not taken; a later try can help.
    #[error("too many subjects are waited for")]
    Full,
    /// The vault failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The way to the task, which ends when all its clones are dropped and everybody is answered.
#[derive(Clone)]
pub struct Batcher {
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    refs: SubjectRefs,
    now: Timestamp,
    answer: oneshot::Sender<Result<Subject, store::Error>>,
}

impl Batcher {
    /// Starts the task, which needs a tokio runtime.
    #[must_use]
    pub fn start(vault: Arc<dyn Vault>) -> Batcher {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(serve(vault, waiting));
        Batcher { queue }
    }

    /// The subject of these references, durably made if it is new; `now` then is the time of its id, give or take its
    /// batch-mates'. A caller that is dropped leaves it open whether the subject is made, which harms nobody.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, refs: SubjectRefs, now: Timestamp) -> Result<Subject, Error> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Waiting { refs, now, answer }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Error::Full,
            mpsc::error::TrySendError::Closed(_) => Error::Store(stopped()),
        })?;
        Ok(answered.await.unwrap_or_else(|_| Err(stopped()))?)
    }
}

/// Only a panic ends the task before its callers.
fn stopped() -> store::Error {
    store::Error::Failed("the task that asks for subjects has stopped".into())
}

async fn serve(vault: Arc<dyn Vault>, mut queue: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        batch.retain(|waiting| !waiting.answer.is_closed());
        answer(&*vault, std::mem::take(&mut batch)).await;
    }
}

async fn answer(vault: &dyn Vault, batch: Vec<Waiting>) {
    let Some(now) = batch.iter().map(|waiting| waiting.now).max() else { return };
    let refs: Vec<SubjectRefs> = batch.iter().map(|waiting| waiting.refs).collect();
    match vault.subjects(&refs, now).await {
        Ok(subjects) => {
            for (waiting, subject) in batch.into_iter().zip(subjects) {
                // Whoever went away meanwhile misses nothing.
                let _ = waiting.answer.send(Ok(subject));
            }
        }
        Err(failed) if failed.is_transient() => {
            let failed = Arc::new(failed);
            for waiting in batch {
                let _ = waiting.answer.send(Err(once_more(&failed)));
            }
        }
        // One of them may be why: each is asked for alone.
        Err(_) => {
            for waiting in batch {
                let alone = vault.subjects(&[waiting.refs], waiting.now).await;
                let _ = waiting.answer.send(alone.and_then(|mut subjects| subjects.pop().ok_or_else(stopped)));
            }
        }
    }
}

/// An error that can pass, for one of several callers.
fn once_more(failed: &Arc<store::Error>) -> store::Error {
    match **failed {
        store::Error::Busy => store::Error::Busy,
        _ => store::Error::Unavailable(Box::new(Arc::clone(failed))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::future::join_all;
    use rusqlite::{Connection, params};
    use uuid::Uuid;

    use super::*;
    use crate::random::SystemRandom;
    use crate::vault::rows::Keyring;
    use crate::vault::sqlite::{self, Sqlite};
    use crate::vault::{MasterKey, Reference};

    const NOW: Timestamp = Timestamp::EPOCH;

    async fn vault() -> (tempfile::TempDir, Arc<Sqlite>) {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::new(MasterKey::from_bytes([7; 32]), Arc::new(SystemRandom));
        let vault = Sqlite::open(folder.path(), keyring, None).await.unwrap();
        (folder, Arc::new(vault))
    }

    fn refs(number: usize) -> SubjectRefs {
        let reference: Reference = *blake3::hash(&number.to_be_bytes()).as_bytes();
        SubjectRefs { issuer: Uuid::from_u128(1), name: reference, email: reference }
    }

    /// Seen by the ids' time: a call gives one time to all the subjects it makes. On this runtime the task runs once all have
    /// asked.
    #[tokio::test]
    async fn callers_that_wait_together_share_a_commit() {
        let (_folder, vault) = vault().await;
        let batcher = Batcher::start(vault);
        let asked = (0..500).map(|number| batcher.get(refs(number % 250), Timestamp::from_micros(number as u64 * 1000)));
        let ids: Vec<Uuid> = join_all(asked).await.into_iter().map(|answer| answer.unwrap().id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 250);
        assert_eq!(ids[..250], ids[250..]);
        let times: BTreeSet<_> = ids.iter().map(|id| id.get_timestamp().unwrap().to_unix()).collect();
        assert_eq!(times.len(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_caller_gets_the_subject_it_asked_for() {
        let (_folder, vault) = vault().await;
        let batcher = Batcher::start(Arc::clone(&vault) as Arc<dyn Vault>);
        let asked = (0..300).map(|number| {
            let batcher = batcher.clone();
            tokio::spawn(async move { (refs(number % 100), batcher.get(refs(number % 100), NOW).await.unwrap()) })
        });
        for answer in join_all(asked).await {
            let (refs, subject) = answer.unwrap();
            assert_eq!(vault.subject_refs(subject.id).await.unwrap(), Some(refs));
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_answers_those_it_took() {
        let (_folder, vault) = vault().await;
        let batcher = Batcher::start(vault);
        let answers = join_all((0..QUEUE_MAX + 7).map(|number| batcher.get(refs(number % 3), NOW))).await;
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(Error::Full))).count(), 7);
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), QUEUE_MAX);
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_fails_its_own_callers_only() {
        let (folder, vault) = vault().await;
        let batcher = Batcher::start(vault);
        batcher.get(refs(1), NOW).await.unwrap();
        let connection = Connection::open(sqlite::path(folder.path())).unwrap();
        connection.execute("update subjects set wrapped_key = ?1", params![[0_u8; 72]]).unwrap();
        let answers = join_all([1, 2, 1, 3].map(|number| batcher.get(refs(number), NOW))).await;
        let corrupt = |answer: &Result<Subject, Error>| matches!(answer, Err(Error::Store(store::Error::Corrupt(_))));
        assert_eq!(answers.iter().map(corrupt).collect::<Vec<_>>(), [true, false, true, false]);
        assert!(answers[1].is_ok() && answers[3].is_ok());
    }

    #[tokio::test]
    async fn a_store_that_fails_for_now_tells_all_who_wait() {
        let (folder, vault) = vault().await;
        let batcher = Batcher::start(vault);
        let other = Connection::open(sqlite::path(folder.path())).unwrap();
        other.execute_batch("begin immediate").unwrap();
        let answers = join_all([1, 2, 3].map(|number| batcher.get(refs(number), NOW))).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Store(store::Error::Busy)))));
        other.execute_batch("rollback").unwrap();
        batcher.get(refs(1), NOW).await.unwrap();
    }
}
