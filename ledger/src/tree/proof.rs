//! Roots and proofs, made from tiles and checked (RFC 6962, sections 2.1.1 and 2.1.2; the algorithms are `tlog_tiles`').
//!
//! A [`Question`] first tells which tiles it needs, so that whoever reads them can read all at once, and then answers from them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tlog_tiles::{HashReader, check_record, check_tree, prove_record, prove_tree, tree_hash};

use super::tile::{HASH_LENGTH, Level, Tile};
use super::{Hash, TreeSize};
use crate::Position;

/// The height of a tile in levels of the tree.
const HEIGHT: u8 = 8;
/// No proof in a tree of at most [`TreeSize::MAX`] leaves is longer.
pub const PROOF_MAX: usize = 64;

/// What a tree can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The root of the tree as it was at this size: one hash.
    Root(TreeSize),
    /// That the leaf of this position is in the tree of this size, which covers it.
    Inclusion(Position, TreeSize),
    /// That the tree of the second size begins with that of the first, which is not larger. Empty from a tree without leaves.
    Consistency(TreeSize, TreeSize),
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It asks for a leaf beyond the tree's size, or for a larger tree in a smaller one.
    #[error("the tree is smaller than what is asked for")]
    Beyond,
    /// A tile that it needs was not given, or holds too little.
    #[error("hashes of the tree are missing")]
    Missing,
}

/// A proof that does not prove what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not hold")]
pub struct DoesNotHold;

impl Question {
    /// The tiles that the answer is made of.
    ///
    /// # Errors
    /// [`Unanswered::Beyond`].
    pub fn tiles(self) -> Result<Vec<Tile>, Unanswered> {
        let asked = Asked::default();
        match self.ask(&asked) {
            Err(Unanswered::Beyond) => Err(Unanswered::Beyond),
            _ => {
                let mut tiles: Vec<Tile> = asked.0.take().into_iter().map(|index| place(index).0).collect();
                tiles.sort_unstable();
                tiles.dedup();
                Ok(tiles)
            }
        }
    }

    /// The answer, from at least the tiles that it [needs](Question::tiles).
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn answer<B: AsRef<[u8]>>(self, tiles: &BTreeMap<Tile, B>) -> Result<Vec<Hash>, Unanswered> {
        self.ask(&Tiles(tiles))
    }

    fn ask(self, reader: &impl HashReader) -> Result<Vec<Hash>, Unanswered> {
        let answered = match self {
            Question::Root(size) | Question::Inclusion(_, size) | Question::Consistency(_, size) if size > TreeSize::MAX => {
                return Err(Unanswered::Beyond);
            }
            Question::Root(size) => tree_hash(size.0, reader).map(|root| vec![root]),
            Question::Inclusion(position, size) if size.covers(position) => prove_record(size.0, position.0, reader),
            Question::Consistency(TreeSize::EMPTY, _) => Ok(Vec::new()),
            Question::Consistency(from, to) if from <= to => prove_tree(to.0, from.0, reader),
            Question::Inclusion(..) | Question::Consistency(..) => return Err(Unanswered::Beyond),
        };
        let hashes = answered.map_err(|_| Unanswered::Missing)?;
        Ok(hashes.into_iter().map(Hash::from).collect())
    }
}

/// Checks that `leaf` stands at `position` in the tree of this size and root.
///
/// # Errors
/// [`DoesNotHold`].
pub fn check_inclusion(proof: &[Hash], size: TreeSize, root: Hash, position: Position, leaf: Hash) -> Result<(), DoesNotHold> {
    if size > TreeSize::MAX || !size.covers(position) {
        return Err(DoesNotHold);
    }
    check_record(&given(proof)?, size.0, root.into(), position.0, leaf.into()).map_err(|_| DoesNotHold)
}

