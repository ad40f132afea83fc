//! The versions of streams, by a walk over the index that finds a stream's events.
//!
//! There a stream's events stand together, by version, so that each is held against the one before it and nothing else is
//! remembered: versions are dense from 0, and positions grow. That the index lists exactly the events of the table is known by
//! comparing sums; only where they differ are the events of a stretch looked up one by one.

use std::ops::Range;

use super::page::{self, events_at};
use super::sums::{Salt, Span, Sums, holds};
use super::{Kind, PAGE, Reporter};
use crate::event::Recorded;
use crate::log::{Listed, Log, Query};
use crate::store::Error;
use crate::{Position, Version};

/// What the index lists.
pub(super) struct Index {
    /// Each event's place in its stream.
    places: Sums,
    /// Whether each place follows from the one before.
    ordered: bool,
    /// Why it cannot be read.
    unreadable: Option<String>,
}

/// Goes through the index of a log of this span. What was appended since is none of ours.
pub(super) async fn walk(log: &dyn Log, span: Span, salt: Salt) -> Result<Index, Error> {
    let (mut places, mut order, mut ordered) = (Sums::new(span), Order::default(), true);
    let size = span.size;
    let listing = async {
        let mut listing = Listing::new(log, size);
        while let Some(page) = listing.next().await? {
            for listed in page {
                places.add(listed.position, salt.place(&listed.stream, listed.version, listed.position));
                ordered &= order.follow(listed).is_ok();
            }
        }
        Ok(())
    };
    let unreadable = match listing.await {
        Ok(()) => None,
        Err(Error::Corrupt(what)) => Some(what),
        Err(failed) => return Err(failed),
    };
    Ok(Index { places, ordered, unreadable })
}

/// Says what is wrong, if anything is, with what `index` lists beside the `places` of the events themselves.
pub(super) async fn name(
    log: &dyn Log,
    span: Span,
    salt: Salt,
    index: Index,
    places: &Sums,
    reporter: &mut Reporter<'_>,
) -> Result<(), Error> {
    let size = span.size;
    if let Some(what) = index.unreadable {
        reporter.add(None, Kind::File, format!("the index of streams cannot be read: {what}"));
        return reporter.tell().await;
    }
    let stretches = index.places.differing(places);
    let lies = !stretches.is_empty()
        && (unlisted(log, size, &stretches, reporter).await? || strangers(log, span, &stretches, salt, places, reporter).await?);
    // Of a stream whose events are not found, no version can be told.
    if !lies && !index.ordered {
        disorder(log, size, reporter).await?;
    }
    Ok(())
}

/// Names the events that the index does not list.
async fn unlisted(log: &dyn Log, size: u64, stretches: &[Range<u64>], reporter: &mut Reporter<'_>) -> Result<bool, Error> {
    let mut found = false;
    for stretch in stretches {
        let (mut next, end) = (stretch.start, stretch.end.min(size));
        while next < end {
            let page = page::read(log, next, end).await?;
            next = page.next;
            for event in page.events() {
                if !is_listed(log, &event).await? {
                    found = true;
                    let detail = format!("the index of streams does not list {} at version {}", event.stream, event.version);
                    reporter.add(event.position, Kind::File, detail);
                }
            }
            reporter.tell().await?;
        }
    }
    Ok(found)
}

/// Whether `event` is found by its stream.
async fn is_listed(log: &dyn Log, event: &Recorded) -> Result<bool, Error> {
    let query = Query { from: event.position, to: Some(event.position), ..Query::stream(&event.stream) };
    match log.read(&query).await {
        Ok(events) => Ok(events.contains(event)),
        Err(Error::Corrupt(_)) => Ok(false),
        Err(failed) => Err(failed),
    }
}

/// Names what the index lists that is not so. Events that are missing or cannot be read have been found before: what is listed of
/// them is left out.
async fn strangers(
    log: &dyn Log,
    span: Span,
    stretches: &[Range<u64>],
    salt: Salt,
    places: &Sums,
    reporter: &mut Reporter<'_>,
) -> Result<bool, Error> {
    let (mut found, mut sums) = (false, Sums::new(span));
    let mut listing = Listing::new(log, span.size);
    while let Some(mut page) = listing.next().await? {
        page.retain(|listed| holds(stretches, listed.position));
        let positions: Vec<Position> = page.iter().map(|listed| listed.position).collect();
        let events = events_at(log, &positions).await?;
        for listed in page {
            let Ok(at) = events.binary_search_by_key(&listed.position, |event| event.position) else { continue };
            let event = &events[at];
            sums.add(listed.position, salt.place(&listed.stream, listed.version, listed.position));
            if (&event.stream, event.version) != (&listed.stream, listed.version) {
                found = true;
                let Listed { stream, version, position } = listed;
                let detail = format!("the index of streams lists {stream} at version {version}, but here stands {}", event.stream);
                reporter.add(position, Kind::File, format!("{detail} at version {}", event.version));
            }
        }
        reporter.tell().await?;
    }
    if !found && sums.differing(places).iter().any(|stretch| stretches.contains(stretch)) {
        found = true;
        reporter.add(None, Kind::File, "the index of streams does not list each event once");
        reporter.tell().await?;
    }
    Ok(found)
}

/// Names the versions that do not follow.
async fn disorder(log: &dyn Log, size: u64, reporter: &mut Reporter<'_>) -> Result<(), Error> {
    let (mut listing, mut order) = (Listing::new(log, size), Order::default());
    while let Some(page) = listing.next().await? {
        for listed in page {
            let position = listed.position;
            if let Err(wrong) = order.follow(listed) {
                reporter.add(position, Kind::Version, wrong);
            }
        }
        reporter.tell().await?;
    }
    Ok(())
}

/// The index page by page, without what lies beyond the log's `size`.
struct Listing<'a> {
    log: &'a dyn Log,
    size: u64,
    after: Option<Listed>,
    listed: u64,
    ended: bool,
}

impl Listing<'_> {
    fn new(log: &dyn Log, size: u64) -> Listing<'_> {
        Listing { log, size, after: None, listed: 0, ended: false }
    }

    async fn next(&mut self) -> Result<Option<Vec<Listed>>, Error> {
        // Whatever an index lists that is not in order, there is an end to it.
        if self.ended || self.listed > self.size {
            return Ok(None);
        }
        let mut page = self.log.versions(self.after.as_ref(), PAGE).await?;
        self.ended = page.len() < PAGE;
        self.after = page.last().cloned();
        page.retain(|listed| listed.position.0 < self.size);
        self.listed += page.len() as u64;
        Ok(Some(page))
    }
}

/// The place before, which is all that has to be known.
#[derive(Default)]
struct Order(Option<Listed>);

impl Order {
    /// Goes on to `listed`; says what is wrong if it does not follow.
    fn follow(&mut self, listed: Listed) -> Result<(), String> {
        let before = self.0.take().filter(|before| before.stream == listed.stream);
        let expected = before.as_ref().map_or(Version::FIRST, |before| before.version.next());
        let followed = match &before {
            _ if listed.version != expected => Err(format!("{} is at version {}, expected {expected}", listed.stream, listed.version)),
            Some(before) if before.position >= listed.position => {
                Err(format!("{} is at version {}, but the version before stands at {}", listed.stream, listed.version, before.position))
            }
            _ => Ok(()),
        };
        self.0 = Some(listed);
        followed
    }
}
