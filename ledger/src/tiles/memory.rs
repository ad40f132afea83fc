//! Tiles and checkpoints in memory: for tests and simulations. They keep the contract but for durability.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Published, Tiles};
use crate::chain::{self, Origin};
use crate::log::{Log, Query};
use crate::store::Error;
use crate::tree::TreeSize;
use crate::tree::tile::Tile;
use crate::{LogName, Position};

/// Tiles that end with the process, of a log that may be of any engine.
pub struct Memory {
    log: Arc<dyn Log>,
    state: Mutex<State>,
}

struct State {
    size: TreeSize,
    tiles: BTreeMap<Tile, Bytes>,
    checkpoints: Vec<Published>,
}

impl Memory {
    /// None yet.
    #[must_use]
    pub fn new(log: Arc<dyn Log>) -> Memory {
        let state = State { size: TreeSize::EMPTY, tiles: BTreeMap::new(), checkpoints: Vec::new() };
        Memory { log, state: Mutex::new(state) }
    }

    /// Nothing panics while the lock is held, so a poisoned one holds a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Tiles for Memory {
    fn log(&self) -> &LogName {
        self.log.name()
    }

    fn origin(&self) -> &Origin {
        self.log.origin()
    }

    async fn size(&self) -> Result<TreeSize, Error> {
        Ok(self.state().size)
    }

    async fn read(&self, tiles: &[Tile]) -> Result<Vec<Option<Bytes>>, Error> {
        let state = self.state();
        Ok(tiles.iter().map(|tile| state.tiles.get(tile).cloned()).collect())
    }

    async fn list(&self, after: Option<Tile>, limit: usize) -> Result<Vec<(Tile, Bytes)>, Error> {
        let state = self.state();
        let later = state.tiles.iter().filter(|(tile, _)| after.is_none_or(|after| **tile > after));
        Ok(later.take(limit).map(|(tile, held)| (*tile, held.clone())).collect())
    }

    async fn event_hashes(&self, from: Position, limit: usize) -> Result<Vec<chain::Hash>, Error> {
        let events = self.log.read(&Query::from(from, limit)).await?;
        Ok(events.iter().map(|event| event.event_hash).collect())
    }

    async fn write(&self, from: TreeSize, to: TreeSize, tiles: &BTreeMap<Tile, Vec<u8>>) -> Result<bool, Error> {
        let mut state = self.state();
        if state.size != from {
            return Ok(false);
        }
        state.size = to;
        state.tiles.extend(tiles.iter().map(|(tile, held)| (*tile, Bytes::copy_from_slice(held))));
        Ok(true)
    }

    async fn publish(&self, checkpoint: &Published) -> Result<bool, Error> {
        let mut state = self.state();
        let is_next = checkpoint.number == state.checkpoints.len() as u64;
        if is_next {
            state.checkpoints.push(checkpoint.clone());
        }
        Ok(is_next)
    }

    async fn latest(&self) -> Result<Option<Published>, Error> {
        Ok(self.state().checkpoints.last().cloned())
    }

    async fn checkpoints(&self, from: u64, limit: usize) -> Result<Vec<Published>, Error> {
        Ok(self.state().checkpoints.iter().filter(|one| one.number >= from).take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::log::memory;
    use crate::tiles::contract::Fixture;
    use crate::tiles_contract;

    struct Shared(Arc<dyn Log>, Arc<Memory>);

    #[async_trait]
    impl Fixture for Shared {
        async fn log(&self) -> Arc<dyn Log> {
            self.0.clone()
        }

        async fn open(&self) -> Arc<dyn Tiles> {
            self.1.clone()
        }
    }

    async fn fresh() -> Shared {
        let origin = Origin::new("log.example", &LogName::LEDGER);
        let clock = Arc::new(ManualClock::at(crate::Timestamp::from_micros(1)));
        let log: Arc<dyn Log> = Arc::new(memory::Memory::new(LogName::LEDGER, origin, clock));
        Shared(log.clone(), Arc::new(Memory::new(log)))
    }

    tiles_contract!(fresh);
}
