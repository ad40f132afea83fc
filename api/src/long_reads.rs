//! Reading a log at length, beside those who ask for little.
//!
//! A stream that nobody reads still works ahead until every buffer on its way is full, which is megabytes, and a page of it asks the log for
//! hundreds of events and the vault for as many keys. Such questions wait in the same lines as a look-up of who calls or of one subject, so
//! that many streams at once would make everybody wait for all of them. Therefore their pages are made in turns: whoever asks for little
//! meets the pages of a few, however many streams there are. A turn is taken for a page, never for as long as a client takes to read it.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use credence_ledger::log::{Head, Log};
use credence_ledger::store::Error;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How old a head may be that followers are told. They all look as often as this; the log is asked once.
pub const HEAD_KEPT: Duration = Duration::from_millis(100);

/// What all who read one log at length share.
pub struct LongReads {
    log: Arc<dyn Log>,
    turns: Semaphore,
    head: Mutex<Option<(Instant, Head)>>,
}

impl LongReads {
    /// Of a log. Half of the processor's cores may be at their pages at once.
    #[must_use]
    pub fn new(log: Arc<dyn Log>) -> LongReads {
        let turns = available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        LongReads { log, turns: Semaphore::new(turns), head: Mutex::default() }
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// How many turns are free.
    #[cfg(test)]
    pub(crate) fn turns(&self) -> usize {
        self.turns.available_permits()
    }

    /// Waits for a turn, which ends when it is dropped: before what was made in it is handed on.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.turns.acquire().await.ok()
    }

    /// The log's end as it was at most [`HEAD_KEPT`] ago.
    ///
    /// # Errors
    /// The log's.
    pub async fn recent_head(&self) -> Result<Head, Error> {
        let mut kept = self.head.lock().await;
        if let Some((_, head)) = kept.as_ref().filter(|(read, _)| read.elapsed() < HEAD_KEPT) {
            return Ok(head.clone());
        }
        let head = self.log.head().await?;
        *kept = Some((Instant::now(), head.clone()));
        Ok(head)
    }
}
