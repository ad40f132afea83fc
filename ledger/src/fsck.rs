//! The self-check: reads a log back and names everything that does not hold.
//!
//! It takes the head first and checks what lies before it, so that it can run beside processes that append. Three walks go on at
//! the same time, each page by page: over the events by position, over the index of streams, and over the table of unique keys;
//! besides, the engine is asked to check how it keeps them. Beside the first goes one over the tree and its checkpoints, which must
//! be what the events make them (`tree`).
//!
//! Memory does not grow with the log. A walk holds what it needs of the event before, and a few pages that are read ahead. What
//! one walk tells is held against what another tells by sums over either (`sums`), of a fixed number, not by a copy. What is
//! wrong is named in further walks over the stretches of the log in which sums differ.
//!
//! A check that was interrupted can be gone on with ([`State`]), as long as nothing was found.
//!
//! Every check compares what is stored with what is stored elsewhere or computed; nothing is trusted because it stands in the
//! right table. Where one damaged value would break several rules, the rule that it stands for is named and the others are
//! judged without it.

mod destroyed;
mod erased;
mod events;
mod keys;
mod page;
mod remembered;
mod state;
mod sums;
mod tree;
mod versions;

use std::fmt;

use tokio::sync::OnceCell;

use crate::chain::Hash;
use crate::checkpoint::{Checkpoint, VerifierKey};
use crate::log::{Head, Log};
use crate::store::Error;
use crate::tiles::Tiles;
use crate::tree::{Hash as TreeHash, TreeSize};
use crate::{LogName, Position};
pub use destroyed::keys_destroyed;
pub use erased::erased;
use events::Events;
pub use remembered::remembered;
pub use state::{Keep, KeepNothing, Refused, State};
use sums::{Salt, Span};
use tree::Tree;

/// How many events are read at a time.
const PAGE: usize = 1000;

/// Which rule does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The event's hash is not that of its content.
    EventHash,
    /// The chain hash does not follow from the event before.
    ChainHash,
    /// Positions are missing.
    Gap,
    /// A stream's versions are not dense.
    Version,
    /// An event is older than the one before it.
    Time,
    /// Stored bytes are not what this program writes.
    Encoding,
    /// The head row does not say what the last event says.
    Head,
    /// The table of unique keys does not follow from the events.
    UniqueKey,
    /// A stored tile is not what the tree has there.
    Tile,
    /// The tree stands for other events than the log holds, or for more.
    Tree,
    /// A checkpoint is not what was signed, or the log is not what a checkpoint says.
    Checkpoint,
    /// What the engine keeps is not whole: its pages, its indexes against their tables.
    File,
    /// A key that the log says was destroyed exists.
    Destroyed,
    /// An event is about a subject that was erased before.
    Erased,
    /// An idempotency row remembers what cannot be.
    Idempotency,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::EventHash => "event-hash",
            Kind::ChainHash => "chain-hash",
            Kind::Gap => "gap",
            Kind::Version => "version",
            Kind::Time => "time",
            Kind::Encoding => "encoding",
            Kind::Head => "head",
            Kind::UniqueKey => "unique-key",
            Kind::Tile => "tile",
            Kind::Tree => "tree",
            Kind::Checkpoint => "checkpoint",
            Kind::File => "file",
            Kind::Destroyed => "destroyed",
            Kind::Erased => "erased",
            Kind::Idempotency => "idempotency",
        })
    }
}

/// One thing that does not hold. Shown as `ledger@42 event-hash: …`, or `ledger head: …` where no event is to be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The log.
    pub log: LogName,
    /// The event.
    pub position: Option<Position>,
    /// The rule.
    pub kind: Kind,
    /// What was expected and what was found.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{} {}: {}", self.log.at(position), self.kind, self.detail),
            None => write!(f, "{} {}: {}", self.log, self.kind, self.detail),
        }
    }
}

/// What a log is held against.
#[derive(Clone, Copy)]
pub struct Against<'a> {
    /// Its stored tree and checkpoints.
    pub tiles: &'a dyn Tiles,
    /// The keys that its checkpoints are trusted for, old ones included. Without any, signatures are not judged.
    pub known: &'a [VerifierKey],
    /// Checkpoints that are kept elsewhere.
    pub held: &'a [Held],
}

/// A checkpoint that is kept elsewhere: in the vault, in a file, by a witness.
#[derive(Debug, Clone)]
pub struct Held {
    /// Where, as it is told.
    pub at: String,
    /// What it says.
    pub checkpoint: Checkpoint,
    /// Whether it was seen published: then one as new must be among the stored ones. One that was only signed must be so soon.
    pub is_published: bool,
}

/// What was checked. Shown as `ledger: 43 events, head ledger@42 <hex>, tree 43 <base64>, 7 checkpoints, ok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The log.
    pub log: LogName,
    /// How many events were read.
    pub events: u64,
    /// The last of them.
    pub head: Option<Position>,
    /// Its chain hash as stored; the origin's genesis when there is no event.
    pub chain_hash: Hash,
    /// How many events its stored tree stands for; `None` if that cannot be told.
    pub tree: Option<TreeSize>,
    /// The root at that size that the events make; `None` if events are missing.
    pub root: Option<TreeHash>,
    /// How many checkpoints are stored.
    pub checkpoints: u64,
    /// How many findings there were.
    pub findings: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} events, head ", self.log, self.events)?;
        match self.head {
            Some(position) => write!(f, "{}", self.log.at(position))?,
            None => f.write_str("none")?,
        }
        write!(f, " {}, tree ", self.chain_hash)?;
        match (self.tree, self.root) {
            (Some(size), Some(root)) => write!(f, "{size} {root}")?,
            (Some(size), None) => write!(f, "{size} without a root")?,
            (None, _) => f.write_str("none")?,
        }
        write!(f, ", {} checkpoints, ", self.checkpoints)?;
        match self.findings {
            0 => f.write_str("ok"),
            findings => write!(f, "{findings} findings"),
        }
    }
}

