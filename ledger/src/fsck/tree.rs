//! The walk over the tree, beside the one over the events: what those say the tree is, against what is stored of it.
//!
//! The events' hashes come in page by page and in their order, and become the tree once more, leaf by leaf ([`growing`]). Each stored
//! tile is compared with the one that this makes, and each root that a checkpoint names with the one at its size ([`checkpoints`]).
//! So values, hashes, chain, tree and checkpoints are held against each other at every position, in one pass.
//!
//! The stored tree may be behind the log, which it is brought up to after the append, and may grow meanwhile: its size is taken before
//! the log's, and what is beyond it is nobody's fault as long as its row speaks for it.

pub(super) mod checkpoints;
mod disputed;
pub(super) mod growing;
mod size;

use std::collections::BTreeMap;

use bytes::Bytes;

use self::checkpoints::{Checkpoints, Newest};
use self::disputed::Disputed;
use self::growing::{Growing, LEVELS};
use super::{Against, Kind, PAGE, state};
use crate::chain;
use crate::store::Error;
use crate::tiles::Tiles;
use crate::tree::tile::{FULL_LENGTH, HASH_LENGTH, Level, Sized, Tile, WIDTH};
use crate::tree::{Hash, TreeSize};
use crate::{LogName, Position, causes};

/// What is wrong: where, which rule, and how.
pub(super) type Found = Vec<(Option<Position>, Kind, String)>;

/// What stands in the store before the log's head is taken.
pub(super) struct Begun {
    told: size::Told,
    newest: Newest,
}

/// Looks how far the tree and its checkpoints go. The head is taken after, so that it is never behind them.
pub(super) async fn begin(against: &Against<'_>) -> Result<Begun, Error> {
    let newest = checkpoints::newest(against.tiles).await?;
    Ok(Begun { told: size::told(against.tiles).await?, newest })
}

/// What the events of a page say.
#[derive(Default)]
pub(super) struct Hashes {
    /// The event hashes that the chain was built over, in order of positions.
    pub(super) events: Vec<(Position, chain::Hash)>,
    /// Every event before this position is among them, or is not to be read.
    pub(super) next: u64,
}

/// The walk.
pub(super) struct Tree<'a> {
    log: &'a LogName,
    tiles: &'a dyn Tiles,
    /// How many events the stored tree stands for, as far as the log goes; `None` if it cannot be read.
    size: Option<TreeSize>,
    /// The root at that size, once it is reached.
    root: Option<Hash>,
    /// `None` while it grows, and after an event that nobody knows.
    growing: Option<Growing>,
    disputed: Disputed,
    pub(super) checkpoints: Checkpoints<'a>,
    found: Found,
    evidence: String,
}

/// What was checked.
pub(super) struct Told {
    pub(super) size: Option<TreeSize>,
    pub(super) root: Option<Hash>,
    pub(super) checkpoints: u64,
}

