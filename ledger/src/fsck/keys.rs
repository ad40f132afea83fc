//! The table of unique keys, which must hold exactly one row for each claim that was not released.
//!
//! A stream claims with its first event and gives back when it is revoked. What the events claim and did not give back is summed
//! while they are read, and so are the rows of the table. Only where the sums differ are rows and claims held against each other,
//! row by row and then claim by claim. No copy of the table is kept, nor anything for each stream.

use std::ops::Range;

use super::page::{self, events_at, first_events};
use super::sums::{Salt, Span, Sums, holds};
use super::{Kind, PAGE, Reporter};
use crate::event::Recorded;
use crate::event::credential::CredentialRevoked;
use crate::log::{KeyOwner, Log, Query, UniqueKey, claimed, releases};
use crate::store::Error;
use crate::{Position, Stream, causes};

/// What these streams claimed.
pub(super) async fn claims_of(log: &dyn Log, streams: &[Stream]) -> Result<Vec<(UniqueKey, KeyOwner)>, Error> {
    let claim = |event: Recorded| {
        let key = claimed(&event).ok().flatten()?;
        Some((key, KeyOwner { stream: event.stream, position: event.position }))
    };
    Ok(first_events(log, streams).await?.into_iter().filter_map(claim).collect())
}

/// What the table holds.
pub(super) struct Table {
    /// Each row that was there when the head was taken.
    claims: Sums,
    /// Whether a row names an event that the log has not.
    beyond: bool,
    /// Why it cannot be read.
    unreadable: Option<String>,
}

/// Goes through the table of a log that was of this span when the head was taken.
///
/// Meanwhile keys are claimed and released. A claim since then is known by its position. A row that is gone since then is known by
/// the event that released it: after each page the log is read on, and what was released since the page before is put back, unless
/// it was seen: in this page, or because it stands before it.
pub(super) async fn walk(log: &dyn Log, span: Span, salt: Salt) -> Result<Table, Error> {
    let size = span.size;
    let mut table = Table { claims: Sums::new(span), beyond: false, unreadable: None };
    let (mut after, mut known) = (None, size);
    loop {
        let page = match keys(log, after.as_ref()).await? {
            Ok(page) => page,
            Err(what) => return Ok(Table { unreadable: Some(what), ..table }),
        };
        let now = log.head().await?.size;
        let mut held = |key: &UniqueKey, owner: &KeyOwner| {
            if owner.position.0 < size {
                table.claims.add(owner.position, salt.claim(key, &owner.stream, owner.position));
            }
        };
        page.iter().for_each(|(key, owner)| held(key, owner));
        while known < now {
            let events = page::read(log, known, now).await?;
            known = events.next;
            let streams: Vec<Stream> = events.events().filter(releases).map(|event| event.stream).collect();
            for released in claims_of(log, &streams).await? {
                if after.as_ref() < Some(&released.0) && !page.contains(&released) {
                    held(&released.0, &released.1);
                }
            }
        }
        table.beyond |= page.iter().any(|(_, owner)| owner.position.0 >= now.max(size));
        if page.len() < PAGE {
            return Ok(table);
        }
        after = page.into_iter().last().map(|(key, _)| key);
    }
}

/// A page of the table, or what is wrong with it.
async fn keys(log: &dyn Log, after: Option<&UniqueKey>) -> Result<Result<Vec<(UniqueKey, KeyOwner)>, String>, Error> {
    match log.keys(after, PAGE).await {
        Err(Error::Corrupt(what)) => Ok(Err(what)),
        // The log could be opened and its events be read: what is wrong is the table.
        Err(wrong @ (Error::NotMigrated | Error::Failed(_))) => Ok(Err(format!("the table cannot be read: {}", causes(&wrong)))),
        page => page.map(Ok),
    }
}

