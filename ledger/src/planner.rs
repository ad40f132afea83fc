//! What a batch of appends becomes: a pure function, shared by every engine.
//!
//! An engine, with the head locked, asks [`wanted`] what to fetch, fetches it, calls [`plan`], and writes what it gets. The
//! appends are judged in order, each on the state that the ones before it leave behind, so that a batch is the same as its
//! appends one by one; a property test holds it to that. Within an append the order is: idempotency, versions, unique keys, subjects.
//!
//! What another log recorded is planned beside it, by [`Restored`].

mod restored;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;

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
    /// Subjects that must be in the vault.
    pub subjects: BTreeSet<Uuid>,
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

/// What the store holds of what was [`Wanted`]. What is absent there is absent here, but for subjects.
#[derive(Debug, Default, Clone)]
pub struct Found {
    /// Last versions.
    pub versions: HashMap<Stream, Version>,
    /// Owners of unique keys.
    pub keys: HashMap<UniqueKey, KeyOwner>,
    /// Idempotency rows, expired ones included.
    pub idempotency: HashMap<[u8; 32], Remembered>,
    /// Those of the subjects that are not in the vault.
    pub gone: HashSet<Uuid>,
}

/// What to write. All of it, in one transaction, or nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// The new head; the old one's values when there are no events.
    pub size: u64,
    /// The new head's chain hash.
    pub chain_hash: Hash,
    /// The new head's time.
    pub recorded_at: Timestamp,
    /// What becomes of unique keys. Only those that change.
    pub keys: BTreeMap<UniqueKey, KeyChange>,
    /// Idempotency rows to insert, replacing an expired one with the same key.
    pub idempotency: BTreeMap<[u8; 32], Remembered>,
    /// An answer for each append, in the order given. Those that say so hold the events.
    pub outcomes: Vec<Outcome>,
}

impl Plan {
    /// Rows of the event table, in position order.
    pub fn events(&self) -> impl Iterator<Item = &Recorded> {
        self.outcomes.iter().flat_map(|outcome| match outcome {
            Outcome::Appended(events) => &events[..],
            Outcome::Repeated(_) | Outcome::Refused(_) => &[],
        })
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events().next().is_none()
    }
}

/// What becomes of a unique key's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// There is none: it is inserted.
    Claimed(KeyOwner),
    /// It gets another owner.
    Moved(KeyOwner),
    /// It is deleted.
    Released,
}

impl KeyChange {
    /// `None` for a key that ends as it began, such as one that was claimed and released within the batch, or released while nobody owned it.
    fn between(before: Option<&KeyOwner>, after: Option<&KeyOwner>) -> Option<KeyChange> {
        match (before, after) {
            (None, Some(owner)) => Some(KeyChange::Claimed(owner.clone())),
            (Some(before), Some(owner)) if before != owner => Some(KeyChange::Moved(owner.clone())),
            (Some(_), None) => Some(KeyChange::Released),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }
}

/// What must be fetched before [`plan`] can be called.
pub fn wanted<'a>(batch: impl IntoIterator<Item = &'a Append>) -> Wanted {
    let mut wanted = Wanted::default();
    for append in batch {
        wanted.streams.extend(append.streams.iter().map(|part| part.stream.clone()));
        wanted.keys.extend(append.claims.iter().map(|(key, _)| key.clone()));
        wanted.keys.extend(append.releases.iter().cloned());
        wanted.idempotency.extend(append.idempotency.iter().map(|idempotency| idempotency.key));
        wanted.subjects.extend(&append.relies_on);
    }
    wanted
}

/// What the appends of a batch themselves say of the log, taken at their word: streams at the versions expected, keys free, nothing
/// remembered and subjects there. A plan may be made of it before anything is fetched, and be written if all that is [`wanted`] turns out to be
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
        owners: found.keys.clone(),
        owners_before: found.keys,
        touched: BTreeSet::new(),
        remembered: found.idempotency,
        gone: found.gone,
        plan: Plan {
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
    owners: HashMap<UniqueKey, KeyOwner>,
    owners_before: HashMap<UniqueKey, KeyOwner>,
    /// Keys that were claimed or released.
    touched: BTreeSet<UniqueKey>,
    remembered: HashMap<[u8; 32], Remembered>,
    gone: HashSet<Uuid>,
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
        // A subject that was erased has an event in its stream, which was looked at before.
        let gone = append.relies_on.iter().find(|subject| self.gone.contains(subject));
        gone.map(|subject| Outcome::Refused(Refusal::SubjectGone { subject: *subject }))
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
            self.touched.insert(key.clone());
        }
        for (key, stream) in &append.claims {
            let owner = KeyOwner { stream: stream.clone(), position: first_of.get(stream).copied().unwrap_or(first) };
            self.owners.insert(key.clone(), owner);
            self.touched.insert(key.clone());
        }
        if let Some(idempotency) = &append.idempotency {
            let row = Remembered { command: Some(idempotency.command), position: first, recorded_at: self.recorded_at };
            self.remembered.insert(idempotency.key, row.clone());
            self.plan.idempotency.insert(idempotency.key, row);
        }
        Outcome::Appended(placed)
    }

    fn finish(mut self) -> Plan {
        for key in self.touched {
            let change = KeyChange::between(self.owners_before.get(&key), self.owners.get(&key));
            self.plan.keys.extend(change.map(|change| (key, change)));
        }
        self.plan
    }
}

#[cfg(test)]
mod tests;
