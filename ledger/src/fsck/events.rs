//! The walk over the events in position order: hashes, chain, gaps, encoding, and what the events say of streams and unique keys.
//!
//! Most of it concerns an event alone. That is done a page at a time on threads of their own, while further pages are read; what
//! needs the event before, the chain and the gaps, is left, and follows in order.

use futures::{StreamExt, stream};

use super::page::{self, Row};
use super::state::{Keep, State};
use super::sums::{Salt, Span, Sums};
use super::tree::{Hashes, Tree};
use super::{Kind, PAGE, Reporter, keys};
use crate::chain::{self, Hash};
use crate::event::Recorded;
use crate::log::{Head, Log, Query, claimed, releases};
use crate::store::Error;
use crate::{Position, Stream, Timestamp, codec};

/// How many pages are read and checked ahead.
const AHEAD: usize = 4;

/// The events, as far as they were read.
pub(super) struct Events {
    /// The next position to be read.
    pub(super) next: u64,
    /// What the next chain hash may build on: the chain hash before it as stored and, if they differ, as computed. Empty when
    /// the event before could not be read.
    pub(super) links: Vec<Hash>,
    /// The latest time so far.
    pub(super) time: Timestamp,
    pub(super) last: Option<Last>,
    pub(super) read: u64,
    /// Each event's place in its stream.
    pub(super) places: Sums,
    /// Each claim of a unique key that was not released.
    pub(super) claims: Sums,
    /// Event hashes that the tree has not been told.
    pub(super) hashes: Vec<(Position, Hash)>,
}

/// What the head must say.
pub(super) struct Last {
    pub(super) position: Position,
    pub(super) chain_hash: Hash,
    pub(super) recorded_at: Timestamp,
}