/// Says what is wrong, if anything is, with what `table` holds beside the `claims` of the events.
pub(super) async fn name(log: &dyn Log, size: u64, table: Table, claims: &Sums, reporter: &mut Reporter<'_>) -> Result<(), Error> {
    if let Some(what) = table.unreadable {
        reporter.add(None, Kind::UniqueKey, what);
        return reporter.tell().await;
    }
    let stretches = table.claims.differing(claims);
    if table.beyond || !stretches.is_empty() {
        unclaimed(log, size, &stretches, reporter).await?;
    }
    missing(log, size, &stretches, reporter).await
}

/// Names the rows that no event claims.
async fn unclaimed(log: &dyn Log, size: u64, stretches: &[Range<u64>], reporter: &mut Reporter<'_>) -> Result<(), Error> {
    let mut after = None;
    while let Ok(page) = keys(log, after.as_ref()).await? {
        let now = log.head().await?.size.max(size);
        let is_full = page.len() == PAGE;
        after = page.last().map(|(key, _)| key.clone());
        let suspects: Vec<Position> =
            page.iter().map(|(_, owner)| owner.position).filter(|position| position.0 < size && holds(stretches, *position)).collect();
        let events = events_at(log, &suspects).await?;
        for (key, KeyOwner { stream, position }) in page {
            if position.0 >= now {
                let detail = format!("{stream} owns {} by an event beyond the head, which says {now} events", hex(&key));
                reporter.add(position, Kind::UniqueKey, detail);
            } else if position.0 < size && holds(stretches, position) {
                // Of an event that is missing or cannot be read nothing is known, and it has been found before.
                let Some(event) = events.iter().find(|event| event.position == position) else { continue };
                let claims_it = event.stream == stream && claimed(event).ok().flatten().is_some_and(|claimed| claimed == key);
                if !claims_it || is_released(log, &stream, position, Some(size)).await? {
                    reporter.add(position, Kind::UniqueKey, format!("{stream} owns {}, which its events do not claim", hex(&key)));
                }
            }
        }
        reporter.tell().await?;
        if !is_full {
            break;
        }
    }
    Ok(())
}

/// Names the claims that have no row.
async fn missing(log: &dyn Log, size: u64, stretches: &[Range<u64>], reporter: &mut Reporter<'_>) -> Result<(), Error> {
    for stretch in stretches {
        let (mut next, end) = (stretch.start, stretch.end.min(size));
        while next < end {
            let page = page::read(log, next, end).await?;
            next = page.next;
            for event in page.events() {
                let Some(key) = claimed(&event).ok().flatten() else { continue };
                let found = match log.key_owner(&key).await {
                    Ok(Some(owner)) if (&owner.stream, owner.position) == (&event.stream, event.position) => continue,
                    Ok(Some(owner)) => format!("{} owns it", owner.stream),
                    Ok(None) => "nobody owns it".to_owned(),
                    Err(Error::Corrupt(what)) => what,
                    Err(failed) => return Err(failed),
                };
                // Before the head was taken or since.
                if !is_released(log, &event.stream, event.position, None).await? {
                    let detail = format!("{} claims {}, but {found}", event.stream, hex(&key));
                    reporter.add(event.position, Kind::UniqueKey, detail);
                }
            }
            reporter.tell().await?;
        }
    }
    Ok(())
}

/// Whether `stream` gave back, in a log of `size`, what it claimed at `position`.
async fn is_released(log: &dyn Log, stream: &Stream, position: Position, size: Option<u64>) -> Result<bool, Error> {
    let to = size.map(|size| Position(size - 1));
    let query = Query { from: position, to, limit: 1, ..Query::stream(stream) };
    match log.read(&query.of::<CredentialRevoked>()).await {
        Ok(events) => Ok(events.iter().any(releases)),
        // It has been found before.
        Err(Error::Corrupt(_)) => Ok(false),
        Err(failed) => Err(failed),
    }
}

fn hex(key: &UniqueKey) -> String {
    hex::encode(&key.0)
}