/// Checks that the tree of the second size and root begins with that of the first.
///
/// # Errors
/// [`DoesNotHold`].
pub fn check_consistency(proof: &[Hash], (from, old): (TreeSize, Hash), (to, new): (TreeSize, Hash)) -> Result<(), DoesNotHold> {
    if from > to || to > TreeSize::MAX {
        return Err(DoesNotHold);
    }
    if from == TreeSize::EMPTY {
        let holds = proof.is_empty() && old == Hash::EMPTY && (to > from || new == Hash::EMPTY);
        return if holds { Ok(()) } else { Err(DoesNotHold) };
    }
    check_tree(&given(proof)?, to.0, new.into(), from.0, old.into()).map_err(|_| DoesNotHold)
}

fn given(proof: &[Hash]) -> Result<Vec<tlog_tiles::Hash>, DoesNotHold> {
    if proof.len() > PROOF_MAX { Err(DoesNotHold) } else { Ok(proof.iter().map(|hash| (*hash).into()).collect()) }
}

/// The tile of a hash, by the number under which `tlog_tiles` stores it, and the tile as that crate knows it.
fn place(index: u64) -> (Tile, tlog_tiles::Tile) {
    let tile = tlog_tiles::Tile::from_index(HEIGHT, index);
    (Tile { level: Level::Hashes(tile.level()), index: tile.level_index() }, tile)
}

/// Learns what is asked for, and answers nothing.
#[derive(Default)]
struct Asked(RefCell<Vec<u64>>);

impl HashReader for Asked {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        self.0.borrow_mut().extend(indexes);
        Err(tlog_tiles::Error::IndexesNotInTree)
    }
}

struct Tiles<'a, B>(&'a BTreeMap<Tile, B>);

