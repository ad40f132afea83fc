//! Reading a log back: in position order, page by page, so that a log of any length passes through bounded memory.
//!
//! [`events`] ends at the head that it found when it began; [`follow`] goes on until it is dropped; [`page`] is one step. All only read. To whom
//! not everything is shown, they show what is in its [`Scope`]; positions stay the log's own.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use credence_ledger::event::Recorded;
use credence_ledger::log::{Log, Query};
use credence_ledger::sealing::{KeyId, SealingKey};
use credence_ledger::store::Error;
use credence_ledger::vault::Vault;
use credence_ledger::{Position, Stream, Timestamp};
use futures::stream::{Stream as Pages, TryStreamExt};

use super::scope::Scope;
use crate::wire::event;

/// So many events are held at a time. With the largest events that are taken it is some tens of megabytes.
const PAGE: usize = 256;

/// So many events are looked at for one page of those in a scope; then it is answered as it is.
const SCAN: usize = 16 * PAGE;

/// How often the head is looked at while nothing comes. Polling reaches appends of other processes as well as our own.
const POLL: Duration = Duration::from_millis(100);

/// Which events are wanted. The bounds hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// From this position on, inclusive; absent: from the first.
    pub from: Option<Position>,
    /// Up to this position, inclusive.
    pub to: Option<Position>,
    /// Of this stream only.
    pub stream: Option<Stream>,
    /// Of this type only.
    pub kind: Option<String>,
    /// Recorded at this time or later.
    pub since: Option<Timestamp>,
    /// Recorded before this time.
    pub until: Option<Timestamp>,
    /// At most so many; absent: all of them.
    pub limit: Option<NonZeroUsize>,
}

impl Selection {
    /// The first position that can be wanted.
    #[must_use]
    pub fn start(&self) -> Position {
        self.from.unwrap_or(Position::FIRST)
    }

    /// What to ask the log for: at most `limit` events that lie between the bounds.
    #[must_use]
    pub fn query(&self, from: Position, limit: usize) -> Query {
        let Selection { to, stream, kind, since, until, .. } = self.clone();
        Query { from, to, stream, kind, since, until, limit }
    }
}

/// Pages of the events wanted, none of them empty. It ends at the head found at the beginning, so that it ends under steady appends too.
pub fn events(log: Arc<dyn Log>, mut selection: Selection, scope: Option<Scope>) -> impl Pages<Item = Result<Vec<Recorded>, Error>> + Send {
    async_stream::try_stream! {
        let Some(last) = log.head().await?.last() else { return };
        selection.to = Some(selection.to.map_or(last, |to| to.min(last)));
        let mut left = selection.limit.map_or(usize::MAX, NonZeroUsize::get);
        let mut from = selection.start();
        while left > 0 && from <= last {
            let limit = if scope.is_some() { PAGE } else { PAGE.min(left) };
            let mut page = log.read(&selection.query(from, limit)).await?;
            let (found, end) = (page.len(), page.last().map(|event| event.position));
            if let Some(scope) = &scope {
                page = scope.keep(log.name(), page).await?;
                page.truncate(left);
            }
            left -= page.len();
            if !page.is_empty() {
                yield page;
            }
            match end {
                Some(end) if found == limit => from = end.next(),
                _ => return,
            }
        }
    }
}

