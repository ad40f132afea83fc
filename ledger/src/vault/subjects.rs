//! Many callers that each need a subject, one durable commit for all of them.
//!
//! A [`Batcher`] each for making subjects and for what their details are compared by. A row that cannot be read fails its own
//! callers only.

use std::sync::Arc;

use uuid::Uuid;

use super::{Subject, SubjectRefs, Vault};
use crate::batcher::{Batcher, Refused};
use crate::{Timestamp, store};

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

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        match refused {
            Refused::Full => Error::Full,
            Refused::Stopped => Error::Store(store::Error::Failed(refused.into())),
        }
    }
}

/// Who is wanted, and the time of the id if it has to be made.
type Wanted = (SubjectRefs, Timestamp);

/// Subjects and their references, for many callers at once.
#[derive(Clone)]
pub struct Subjects {
    made: Batcher<Wanted, Result<Subject, store::Error>>,
    known: Batcher<Uuid, Result<Option<SubjectRefs>, store::Error>>,
}

impl Subjects {
    /// Starts the tasks, which need a tokio runtime.
    #[must_use]
    pub fn start(vault: Arc<dyn Vault>) -> Subjects {
        let makes = Arc::clone(&vault);
        let made = Batcher::start(move |wanted| ensure(Arc::clone(&makes), wanted));
        let known = Batcher::start(move |ids| find_refs(Arc::clone(&vault), ids));
        Subjects { made, known }
    }

    /// The subject of these references, durably made if it is new; `now` then is the time of its id, give or take its
    /// batch-mates'. A caller that is dropped leaves it open whether the subject is made, which harms nobody.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, refs: SubjectRefs, now: Timestamp) -> Result<Subject, Error> {
        Ok(self.made.ask((refs, now)).await??)
    }

    /// What a subject's name and e-mail address are compared by; `None` if there is no such subject (any more).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn refs(&self, id: Uuid) -> Result<Option<SubjectRefs>, Error> {
        Ok(self.known.ask(id).await??)
    }
}

/// A row that cannot be read fails its own callers only.
async fn ensure(vault: Arc<dyn Vault>, wanted: Vec<Wanted>) -> Vec<Result<Subject, store::Error>> {
    let now = wanted.iter().map(|(_, now)| *now).max().unwrap_or(Timestamp::EPOCH);
    let refs: Vec<SubjectRefs> = wanted.iter().map(|(refs, _)| *refs).collect();
    match vault.subjects(&refs, now).await {
        Ok(subjects) => subjects.into_iter().map(Ok).collect(),
        Err(failed) if failed.is_transient() => for_each(wanted.len(), failed),
        // One of them may be why: each is asked for alone.
        Err(_) => {
            let mut answers = Vec::with_capacity(wanted.len());
            for (refs, now) in wanted {
                let alone = vault.subjects(&[refs], now).await;
                answers.push(alone.and_then(|mut subjects| subjects.pop().ok_or_else(unanswered)));
            }
            answers
        }
    }
}

async fn find_refs(vault: Arc<dyn Vault>, ids: Vec<Uuid>) -> Vec<Result<Option<SubjectRefs>, store::Error>> {
    match vault.subject_refs(&ids).await {
        Ok(found) => found.into_iter().map(Ok).collect(),
        Err(failed) if failed.is_transient() => for_each(ids.len(), failed),
        Err(_) => {
            let mut answers = Vec::with_capacity(ids.len());
            for id in ids {
                let alone = vault.subject_refs(&[id]).await;
                answers.push(alone.and_then(|mut found| found.pop().ok_or_else(unanswered)));
            }
            answers
        }
    }
}

fn unanswered() -> store::Error {
    store::Error::Corrupt("the vault answered fewer than it was asked for".to_owned())
}

/// The same error for each of several callers.
fn for_each<T>(count: usize, failed: store::Error) -> Vec<Result<T, store::Error>> {
    let failed = Arc::new(failed);
    (0..count).map(|_| Err(once_more(&failed))).collect()
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

    use super::*;
    use crate::random::SystemRandom;
    use crate::vault::rows::Keyring;
    use crate::vault::sqlite::{self, Sqlite};
    use crate::vault::{MasterKey, Reference};
    use futures::future::join_all;
    use rusqlite::{Connection, params};

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
        let subjects = Subjects::start(vault);
        let asked = (0..500).map(|number| subjects.get(refs(number % 250), Timestamp::from_micros(number as u64 * 1000)));
        let ids: Vec<Uuid> = join_all(asked).await.into_iter().map(|answer| answer.unwrap().id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 250);
        assert_eq!(ids[..250], ids[250..]);
        let times: BTreeSet<_> = ids.iter().map(|id| id.get_timestamp().unwrap().to_unix()).collect();
        assert_eq!(times.len(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_caller_gets_the_subject_it_asked_for() {
        let (_folder, vault) = vault().await;
        let subjects = Subjects::start(Arc::clone(&vault) as Arc<dyn Vault>);
        let asked = (0..300).map(|number| {
            let subjects = subjects.clone();
            tokio::spawn(async move { (refs(number % 100), subjects.get(refs(number % 100), NOW).await.unwrap()) })
        });
        for answer in join_all(asked).await {
            let (refs, subject) = answer.unwrap();
            assert_eq!(subjects.refs(subject.id).await.unwrap(), Some(refs));
        }
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_fails_its_own_callers_only() {
        let (folder, vault) = vault().await;
        let subjects = Subjects::start(vault);
        subjects.get(refs(1), NOW).await.unwrap();
        let connection = Connection::open(sqlite::path(folder.path())).unwrap();
        connection.execute("update subjects set wrapped_key = ?1", params![[0_u8; 72]]).unwrap();
        let answers = join_all([1, 2, 1, 3].map(|number| subjects.get(refs(number), NOW))).await;
        let corrupt = |answer: &Result<Subject, Error>| matches!(answer, Err(Error::Store(store::Error::Corrupt(_))));
        assert_eq!(answers.iter().map(corrupt).collect::<Vec<_>>(), [true, false, true, false]);
        assert!(answers[1].is_ok() && answers[3].is_ok());
    }

    #[tokio::test]
    async fn a_store_that_fails_for_now_tells_all_who_wait() {
        let (folder, vault) = vault().await;
        let subjects = Subjects::start(vault);
        let other = Connection::open(sqlite::path(folder.path())).unwrap();
        other.execute_batch("begin immediate").unwrap();
        let answers = join_all([1, 2, 3].map(|number| subjects.get(refs(number), NOW))).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Store(store::Error::Busy)))));
        other.execute_batch("rollback").unwrap();
        subjects.get(refs(1), NOW).await.unwrap();
    }
}