/// Reads and checks what lies before `head`, and lets the tree grow beside.
pub(super) async fn read(
    log: &dyn Log,
    head: &Head,
    mut events: Events,
    tree: &mut Tree<'_>,
    salt: Salt,
    reporter: &mut Reporter<'_>,
    (progress, keep): (&mut (dyn FnMut(u64, u64) + Send), &mut (dyn Keep + '_)),
) -> Result<Events, Error> {
    let size = head.size;
    let mut hashes = Hashes::default();
    while events.next < size {
        let pages = stream::iter((events.next..size).step_by(PAGE)).map(|from| checked(log, from, size, salt));
        let mut pages = pages.buffered(AHEAD);
        // The tree is a page behind, so that both go on at the same time.
        loop {
            let (page, found) = futures::join!(pages.next(), tree.advance(std::mem::take(&mut hashes)));
            reporter.take(found?);
            let Some(page) = page else { break };
            let page = page?;
            let expected = size.min(events.next + PAGE as u64);
            events.page(page, reporter);
            reporter.tell().await?;
            progress(events.next, size);
            hashes = Hashes { events: std::mem::take(&mut events.hashes), next: events.next };
            if reporter.is_clean() && keep.is_due() {
                reporter.take(tree.advance(std::mem::take(&mut hashes)).await?);
                if let Some(state) = State::of(log.origin(), &events, tree, salt).filter(|_| reporter.is_clean()) {
                    keep.keep(&state);
                }
            }
            // Positions are missing: what was read ahead does not begin where this page ends.
            if events.next != expected {
                break;
            }
        }
    }
    reporter.take(tree.advance(hashes).await?);
    reporter.tell().await?;
    events.against(head, log, reporter).await?;
    Ok(events)
}

/// A page of which all is known that can be told without the page before.
struct Checked {
    rows: Vec<CheckedRow>,
    /// What was released by an event of the page: where it was claimed, and the claim's hash.
    released: Vec<(Position, u128)>,
    next: u64,
}

enum CheckedRow {
    Event(Alone),
    Unreadable(Position, String),
}

/// What can be told of an event alone.
struct Alone {
    position: Position,
    recorded_at: Timestamp,
    event_hash: Hash,
    chain_hash: Hash,
    /// Its content's hash.
    computed: Hash,
    /// Its place's hash.
    place: u128,
    /// The hash of what it claims.
    claim: Option<u128>,
    /// The stream, if what that claimed is released.
    releases: Option<Stream>,
    /// What is wrong with its bytes.
    encoding: Vec<String>,
}

async fn checked(log: &dyn Log, from: u64, end: u64, salt: Salt) -> Result<Checked, Error> {
    let page = page::read(log, from, end).await?;
    let next = page.next;
    let check = move || page.rows.into_iter().map(|row| CheckedRow::of(row, salt)).collect::<Vec<CheckedRow>>();
    let mut rows = tokio::task::spawn_blocking(check).await.map_err(|panicked| Error::Failed(panicked.into()))?;
    let releasing = rows.iter_mut().filter_map(|row| match row {
        CheckedRow::Event(event) => event.releases.take(),
        CheckedRow::Unreadable(..) => None,
    });
    let claims = keys::claims_of(log, &releasing.collect::<Vec<Stream>>()).await?;
    let ours = claims.into_iter().filter(|(_, owner)| owner.position.0 < end);
    let released = ours.map(|(key, owner)| (owner.position, salt.claim(&key, &owner.stream, owner.position))).collect();
    Ok(Checked { rows, released, next })
}

impl CheckedRow {
    fn of(row: Row, salt: Salt) -> CheckedRow {
        match row {
            Row::Event(event) => CheckedRow::Event(Alone::of(event, salt)),
            Row::Unreadable(position, what) => CheckedRow::Unreadable(position, what),
        }
    }
}

impl Alone {
    fn of(event: Recorded, salt: Salt) -> Alone {
        let mut encoding = Vec::new();
        for (what, bytes) in [("metadata", &event.metadata), ("payload", &event.payload)] {
            if let Err(wrong) = codec::check(bytes) {
                encoding.push(format!("{what}: {wrong}"));
            }
        }
        let claimed = claimed(&event).unwrap_or_else(|malformed| {
            encoding.push(format!("payload: {malformed}"));
            None
        });
        Alone {
            position: event.position,
            recorded_at: event.recorded_at,
            event_hash: event.event_hash,
            chain_hash: event.chain_hash,
            computed: chain::event_hash(&event.content()),
            place: salt.place(&event.stream, event.version, event.position),
            claim: claimed.map(|key| salt.claim(&key, &event.stream, event.position)),
            releases: releases(&event).then_some(event.stream),
            encoding,
        }
    }
}

impl Events {
    /// None yet, of a log of this span.
    pub(super) fn none(log: &dyn Log, span: Span) -> Events {
        Events {
            next: 0,
            links: vec![log.origin().genesis()],
            time: Timestamp::EPOCH,
            last: None,
            read: 0,
            places: Sums::new(span),
            claims: Sums::new(span),
            hashes: Vec::new(),
        }
    }

    fn page(&mut self, page: Checked, reporter: &mut Reporter<'_>) {
        for row in page.rows {
            match row {
                CheckedRow::Event(event) => self.event(event, reporter),
                CheckedRow::Unreadable(position, what) => self.unreadable(position, what, reporter),
            }
        }
        self.gap(page.next, reporter);
        page.released.into_iter().for_each(|(position, claim)| self.claims.subtract(position, claim));
    }

    /// Says which positions are missing before `found`.
    fn gap(&mut self, found: u64, reporter: &mut Reporter<'_>) {
        if self.next < found {
            let detail = match found - self.next {
                1 => "no event stands here".to_owned(),
                missing => format!("no event stands here nor at the {} positions after", missing - 1),
            };
            reporter.add(Position(self.next), Kind::Gap, detail);
            self.links.clear();
            self.next = found;
        }
    }

    fn unreadable(&mut self, position: Position, what: String, reporter: &mut Reporter<'_>) {
        self.gap(position.0, reporter);
        reporter.add(position, Kind::Encoding, what);
        self.links.clear();
        self.next = position.0 + 1;
        self.read += 1;
    }

    fn event(&mut self, event: Alone, reporter: &mut Reporter<'_>) {
        let position = event.position;
        self.gap(position.0, reporter);
        let chained = self.hashes(&event, reporter);
        self.hashes.push((position, chained));
        event.encoding.into_iter().for_each(|wrong| reporter.add(position, Kind::Encoding, wrong));
        self.places.add(position, event.place);
        if let Some(claim) = event.claim {
            self.claims.add(position, claim);
        }
        // A time that was damaged breaks the event's hash, and says nothing about others.
        if event.computed == event.event_hash {
            if event.recorded_at < self.time {
                reporter.add(position, Kind::Time, format!("recorded at {}, after an event of {}", event.recorded_at, self.time));
            }
            self.time = self.time.max(event.recorded_at);
        }
        self.next = position.0 + 1;
        self.read += 1;
        self.last = Some(Last { position, chain_hash: event.chain_hash, recorded_at: event.recorded_at });
    }

    /// Answers the event hash that the chain was built over.
    fn hashes(&mut self, event: &Alone, reporter: &mut Reporter<'_>) -> Hash {
        let computed = event.computed;
        if let [link] = self.links[..]
            && computed == event.event_hash
            && chain::chain_hash(link, computed) == event.chain_hash
        {
            self.links[0] = event.chain_hash;
            return computed;
        }
        if computed != event.event_hash {
            reporter.add(event.position, Kind::EventHash, format!("the content hashes to {computed}, stored is {}", event.event_hash));
        }
        // With a wrong event hash stored, the chain may hold over the right one: that is one damage, not two.
        let follows: Vec<Hash> =
            self.links.iter().flat_map(|link| [event.event_hash, computed].map(|hash| chain::chain_hash(*link, hash))).collect();
        let expected = follows.first().copied().unwrap_or(event.chain_hash);
        let is_over_computed = follows.iter().skip(1).step_by(2).any(|over_computed| *over_computed == event.chain_hash);
        self.links = vec![event.chain_hash];
        if !follows.is_empty() && !follows.contains(&event.chain_hash) {
            reporter.add(
                event.position,
                Kind::ChainHash,
                format!("{expected} follows from the event before, stored is {}", event.chain_hash),
            );
            self.links.push(expected);
        }
        if is_over_computed { computed } else { event.event_hash }
    }

    /// Compares the head row with the last event before it, and looks for events beyond it.
    async fn against(&self, head: &Head, log: &dyn Log, reporter: &mut Reporter<'_>) -> Result<(), Error> {
        let (size, chain_hash, recorded_at) = match &self.last {
            Some(last) => (last.position.0 + 1, last.chain_hash, last.recorded_at),
            None => (0, log.origin().genesis(), Timestamp::EPOCH),
        };
        if head.size != size {
            reporter.add(
                head.last(),
                Kind::Head,
                format!("the head says {} events, the last that can be read is number {size}", head.size),
            );
            return reporter.tell().await;
        }
        if head.chain_hash != chain_hash {
            reporter.add(head.last(), Kind::Head, format!("the head's chain hash is {}, the last event's {chain_hash}", head.chain_hash));
        }
        if head.recorded_at != recorded_at {
            reporter.add(head.last(), Kind::Head, format!("the head's time is {}, the last event's {recorded_at}", head.recorded_at));
        }
        let size = log.head().await?.size;
        let beyond: Vec<Position> = match log.read(&Query::from(Position(size), PAGE)).await {
            Ok(events) => events.into_iter().map(|event| event.position).collect(),
            Err(Error::Corrupt(_)) => vec![Position(size)],
            Err(failed) => return Err(failed),
        };
        // What was appended since stands before the head as it is now.
        let now = log.head().await?.size;
        for position in beyond.into_iter().filter(|position| position.0 >= now) {
            reporter.add(position, Kind::Head, format!("an event stands beyond the head, which says {now} events"));
        }
        reporter.tell().await
    }
}
