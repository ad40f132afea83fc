//! The root of a growing Merkle tree (RFC 6962, section 2.1) in memory that does not grow with it.
//!
//! The tree over the leaves so far is a row of perfect subtrees, the largest first, one for each bit that is set in their number. Their roots are all that
//! is kept: a new leaf closes those that it fills, and the tree's root is made of what stands.

use sha2::{Digest, Sha256};

use crate::chain::Hash;

/// What stands before a leaf's entry, and before the two halves of a node: neither can be taken for the other.
const LEAF: u8 = 0;
const NODE: u8 = 1;

/// SHA-256 of a leaf: `0x00 || entry`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([LEAF]).chain_update(entry).finalize().into())
}

/// SHA-256 of an inner node: `0x01 || left || right`.
#[must_use]
pub fn node_hash(left: Hash, right: Hash) -> Hash {
    Hash(Sha256::new().chain_update([NODE]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// A tree's right edge: all that is needed to add leaves and to tell the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The roots of the perfect subtrees, the largest first.
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// Of the empty tree.
    #[must_use]
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf, given by its [`leaf_hash`].
    pub fn push(&mut self, leaf: Hash) {
        let mut filled = leaf;
        // Each subtree of the least sizes without a gap is filled by what comes: as carrying goes in a sum.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                filled = node_hash(left, filled);
            }
        }
        self.subtrees.push(filled);
        self.size += 1;
    }

    /// The root over all leaves; of none, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let root = self.subtrees.iter().rev().copied().reduce(|right, left| node_hash(left, right));
        root.unwrap_or_else(|| Hash(Sha256::digest([]).into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The entries and roots that implementations of RFC 6962 test themselves with.
    const PUBLISHED: [(&str, &str); 8] = [
        ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
        ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
        ("606162636465666768696a6b6c6d6e6f", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ];

    /// Section 2.1 as it stands there.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash(Sha256::digest([]).into()),
            [leaf] => *leaf,
            leaves => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(by_definition(left), by_definition(right))
            }
        }
    }

    #[test]
    fn roots_are_the_published_ones() {
        let mut frontier = Frontier::new();
        assert_eq!(frontier.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (size, (entry, root)) in (1..).zip(PUBLISHED) {
            frontier.push(leaf_hash(&hex::decode(entry).unwrap()));
            assert_eq!((frontier.size(), frontier.root().to_string()), (size, root.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn a_root_is_the_one_of_the_definition_at_every_size(entries in prop::collection::vec(any::<[u8; 4]>(), 0..100)) {
            let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
            let mut frontier = Frontier::new();
            for size in 0..=leaves.len() {
                prop_assert_eq!(frontier.root(), by_definition(&leaves[..size]));
                leaves.get(size).into_iter().for_each(|leaf| frontier.push(*leaf));
            }
        }
    }
}