/// Checks a whole log. `report` gets each finding as it is made, `progress` how many positions of how many are done.
///
/// # Errors
/// The store failed. That what it holds cannot be read as events is a finding, no error.
pub async fn check(
    log: &dyn Log,
    against: &Against<'_>,
    report: &mut (dyn FnMut(Finding) + Send),
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Summary, Error> {
    check_from(log, against, None, &mut KeepNothing, report, progress).await
}

/// Checks a log from where an earlier check came to, or as a whole, and hands out how far it has come. What lies before is not read
/// again: that nobody has changed it since is not known, but for its last event.
///
/// # Errors
/// As [`check`].
pub async fn check_from(
    log: &dyn Log,
    against: &Against<'_>,
    state: Option<State>,
    keep: &mut (dyn Keep + '_),
    report: &mut (dyn FnMut(Finding) + Send),
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Summary, Error> {
    let damages_found = OnceCell::new();
    let mut reporter = Reporter { log, damages: &damages_found, damages_told: false, held: Vec::new(), findings: 0, report };
    let begun = tree::begin(against).await?;
    let (mut last, mut read, mut told) = (None, 0, None);
    if let Some(head) = read_head(log, &mut reporter).await? {
        let mut tree = Tree::new(log.name(), against, begun, head.size);
        let (events, span, salt) = match state::resume(log, state, &head, &mut tree, &mut reporter).await? {
            Some(resumed) => resumed,
            None => {
                let span = Span::from(head.size);
                (Events::none(log, span), span, Salt::new())
            }
        };
        let walked = tokio::try_join!(
            events::read(log, &head, events, &mut tree, salt, &mut reporter, (progress, keep)),
            versions::walk(log, span, salt),
            keys::walk(log, span, salt),
            damages(log, &damages_found),
        );
        // Also when the rest failed, for this may be why.
        reporter.tell_damages().await?;
        let (events, index, table, _) = walked?;
        let (found, of_the_tree) = tree.finish().await?;
        reporter.take(found);
        reporter.tell().await?;
        versions::name(log, span, salt, index, &events.places, &mut reporter).await?;
        keys::name(log, head.size, table, &events.claims, &mut reporter).await?;
        (last, read, told) = (events.last, events.read, Some(of_the_tree));
    }
    Ok(Summary {
        log: log.name().clone(),
        events: read,
        head: last.as_ref().map(|last| last.position),
        chain_hash: last.map_or_else(|| log.origin().genesis(), |last| last.chain_hash),
        tree: told.as_ref().and_then(|told| told.size),
        root: told.as_ref().and_then(|told| told.root),
        checkpoints: told.map_or(0, |told| told.checkpoints),
        findings: reporter.findings,
    })
}

/// Passes findings on, but not before it is known what is wrong with the file: of a file that is not whole the rest can tell
/// anything.
struct Reporter<'a> {
    log: &'a dyn Log,
    damages: &'a OnceCell<Vec<String>>,
    damages_told: bool,
    held: Vec<Finding>,
    findings: u64,
    report: &'a mut (dyn FnMut(Finding) + Send),
}

impl Reporter<'_> {
    /// Holds a finding until [`Reporter::tell`].
    fn add(&mut self, position: impl Into<Option<Position>>, kind: Kind, detail: impl Into<String>) {
        self.held.push(Finding { log: self.log.name().clone(), position: position.into(), kind, detail: detail.into() });
    }

    fn take(&mut self, found: tree::Found) {
        found.into_iter().for_each(|(position, kind, detail)| self.add(position, kind, detail));
    }

    /// Whether nothing was found so far.
    fn is_clean(&self) -> bool {
        self.findings == 0 && self.held.is_empty()
    }

    /// Reports what is held. With nothing to report it does not wait for the file.
    async fn tell(&mut self) -> Result<(), Error> {
        if !self.held.is_empty() {
            self.tell_damages().await?;
            self.findings += self.held.len() as u64;
            self.held.drain(..).for_each(&mut *self.report);
        }
        Ok(())
    }

    async fn tell_damages(&mut self) -> Result<(), Error> {
        if !self.damages_told {
            let damages = damages(self.log, self.damages).await?;
            self.damages_told = true;
            self.findings += damages.len() as u64;
            for wrong in damages {
                (self.report)(Finding { log: self.log.name().clone(), position: None, kind: Kind::File, detail: wrong.clone() });
            }
        }
        Ok(())
    }
}

/// What the engine finds wrong with the file; it is looked for once.
async fn damages<'a>(log: &dyn Log, damages: &'a OnceCell<Vec<String>>) -> Result<&'a Vec<String>, Error> {
    damages.get_or_try_init(|| log.damages()).await
}

async fn read_head(log: &dyn Log, reporter: &mut Reporter<'_>) -> Result<Option<Head>, Error> {
    match log.head().await {
        Ok(head) => Ok(Some(head)),
        Err(Error::Corrupt(what)) => {
            reporter.add(None, Kind::Head, what);
            reporter.tell().await?;
            Ok(None)
        }
        // The log has been opened, so it had one.
        Err(Error::NotMigrated) => {
            reporter.add(None, Kind::Head, "the row is missing");
            reporter.tell().await?;
            Ok(None)
        }
        Err(failed) => Err(failed),
    }
}

#[cfg(test)]
mod tests;
