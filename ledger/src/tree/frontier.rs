//! The root of a growing Merkle tree (RFC 6962, section 2.1) in memory that does not grow with it.
//!
//! The tree over the leaves so far is a row of perfect subtrees, the largest first, one for each bit that is set in their number. Their roots are all that
//! is kept: a new leaf closes those that it fills, and the tree's root is made of what stands.

use tlog_tiles::node_hash;

use super::{Hash, TreeSize};

/// A tree's right edge: all that is needed to add leaves and to tell the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontier {
    size: TreeSize,
    /// The roots of the perfect subtrees, the largest first.
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// Of the empty tree.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a tree is begun on purpose")]
    pub fn new() -> Frontier {
        Frontier { size: TreeSize::EMPTY, subtrees: Vec::new() }
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        self.size
    }

    /// Goes on from a tree of this size with these [subtrees](Frontier::subtrees); `None` if it has another number of them.
    #[must_use]
    pub fn resume(size: TreeSize, subtrees: Vec<Hash>) -> Option<Frontier> {
        (usize::try_from(size.0.count_ones()) == Ok(subtrees.len())).then_some(Frontier { size, subtrees })
    }

    /// The roots of the perfect subtrees that the leaves so far make, the largest first.
    #[must_use]
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_telling(leaf, |_, _| ());
    }

    /// Adds a leaf and tells the root of each perfect subtree that it fills with the subtree's height: 0 and the leaf itself first.
    pub fn push_telling(&mut self, leaf: Hash, mut tell: impl FnMut(u32, Hash)) {
        let mut filled = leaf;
        tell(0, filled);
        // Each subtree of the least sizes without a gap is filled by what comes: as carrying goes in a sum.
        for height in 1..=self.size.0.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                filled = node_hash(left.into(), filled.into()).into();
                tell(height, filled);
            }
        }
        self.subtrees.push(filled);
        self.size.0 += 1;
    }

    /// The root over all leaves; of none, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let root = self.subtrees.iter().rev().copied().reduce(|right, left| node_hash(left.into(), right.into()).into());
        root.unwrap_or(Hash::EMPTY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain;
    use crate::tree::proof::tests::root;

    /// That function follows the words of the RFC, and the published roots hold it to them.
    #[test]
    fn a_root_is_the_one_of_the_definition_at_every_size() {
        let events: Vec<chain::Hash> = (0u64..300).map(|at| chain::event_hash(&at.to_be_bytes())).collect();
        let mut frontier = Frontier::new();
        for size in 0..=events.len() {
            assert_eq!((frontier.size(), frontier.root()), (TreeSize(size as u64), root(&events[..size])));
            events.get(size).into_iter().for_each(|event| frontier.push(Hash::leaf(*event)));
        }
    }
}
