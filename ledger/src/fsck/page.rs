//! Reading a log page by page, in spite of rows that are no events.

use super::PAGE;
use crate::event::Recorded;
use crate::log::{Log, Query};
use crate::store::Error;
use crate::{Position, Stream};

/// A row of the event table.
pub(super) enum Row {
    Event(Recorded),
    /// Why it is none.
    Unreadable(Position, String),
}

/// Rows in position order.
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    /// Every row before this position has been read.
    pub(super) next: u64,
}

/// Reads on from position `from` towards `end`, exclusive.
pub(super) async fn read(log: &dyn Log, from: u64, end: u64) -> Result<Page, Error> {
    match log.read(&Query { to: Some(Position(end - 1)), ..Query::from(Position(from), PAGE) }).await {
        Ok(events) => {
            let next = if events.len() < PAGE { end } else { events.last().map_or(end, |last| last.position.0 + 1) };
            Ok(Page { rows: events.into_iter().map(Row::Event).collect(), next })
        }
        // One row of the page is no event: they are read one by one.
        Err(Error::Corrupt(_)) => {
            let next = end.min(from + PAGE as u64);
            let mut rows = Vec::new();
            for position in (from..next).map(Position) {
                match log.read_at(&[position]).await {
                    Ok(events) => rows.extend(events.into_iter().map(Row::Event)),
                    Err(Error::Corrupt(what)) => rows.push(Row::Unreadable(position, what)),
                    Err(failed) => return Err(failed),
                }
            }
            Ok(Page { rows, next })
        }
        Err(failed) => Err(failed),
    }
}

impl Page {
    /// Those that can be read; the others have been found before.
    pub(super) fn events(self) -> impl Iterator<Item = Recorded> {
        self.rows.into_iter().filter_map(|row| match row {
            Row::Event(event) => Some(event),
            Row::Unreadable(..) => None,
        })
    }
}

/// The events at these positions that can be read, in position order.
pub(super) async fn events_at(log: &dyn Log, positions: &[Position]) -> Result<Vec<Recorded>, Error> {
    match log.read_at(positions).await {
        Err(Error::Corrupt(_)) => {
            let mut events = Vec::new();
            for position in positions {
                events.extend(none_if_corrupt(log.read_at(&[*position]).await)?);
            }
            events.sort_unstable_by_key(|event| event.position);
            events.dedup_by_key(|event| event.position);
            Ok(events)
        }
        events => events,
    }
}

/// The first events of these streams that can be read.
pub(super) async fn first_events(log: &dyn Log, streams: &[Stream]) -> Result<Vec<Recorded>, Error> {
    if streams.is_empty() {
        return Ok(Vec::new());
    }
    match log.read_first(streams).await {
        Err(Error::Corrupt(_)) => {
            let mut events = Vec::new();
            for stream in streams {
                events.extend(none_if_corrupt(log.read_first(std::slice::from_ref(stream)).await)?);
            }
            Ok(events)
        }
        events => events,
    }
}

fn none_if_corrupt(events: Result<Vec<Recorded>, Error>) -> Result<Vec<Recorded>, Error> {
    match events {
        Err(Error::Corrupt(_)) => Ok(Vec::new()),
        events => events,
    }
}
