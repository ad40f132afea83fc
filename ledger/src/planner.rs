//! What a batch of appends becomes: a pure function, shared by every engine.
//!
//! An engine, with the head locked, asks [`wanted`] what to fetch, fetches it, calls [`plan`], and writes what it gets. The
//! appends are judged in order, each on the state that the ones before it leave behind, so that a batch is the same as its
//! appends one by one; a property test holds it to that. Within an append the order is: idempotency, versions, unique keys.
//!
//! What another log recorded is planned beside it, by [`Restored`].

mod restored;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::chain::Hash;
use crate::event::Recorded;
use crate::log::{Append, Expected, Idempotency, KeyOwner, Outcome, Refusal, UniqueKey};
use crate::{Position, Stream, Timestamp, Version};

pub use restored::{Restored, Unfit};

/// The head row, locked, with the log's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The next position.
    pub size: u64,
    /// The last event's chain hash, or the origin's genesis.
    pub chain_hash: Hash,
    /// When the last event was recorded; the epoch while the log is empty.
    pub recorded_at: Timestamp,
    /// The log's clock, read under the lock.
    pub now: Timestamp,
}

/// What a batch needs to know.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Streams whose last version is needed.
    pub streams: BTreeSet<Stream>,
    /// Unique keys whose owner is needed.
    pub keys: BTreeSet<UniqueKey>,
    /// Idempotency keys whose row is needed.
    pub idempotency: BTreeSet<[u8; 32]>,
}

/// An idempotency row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// HMAC of the command that appended; `None` once it was forgotten ([`Log::forget_commands`](crate::log::Log::forget_commands)).
    pub command: Option<[u8; 32]>,
    /// The position of its first event.
    pub position: Position,
    /// When that event was recorded.
    pub recorded_at: Timestamp,
}

impl Remembered {
    /// From a row as an engine stores it; `None` if it is none of ours.
    pub(crate) fn from_stored(command: &[u8], position: Position, recorded_at: Timestamp) -> Option<Remembered> {
        let command = if command.is_empty() { None } else { Some(command.try_into().ok()?) };
        Some(Remembered { command, position, recorded_at })
    }

    /// The command as an engine stores it: no bytes where it was forgotten.
    pub(crate) fn stored_command(&self) -> &[u8] {
        self.command.as_ref().map_or(&[], |command| command)
    }
}

/// What the store holds of what was [`Wanted`]. What is absent there is absent here.
#[derive(Debug, Default, Clone)]
pub struct Found {
    /// Last versions.
    pub versions: HashMap<Stream, Version>,
    /// Owners of unique keys.
    pub keys: HashMap<UniqueKey, KeyOwner>,
    /// Idempotency rows, expired ones included.
    pub idempotency: HashMap<[u8; 32], Remembered>,
}

/// What to write. All of it, in one transaction, or nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Rows of the event table, in position order.
    pub events: Vec<Recorded>,
    /// The new head; the old one's values when there are no events.
    pub size: u64,
    /// The new head's chain hash.
    pub chain_hash: Hash,
    /// The new head's time.
    pub recorded_at: Timestamp,
    /// Unique keys as they must be afterwards: an owner, or `None` for a row to delete. Only keys that change.
    pub keys: BTreeMap<UniqueKey, Option<KeyOwner>>,
    /// Idempotency rows to insert, replacing an expired one with the same key.
    pub idempotency: BTreeMap<[u8; 32], Remembered>,
    /// An answer for each append, in the order given.
    pub outcomes: Vec<Outcome>,
}

/// What must be fetched before [`plan`] can be called.
pub fn wanted<'a>(batch: impl IntoIterator<Item = &'a Append>) -> Wanted {
    let mut wanted = Wanted::default();
    for append in batch {
        wanted.streams.extend(append.streams.iter().map(|part| part.stream.clone()));
        wanted.keys.extend(append.claims.iter().map(|(key, _)| key.clone()));
        wanted.keys.extend(append.releases.iter().cloned());
        wanted.idempotency.extend(append.idempotency.iter().map(|idempotency| idempotency.key));
    }
    wanted
}

/// What the appends of a batch themselves say of the log, taken at their word: streams at the versions expected, keys free and
/// nothing remembered. A plan may be made of it before anything is fetched, and be written if all that is [`wanted`] turns out to be
/// so. `None` where they leave something open.
#[must_use]
pub fn presumed(batch: &[Append]) -> Option<Found> {
    let mut last_of: HashMap<&Stream, Option<Version>> = HashMap::new();
    for append in batch {
        if !append.releases.is_empty() {
            return None;
        }
        for part in &append.streams {
            // Of a stream that stands in several appends the first one speaks; the others are judged on what it leaves behind.
            let last = match part.expected {
                Expected::Any => return None,
                Expected::None => None,
                Expected::Exact(version) => Some(version),
            };
            last_of.entry(&part.stream).or_insert(last);
        }
    }
    let versions = last_of.into_iter().filter_map(|(stream, last)| Some((stream.clone(), last?))).collect();
    Some(Found { versions, ..Found::default() })
}

