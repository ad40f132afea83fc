//! The table of idempotency rows against the events: each must point at an event that can be what it remembers.
//!
//! Who asked for what is in a row as keyed hashes, which nobody computes from the log. The rest can be compared: an event stands where the row
//! says and was recorded when it says, it is of a kind that is asked for under a key, and no other row remembers it. What was asked for is forgotten
//! where the subject was erased, and only there.
//!
//! Memory does not grow with the table: its rows come in the order of their times, so that those of one event come close together.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::page::{events_at, first_events};
use super::{Finding, Kind, PAGE};
use crate::event::Payload as _;
use crate::event::Recorded;
use crate::event::credential::{CredentialIssued, CredentialReinstated, CredentialRevoked, CredentialSuspended};
use crate::event::subject::SubjectErased;
use crate::log::Restore;
use crate::planner::Remembered;
use crate::store::Error;
use crate::stream::category;
use crate::vault::Vault;
use crate::{Position, Stream, Timestamp, causes};

/// What is asked for under an idempotency key.
const ASKED_FOR: [&str; 5] =
    [CredentialIssued::TYPE, CredentialSuspended::TYPE, CredentialReinstated::TYPE, CredentialRevoked::TYPE, SubjectErased::TYPE];

/// Names the rows that remember what cannot be; answers how many findings there were. That what was asked for is still remembered of somebody who
/// was erased is found with the vault only, which knows which erasures are under way.
///
/// # Errors
/// The log or the vault failed. That what the table holds cannot be read as rows is a finding; what of the log cannot be read is found by
/// [`check`](super::check).
pub async fn remembered(log: &dyn Restore, vault: Option<&dyn Vault>, report: &mut (dyn FnMut(Finding) + Send)) -> Result<u64, Error> {
    let Some(size) = size(log).await? else { return Ok(0) };
    let under_way = match vault {
        // Taken after the size: of an erasure before it that is no longer noted all has been done.
        Some(vault) => Some(vault.noted_erasures().await?.into_iter().map(|noted| noted.subject).collect()),
        None => None,
    };
    let mut rows = Rows { log, size, under_way, time: Timestamp::EPOCH, owners: HashMap::new(), findings: 0, report };
    let mut after: Option<Row> = None;
    loop {
        let page = match log.remembered(after.as_ref(), PAGE).await {
            // The log could be opened and its events be read: what is wrong is the table.
            Err(wrong @ (Error::Corrupt(_) | Error::NotMigrated | Error::Failed(_))) => {
                rows.add(None, format!("the table cannot be read: {}", causes(&wrong)));
                break;
            }
            page => page?,
        };
        rows.page(&page).await?;
        if page.len() < PAGE {
            break;
        }
        after = page.into_iter().next_back();
    }
    Ok(rows.findings)
}

type Row = ([u8; 32], Remembered);

/// `None` where the head cannot be read, which has been found.
async fn size(log: &dyn Restore) -> Result<Option<u64>, Error> {
    match log.head().await {
        Ok(head) => Ok(Some(head.size)),
        Err(Error::Corrupt(_) | Error::NotMigrated) => Ok(None),
        Err(failed) => Err(failed),
    }
}

struct Rows<'a> {
    log: &'a dyn Restore,
    /// How many events there were at the beginning.
    size: u64,
    /// The subjects whose erasure has not been seen through; `None` if that is not known.
    under_way: Option<HashSet<Uuid>>,
    /// The time at hand, and by which keys its events are remembered.
    time: Timestamp,
    owners: HashMap<Position, [u8; 32]>,
    findings: u64,
    report: &'a mut (dyn FnMut(Finding) + Send),
}

