//! Positions at which the log holds another event than its tree: the tiles agree with each other, and not with the event.
//!
//! A few are told one by one, and where events have exchanged places it is told which. Of many no more is kept than the stretches.

use std::collections::HashMap;
use std::ops::Range;

use crate::chain::Hash;
use crate::{LogName, Position};

/// How many are kept with their hashes.
const KEPT_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct Disputed {
    kept: Vec<One>,
    /// Those after.
    stretches: Vec<Range<u64>>,
}

struct One {
    position: Position,
    /// What the tree holds.
    entry: Hash,
    /// What the log holds.
    event: Hash,
}

impl Disputed {
    /// In ascending order.
    pub(super) fn add(&mut self, position: Position, entry: Hash, event: Hash) {
        if self.kept.len() < KEPT_MAX {
            return self.kept.push(One { position, entry, event });
        }
        let is_full = self.stretches.len() == KEPT_MAX;
        match self.stretches.last_mut() {
            // Of very many stretches the last takes in the rest.
            Some(last) if last.end == position.0 || is_full => last.end = position.0 + 1,
            _ => self.stretches.push(position.0..position.0 + 1),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Says of each what it is.
    pub(super) fn tell(self, log: &LogName, mut tell: impl FnMut(Position, String)) {
        let places: HashMap<[u8; 32], Position> = self.kept.iter().map(|one| (one.event.0, one.position)).collect();
        let mut stretches: Vec<Range<u64>> = Vec::new();
        for One { position, entry, event } in &self.kept {
            if let Some(now) = places.get(&entry.0) {
                let now = log.at(*now);
                tell(*position, format!("events were reordered: the tree holds here the event that now stands at {now}"));
            } else {
                match stretches.last_mut() {
                    Some(last) if last.end == position.0 => last.end += 1,
                    _ => stretches.push(position.0..position.0 + 1),
                }
                let only = stretches.last().is_some_and(|last| last.end - last.start == 1);
                if only {
                    // Told with its hashes; what follows without a gap is told with it.
                    tell(*position, format!("the event was altered or exchanged: the tree holds {entry} here, the event is {event}"));
                }
            }
        }
        let more = stretches.into_iter().map(|stretch| stretch.start + 1..stretch.end).filter(|rest| !rest.is_empty());
        for rest in more.chain(self.stretches) {
            let last = log.at(Position(rest.end - 1));
            tell(Position(rest.start), format!("the tree holds other events than the log from here to {last}"));
        }
    }
}
