//! The log in memory: for tests and simulations. It keeps the contract but for durability.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Append, CommitError, Head, KeyOwner, Listed, Log, Outcome, Query, Restore, RestoreError, UniqueKey};
use crate::chain::{Hash, Origin};
use crate::event::Recorded;
use crate::planner::{self, Found, KeyChange, Plan, Remembered, Restored, Wanted};
use crate::store::Error;
use crate::{Clock, LogName, Position, Stream, Timestamp, Version};

/// A log that ends with the process.
pub struct Memory {
    name: LogName,
    origin: Origin,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    events: Vec<Recorded>,
    versions: HashMap<Stream, Version>,
    keys: BTreeMap<UniqueKey, KeyOwner>,
    idempotency: HashMap<[u8; 32], Remembered>,
}

impl State {
    fn find(&self, wanted: &Wanted) -> Found {
        Found {
            versions: wanted.streams.iter().filter_map(|stream| Some((stream.clone(), *self.versions.get(stream)?))).collect(),
            keys: wanted.keys.iter().filter_map(|key| Some((key.clone(), self.keys.get(key)?.clone()))).collect(),
            idempotency: wanted.idempotency.iter().filter_map(|key| Some((*key, self.idempotency.get(key)?.clone()))).collect(),
            ..Found::default()
        }
    }

    fn write(&mut self, plan: Plan) -> Vec<Outcome> {
        for event in plan.events() {
            self.versions.insert(event.stream.clone(), event.version);
            self.events.push(event.clone());
        }
        for (key, change) in plan.keys {
            match change {
                KeyChange::Claimed(owner) | KeyChange::Moved(owner) => self.keys.insert(key, owner),
                KeyChange::Released => self.keys.remove(&key),
            };
        }
        self.idempotency.extend(plan.idempotency);
        plan.outcomes
    }
}

impl Memory {
    /// An empty log.
    #[must_use]
    pub fn new(name: LogName, origin: Origin, clock: Arc<dyn Clock>) -> Memory {
        let state = State { events: Vec::new(), versions: HashMap::new(), keys: BTreeMap::new(), idempotency: HashMap::new() };
        Memory { name, origin, clock, state: Mutex::new(state) }
    }

    /// Nothing panics while the lock is held, so a poisoned one holds a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, state: &State) -> (u64, Hash, Timestamp) {
        state
            .events
            .last()
            .map_or((0, self.origin.genesis(), Timestamp::EPOCH), |last| (last.position.0 + 1, last.chain_hash, last.recorded_at))
    }
}

#[async_trait]
impl Log for Memory {
    fn name(&self) -> &LogName {
        &self.name
    }

    fn schema(&self) -> usize {
        0
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    async fn head(&self) -> Result<Head, Error> {
        // The clock is read under the lock that a commit holds from before it reads its own: nothing is in flight.
        let state = self.state();
        let (size, chain_hash, recorded_at) = self.end(&state);
        Ok(Head { size, chain_hash, recorded_at, now: self.clock.now() })
    }

    async fn commit(&self, batch: Vec<Append>) -> Result<Vec<Outcome>, CommitError> {
        let mut state = self.state();
        let (size, chain_hash, recorded_at) = self.end(&state);
        let head = planner::Head { size, chain_hash, recorded_at, now: self.clock.now() };
        let found = state.find(&planner::wanted(&batch));
        Ok(state.write(planner::plan(&head, found, &batch)))
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>, Error> {
        Ok(self.state().events.iter().filter(|event| query.wants(event)).take(query.limit).cloned().collect())
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<Recorded>, Error> {
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        positions.dedup();
        let state = self.state();
        Ok(positions.iter().filter_map(|position| state.events.get(usize::try_from(position.0).ok()?).cloned()).collect())
    }

    async fn read_first(&self, streams: &[Stream]) -> Result<Vec<Recorded>, Error> {
        let streams: HashSet<&Stream> = streams.iter().collect();
        let first = |event: &&Recorded| event.version == Version::FIRST && streams.contains(&event.stream);
        Ok(self.state().events.iter().filter(first).cloned().collect())
    }

    async fn versions(&self, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, Error> {
        let state = self.state();
        let place = |event: &Recorded| (event.stream.clone(), event.version, event.position);
        let after = after.map(|after| (after.stream.clone(), after.version));
        let mut places: Vec<_> =
            state.events.iter().map(place).filter(|(stream, version, _)| after < Some((stream.clone(), *version))).collect();
        places.sort_unstable();
        Ok(places.into_iter().take(limit).map(|(stream, version, position)| Listed { stream, version, position }).collect())
    }

    async fn key_owner(&self, key: &UniqueKey) -> Result<Option<KeyOwner>, Error> {
        Ok(self.state().keys.get(key).cloned())
    }

    async fn keys(&self, after: Option<&UniqueKey>, limit: usize) -> Result<Vec<(UniqueKey, KeyOwner)>, Error> {
        let state = self.state();
        let keys = state.keys.iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        Ok(keys.take(limit).map(|(key, owner)| (key.clone(), owner.clone())).collect())
    }

    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64, Error> {
        let mut state = self.state();
        let held = state.idempotency.len();
        state.idempotency.retain(|_, remembered| remembered.recorded_at >= before);
        Ok((held - state.idempotency.len()) as u64)
    }

    async fn forget_commands(&self, positions: &[Position]) -> Result<u64, Error> {
        let mut state = self.state();
        let rows = state.idempotency.values_mut().filter(|row| positions.contains(&row.position));
        Ok(rows.filter_map(|row| row.command.take()).count() as u64)
    }
}

#[async_trait]
impl Restore for Memory {
    async fn restore(&self, batch: Restored) -> Result<(), RestoreError> {
        let wanted = batch.wanted();
        let mut state = self.state();
        let (size, chain_hash, recorded_at) = self.end(&state);
        let plan = batch.plan(&planner::Head { size, chain_hash, recorded_at, now: recorded_at }, state.find(&wanted))?;
        state.write(plan);
        Ok(())
    }

    async fn remembered(&self, after: Option<&([u8; 32], Remembered)>, limit: usize) -> Result<Vec<([u8; 32], Remembered)>, Error> {
        let place = |(key, row): &([u8; 32], Remembered)| (row.recorded_at, *key);
        let state = self.state();
        let rows = state.idempotency.iter().map(|(key, row)| (*key, row.clone()));
        let mut rows: Vec<_> = rows.filter(|row| after.is_none_or(|after| place(row) > place(after))).collect();
        rows.sort_unstable_by_key(place);
        rows.truncate(limit);
        Ok(rows)
    }

    async fn remember(&self, rows: Vec<([u8; 32], Remembered)>) -> Result<(), Error> {
        self.state().idempotency.extend(rows);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::log::contract::{Fixture, noon};

    struct Shared(Arc<Memory>, Arc<ManualClock>);

    #[async_trait]
    impl Fixture for Shared {
        async fn open(&self) -> Arc<dyn Log> {
            self.0.clone()
        }

        async fn restorable(&self) -> Arc<dyn Restore> {
            self.0.clone()
        }

        fn clock(&self) -> &ManualClock {
            &self.1
        }
    }

    async fn fresh() -> Shared {
        let clock = Arc::new(ManualClock::at(noon()));
        let name = LogName::LEDGER;
        Shared(Arc::new(Memory::new(name.clone(), Origin::new("memory.example", &name), clock.clone())), clock)
    }

    crate::log_contract!(fresh);
}
