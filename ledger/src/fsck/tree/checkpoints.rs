//! Stored checkpoints, one after the other, and those that are kept elsewhere, against the roots that the events make.
//!
//! A checkpoint is first judged alone: its place, its note, its origin, its size, its signature. Only one that stands this is held
//! against the tree, so that what somebody damaged does not speak of the log. Where the log's roots part from what was signed and do
//! not come back to it, the log forks there.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Against, Held, PAGE};
use crate::causes;
use crate::chain::Origin;
use crate::checkpoint::{self, Checkpoint, VerifierKey};
use crate::store::Error;
use crate::tiles::{Published, Tiles};
use crate::tree::{Hash, TreeSize};

/// So many in a row that cannot be read, where it is not known how many there are, are taken for the end.
const UNREADABLE_MAX: u64 = 100;

/// For so long one that was signed is waited for to be published: witnesses are asked in between.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(8);

/// How many checkpoints there are.
pub(in crate::fsck) enum Newest {
    /// So many.
    Count(u64),
    /// The newest cannot be read.
    Unknown,
    /// Nothing can be read of them.
    Unreadable(String),
}

/// Asks for the newest.
pub(super) async fn newest(tiles: &dyn Tiles) -> Result<Newest, Error> {
    match tiles.latest().await {
        Ok(latest) => Ok(Newest::Count(latest.map_or(0, |latest| latest.number.saturating_add(1)))),
        Err(Error::Corrupt(_)) => Ok(Newest::Unknown),
        // The log could be opened and its events be read: what is wrong is the table.
        Err(wrong @ (Error::NotMigrated | Error::Failed(_))) => Ok(Newest::Unreadable(causes(&wrong))),
        Err(failed) => Err(failed),
    }
}

/// A stored checkpoint that stood being judged alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::fsck) struct Sound {
    pub(in crate::fsck) number: u64,
    pub(in crate::fsck) size: TreeSize,
    pub(in crate::fsck) root: Hash,
    pub(in crate::fsck) note: String,
}

/// What a check goes on from: the number of the next, the last that was judged, and the last that agreed with the log.
#[derive(Debug, Clone)]
pub(in crate::fsck) struct Reached {
    pub(in crate::fsck) next: u64,
    pub(in crate::fsck) last: Option<Sound>,
    pub(in crate::fsck) agreed: Option<(u64, TreeSize)>,
}

/// Checkpoints whose roots are not the log's, one after the other.
struct Strays {
    first: Sound,
    log: Hash,
    count: u64,
}

/// The sizes at which roots are wanted next.
pub(super) struct Wanted {
    /// In ascending order.
    pub(super) sizes: Vec<TreeSize>,
    /// Up to this size there are no others.
    pub(super) reach: TreeSize,
    /// There are others that may be of the sizes up to the one asked for.
    pub(super) more: bool,
}

pub(in crate::fsck) struct Checkpoints<'a> {
    tiles: &'a dyn Tiles,
    origin: Origin,
    known: Vec<VerifierKey>,
    /// The log's size, and its tree's if that can be told.
    log: TreeSize,
    tree: Option<TreeSize>,
    /// The number of the next that is to be read; before `end`, unless that is not known.
    next: u64,
    end: Option<u64>,
    is_read: bool,
    /// Sound ones, in the order of their sizes.
    waiting: VecDeque<Sound>,
    /// The last that was sound, and the last of those that were held against a root.
    last: Option<Sound>,
    judged: Option<Sound>,
    /// The last whose root is the log's.
    agreed: Option<(u64, TreeSize)>,
    strays: Option<Strays>,
    /// The first that is larger than the log, and how many there are.
    beyond: Option<(Sound, u64)>,
    held: VecDeque<&'a Held>,
    all_held: Vec<&'a Held>,
    /// What has not been told yet.
    pub(super) found: Vec<String>,
}

