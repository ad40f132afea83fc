//! What is remembered of each stream, and the table of unique keys against it.
//!
//! The table must hold exactly one row for each claim that was not released. It is walked row by row: each row must be the
//! claim of the event it names, and its stream must hold that claim; what is claimed and was not met has no row. So no copy
//! of the table is kept.

use std::collections::HashMap;

use super::{Kind, PAGE, Reporter};
use crate::event::credential::{CredentialIssued, CredentialRevoked};
use crate::event::issuer::IssuerRegistered;
use crate::event::{DecodeError, Payload, Recorded};
use crate::log::{Head, KeyOwner, Log, Query, UniqueKey};
use crate::store::Error;
use crate::stream::category;
use crate::{Position, Stream, Version};

/// Each stream's last version and claim, by a hash of its name.
#[derive(Default)]
pub(super) struct Streams(HashMap<[u8; 16], State>);

struct State {
    last: Version,
    claim: Option<Claim>,
}

/// A unique key that is the stream's.
struct Claim {
    /// The event that claims it.
    position: Position,
    /// Whether its row was met.
    met: bool,
}

fn name(stream: &Stream) -> [u8; 16] {
    let hash: [u8; 32] = blake3::hash(stream.as_str().as_bytes()).into();
    std::array::from_fn(|at| hash[at])
}

impl Streams {
    /// Takes in the event's version; fails with the version expected if it is another.
    pub(super) fn follow(&mut self, event: &Recorded) -> Result<(), Version> {
        let mut expected = Version::FIRST;
        let state = self.0.entry(name(&event.stream)).and_modify(|state| {
            expected = state.last.next();
            state.last = event.version;
        });
        state.or_insert(State { last: event.version, claim: None });
        if event.version == expected { Ok(()) } else { Err(expected) }
    }

    /// Takes in what the event claims or releases.
    pub(super) fn claim(&mut self, event: &Recorded) -> Result<(), DecodeError> {
        let claims = claimed(event)?.is_some();
        let state = self.0.get_mut(&name(&event.stream));
        if let Some(state) = state.filter(|_| claims || releases(event)) {
            state.claim = claims.then_some(Claim { position: event.position, met: false });
        }
        Ok(())
    }
}

/// The key that an event claims for its stream.
fn claimed(event: &Recorded) -> Result<Option<UniqueKey>, DecodeError> {
    match (event.stream.category(), event.kind.as_str()) {
        (category::ISSUER, IssuerRegistered::TYPE) => Ok(Some(UniqueKey::issuer_name(&event.payload::<IssuerRegistered>()?.name))),
        (category::CREDENTIAL, CredentialIssued::TYPE) => {
            let issued: CredentialIssued = event.payload()?;
            Ok(Some(match issued.subject_id {
                Some(subject_id) => UniqueKey::natural(issued.issuer, subject_id, &issued.credential_type),
                None => UniqueKey::secret(issued.issuer, &issued.digest),
            }))
        }
        _ => Ok(None),
    }
}

/// Whether an event gives back what its stream had claimed.
fn releases(event: &Recorded) -> bool {
    event.stream.category() == category::CREDENTIAL && event.kind == CredentialRevoked::TYPE
}

/// Holds the table against the claims that stood when `head` was taken.
pub(super) async fn check(log: &dyn Log, head: &Head, streams: &mut Streams, reporter: &mut Reporter<'_>) -> Result<(), Error> {
    let mut after: Option<UniqueKey> = None;
    loop {
        let page = match log.keys(after.as_ref(), PAGE).await {
            Err(Error::Corrupt(what)) => {
                reporter.add(None, Kind::UniqueKey, what);
                return Ok(());
            }
            // The log could be opened and its events be read: what is wrong is the table.
            Err(wrong @ (Error::NotMigrated | Error::Failed(_))) => {
                reporter.add(None, Kind::UniqueKey, format!("the table cannot be read: {}", in_one_line(&wrong)));
                return Ok(());
            }
            page => page?,
        };
        let size_now = size_after(&page, log, head).await?;
        let full = page.len() == PAGE;
        after = page.last().map(|(key, _)| key.clone());
        let positions: Vec<Position> = page.iter().map(|(_, owner)| owner.position).collect();
        let events = readable(log, &positions).await?;
        for (key, owner) in page {
            if owner.position.0 >= size_now {
                let detail = format!("{} owns {} by an event beyond the head, which says {size_now} events", owner.stream, hex(&key));
                reporter.add(owner.position, Kind::UniqueKey, detail);
                continue;
            }
            // What was claimed since the head was taken is none of ours.
            if owner.position.0 >= head.size {
                continue;
            }
            let event = events.get(&owner.position).filter(|event| event.stream == owner.stream);
            let key_of_event = event.and_then(|event| claimed(event).ok().flatten());
            let claim = streams.0.get_mut(&name(&owner.stream)).and_then(|state| state.claim.as_mut());
            match claim.filter(|claim| claim.position == owner.position && key_of_event.as_ref() == Some(&key)) {
                Some(claim) => claim.met = true,
                None => reporter.add(
                    owner.position,
                    Kind::UniqueKey,
                    format!("{} owns {}, which its events do not claim", owner.stream, hex(&key)),
                ),
            }
        }
        if !full {
            break;
        }
    }
    missing(log, head, streams, reporter).await
}

/// The log's size, taken again after `page` if a row of it lies beyond `head`: by an append since then, or by none.
async fn size_after(page: &[(UniqueKey, KeyOwner)], log: &dyn Log, head: &Head) -> Result<u64, Error> {
    let is_beyond = page.iter().any(|(_, owner)| owner.position.0 >= head.size);
    Ok(if is_beyond { log.head().await?.size } else { head.size })
}

/// The events at these positions, but for those that cannot be read, which have been found before.
async fn readable(log: &dyn Log, positions: &[Position]) -> Result<HashMap<Position, Recorded>, Error> {
    let events = match log.read_at(positions).await {
        Err(Error::Corrupt(_)) => {
            let mut events = Vec::new();
            for position in positions {
                match log.read_at(&[*position]).await {
                    Err(Error::Corrupt(_)) => {}
                    event => events.extend(event?),
                }
            }
            events
        }
        events => events?,
    };
    Ok(events.into_iter().map(|event| (event.position, event)).collect())
}

/// Names the claims whose row was not met.
async fn missing(log: &dyn Log, head: &Head, streams: &Streams, reporter: &mut Reporter<'_>) -> Result<(), Error> {
    let claims = streams.0.values().filter_map(|state| state.claim.as_ref());
    let mut unmet: Vec<Position> = claims.filter(|claim| !claim.met).map(|claim| claim.position).collect();
    unmet.sort_unstable();
    for position in unmet {
        let Some(event) = readable(log, &[position]).await?.remove(&position) else { continue };
        let Some(key) = claimed(&event).ok().flatten() else { continue };
        let later = Query { from: Position(head.size), ..Query::stream(&event.stream) };
        // Revoked since the head was taken.
        if log.read(&later).await?.iter().any(releases) {
            continue;
        }
        let found = match log.key_owner(&key).await {
            Ok(Some(owner)) => format!("{} owns it", owner.stream),
            Ok(None) => "nobody owns it".to_owned(),
            Err(Error::Corrupt(what)) => what,
            Err(failed) => return Err(failed),
        };
        reporter.add(position, Kind::UniqueKey, format!("{} claims {}, but {found}", event.stream, hex(&key)));
    }
    Ok(())
}

fn in_one_line(error: &Error) -> String {
    std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn hex(key: &UniqueKey) -> String {
    hex::encode(&key.0)
}