impl Rows<'_> {
    fn add(&mut self, position: impl Into<Option<Position>>, detail: String) {
        self.findings += 1;
        let finding = Finding { log: self.log.name().clone(), position: position.into(), kind: Kind::Idempotency, detail };
        (self.report)(finding);
    }

    async fn page(&mut self, page: &[Row]) -> Result<(), Error> {
        // Taken after the rows, so that what they remember lies before it.
        let Some(size) = size(self.log).await? else { return Ok(()) };
        let positions: Vec<Position> = page.iter().map(|(_, row)| row.position).filter(|position| position.0 < size).collect();
        let events = events_at(self.log, &positions).await?;
        let events: HashMap<Position, Recorded> = events.into_iter().map(|event| (event.position, event)).collect();
        let mut sound = Vec::new();
        for (key, row) in page {
            if row.position.0 >= size {
                let detail = format!("the key {} remembers an event beyond the head, which says {size} events", hex::encode(key));
                self.add(row.position, detail);
                continue;
            }
            // One that is missing or cannot be read has been found.
            let Some(event) = events.get(&row.position) else { continue };
            match self.wrong(key, row, event) {
                Some(wrong) => self.add(row.position, wrong),
                None => sound.push((key, row, event)),
            }
        }
        self.commands(&sound).await
    }

    /// Why it is not this event that the row remembers.
    fn wrong(&mut self, key: &[u8; 32], row: &Remembered, event: &Recorded) -> Option<String> {
        let shown = hex::encode(key);
        if event.recorded_at != row.recorded_at {
            return Some(format!(
                "the key {shown} remembers an event of {}, this one was recorded at {}",
                row.recorded_at, event.recorded_at
            ));
        }
        if !ASKED_FOR.contains(&&*event.kind) {
            return Some(format!("the key {shown} remembers {} of {}, which is not asked for under a key", event.kind, event.stream));
        }
        if row.recorded_at != self.time {
            self.time = row.recorded_at;
            self.owners.clear();
        }
        match self.owners.insert(row.position, *key) {
            Some(other) if other != *key => Some(format!("the keys {} and {shown} remember the same event", hex::encode(other))),
            _ => None,
        }
    }

    /// Holds what is known of the commands against who was erased.
    async fn commands(&mut self, rows: &[(&[u8; 32], &Remembered, &Recorded)]) -> Result<(), Error> {
        let of_credentials = rows.iter().filter(|(_, _, event)| event.stream.category() == category::CREDENTIAL);
        let streams: Vec<Stream> = of_credentials.clone().map(|(_, _, event)| event.stream.clone()).collect();
        let issued = first_events(self.log, &streams).await?;
        let subject = |event: Recorded| Some((event.stream.clone(), event.payload::<CredentialIssued>().ok()?.subject_id));
        let subjects: HashMap<Stream, Option<Uuid>> = issued.into_iter().filter_map(subject).collect();
        let streams: Vec<Stream> = subjects.values().flatten().map(|subject| Stream::subject(*subject)).collect();
        let erasures = first_events(self.log, &streams).await?;
        let erasures: HashMap<Uuid, Position> = erasures.into_iter().map(|event| (event.stream.id(), event.position)).collect();
        for (key, row, event) in of_credentials {
            // An issuance that cannot be read has been found.
            let Some(subject) = subjects.get(&event.stream) else { continue };
            let erased = subject.and_then(|subject| Some((subject, *erasures.get(&subject)?)));
            match (row.command, erased) {
                (None, None) => {
                    let detail = format!("what was asked for under the key {} was forgotten, though nobody was erased", hex::encode(key));
                    self.add(row.position, detail);
                }
                (Some(_), Some((subject, at))) if self.is_seen_through(subject, at) => {
                    let (name, key) = (self.log.name(), hex::encode(key));
                    let detail = format!(
                        "what was asked for under the key {key} is remembered, though {} was erased at {}",
                        Stream::subject(subject),
                        name.at(at)
                    );
                    self.add(row.position, detail);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether all that follows from an erasure had been done before the check began.
    fn is_seen_through(&self, subject: Uuid, at: Position) -> bool {
        at.0 < self.size && self.under_way.as_ref().is_some_and(|under_way| !under_way.contains(&subject))
    }
}