/// Judges a batch and places its events.
#[must_use]
pub fn plan(head: &Head, found: Found, batch: &[Append]) -> Plan {
    let mut planner = Planner {
        recorded_at: head.now.max(head.recorded_at),
        versions: found.versions,
        original_keys: found.keys.clone(),
        owners: found.keys,
        remembered: found.idempotency,
        plan: Plan {
            events: Vec::with_capacity(batch.len()),
            size: head.size,
            chain_hash: head.chain_hash,
            recorded_at: head.recorded_at,
            keys: BTreeMap::new(),
            idempotency: BTreeMap::new(),
            outcomes: Vec::with_capacity(batch.len()),
        },
    };
    for append in batch {
        let outcome = planner.judge(append).unwrap_or_else(|| planner.place(append));
        planner.plan.outcomes.push(outcome);
    }
    planner.finish()
}

struct Planner {
    recorded_at: Timestamp,
    versions: HashMap<Stream, Version>,
    original_keys: HashMap<UniqueKey, KeyOwner>,
    owners: HashMap<UniqueKey, KeyOwner>,
    remembered: HashMap<[u8; 32], Remembered>,
    plan: Plan,
}

impl Planner {
    /// The answer that keeps the append from being placed, if there is one.
    fn judge(&self, append: &Append) -> Option<Outcome> {
        if let Some(repeat) = append.idempotency.as_ref().and_then(|idempotency| self.repeat(idempotency)) {
            return Some(repeat);
        }
        for part in &append.streams {
            let actual = self.versions.get(&part.stream).copied();
            let holds = match part.expected {
                Expected::Any => true,
                Expected::None => actual.is_none(),
                Expected::Exact(version) => actual == Some(version),
            };
            if !holds {
                return Some(Outcome::Refused(Refusal::StaleVersion { stream: part.stream.clone(), actual }));
            }
        }
        for (key, _) in &append.claims {
            // A key that this same append gives back is free for it.
            if let Some(owner) = self.owners.get(key).filter(|_| !append.releases.contains(key)) {
                return Some(Outcome::Refused(Refusal::KeyTaken { key: key.clone(), owner: owner.clone() }));
            }
        }
        None
    }

    fn repeat(&self, idempotency: &Idempotency) -> Option<Outcome> {
        let remembered = self.remembered.get(&idempotency.key)?;
        let expired = remembered.recorded_at.plus(idempotency.kept) <= self.recorded_at;
        // Whose command was forgotten is taken for the same: nobody can tell any more.
        match (expired, remembered.command.is_none_or(|command| command == idempotency.command)) {
            (true, _) => None,
            (false, true) => Some(Outcome::Repeated(remembered.position)),
            (false, false) => Some(Outcome::Refused(Refusal::IdempotencyKeyReused)),
        }
    }

    fn place(&mut self, append: &Append) -> Outcome {
        let first = Position(self.plan.size);
        let mut placed = Vec::with_capacity(append.streams.len());
        let mut first_of: HashMap<&Stream, Position> = HashMap::new();
        for part in &append.streams {
            for new in &part.events {
                let version = self.versions.get(&part.stream).map_or(Version::FIRST, |last| last.next());
                let position = Position(self.plan.size);
                let event = Recorded::place(new, &part.stream, position, version, self.recorded_at, self.plan.chain_hash);
                self.plan.size += 1;
                self.plan.chain_hash = event.chain_hash;
                self.plan.recorded_at = event.recorded_at;
                self.versions.insert(part.stream.clone(), version);
                first_of.entry(&part.stream).or_insert(position);
                placed.push(event);
            }
        }
        for key in &append.releases {
            self.owners.remove(key);
            self.plan.keys.insert(key.clone(), None);
        }
        for (key, stream) in &append.claims {
            let owner = KeyOwner { stream: stream.clone(), position: first_of.get(stream).copied().unwrap_or(first) };
            self.owners.insert(key.clone(), owner.clone());
            self.plan.keys.insert(key.clone(), Some(owner));
        }
        if let Some(idempotency) = &append.idempotency {
            let row = Remembered { command: Some(idempotency.command), position: first, recorded_at: self.recorded_at };
            self.remembered.insert(idempotency.key, row.clone());
            self.plan.idempotency.insert(idempotency.key, row);
        }
        self.plan.events.extend(placed.iter().cloned());
        Outcome::Appended(placed)
    }

    /// Leaves out what ends as it began: a key claimed and released within the batch, one released that nobody owned.
    fn finish(mut self) -> Plan {
        self.plan.keys.retain(|key, owner| self.original_keys.get(key) != owner.as_ref());
        self.plan
    }
}

#[cfg(test)]
mod tests;