impl<'a> Tree<'a> {
    /// Of a log of `size`.
    pub(super) fn new(log: &'a LogName, against: &Against<'a>, begun: Begun, size: u64) -> Tree<'a> {
        let stored = begun.told.size;
        let mut found: Found = begun.told.wrong.into_iter().map(|what| (None, Kind::Tree, what)).collect();
        if let Some(stored) = stored.filter(|stored| stored.0 > size) {
            found.push((None, Kind::Tree, format!("the log was cut: its tree stands for {stored} events, the log has {size}")));
        }
        let checkpoints = Checkpoints::new(against, begun.newest, TreeSize(size), stored);
        let size = stored.map(|stored| stored.min(TreeSize(size)));
        Tree {
            log,
            tiles: against.tiles,
            size,
            root: None,
            growing: Some(Growing::new()),
            disputed: Disputed::default(),
            checkpoints,
            found,
            evidence: state::evidence(against),
        }
    }

    /// Goes on from where an earlier check came to, if the stored tree is as large as it was then, or what is new of it is still to come.
    pub(super) fn resume(&mut self, size: Option<TreeSize>, root: Option<Hash>, growing: Growing) -> bool {
        let reached = growing.size();
        let fits = self.found.is_empty() && (self.size == size || size.is_some_and(|size| reached <= size && Some(size) <= self.size));
        if fits {
            self.growing = Some(growing);
            // It is another one where the tree is larger now.
            self.root = root.filter(|_| self.size == size);
        }
        fits
    }

    /// What tells the keys and the checkpoints kept elsewhere from others.
    pub(super) fn evidence(&self) -> &str {
        &self.evidence
    }

    /// What [`Tree::resume`] goes on from, unless something was found or an event is missing.
    pub(super) fn kept(&self) -> Option<(Option<TreeSize>, Option<Hash>, &Growing)> {
        let is_clean = self.found.is_empty() && self.disputed.is_empty();
        self.growing.as_ref().filter(|_| is_clean).map(|growing| (self.size, self.root, growing))
    }

    /// Goes on by a page; answers what was found.
    pub(super) async fn advance(&mut self, page: Hashes) -> Result<Found, Error> {
        let mut known = page.events.into_iter().peekable();
        while let Some(at) = self.growing.as_ref().map(|growing| growing.size().0).filter(|at| *at < page.next) {
            let end = page.next.min(at + PAGE as u64);
            let mut missing = false;
            let mut hashes: Vec<Option<chain::Hash>> = Vec::with_capacity(PAGE);
            for position in at..end {
                let hash = known.next_if(|(known, _)| known.0 == position).map(|(_, hash)| hash);
                missing |= hash.is_none();
                hashes.push(hash);
            }
            if missing {
                self.stand_in(at, &mut hashes).await?;
            }
            let hashes: Vec<chain::Hash> = hashes.into_iter().map_while(|hash| hash).collect();
            let is_whole = hashes.len() as u64 == end - at;
            self.grow(&hashes).await?;
            if !is_whole {
                self.growing = None;
            }
        }
        Ok(self.take_found())
    }

    fn take_found(&mut self) -> Found {
        let of_checkpoints = self.checkpoints.found.drain(..).map(|what| (None, Kind::Checkpoint, what));
        self.found.drain(..).chain(of_checkpoints).collect()
    }

    /// In the place of an event that is missing or cannot be read, which has been found, stands what the tree says of it.
    async fn stand_in(&mut self, at: u64, hashes: &mut [Option<chain::Hash>]) -> Result<(), Error> {
        let width = WIDTH as u64;
        let places: Vec<Tile> =
            (at / width..=(at + hashes.len() as u64) / width).map(|index| Tile { level: Level::Entries, index }).collect();
        let stored = self.stored(&places).await?;
        for (position, hash) in (at..).zip(hashes) {
            let tile = Tile { level: Level::Entries, index: position / width };
            if hash.is_none() && self.size.is_some_and(|size| size.covers(Position(position))) {
                *hash = stored.get(&tile).and_then(|held| slot(held, position % width)).map(chain::Hash);
            }
        }
        Ok(())
    }

    /// Adds leaves, and compares what comes of it.
    async fn grow(&mut self, mut events: &[chain::Hash]) -> Result<(), Error> {
        let tree = self.size.unwrap_or(TreeSize::EMPTY);
        loop {
            let Some(mut growing) = self.growing.take() else { return Ok(()) };
            let from = growing.size();
            let wanted = self.checkpoints.upto(TreeSize(from.0 + events.len() as u64)).await?;
            let step = usize::try_from(wanted.reach.0.saturating_sub(from.0)).unwrap_or(events.len()).min(events.len());
            let (now, later) = events.split_at(step);
            let (mut sizes, leaves) = (wanted.sizes, now.to_vec());
            if tree >= from && tree.0 <= from.0 + step as u64 {
                sizes.push(tree);
                sizes.sort_unstable();
            }
            let grow = move || {
                let grown = growing.grow(&leaves, tree, &sizes);
                (growing, grown)
            };
            let (growing, grown) = tokio::task::spawn_blocking(grow).await.map_err(|panicked| Error::Failed(panicked.into()))?;
            let reached = growing.size();
            self.growing = Some(growing);
            self.root = self.root.or_else(|| grown.roots.get(&tree).copied());
            self.compare(&grown.tiles).await?;
            self.checkpoints.judge(&grown.roots, reached);
            events = later;
            if events.is_empty() && !wanted.more {
                return Ok(());
            }
        }
    }

    /// Compares tiles with those that are stored.
    async fn compare(&mut self, expected: &BTreeMap<Tile, Vec<u8>>) -> Result<(), Error> {
        if expected.is_empty() || self.size.is_none() {
            return Ok(());
        }
        let places: Vec<Tile> = expected.keys().copied().collect();
        let stored = self.stored(&places).await?;
        for (tile, expected) in expected {
            let Some(held) = stored.get(tile) else {
                self.tile(*tile, 0, format!("{} is missing", name(*tile)));
                continue;
            };
            if let Some(wrong) = self.width(*tile, expected.len(), held.len()).await? {
                self.tile(*tile, 0, wrong);
            }
            let slots =
                (0..WIDTH as u64).filter(|at| matches!((slot(expected, *at), slot(held, *at)), (Some(one), Some(other)) if one != other));
            let (mut wrong, slots) = (Vec::new(), slots.collect::<Vec<u64>>());
            for at in slots {
                if !self.is_told_below(*tile, at, expected, held, &stored).await? {
                    wrong.push(at);
                }
            }
            if let [first, rest @ ..] = &wrong[..] {
                let shown = |bytes: &[u8]| slot(bytes, *first).map(|hash| shown(tile.level, hash)).unwrap_or_default();
                let more = if rest.is_empty() { String::new() } else { format!("; so are {} more of its hashes", rest.len()) };
                let detail = format!("{}: its hash {first} is {}, expected {}{more}", name(*tile), shown(held), shown(expected));
                self.tile(*tile, *first, detail);
            }
        }
        Ok(())
    }

    /// Whether a hash is not what the events make it because of what stands below it, where that is told: the tiles agree with each
    /// other.
    async fn is_told_below(
        &mut self,
        tile: Tile,
        at: u64,
        expected: &[u8],
        held: &[u8],
        stored: &BTreeMap<Tile, Bytes>,
    ) -> Result<bool, Error> {
        let beside = |level: Level| stored.get(&Tile { level, ..tile }).and_then(|beside| slot(beside, at)).map(chain::Hash);
        let (Some(ours), Some(theirs)) = (slot(held, at), slot(expected, at)) else { return Ok(false) };
        match tile.level {
            Level::Entries => {
                let entry = chain::Hash(ours);
                let is_agreed = beside(Level::Hashes(0)) == Some(chain::Hash(Hash::leaf(entry).0));
                if is_agreed {
                    self.disputed.add(Position(tile.index * WIDTH as u64 + at), entry, chain::Hash(theirs));
                }
                Ok(is_agreed)
            }
            // Its entry was the other of the two, and has been told.
            Level::Hashes(0) => Ok(beside(Level::Entries).is_some_and(|entry| Hash::leaf(entry).0 == ours)),
            Level::Hashes(level) => {
                let below = Tile { level: Level::Hashes(level - 1), index: tile.index * WIDTH as u64 + at };
                let below = self.stored(&[below]).await?.remove(&below);
                Ok(below.is_some_and(|held| held.len() == FULL_LENGTH && tlog_tiles::Tile::subtree_hash(&held).0 == ours))
            }
        }
    }

    /// What is wrong with how many hashes a tile holds: fewer than it must, or more than the tree has by now.
    async fn width(&self, tile: Tile, expected: usize, held: usize) -> Result<Option<String>, Error> {
        if expected == held {
            return Ok(None);
        }
        if held > expected && held.is_multiple_of(HASH_LENGTH) {
            let grown = match self.tiles.size().await {
                Ok(now) => now,
                Err(Error::Corrupt(_)) => self.size.unwrap_or(TreeSize::EMPTY),
                Err(failed) => return Err(failed),
            };
            if held / HASH_LENGTH <= tile.width(grown) {
                return Ok(None);
            }
        }
        let size = self.size.unwrap_or(TreeSize::EMPTY);
        Ok(Some(format!("{} holds {held} bytes, in a tree of {size} events it holds {expected}", name(tile))))
    }

    /// What is stored of these tiles; one that cannot be read is told and left out.
    async fn stored(&mut self, places: &[Tile]) -> Result<BTreeMap<Tile, Bytes>, Error> {
        let held = match self.tiles.read(places).await {
            Ok(held) => held,
            Err(Error::Corrupt(_) | Error::NotMigrated | Error::Failed(_)) => {
                let mut all = Vec::with_capacity(places.len());
                for tile in places {
                    all.push(match self.tiles.read(&[*tile]).await {
                        Ok(held) => held.into_iter().next().flatten(),
                        Err(wrong @ (Error::Corrupt(_) | Error::NotMigrated | Error::Failed(_))) => {
                            self.tile(*tile, 0, format!("{} cannot be read: {}", name(*tile), causes(&wrong)));
                            None
                        }
                        Err(failed) => return Err(failed),
                    });
                }
                all
            }
            Err(failed) => return Err(failed),
        };
        Ok(places.iter().zip(held).filter_map(|(tile, held)| Some((*tile, held?))).collect())
    }

    /// Something is wrong with a tile, at its hash number `at`, which for events and leaves is a position.
    fn tile(&mut self, tile: Tile, at: u64, detail: String) {
        let is_of_events = matches!(tile.level, Level::Entries | Level::Hashes(0));
        let position = is_of_events.then(|| Position(tile.index.saturating_mul(WIDTH as u64).saturating_add(at)));
        self.found.push((position, Kind::Tile, detail));
    }

    /// When all events are read: looks for tiles that the tree does not have, and says what checkpoints say of the whole.
    pub(super) async fn finish(mut self) -> Result<(Found, Told), Error> {
        self.grow(&[]).await?;
        if let Some(size) = self.size {
            self.superfluous(size).await?;
        }
        let (found, log) = (&mut self.found, self.log);
        std::mem::take(&mut self.disputed).tell(log, |position, what| found.push((Some(position), Kind::Tree, what)));
        let checkpoints = self.checkpoints.finish(self.growing.is_some()).await?;
        let told = Told { size: self.size, root: self.root, checkpoints };
        Ok((self.take_found(), told))
    }

    /// Names tiles that are of no tree of this size, nor of what it has grown to since. Those that it has need not be read again: only
    /// what lies between the last of a level and the first of the next.
    async fn superfluous(&mut self, size: TreeSize) -> Result<(), Error> {
        let mut after = None;
        let last = |level: Level| level.hashes(size).div_ceil(WIDTH as u64).checked_sub(1).map(|index| Tile { level, index });
        let levels: Vec<(Level, Option<Tile>)> = LEVELS.into_iter().map(|level| (level, last(level))).collect();
        let ends = levels.iter().filter(|(_, last)| last.is_some()).map(|(level, last)| (Some(Tile { level: *level, index: 0 }), *last));
        for (first, last) in ends.chain([(None, None)]) {
            loop {
                let page = match self.tiles.list(after, PAGE).await {
                    Ok(page) => page,
                    Err(wrong @ (Error::Corrupt(_) | Error::NotMigrated | Error::Failed(_))) => {
                        self.found.push((None, Kind::Tile, format!("tiles cannot be listed: {}", causes(&wrong))));
                        return Ok(());
                    }
                    Err(failed) => return Err(failed),
                };
                let now = self.tiles.size().await.unwrap_or(size);
                let between: Vec<Tile> =
                    page.iter().map(|(tile, _)| *tile).take_while(|tile| first.is_none_or(|first| *tile < first)).collect();
                for tile in between.iter().filter(|tile| tile.width(now) == 0) {
                    self.found.push((None, Kind::Tile, format!("{} is none of a tree of {now} events", name(*tile))));
                }
                after = between.last().copied().or(after);
                if between.len() < PAGE {
                    break;
                }
            }
            after = last.or(after);
        }
        Ok(())
    }
}

/// The hash number `at` of a tile.
fn slot(bytes: &[u8], at: u64) -> Option<[u8; HASH_LENGTH]> {
    let start = usize::try_from(at).ok()?.checked_mul(HASH_LENGTH)?;
    bytes.get(start..start + HASH_LENGTH)?.try_into().ok()
}

/// Entries are event hashes, in hex; the rest is the tree's, in base64.
fn shown(level: Level, hash: [u8; HASH_LENGTH]) -> String {
    if level == Level::Entries { chain::Hash(hash).to_string() } else { Hash(hash).to_string() }
}

/// A tile by its path, however many hashes it holds.
fn name(tile: Tile) -> String {
    format!("the tile {}", Sized { tile, width: WIDTH })
}
