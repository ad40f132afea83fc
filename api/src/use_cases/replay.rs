//! Reading a log back: in position order, page by page, so that a log of any length passes through bounded memory.
//!
//! [`events`] ends at the head that it found when it began; [`follow`] goes on until it is dropped; [`page`] is one step. All only read. To whom
//! not everything is shown, they show what is in its [`Scope`]; positions stay the log's own. Pages of the first two are made in turns
//! ([`LongReads`]).

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use credence_ledger::event::Recorded;
use credence_ledger::log::{Log, Query, Walk};
use credence_ledger::sealing::{KeyId, SealingKey};
use credence_ledger::store::Error;
use credence_ledger::vault::Vault;
use credence_ledger::{Position, Stream, Timestamp};
use futures::stream::{Stream as Pages, TryStreamExt};

use super::scope::Scope;
use crate::long_reads::{HEAD_KEPT, LongReads};
use crate::wire::event;

/// So many events are read at a time. With the largest events that are taken it is some tens of megabytes.
const PAGE: usize = 256;

/// So many bytes of events, as they are stored, are shown at a time; or one event.
const BYTES_MAX: usize = 4 << 20;

/// So many events are looked at for one page of those in a scope; then it is answered as it is.
const SCAN: usize = 16 * PAGE;

/// How often the head is looked at while nothing comes. Polling reaches appends of other processes as well as our own.
const POLL: Duration = HEAD_KEPT;

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

/// How many of these events are shown at once: as many as [`BYTES_MAX`] allows, at least one of them.
fn fitting(events: &[Recorded]) -> usize {
    let mut bytes = 0;
    let too_much = |event: &Recorded| {
        bytes += event.metadata.len() + event.payload.len();
        bytes > BYTES_MAX
    };
    events.iter().position(too_much).map_or(events.len(), |fitting| fitting.max(1))
}

/// Pages of the events wanted, none of them empty. It ends at the head found at the beginning, so that it ends under steady appends too.
pub fn events(
    reads: Arc<LongReads>,
    mut selection: Selection,
    scope: Option<Scope>,
) -> impl Pages<Item = Result<Vec<Recorded>, Error>> + Send {
    async_stream::try_stream! {
        let log = reads.log();
        let Some(last) = log.head().await?.last() else { return };
        selection.to = Some(selection.to.map_or(last, |to| to.min(last)));
        let mut left = selection.limit.map_or(usize::MAX, NonZeroUsize::get);
        let mut walk = Walk::over(&**log, selection.query(selection.start(), if scope.is_some() { PAGE } else { PAGE.min(left) }));
        loop {
            let turn = reads.turn().await;
            let Some(mut page) = walk.page().await? else { return };
            if let Some(scope) = &scope {
                page = scope.keep(log.name(), page).await?;
            }
            drop(turn);
            page.truncate(left);
            left -= page.len();
            while !page.is_empty() {
                let rest = page.split_off(fitting(&page));
                yield std::mem::replace(&mut page, rest);
            }
            if left == 0 {
                return;
            }
        }
    }
}

