//! How a tree's tiles change when leaves are added.
//!
//! What grows is the tree's edge: the last tile of each level. Everything left of it is full and stays as it is.

use std::collections::BTreeMap;

use super::tile::{FULL_LENGTH, HASH_LENGTH, Level, Tile, WIDTH};
use super::{Hash, TreeSize};
use crate::chain;

/// The tiles of a tree that are still to grow, with what they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    size: TreeSize,
    tiles: BTreeMap<Level, Vec<u8>>,
}

/// A tile is not there, or holds less than a tree of that size must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves lacks hashes of the tile {tile:?}")]
pub struct Missing {
    /// The tree's size.
    pub size: TreeSize,
    /// The tile.
    pub tile: Tile,
}

impl Edge {
    /// Of a tree without leaves.
    #[must_use]
    pub fn empty() -> Edge {
        Edge { size: TreeSize::EMPTY, tiles: BTreeMap::new() }
    }

    /// Of a tree of this size, from what is stored of its [growing tiles](Tile::growing), in their order. What a tile holds beyond
    /// that size is passed over.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn load<B: AsRef<[u8]>>(size: TreeSize, stored: &[Option<B>]) -> Result<Edge, Missing> {
        let growing = Tile::growing(size);
        let stored = stored.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let tiles = growing.iter().zip(stored).map(|(tile, stored)| {
            let held = stored.and_then(|bytes| bytes.as_ref().get(..tile.width(size) * HASH_LENGTH));
            held.map(|held| (tile.level, held.to_vec())).ok_or(Missing { size, tile: *tile })
        });
        Ok(Edge { size, tiles: tiles.collect::<Result<_, _>>()? })
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        self.size
    }

    /// Adds the leaves of these events; answers every tile that changed, once, with all that it holds now.
    pub fn grow(&mut self, events: &[chain::Hash]) -> BTreeMap<Tile, Vec<u8>> {
        let mut changed = BTreeMap::new();
        for event in events {
            self.add(Level::Entries, self.size.0, event.0, &mut changed);
            let (mut level, mut at, mut hash) = (0, self.size.0, Hash::leaf(*event));
            // A tile that is full becomes one hash of the level above.
            while let Some(root) = self.add(Level::Hashes(level), at, hash.0, &mut changed) {
                (level, at, hash) = (level + 1, at / WIDTH as u64, root);
            }
            self.size.0 += 1;
        }
        for (level, bytes) in &self.tiles {
            let tile = Tile { level: *level, index: level.hashes(self.size) / WIDTH as u64 };
            // The rest of the edge is as it was.
            if let Some(held) = changed.get_mut(&tile) {
                bytes.clone_into(held);
            }
        }
        changed
    }

    /// Adds the hash number `at` of a level; answers the root of its tile when that is full of tree hashes.
    fn add(&mut self, level: Level, at: u64, hash: [u8; 32], changed: &mut BTreeMap<Tile, Vec<u8>>) -> Option<Hash> {
        let tile = Tile { level, index: at / WIDTH as u64 };
        let bytes = self.tiles.entry(level).or_default();
        bytes.extend_from_slice(&hash);
        if bytes.len() < FULL_LENGTH {
            changed.entry(tile).or_default();
            return None;
        }
        let full = self.tiles.remove(&level).unwrap_or_default();
        let root = (level != Level::Entries).then(|| Hash::from(tlog_tiles::Tile::subtree_hash(&full)));
        changed.insert(tile, full);
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::proof::Question;
    use proptest::prelude::*;

    fn event(at: u64) -> chain::Hash {
        chain::event_hash(&at.to_be_bytes())
    }

    fn events(positions: std::ops::Range<u64>) -> Vec<chain::Hash> {
        positions.map(event).collect()
    }

    #[test]
    fn a_tile_that_becomes_full_is_one_hash_of_the_level_above() {
        let mut edge = Edge::empty();
        let changed = edge.grow(&events(0..256));
        let levels: Vec<(Level, usize)> = changed.iter().map(|(tile, bytes)| (tile.level, bytes.len())).collect();
        assert_eq!(levels, [(Level::Entries, FULL_LENGTH), (Level::Hashes(0), FULL_LENGTH), (Level::Hashes(1), HASH_LENGTH)]);
        assert_eq!(edge.size(), TreeSize(256));
    }

    #[test]
    fn an_edge_is_not_loaded_from_less_than_it_must_hold() {
        let size = TreeSize(3);
        let tile = Tile { level: Level::Entries, index: 0 };
        assert_eq!(Edge::load::<Vec<u8>>(size, &[]), Err(Missing { size, tile }));
        assert_eq!(Edge::load(size, &[Some(vec![0; 95]), Some(vec![0; 96])]), Err(Missing { size, tile }));
        assert!(Edge::load(size, &[Some(vec![0; 96]), Some(vec![0; 200])]).is_ok());
    }

    proptest! {
        /// However the leaves arrive, the tiles are the same, and loading them again gives the same edge.
        #[test]
        fn steps_make_no_difference(steps in prop::collection::vec(0u64..700, 1..6)) {
            let (mut edge, mut tiles, mut at) = (Edge::empty(), BTreeMap::new(), 0);
            for step in steps {
                tiles.extend(edge.grow(&events(at..at + step)));
                at += step;
                let stored: Vec<_> = Tile::growing(edge.size()).iter().map(|tile| tiles.get(tile)).collect();
                prop_assert_eq!(Edge::load(edge.size(), &stored), Ok(edge.clone()));
            }
            let (mut whole, size) = (Edge::empty(), TreeSize(at));
            prop_assert_eq!(&whole.grow(&events(0..at)), &tiles);
            for (tile, bytes) in &tiles {
                prop_assert_eq!(bytes.len(), tile.width(size) * HASH_LENGTH);
            }
            prop_assert_eq!(Question::Root(size).answer(&tiles).map(|root| root[0]), Ok(crate::tree::proof::tests::root(&events(0..at))));
        }
    }
}