impl<'a> Checkpoints<'a> {
    /// Of a log and its tree of these sizes.
    pub(super) fn new(against: &Against<'a>, newest: Newest, log: TreeSize, tree: Option<TreeSize>) -> Checkpoints<'a> {
        let (origin, mut found) = (against.tiles.origin().clone(), Vec::new());
        let end = match newest {
            Newest::Count(count) => Some(count),
            Newest::Unknown => None,
            Newest::Unreadable(what) => {
                found.push(format!("they cannot be read: {what}"));
                Some(0)
            }
        };
        // Without a key of this log's own no signature is judged.
        let is_of_this_log = |key: &&VerifierKey| !key.is_witness() && key.name() == origin.as_str();
        let known = if against.known.iter().any(|key| is_of_this_log(&key)) { against.known.to_vec() } else { Vec::new() };
        let mut held: Vec<&Held> = Vec::new();
        for one in against.held {
            match judge_alone(&one.checkpoint, &origin, &known) {
                Ok(()) => held.push(one),
                Err(wrong) => found.push(format!("the one kept at {}: {wrong}", one.at)),
            }
        }
        held.sort_by_key(|held| held.checkpoint.head().size);
        Checkpoints {
            tiles: against.tiles,
            origin,
            known,
            log,
            tree,
            next: 0,
            end,
            is_read: false,
            waiting: VecDeque::new(),
            last: None,
            judged: None,
            agreed: None,
            strays: None,
            beyond: None,
            held: held.iter().copied().collect(),
            all_held: held,
            found,
        }
    }

    /// Goes on after what an earlier check has read and found sound.
    pub(in crate::fsck) fn resume(&mut self, Reached { next, last, agreed }: Reached, reached: TreeSize) {
        (self.next, self.last, self.judged, self.agreed) = (next, last.clone(), last, agreed);
        self.is_read = self.end.is_some_and(|end| next >= end);
        // Keys and kept ones are the same as then, and all that was found sound then was held against its root.
        self.held.retain(|held| held.checkpoint.head().size > reached);
    }

    /// What [`Checkpoints::resume`] goes on from, unless something was found.
    pub(in crate::fsck) fn kept(&self) -> Option<Reached> {
        let is_clean = self.strays.is_none() && self.beyond.is_none();
        // Those that wait for their size are read again.
        let next = self.waiting.front().map_or(self.next, |waiting| waiting.number);
        let last = if self.waiting.is_empty() { self.last.clone() } else { self.judged.clone() };
        is_clean.then_some(Reached { next, last, agreed: self.agreed })
    }

    /// The sizes up to this one that checkpoints name.
    pub(super) async fn upto(&mut self, size: TreeSize) -> Result<Wanted, Error> {
        while !self.is_read && self.waiting.len() < PAGE && self.waiting.back().is_none_or(|last| last.size <= size) {
            self.read().await?;
        }
        // What is not read yet is not of a smaller size than what is.
        let more = !self.is_read && self.waiting.back().is_some_and(|last| last.size <= size);
        let reach = if more { self.waiting.back().map_or(size, |last| last.size) } else { size };
        let stored = self.waiting.iter().map(|sound| sound.size);
        let held = self.held.iter().map(|held| held.checkpoint.head().size);
        let mut sizes: Vec<TreeSize> = stored.chain(held).filter(|wanted| *wanted <= reach).collect();
        sizes.sort_unstable();
        sizes.dedup();
        Ok(Wanted { sizes, reach, more })
    }

    /// Holds those up to the size that was reached against the roots.
    pub(super) fn judge(&mut self, roots: &BTreeMap<TreeSize, Hash>, reached: TreeSize) {
        while self.waiting.front().is_some_and(|sound| sound.size <= reached) {
            let Some(sound) = self.waiting.pop_front() else { break };
            self.judged = Some(sound.clone());
            if let Some(root) = roots.get(&sound.size) {
                self.hold(sound, *root);
            }
        }
        while let Some(held) = self.held.front().copied().filter(|held| held.checkpoint.head().size <= reached) {
            self.held.pop_front();
            let head = held.checkpoint.head();
            if let Some(root) = roots.get(&head.size).filter(|root| **root != head.root) {
                let (size, theirs) = (head.size, head.root);
                self.found.push(format!(
                    "two histories: the one kept at {} (size {size}) has the root {theirs}, the log's of that size is {root}",
                    held.at
                ));
            }
        }
    }

    fn hold(&mut self, sound: Sound, root: Hash) {
        if sound.root != root {
            match &mut self.strays {
                Some(strays) => strays.count += 1,
                None => self.strays = Some(Strays { first: sound, log: root, count: 1 }),
            }
            return;
        }
        self.agreed = Some((sound.number, sound.size));
        if let Some(Strays { first: Sound { number, size, root, .. }, log, count }) = self.strays.take() {
            let more = if count > 1 { format!(", and so up to number {}", number + count - 1) } else { String::new() };
            self.found.push(format!(
                "number {number} (size {size}) has the root {root}, the log's of that size is {log}{more}; later ones agree with the log"
            ));
        }
    }

    /// Reads a page and judges each alone.
    async fn read(&mut self) -> Result<(), Error> {
        let mut page = match self.tiles.checkpoints(self.next, PAGE).await {
            Ok(page) => page,
            Err(Error::Corrupt(_)) => return self.read_one_by_one().await,
            Err(wrong @ (Error::NotMigrated | Error::Failed(_))) => {
                self.found.push(format!("they cannot be read: {}", causes(&wrong)));
                self.is_read = true;
                return Ok(());
            }
            Err(failed) => return Err(failed),
        };
        self.is_read = page.len() < PAGE;
        // What was published since is none of ours.
        page.retain(|published| self.end.is_none_or(|end| published.number < end));
        self.take(page).await?;
        self.is_read |= self.end.is_some_and(|end| self.next >= end);
        Ok(())
    }

    /// One of the page cannot be read.
    async fn read_one_by_one(&mut self) -> Result<(), Error> {
        let (stop, mut unreadable) = (self.next.saturating_add(PAGE as u64), 0);
        while self.next < self.end.unwrap_or(u64::MAX).min(stop) {
            match self.tiles.checkpoints(self.next, 1).await {
                Ok(page) => {
                    unreadable = 0;
                    self.is_read = page.is_empty();
                    if self.is_read {
                        return Ok(());
                    }
                    self.take(page).await?;
                }
                Err(Error::Corrupt(what)) => {
                    self.found.push(format!("number {} cannot be read: {what}", self.next));
                    self.next += 1;
                    unreadable += 1;
                    if self.end.is_none() && unreadable == UNREADABLE_MAX {
                        break;
                    }
                }
                Err(failed) => return Err(failed),
            }
        }
        self.is_read |= self.end.is_some_and(|end| self.next >= end) || unreadable == UNREADABLE_MAX;
        Ok(())
    }

    async fn take(&mut self, page: Vec<Published>) -> Result<(), Error> {
        let (origin, known) = (self.origin.clone(), self.known.clone());
        let judge = move || -> Vec<(u64, Result<Sound, String>)> {
            page.into_iter().map(|published| (published.number, alone(published, &origin, &known))).collect()
        };
        let judged = tokio::task::spawn_blocking(judge).await.map_err(|panicked| Error::Failed(panicked.into()))?;
        for (number, judged) in judged {
            match number.saturating_sub(self.next) {
                0 => {}
                1 => self.found.push(format!("number {} is missing", self.next)),
                _ => self.found.push(format!("numbers {} to {} are missing", self.next, number - 1)),
            }
            self.next = number.saturating_add(1);
            match judged {
                Ok(sound) => self.place(sound),
                Err(wrong) => self.found.push(format!("number {number}: {wrong}")),
            }
        }
        Ok(())
    }

    /// Holds a sound one against the one before it, and against how large the log and the tree are.
    fn place(&mut self, sound: Sound) {
        let Sound { number, size, .. } = sound;
        if let Some(last) = self.last.as_ref().filter(|last| size < last.size || sound.note == last.note) {
            let (before, its) = (last.number, last.size);
            self.found.push(format!(
                "an older one was put in the place of a newer: number {number} is of size {size}, number {before} before it of {its}"
            ));
            return;
        }
        self.last = Some(sound.clone());
        if size > self.log {
            match &mut self.beyond {
                Some((_, count)) => *count += 1,
                None => self.beyond = Some((sound, 1)),
            }
        } else {
            if let Some(tree) = self.tree.filter(|tree| size > *tree) {
                self.found.push(format!("number {number} is of size {size}, the tree stands for {tree} events only"));
            }
            self.waiting.push_back(sound);
        }
    }

    /// Says what they say of the whole, and how many there are. Where an event that nobody knows has stopped the tree, the rest is not
    /// held against anything.
    pub(super) async fn finish(&mut self, is_whole: bool) -> Result<u64, Error> {
        while !self.is_read {
            self.waiting.clear();
            self.read().await?;
        }
        if let Some(Strays { first: Sound { number, size, root, .. }, log, count }) = self.strays.take() {
            let agreed = match self.agreed {
                Some((agreed, size)) => format!("number {agreed} (size {size}) is the last that agrees with the log"),
                None => "none agrees with the log".to_owned(),
            };
            let more = if count > 1 { format!("; so do {} after it", count - 1) } else { String::new() };
            self.found.push(format!(
                "the log forks from number {number} (size {size}): its root is {root}, the log's of that size is {log}{more}; {agreed}"
            ));
        }
        if let Some((Sound { number, size, .. }, count)) = self.beyond.take() {
            let (log, more) = (self.log, if count > 1 { format!(", and so are {} after it", count - 1) } else { String::new() });
            self.found.push(format!("the log was cut: number {number} is of size {size}{more}, the log has {log} events"));
        }
        self.tell_held(is_whole).await?;
        Ok(self.next)
    }

    /// What is kept elsewhere may be of a larger log, or newer than all that are stored.
    async fn tell_held(&mut self, is_whole: bool) -> Result<(), Error> {
        let stored = self.last.as_ref().map(|last| last.size);
        for held in &self.all_held {
            let (size, log) = (held.checkpoint.head().size, self.log);
            if size > log {
                let at = &held.at;
                self.found.push(format!(
                    "the log was cut, or is an older one restored: one of size {size} is kept at {at}, the log has {log} events"
                ));
            } else if held.is_published && stored.is_none_or(|stored| stored < size) {
                let newest = stored.map_or("none is stored".to_owned(), |stored| format!("the newest that is stored is of {stored}"));
                self.found
                    .push(format!("an older one was put in the place of a newer: one of size {size} is kept at {}, {newest}", held.at));
            } else if !held.is_published && self.stays_unpublished(size).await? {
                self.found.push(format!(
                    "the one of size {size} that was signed last, kept at {}, is not stored: it was removed, or not published yet; the next round \
                     publishes it",
                    held.at
                ));
            }
        }
        if !is_whole {
            for held in &self.held {
                let size = held.checkpoint.head().size;
                if size <= self.log {
                    self.found.push(format!(
                        "the one kept at {} (size {size}) was not held against the log, of which events are missing",
                        held.at
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether none as large is stored, nor is soon.
    async fn stays_unpublished(&self, size: TreeSize) -> Result<bool, Error> {
        let deadline = Instant::now() + PUBLISHED_WITHIN;
        loop {
            match self.tiles.latest().await {
                Ok(Some(newest)) if newest.size >= size => return Ok(false),
                Ok(_) if Instant::now() >= deadline => return Ok(true),
                Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                // What cannot be read has been found.
                Err(Error::Corrupt(_) | Error::NotMigrated | Error::Failed(_)) => return Ok(false),
                Err(failed) => return Err(failed),
            }
        }
    }
}

/// Whether a note is of this log and signed by a key that is known, if any are.
fn judge_alone(checkpoint: &Checkpoint, origin: &Origin, known: &[VerifierKey]) -> Result<(), String> {
    if checkpoint.head().origin != *origin {
        return Err(format!("its origin is {}, the log's is {}", checkpoint.head().origin.as_str(), origin.as_str()));
    }
    match checkpoint.verify(known) {
        Ok(_) => Ok(()),
        Err(checkpoint::Error::UnknownSigner) if known.is_empty() => Ok(()),
        Err(wrong) => Err(wrong.to_string()),
    }
}

fn alone(published: Published, origin: &Origin, known: &[VerifierKey]) -> Result<Sound, String> {
    let Published { number, size, note } = published;
    let checkpoint = Checkpoint::parse(&note).map_err(|wrong| wrong.to_string())?;
    judge_alone(&checkpoint, origin, known)?;
    let head = checkpoint.head();
    if head.size != size {
        return Err(format!("it is stored with the size {size}, and says {}", head.size));
    }
    Ok(Sound { number, size, root: head.root, note })
}
