//! Events as another log recorded them: whether they go on from a log's end, and what is written then. Nothing in them changes.
//!
//! All that [`fsck`](crate::fsck) looks for is looked for before: positions, times, encoding and both hashes ([`End`]), versions,
//! and that no key gets two owners. So a log that was written so far holds together, whatever its source.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Found, Head, KeyChange, Plan, Wanted};
use crate::chain::{Broken, End};
use crate::event::{DecodeError, Recorded};
use crate::log::{KeyOwner, Outcome, UniqueKey, claimed, releases};
use crate::{Position, Stream, Version};

/// Events that go on from a log's end, to be committed together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// In position order.
    pub events: Vec<Recorded>,
    /// What the streams that an event of `events` releases had claimed before those.
    pub released: HashMap<Stream, UniqueKey>,
}

/// Why events are not taken. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// They do not begin where the log ends: somebody else has appended.
    #[error("the log has been appended to meanwhile: it goes on at position {0}")]
    Moved(Position),
    /// An event does not go on from the one before.
    #[error("it does not go on from what stands before it")]
    Broken(Position, #[source] Broken),
    /// An event is not its stream's next.
    #[error("it is version {found} of {stream}, which is at {}", .last.map_or_else(|| "none".to_owned(), |last| last.to_string()))]
    Version {
        /// The event.
        position: Position,
        /// Its stream.
        stream: Stream,
        /// The stream's last version before.
        last: Option<Version>,
        /// The event's.
        found: Version,
    },
    /// A key is claimed that another stream owns.
    #[error("it claims what {} owns since position {}", .owner.stream, .owner.position)]
    KeyTaken {
        /// The event.
        position: Position,
        /// Who owns it.
        owner: KeyOwner,
    },
    /// What an event claims cannot be told.
    #[error("its payload cannot be read")]
    Unreadable(Position, #[source] DecodeError),
}

impl Unfit {
    /// The event, if it is one that is wrong.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Unfit::Moved(_) => None,
            Unfit::Version { position, .. } | Unfit::KeyTaken { position, .. } => Some(*position),
            Unfit::Broken(position, _) | Unfit::Unreadable(position, _) => Some(*position),
        }
    }
}

impl Restored {
    /// What must be fetched before [`Restored::plan`] can be called, with the head locked.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for event in &self.events {
            wanted.streams.insert(event.stream.clone());
            // What cannot be read is told once it is known whether it is what was recorded.
            wanted.keys.extend(claimed(event).ok().flatten());
        }
        wanted.keys.extend(self.released.values().cloned());
        wanted
    }

    /// What to write, all of it or nothing.
    ///
    /// # Errors
    /// The events do not fit.
    pub fn plan(&self, head: &Head, found: Found) -> Result<Plan, Unfit> {
        if self.events.first().is_some_and(|first| first.position.0 != head.size) {
            return Err(Unfit::Moved(Position(head.size)));
        }
        let mut end = End { size: head.size, chain_hash: head.chain_hash, recorded_at: head.recorded_at };
        let (mut versions, mut owners) = (found.versions, found.keys.clone());
        let mut released = self.released.clone();
        let mut touched = BTreeSet::new();
        for event in &self.events {
            end.follow(event).map_err(|broken| Unfit::Broken(event.position, broken))?;
            version(&mut versions, event)?;
            if let Some(key) = claims(event)? {
                let owner = KeyOwner { stream: event.stream.clone(), position: event.position };
                if let Some(taken) = owners.insert(key.clone(), owner) {
                    return Err(Unfit::KeyTaken { position: event.position, owner: taken });
                }
                released.insert(event.stream.clone(), key.clone());
                touched.insert(key);
            }
            // A key that has passed to another stream since is not this one's to give back.
            if releases(event)
                && let Some(key) = released.remove(&event.stream)
                && owners.get(&key).is_some_and(|owner| owner.stream == event.stream)
            {
                owners.remove(&key);
                touched.insert(key);
            }
        }
        let change = |key| Some((KeyChange::between(found.keys.get(&key), owners.get(&key))?, key));
        let keys = touched.into_iter().filter_map(change).map(|(change, key)| (key, change)).collect();
        let End { size, chain_hash, recorded_at } = end;
        let outcomes = vec![Outcome::Appended(self.events.clone())];
        Ok(Plan { size, chain_hash, recorded_at, keys, idempotency: BTreeMap::new(), outcomes })
    }
}

fn claims(event: &Recorded) -> Result<Option<UniqueKey>, Unfit> {
    claimed(event).map_err(|unreadable| Unfit::Unreadable(event.position, unreadable))
}

fn version(versions: &mut HashMap<Stream, Version>, event: &Recorded) -> Result<(), Unfit> {
    let last = versions.insert(event.stream.clone(), event.version);
    if last.map_or(Version::FIRST, Version::next) == event.version {
        return Ok(());
    }
    Err(Unfit::Version { position: event.position, stream: event.stream.clone(), last, found: event.version })
}