impl<B: AsRef<[u8]>> HashReader for Tiles<'_, B> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let hash = |index: &u64| {
            let (place, tile) = place(*index);
            let held = self.0.get(&place).and_then(|bytes| bytes.as_ref().get(..tile.width() as usize * HASH_LENGTH));
            tile.hash_at_index(held.ok_or(tlog_tiles::Error::IndexesNotInTree)?, *index)
        };
        indexes.iter().map(hash).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::chain;
    use crate::tree::growth::Edge;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    /// The root by the words of RFC 6962, section 2.1.
    pub(crate) fn root(events: &[chain::Hash]) -> Hash {
        let leaves: Vec<[u8; 32]> =
            events.iter().map(|event| Sha256::new().chain_update([0]).chain_update(event.0).finalize().into()).collect();
        Hash(root_of(&leaves))
    }

    fn root_of(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                Sha256::new().chain_update([1]).chain_update(root_of(left)).chain_update(root_of(right)).finalize().into()
            }
        }
    }

    fn tree(size: u64) -> (Vec<chain::Hash>, BTreeMap<Tile, Vec<u8>>) {
        let events: Vec<chain::Hash> = (0..size).map(|at| chain::event_hash(&at.to_be_bytes())).collect();
        let tiles = Edge::empty().grow(&events);
        (events, tiles)
    }

    /// Asked with nothing but the tiles that the question names.
    fn answer(question: Question, tiles: &BTreeMap<Tile, Vec<u8>>) -> Vec<Hash> {
        let needed = question.tiles().unwrap();
        let given: BTreeMap<Tile, &Vec<u8>> = needed.iter().map(|tile| (*tile, &tiles[tile])).collect();
        question.answer(&given).unwrap()
    }

    #[test]
    fn what_a_tree_does_not_have_is_not_proved() {
        let (_, tiles) = tree(300);
        for question in [
            Question::Inclusion(Position(300), TreeSize(300)),
            Question::Consistency(TreeSize(300), TreeSize(299)),
            Question::Root(TreeSize(u64::MAX)),
            Question::Inclusion(Position(0), TreeSize(u64::MAX)),
        ] {
            assert_eq!(question.tiles(), Err(Unanswered::Beyond), "{question:?}");
            assert_eq!(question.answer(&tiles), Err(Unanswered::Beyond), "{question:?}");
        }
        assert_eq!(Question::Root(TreeSize(301)).answer(&tiles), Err(Unanswered::Missing));
    }

    /// Inputs, roots and proofs of Certificate Transparency's reference implementation (`merkle_tree_test.cc`), which follow RFC 6962.
    #[test]
    fn published_vectors_hold() {
        let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let leaf = |input: &&str| tlog_tiles::record_hash(&hex::decode(input).unwrap()).0;
        let leaves: Vec<[u8; 32]> = inputs.iter().map(leaf).collect();
        let tiles = BTreeMap::from([(Tile { level: Level::Hashes(0), index: 0 }, leaves.concat())]);
        let told = |question: Question| answer(question, &tiles).iter().map(|hash| hex::encode(hash.0)).collect::<Vec<_>>();
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (size, root) in (0..).zip(roots) {
            assert_eq!(told(Question::Root(TreeSize(size))), [root]);
        }
        let inclusion = |at, size| told(Question::Inclusion(Position(at), TreeSize(size)));
        assert_eq!(inclusion(0, 1), [""; 0]);
        let of_the_first = [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ];
        assert_eq!(inclusion(0, 8), of_the_first);
        assert_eq!(inclusion(2, 3), ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]);
        let consistency = |from, to| told(Question::Consistency(TreeSize(from), TreeSize(to)));
        assert_eq!(consistency(1, 8), of_the_first);
        let from_six = [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        assert_eq!(consistency(6, 8), from_six);
    }

    #[test]
    fn a_tree_without_leaves_begins_every_tree() {
        let (events, tiles) = tree(3);
        let (empty, three) = ((TreeSize::EMPTY, Hash::EMPTY), (TreeSize(3), root(&events)));
        assert_eq!(answer(Question::Consistency(empty.0, three.0), &tiles), []);
        assert_eq!(check_consistency(&[], empty, three), Ok(()));
        assert_eq!(check_consistency(&[], empty, empty), Ok(()));
        assert_eq!(check_consistency(&[], empty, (TreeSize::EMPTY, three.1)), Err(DoesNotHold));
        assert_eq!(check_consistency(&[], (TreeSize::EMPTY, three.1), three), Err(DoesNotHold));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_leaf_is_proved_at_its_place_and_nowhere_else(size in 1u64..2000, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>()) {
            let (events, tiles) = tree(2000);
            let (at, other) = (at.index(usize::try_from(size).unwrap()), other.index(usize::try_from(size).unwrap()));
            let (position, size) = (Position(at as u64), TreeSize(size));
            let root = root(&events[..usize::try_from(size.0).unwrap()]);
            prop_assert_eq!(answer(Question::Root(size), &tiles), vec![root]);
            let proof = answer(Question::Inclusion(position, size), &tiles);
            prop_assert_eq!(check_inclusion(&proof, size, root, position, Hash::leaf(events[at])), Ok(()));
            if at != other {
                prop_assert_eq!(check_inclusion(&proof, size, root, position, Hash::leaf(events[other])), Err(DoesNotHold));
                prop_assert_eq!(check_inclusion(&proof, size, root, Position(other as u64), Hash::leaf(events[at])), Err(DoesNotHold));
            }
            let mut longer = proof.clone();
            longer.push(root);
            prop_assert_eq!(check_inclusion(&longer, size, root, position, Hash::leaf(events[at])), Err(DoesNotHold));
        }

        #[test]
        fn a_tree_is_proved_to_begin_another_and_no_fork_of_it(from in 1u64..1500, more in 0u64..500, bit in 0usize..256) {
            let (events, tiles) = tree(2000);
            let (from, to) = (TreeSize(from), TreeSize(from + more));
            let head = |size: TreeSize| (size, root(&events[..usize::try_from(size.0).unwrap()]));
            let proof = answer(Question::Consistency(from, to), &tiles);
            prop_assert_eq!(check_consistency(&proof, head(from), head(to)), Ok(()));
            let mut forked = head(from);
            forked.1.0[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(check_consistency(&proof, forked, head(to)), Err(DoesNotHold));
        }
    }
}