/// Pages of the events wanted, those to come included, none of them empty. It ends only when nothing more can be wanted: at
/// [`Selection::to`], at [`Selection::limit`], or when the log's clock has passed [`Selection::until`].
pub fn follow(
    reads: Arc<LongReads>,
    mut selection: Selection,
    scope: Option<Scope>,
) -> impl Pages<Item = Result<Vec<Recorded>, Error>> + Send {
    async_stream::try_stream! {
        loop {
            let head = reads.recent_head().await?;
            if selection.start().0 < head.size {
                let until = Selection { to: selection.to.min(head.last()).or(head.last()), ..selection.clone() };
                let pages = events(reads.clone(), until, scope.clone());
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

/// At most `limit` of the events wanted, and where to go on if there may be more. A page of large events holds fewer, [`BYTES_MAX`] of them. In a
/// scope it may hold fewer still, or none, and yet not be the last: no more than a stretch of the log is looked at for one.
///
/// # Errors
/// The log's; of a scope also the vault's and the ledger's.
pub async fn page(
    log: &dyn Log,
    selection: &Selection,
    limit: usize,
    scope: Option<&Scope>,
) -> Result<(Vec<Recorded>, Option<Position>), Error> {
    // One more than is shown tells whether there are more.
    let step = if scope.is_some() { PAGE } else { PAGE.min(limit + 1) };
    let (mut walk, mut shown) = (Walk::over(log, selection.query(selection.start(), step)), Vec::new());
    let mut looked_at = 0;
    while scope.is_none() || looked_at < SCAN {
        let Some(mut found) = walk.page().await? else { break };
        looked_at += found.len();
        if let Some(scope) = scope {
            found = scope.keep(log.name(), found).await?;
        }
        shown.append(&mut found);
        let fitting = fitting(&shown).min(limit);
        if fitting < shown.len() {
            let next = shown[fitting].position;
            shown.truncate(fitting);
            return Ok((shown, Some(next)));
        }
    }
    Ok((shown, walk.next_position()))
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
    use credence_ledger::chain::{Hash, Origin};
    use credence_ledger::clock::ManualClock;
    use credence_ledger::event::audit::KeyRevoked;
    use credence_ledger::event::{New, Origination};
    use credence_ledger::log::memory::Memory;
    use credence_ledger::log::{Append, Expected};
    use credence_ledger::random::SystemRandom;
    use credence_ledger::{LogName, Version, stream};
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

    fn reads(log: Arc<dyn Log>) -> Arc<LongReads> {
        Arc::new(LongReads::new(log))
    }

    async fn positions(pages: impl Pages<Item = Result<Vec<Recorded>, Error>>) -> Vec<u64> {
        let pages: Vec<Vec<Recorded>> = pages.try_collect().await.unwrap();
        assert!(pages.iter().all(|page| !page.is_empty() && page.len() <= PAGE));
        pages.concat().iter().map(|event| event.position.0).collect()
    }

    #[tokio::test]
    async fn every_event_comes_once_in_order_over_any_number_of_pages() {
        for size in [0, 1, 255, 256, 257, 512, 1000] {
            let found = positions(events(reads(log(size).await), Selection::default(), None)).await;
            assert_eq!(found, (0..size).collect::<Vec<_>>());
        }
    }

    #[test]
    fn as_many_events_are_shown_at_once_as_their_bytes_allow_and_one_at_least() {
        let of = |sizes: &[usize]| {
            let metadata = Origination::system("one").metadata(&SystemRandom);
            let new = New::of(&KeyRevoked {}, &metadata);
            let stream = Stream::new(stream::category::KEY, Uuid::nil());
            let event = |size: &usize| {
                let event = Recorded::place(&new, &stream, Position::FIRST, Version(0), Timestamp::EPOCH, Hash([0; 32]));
                Recorded { metadata: Vec::new().into(), payload: vec![0; *size].into(), ..event }
            };
            fitting(&sizes.iter().map(event).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[BYTES_MAX / 2, BYTES_MAX / 2]), 2);
        assert_eq!(of(&[BYTES_MAX / 2, BYTES_MAX / 2, 1, 1]), 2);
        assert_eq!(of(&[BYTES_MAX + 1, 1]), 1);
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
        assert_eq!(positions(events(reads(log.clone()), selection(10, 12, 9), None)).await, [10, 11, 12]);
        assert_eq!(positions(events(reads(log.clone()), selection(998, 5000, 9), None)).await, [998, 999]);
        assert_eq!(positions(events(reads(log.clone()), selection(2000, 5000, 9), None)).await, [0u64; 0]);
        assert_eq!(positions(events(reads(log.clone()), selection(100, 999, 300), None)).await, (100..400).collect::<Vec<_>>());
        assert_eq!(positions(follow(reads(log), selection(100, 999, 300), None)).await, (100..400).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_is_appended_while_one_follows_comes_once_in_order() {
        let log = log(0).await;
        let following =
            tokio::spawn(positions(follow(reads(log.clone()), Selection { to: Some(Position(599)), ..Selection::default() }, None)));
        for _ in 0..6 {
            append(log.as_ref(), 100).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert_eq!(following.await.unwrap(), (0..600).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn pages_of_streams_wait_for_a_turn_which_no_stream_keeps_that_is_not_read_and_a_single_page_needs_none() {
        let log = log(2 * PAGE as u64).await;
        let reads = reads(log.clone());
        let turns = reads.turns();
        let mut unread = Vec::new();
        for _ in 0..4 * turns {
            let mut lines = Box::pin(events(reads.clone(), Selection::default(), None));
            assert_eq!(lines.try_next().await.unwrap().unwrap().len(), PAGE);
            let mut followed = Box::pin(follow(reads.clone(), Selection::default(), None));
            assert_eq!(followed.try_next().await.unwrap().unwrap().len(), PAGE);
            unread.push((lines, followed));
        }
        assert_eq!(reads.turns(), turns);
        let mut held = Vec::new();
        while reads.turns() > 0 {
            held.push(reads.turn().await);
        }
        let (lines, followed) = &mut unread[0];
        assert!(tokio::time::timeout(POLL, lines.try_next()).await.is_err());
        assert!(tokio::time::timeout(POLL, followed.try_next()).await.is_err());
        assert_eq!(page(&*log, &Selection::default(), 1, None).await.unwrap().0.len(), 1);
        held.clear();
        assert_eq!(lines.try_next().await.unwrap().unwrap().len(), PAGE);
        assert_eq!(followed.try_next().await.unwrap().unwrap().len(), PAGE);
    }

    #[tokio::test]
    async fn following_ends_when_the_clock_has_passed_the_last_time_wanted() {
        let log = log(3).await;
        let until = |text: &str| Selection { until: Some(text.parse().unwrap()), ..Selection::default() };
        assert_eq!(positions(follow(reads(log.clone()), until("2026-01-31T12:00:00Z"), None)).await, [0u64; 0]);
        let endless = positions(follow(reads(log), until("2026-01-31T12:00:00.000001Z"), None));
        assert!(tokio::time::timeout(POLL * 3, endless).await.is_err());
    }
}
