//! Tiles: the pieces in which a tree is kept and served (C2SP tlog-tiles). **Permanent.**
//!
//! A tile holds up to 256 hashes, one after the other. At level 0 they are leaves; at level `n` each is the root of a full tile of
//! level `n - 1`. Beside them stand the entries, which are event hashes. A tile with fewer than 256 is partial: it only ever grows,
//! and what it held stays.
//!
//! The crate `tlog_tiles` writes the height into a path, as Go's checksum database does; C2SP does not, so paths are made here.

use std::fmt;
use std::str::FromStr;

use super::TreeSize;

/// How many hashes a full tile holds.
pub const WIDTH: usize = 256;
/// The length of a hash, in a tile and as an entry.
pub const HASH_LENGTH: usize = 32;
/// The length of a full tile.
pub const FULL_LENGTH: usize = WIDTH * HASH_LENGTH;
/// What names the entries' tiles in a path.
const ENTRIES: &str = "entries";
/// No tree of ours is higher.
const LEVEL_MAX: u8 = 7;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What the leaves stand for: event hashes.
    Entries,
    /// Hashes of the tree, 8 times so many levels above the leaves.
    Hashes(u8),
}

impl Level {
    /// The number by which stores know it.
    #[must_use]
    pub fn stored(self) -> i16 {
        match self {
            Level::Entries => -1,
            Level::Hashes(level) => i16::from(level),
        }
    }

    /// From that number.
    #[must_use]
    pub fn from_stored(stored: i16) -> Option<Level> {
        match stored {
            -1 => Some(Level::Entries),
            level => u8::try_from(level).ok().filter(|level| *level <= LEVEL_MAX).map(Level::Hashes),
        }
    }

    /// How many hashes there are at this level in a tree of this size.
    #[must_use]
    pub fn hashes(self, size: TreeSize) -> u64 {
        match self {
            Level::Entries => size.0,
            Level::Hashes(level) => size.0 >> (8 * u32::from(level.min(LEVEL_MAX))),
        }
    }
}

/// A tile's place, however many hashes it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// What it holds.
    pub level: Level,
    /// Its place among those of its level, from 0.
    pub index: u64,
}

impl Tile {
    /// How many hashes it holds in a tree of this size.
    #[must_use]
    pub fn width(self, size: TreeSize) -> usize {
        let after = self.level.hashes(size).saturating_sub(self.index.saturating_mul(WIDTH as u64));
        usize::try_from(after).unwrap_or(WIDTH).min(WIDTH)
    }

    /// The tiles of a tree of this size that are still to grow: at each level the last one, unless it is full, entries first.
    #[must_use]
    pub fn growing(size: TreeSize) -> Vec<Tile> {
        let levels = std::iter::once(Level::Entries).chain((0..=LEVEL_MAX).map(Level::Hashes));
        let last = levels.map(|level| Tile { level, index: level.hashes(size) / WIDTH as u64 });
        last.filter(|tile| tile.width(size) > 0).collect()
    }
}

/// A tile as it is asked for: with the number of its hashes. Shown as its path below `tile/`: `0/x001/x234/067.p/12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sized {
    /// Which one.
    pub tile: Tile,
    /// How many of its hashes, from 1 to 256.
    pub width: usize,
}

/// A text that is no tile's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a tile's path, such as 0/x001/067 or entries/067.p/12")]
pub struct MalformedPath;

impl fmt::Display for Sized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tile.level {
            Level::Entries => f.write_str(ENTRIES)?,
            Level::Hashes(level) => write!(f, "{level}")?,
        }
        let digits = self.tile.index.to_string();
        let groups = digits.len().div_ceil(3);
        let padded = format!("{digits:0>width$}", width = groups * 3);
        for group in 0..groups {
            let x = if group + 1 < groups { "x" } else { "" };
            write!(f, "/{x}{}", &padded[group * 3..group * 3 + 3])?;
        }
        if self.width < WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for Sized {
    type Err = MalformedPath;

    fn from_str(path: &str) -> Result<Sized, MalformedPath> {
        let (level, rest) = path.split_once('/').ok_or(MalformedPath)?;
        let level = match level {
            ENTRIES => Level::Entries,
            digits => digits.parse().ok().filter(|level| *level <= LEVEL_MAX).map(Level::Hashes).ok_or(MalformedPath)?,
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok().filter(|width| (1..WIDTH).contains(width)).ok_or(MalformedPath)?),
            None => (rest, WIDTH),
        };
        let digits: String = index.split('/').map(|group| group.trim_start_matches('x')).collect();
        let tile = Tile { level, index: digits.parse().map_err(|_| MalformedPath)? };
        let sized = Sized { tile, width };
        // One way of writing each: signs, missing or further zeros, an x too many or too few are other paths.
        if sized.to_string() == path { Ok(sized) } else { Err(MalformedPath) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hashes(level: u8, index: u64, width: usize) -> Sized {
        Sized { tile: Tile { level: Level::Hashes(level), index }, width }
    }

    /// The examples of C2SP tlog-tiles.
    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(hashes(0, 1_234_067, 256).to_string(), "0/x001/x234/067");
        assert_eq!(hashes(2, 0, 1).to_string(), "2/000.p/1");
        assert_eq!(Sized { tile: Tile { level: Level::Entries, index: 273 }, width: 112 }.to_string(), "entries/273.p/112");
        assert_eq!("0/x001/x234/067".parse(), Ok(hashes(0, 1_234_067, 256)));
    }

    /// The example of C2SP tlog-tiles: a tree of 70 000 leaves.
    #[test]
    fn widths_are_those_of_the_specification() {
        let size = TreeSize(70_000);
        let width = |level, index| hashes(level, index, 1).tile.width(size);
        assert_eq!([width(0, 272), width(0, 273), width(0, 274)], [256, 112, 0]);
        assert_eq!([width(1, 0), width(1, 1), width(2, 0), width(3, 0)], [256, 17, 1, 0]);
        let growing: Vec<Level> = Tile::growing(TreeSize(256)).iter().map(|tile| tile.level).collect();
        assert_eq!(growing, [Level::Hashes(1)], "a full tile no longer grows");
    }

    #[test]
    fn other_ways_of_writing_a_path_are_refused() {
        for path in [
            "",
            "0",
            "0/",
            "0/1",
            "0/01",
            "0/0001",
            "0/x001",
            "0/x000/001",
            "0/001/x067",
            "00/001",
            "+0/001",
            "0/+01",
            "8/000",
            "data/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/+1",
            "0/000.p/",
            "0/000.p/1/",
            "entries/xx01/067",
            "0/x18446744073709551616/000",
            "0/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(path.parse::<Sized>(), Err(MalformedPath), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn a_path_reads_back(level in -1i16..8, index in any::<u64>(), width in 1usize..=256) {
            let sized = Sized { tile: Tile { level: Level::from_stored(level).unwrap(), index }, width };
            prop_assert_eq!(sized.to_string().parse(), Ok(sized));
            prop_assert_eq!(sized.tile.level.stored(), level);
        }
    }
}
