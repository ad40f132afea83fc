//! The tree as the events say it is: grown leaf by leaf, in tiles, with its root at the sizes that are asked for.
//!
//! A leaf costs its own hash and, on the average, one of a node: the hashes of every level of tiles come up while the root is kept.

use std::collections::BTreeMap;

use crate::chain;
use crate::tree::tile::{FULL_LENGTH, HASH_LENGTH, Level, Tile, WIDTH};
use crate::tree::{Frontier, Hash, TreeSize};

/// Entries, and eight levels of hashes.
pub(in crate::fsck) const LEVELS: [Level; 9] = [
    Level::Entries,
    Level::Hashes(0),
    Level::Hashes(1),
    Level::Hashes(2),
    Level::Hashes(3),
    Level::Hashes(4),
    Level::Hashes(5),
    Level::Hashes(6),
    Level::Hashes(7),
];

/// A tree that grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::fsck) struct Growing {
    pub(in crate::fsck) frontier: Frontier,
    /// What the last tile of each of [`LEVELS`] holds, unless it is full.
    pub(in crate::fsck) edge: [Vec<u8>; 9],
}

/// What came of growing.
#[derive(Debug)]
pub(super) struct Grown {
    /// The tiles of the tree that was asked for which became full on the way, and all others once it had its size.
    pub(super) tiles: BTreeMap<Tile, Vec<u8>>,
    /// The roots at the sizes that were asked for.
    pub(super) roots: BTreeMap<TreeSize, Hash>,
}

impl Growing {
    /// No leaf yet.
    pub(super) fn new() -> Growing {
        Growing { frontier: Frontier::new(), edge: std::array::from_fn(|_| Vec::new()) }
    }

    pub(super) fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// Adds the leaves of these events; answers the tiles of the tree of the size `tree`, and the roots at `sizes`, which ascend and lie
    /// between the size before and the size after, both included.
    pub(super) fn grow(&mut self, events: &[chain::Hash], tree: TreeSize, sizes: &[TreeSize]) -> Grown {
        let mut grown = Grown { tiles: BTreeMap::new(), roots: BTreeMap::new() };
        let mut sizes = sizes.iter().copied().peekable();
        let mut events = events.iter();
        loop {
            let size = self.size();
            while sizes.next_if(|wanted| *wanted <= size).is_some_and(|wanted| wanted == size) {
                grown.roots.entry(size).or_insert_with(|| self.frontier.root());
            }
            let Some(event) = events.next() else { return grown };
            self.add(*event, tree, &mut grown.tiles);
        }
    }

    fn add(&mut self, event: chain::Hash, tree: TreeSize, tiles: &mut BTreeMap<Tile, Vec<u8>>) {
        let (at, edge) = (self.size().0, &mut self.edge);
        let mut add = |level: usize, hash: &[u8; HASH_LENGTH]| {
            edge[level].extend_from_slice(hash);
            if edge[level].len() == FULL_LENGTH {
                let full = std::mem::take(&mut edge[level]);
                if at < tree.0 {
                    let index = LEVELS[level].hashes(TreeSize(at)) / WIDTH as u64;
                    tiles.insert(Tile { level: LEVELS[level], index }, full);
                }
            }
        };
        add(0, &event.0);
        self.frontier.push_telling(Hash::leaf(event), |height, root| {
            if let (0, level) = (height % 8, height / 8 + 1)
                && (level as usize) < LEVELS.len()
            {
                add(level as usize, &root.0);
            }
        });
        if self.size() == tree {
            let held = LEVELS.iter().zip(&self.edge).filter(|(_, held)| !held.is_empty());
            tiles.extend(held.map(|(level, held)| (Tile { level: *level, index: level.hashes(tree) / WIDTH as u64 }, held.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::growth::Edge;

    #[test]
    fn the_tiles_are_those_that_are_written_and_the_roots_those_of_their_sizes() {
        let events: Vec<chain::Hash> = (0u64..70_000).map(|at| chain::event_hash(&at.to_be_bytes())).collect();
        for tree in [0, 1, 255, 256, 257, 65_535, 65_536, 69_999, 70_000] {
            let (mut growing, mut tiles, mut roots) = (Growing::new(), BTreeMap::new(), BTreeMap::new());
            for (at, page) in (0u64..).map(|page| page * 999).zip(events.chunks(999)) {
                let sizes = [at, at + 1, at + page.len() as u64].map(TreeSize);
                let grown = growing.grow(page, TreeSize(tree), &sizes);
                tiles.extend(grown.tiles);
                roots.extend(grown.roots);
            }
            let written = Edge::empty().grow(&events[..usize::try_from(tree).unwrap()]);
            assert!(tiles == written, "{tree}");
            for size in [0, 1, 999, 1000, 69_930, 70_000] {
                let root = crate::tree::proof::tests::root(&events[..usize::try_from(size).unwrap()]);
                assert_eq!(roots[&TreeSize(size)], root, "{size}");
            }
        }
    }
}
