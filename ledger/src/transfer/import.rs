//! A log out of a file.

use std::io::Read;

use tokio::sync::mpsc;

use super::{Error, Kept, PAGE, PAGE_BYTES, checkpoints, require_beginning};
use crate::chain::{End, Hash};
use crate::event::Recorded;
use crate::export::{Checkpoint, Footer, Item, ReadError, Reader};
use crate::log::{Restore, RestoreError};
use crate::planner::Restored;

/// Pages that are read ahead.
const AHEAD: usize = 2;

/// A file that holds.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What it says of itself.
    pub footer: Footer,
    /// The chain hash after as many events as were asked for, if it has that many.
    pub chain_hash: Option<Hash>,
}

/// Reads a whole file, and nothing else. `progress` gets how many events there were so far. Blocks the thread.
///
/// # Errors
/// It does not hold, or cannot be read.
pub fn verify<R: Read>(mut reader: Reader<R>, size: u64, progress: &mut dyn FnMut(u64)) -> Result<Verified, ReadError> {
    let at = |end: &End| (end.size == size).then_some(end.chain_hash);
    let (mut footer, mut chain_hash) = (None, at(reader.verifier().end()));
    while let Some(item) = reader.next()? {
        let end = reader.verifier().end();
        match item {
            Item::Event(_) => {
                chain_hash = chain_hash.or(at(end));
                if end.size.is_multiple_of(PAGE as u64) {
                    progress(end.size);
                }
            }
            Item::Checkpoint(_) => {}
            Item::Footer(found) => footer = Some(found),
        }
    }
    // A reader ends after a footer only.
    let footer = footer.unwrap_or_else(|| reader.verifier().footer());
    Ok(Verified { footer, chain_hash })
}

/// What the file's reader tells, in this order.
enum Step {
    /// The chain hash after as many events as the log holds, or how many the file has if those are fewer.
    Beginning(Result<Hash, u64>),
    /// Events that the log does not hold.
    Page(Page),
}

/// What is written together.
#[derive(Default)]
struct Page {
    events: Vec<Recorded>,
    bytes: usize,
    /// Those that stand among and after its events, and the number of the first.
    checkpoints: Vec<Checkpoint>,
    first_checkpoint: u64,
}

/// Writes what `reader`'s file holds into the log `to`, whose origin is the file's, and answers how many events were written.
/// `progress` gets how many are there.
///
/// # Errors
/// The file does not hold, the log is not empty and no beginning of it, or a store failed.
pub async fn import<R: Read + Send + 'static>(reader: Reader<R>, to: &Kept, progress: &mut (dyn FnMut(u64) + Send)) -> Result<u64, Error> {
    let log = &*to.log;
    let held = log.head().await?;
    let (sender, mut steps) = mpsc::channel(AHEAD);
    let size = held.size;
    let reading = tokio::task::spawn_blocking(move || {
        if let Err(failed) = read(reader, size, &sender) {
            let _ = sender.blocking_send(Err(failed));
        }
    });
    let mut written = 0;
    while let Some(step) = steps.recv().await {
        match step? {
            Step::Beginning(Ok(chain_hash)) => require_beginning(log.name(), &held, size, Some(chain_hash))?,
            Step::Beginning(Err(fewer)) => require_beginning(log.name(), &held, fewer, None)?,
            Step::Page(page) => {
                written += page.events.len() as u64;
                if let Some(end) = write(to, page).await? {
                    progress(end);
                }
            }
        }
    }
    reading.await.map_err(|panicked| crate::store::Error::Failed(panicked.into()))?;
    checkpoints::grow(&*to.tiles).await?;
    Ok(written)
}

/// Ends early, without an error, when nobody takes the steps any more.
fn read<R: Read>(mut reader: Reader<R>, held: u64, steps: &mpsc::Sender<Result<Step, ReadError>>) -> Result<(), ReadError> {
    let send = |step| steps.blocking_send(Ok(step)).is_ok();
    let (mut page, mut seen, mut has_begun) = (Page::default(), 0, false);
    loop {
        let end = *reader.verifier().end();
        if !has_begun && end.size == held {
            has_begun = true;
            if !send(Step::Beginning(Ok(end.chain_hash))) {
                return Ok(());
            }
        }
        match reader.next()? {
            Some(Item::Event(event)) if event.position.0 >= held => {
                page.bytes += event.metadata.len() + event.payload.len();
                page.events.push(event);
            }
            Some(Item::Event(_) | Item::Footer(_)) => {}
            Some(Item::Checkpoint(checkpoint)) => {
                page.checkpoints.push(checkpoint);
                seen += 1;
            }
            None if has_begun => {
                send(Step::Page(page));
                return Ok(());
            }
            None => {
                send(Step::Beginning(Err(end.size)));
                return Ok(());
            }
        }
        let is_full = page.events.len() >= PAGE || page.bytes >= PAGE_BYTES || page.checkpoints.len() >= PAGE;
        if has_begun && is_full {
            let next = Page { first_checkpoint: seen, ..Page::default() };
            if !send(Step::Page(std::mem::replace(&mut page, next))) {
                return Ok(());
            }
        }
    }
}

/// Writes a page and answers how many events the log has then, if it has more than before.
async fn write(to: &Kept, page: Page) -> Result<Option<u64>, Error> {
    let Page { events, checkpoints: published, first_checkpoint, .. } = page;
    let end = events.last().map(|event| event.position.0 + 1);
    restore(&*to.log, events).await?;
    checkpoints::write(&*to.tiles, first_checkpoint, &published).await?;
    Ok(end)
}

/// Writes events that follow what `log` holds.
pub(super) async fn restore(log: &dyn Restore, events: Vec<Recorded>) -> Result<(), Error> {
    let Some(first) = events.first().map(|event| event.position) else { return Ok(()) };
    let batch = Restored::into(log, events).await?;
    log.restore(batch).await.map_err(|refused| match refused {
        RestoreError::Store(failed) => Error::Store(failed),
        RestoreError::Unfit(ref unfit) => {
            let position = unfit.position().unwrap_or(first);
            Error::Restore(log.name().at(position).to_string(), refused)
        }
    })
}