/// Pages of the events wanted, those to come included, none of them empty. It ends only when nothing more can be wanted: at
/// [`Selection::to`], at [`Selection::limit`], or when the log's clock has passed [`Selection::until`].
pub fn follow(log: Arc<dyn Log>, mut selection: Selection, scope: Option<Scope>) -> impl Pages<Item = Result<Vec<Recorded>, Error>> + Send {
    async_stream::try_stream! {
        loop {
            let head = log.head().await?;
            if selection.start().0 < head.size {
                let until = Selection { to: selection.to.min(head.last()).or(head.last()), ..selection.clone() };
                let pages = events(log.clone(), until, scope.clone());
                futures::pin_mut!(pages);
                while let Some(page) = pages.try_next().await? {
                    if let Some(limit) = selection.limit {
                        selection.limit = NonZeroUsize::new(limit.get() - page.len());
                        if selection.limit.is_none() {
                            yield page;
                            return;
                        }
                    }
                    yield page;
                }
                selection.from = Some(Position(head.size));
            }
            if selection.to.is_some_and(|to| to.0 < head.size) || selection.until.is_some_and(|until| until <= head.now) {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// At most `limit` of the events wanted, and where to go on if there may be more. In a scope a page may hold fewer, or none, and yet not be
/// the last: no more than a stretch of the log is looked at for one.
///
/// # Errors
/// The log's; of a scope also the vault's and the ledger's.
pub async fn page(
    log: &dyn Log,
    selection: &Selection,
    limit: usize,
    scope: Option<&Scope>,
) -> Result<(Vec<Recorded>, Option<Position>), Error> {
    let mut from = selection.start();
    let Some(scope) = scope else {
        // One more than is shown tells whether there are more.
        let mut found = log.read(&selection.query(from, limit + 1)).await?;
        let next = found.get(limit).map(|event| event.position);
        found.truncate(limit);
        return Ok((found, next));
    };
    let mut shown = Vec::new();
    for _ in 0..SCAN / PAGE {
        let found = log.read(&selection.query(from, PAGE)).await?;
        let end = found.last().filter(|_| found.len() == PAGE).map(|event| event.position);
        for event in scope.keep(log.name(), found).await? {
            if shown.len() == limit {
                return Ok((shown, Some(event.position)));
            }
            shown.push(event);
        }
        match end {
            Some(end) => from = end.next(),
            None => return Ok((shown, None)),
        }
    }
    Ok((shown, Some(from)))
}

/// The sealing keys that still exist, of those under which anything in these events of `log` is sealed: one question to the vault a page, and one
/// to the log where it is about subjects. A key of a subject that the log says is erased is not there, even if the vault still has it, or
/// has it again.
///
/// # Errors
/// The vault's, or the log's.
pub async fn keys_of(vault: &dyn Vault, log: &dyn Log, events: &[Recorded]) -> Result<HashMap<KeyId, SealingKey>, Error> {
    let ids = event::sealed_under(events);
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let mut keys = vault.open_keys(&ids).await?;
    let subjects = keys.keys().filter_map(|id| if let KeyId::Subject(id) = id { Some(Stream::subject(*id)) } else { None });
    let subjects: Vec<Stream> = subjects.collect();
    if !subjects.is_empty() {
        // After the vault: what is erased between the two is not shown.
        for erased in log.read_first(&subjects).await? {
            keys.remove(&KeyId::Subject(erased.stream.id()));
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use credence_ledger::chain::Origin;
    use credence_ledger::clock::ManualClock;
    use credence_ledger::event::audit::KeyRevoked;
    use credence_ledger::event::{New, Origination};
    use credence_ledger::log::memory::Memory;
    use credence_ledger::log::{Append, Expected};
    use credence_ledger::random::SystemRandom;
    use credence_ledger::{LogName, stream};
    use uuid::Uuid;

    use super::*;

    async fn append(log: &dyn Log, count: u64) {
        let size = log.head().await.unwrap().size;
        let batch = (size..size + count).map(|number| {
            let metadata = Origination::system("one").metadata(&SystemRandom);
            let stream = Stream::new(stream::category::KEY, Uuid::from_u128(number.into()));
            Append::to(stream, Expected::None, vec![New::of(&KeyRevoked {}, &metadata)])
        });
        log.commit(batch.collect()).await.unwrap();
    }

    async fn log(count: u64) -> Arc<dyn Log> {
        let clock = Arc::new(ManualClock::at("2026-01-31T12:00:00Z".parse().unwrap()));
        let log: Arc<dyn Log> = Arc::new(Memory::new(LogName::AUDIT, Origin::new("x", &LogName::AUDIT), clock));
        append(log.as_ref(), count).await;
        log
    }

    async fn positions(pages: impl Pages<Item = Result<Vec<Recorded>, Error>>) -> Vec<u64> {
        let pages: Vec<Vec<Recorded>> = pages.try_collect().await.unwrap();
        assert!(pages.iter().all(|page| !page.is_empty() && page.len() <= PAGE));
        pages.concat().iter().map(|event| event.position.0).collect()
    }

    #[tokio::test]
    async fn every_event_comes_once_in_order_over_any_number_of_pages() {
        for size in [0, 1, 255, 256, 257, 512, 1000] {
            let found = positions(events(log(size).await, Selection::default(), None)).await;
            assert_eq!(found, (0..size).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn bounds_and_limit_hold_together() {
        let selection = |from, to, limit| Selection {
            from: Some(Position(from)),
            to: Some(Position(to)),
            limit: NonZeroUsize::new(limit),
            ..Selection::default()
        };
        let log = log(1000).await;
        assert_eq!(positions(events(log.clone(), selection(10, 12, 9), None)).await, [10, 11, 12]);
        assert_eq!(positions(events(log.clone(), selection(998, 5000, 9), None)).await, [998, 999]);
        assert_eq!(positions(events(log.clone(), selection(2000, 5000, 9), None)).await, [0u64; 0]);
        assert_eq!(positions(events(log.clone(), selection(100, 999, 300), None)).await, (100..400).collect::<Vec<_>>());
        assert_eq!(positions(follow(log, selection(100, 999, 300), None)).await, (100..400).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_is_appended_while_one_follows_comes_once_in_order() {
        let log = log(0).await;
        let following = tokio::spawn(positions(follow(log.clone(), Selection { to: Some(Position(599)), ..Selection::default() }, None)));
        for _ in 0..6 {
            append(log.as_ref(), 100).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert_eq!(following.await.unwrap(), (0..600).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn following_ends_when_the_clock_has_passed_the_last_time_wanted() {
        let log = log(3).await;
        let until = |text: &str| Selection { until: Some(text.parse().unwrap()), ..Selection::default() };
        assert_eq!(positions(follow(log.clone(), until("2026-01-31T12:00:00Z"), None)).await, [0u64; 0]);
        let endless = positions(follow(log, until("2026-01-31T12:00:00.000001Z"), None));
        assert!(tokio::time::timeout(POLL * 3, endless).await.is_err());
    }
}
