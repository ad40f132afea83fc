//! Holds the parts of an export against each other, one by one, in the order of the file and in bounded memory.

use std::fmt;

use serde_bytes::ByteArray;

use super::format::{Checkpoint, FORMAT, Footer, Header, ITEM_BYTES_MAX, VERSION};
use super::note;
use crate::chain::{Broken, End, Origin};
use crate::codec::NotDeterministic;
use crate::codec::sequence::NoItem;
use crate::event::Recorded;
use crate::tree::{Frontier, Hash};
use crate::{LogName, Position};

/// What has been seen of a file so far.
pub struct Verifier {
    log: LogName,
    origin: Origin,
    end: End,
    tree: Frontier,
    checkpoints: u64,
    /// Over everything before the footer.
    hasher: blake3::Hasher,
    byte: u64,
    finished: bool,
}

/// What is wrong with a file, and where: shown as `ledger@42, byte 10234`.
#[derive(Debug, thiserror::Error)]
pub struct Invalid {
    /// The log and the next event's position, where the header could be read.
    pub position: Option<(LogName, Position)>,
    /// Where the item begins.
    pub byte: u64,
    /// What is wrong with it.
    #[source]
    pub fault: Fault,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.position {
            Some((log, position)) => write!(f, "{}, byte {}", log.at(*position), self.byte),
            None => write!(f, "byte {}", self.byte),
        }
    }
}

/// What is wrong with an item, or with what stands in its place.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file is something else.
    #[error("this is no export of a log")]
    NoExport,
    /// A newer program wrote it.
    #[error("this is an export of version {0}, which is newer than this program")]
    Newer(u64),
    /// The header names no log, or an origin that is none of its.
    #[error("the header's log and origin are not those of a log")]
    Header,
    /// It is more than [`ITEM_BYTES_MAX`].
    #[error("it is longer than {ITEM_BYTES_MAX} bytes")]
    TooLong,
    /// It is no map as this format writes maps.
    #[error("it is not as an export is written")]
    NotDeterministic(#[source] NotDeterministic),
    /// It is no event, checkpoint or footer.
    #[error("it is neither event nor checkpoint nor footer")]
    Unknown,
    /// It should be an event.
    #[error("it is no event as it is written")]
    NoEvent(#[source] NoItem),
    /// The event does not go on from the one before.
    #[error("the event does not go on from what stands before it")]
    Event(#[source] Broken),
    /// The checkpoint is not one of the events so far.
    #[error("the checkpoint is wrong: {0}")]
    Checkpoint(&'static str),
    /// The footer says something else than the file.
    #[error("the footer is wrong: {0}")]
    Footer(&'static str),
    /// The file ends without a footer.
    #[error("the file ends here, before its footer")]
    CutOff,
    /// Something follows the footer.
    #[error("something follows the footer")]
    Trailing,
}

impl Verifier {
    /// Begins with a file's header.
    ///
    /// # Errors
    /// It is none that this program knows.
    pub fn begin(header: &Header) -> Result<Verifier, Invalid> {
        let refused = |fault| Invalid { position: None, byte: 0, fault };
        if header.format != FORMAT || header.version != VERSION {
            return Err(refused(Fault::NoExport));
        }
        let log: LogName = header.log.parse().map_err(|_| refused(Fault::Header))?;
        let origin = Origin::from_stored(header.origin.clone());
        if origin.base(&log).is_none() {
            return Err(refused(Fault::Header));
        }
        let (end, tree, hasher) = (End::of_nothing(&origin), Frontier::new(), blake3::Hasher::new());
        Ok(Verifier { log, origin, end, tree, checkpoints: 0, hasher, byte: 0, finished: false })
    }

    /// The log's name.
    #[must_use]
    pub fn log(&self) -> &LogName {
        &self.log
    }

    /// The log's origin.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How far the events go so far.
    #[must_use]
    pub fn end(&self) -> &End {
        &self.end
    }

    /// Whether the footer has been seen.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// `fault`, in what stands here.
    #[must_use]
    pub fn invalid(&self, fault: Fault) -> Invalid {
        Invalid { position: Some((self.log.clone(), Position(self.end.size))), byte: self.byte, fault }
    }

    /// Takes the next event, which is one more leaf of the tree.
    ///
    /// # Errors
    /// It does not go on from what stands before it.
    pub fn event(&mut self, event: &Recorded) -> Result<(), Invalid> {
        self.go_on()?;
        self.end.follow(event).map_err(|broken| self.invalid(Fault::Event(broken)))?;
        self.tree.push(Hash::leaf(event.event_hash));
        Ok(())
    }

    /// Takes a checkpoint, which stands where its tree ends.
    ///
    /// # Errors
    /// It is not one of exactly the events so far.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), Invalid> {
        self.go_on()?;
        let refused = |what| self.invalid(Fault::Checkpoint(what));
        if checkpoint.size != self.end.size {
            return Err(refused("it does not stand after the last of its events"));
        }
        note::says(&checkpoint.note, &self.origin, self.tree.size(), self.tree.root()).map_err(refused)?;
        self.checkpoints += 1;
        Ok(())
    }

    /// The footer of what has been seen.
    #[must_use]
    pub fn footer(&self) -> Footer {
        Footer {
            root: ByteArray::new(self.tree.root().0),
            blake3: ByteArray::new(self.hasher.finalize().into()),
            events: self.end.size,
            chain_hash: ByteArray::new(self.end.chain_hash.0),
            checkpoints: self.checkpoints,
        }
    }

    /// Takes the footer.
    ///
    /// # Errors
    /// It says something else than what has been seen.
    pub fn finish(&mut self, footer: &Footer) -> Result<(), Invalid> {
        self.go_on()?;
        let seen = self.footer();
        let rules = [
            (footer.events == seen.events, "it counts other events"),
            (footer.chain_hash == seen.chain_hash, "its chain hash is not that of the last event"),
            (footer.root == seen.root, "its root is not that of the events"),
            (footer.checkpoints == seen.checkpoints, "it counts other checkpoints"),
            (footer.blake3 == seen.blake3, "the bytes before it were changed: as all events hold, in a checkpoint's text"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(self.invalid(Fault::Footer(what))),
            None => {
                self.finished = true;
                Ok(())
            }
        }
    }

    /// How many of the file's bytes have been taken.
    #[must_use]
    pub fn byte(&self) -> u64 {
        self.byte
    }

    /// Counts an item's bytes, once it has been taken.
    pub fn absorb(&mut self, item: &[u8]) {
        self.hasher.update(item);
        self.byte += item.len() as u64;
    }

    fn go_on(&self) -> Result<(), Invalid> {
        if self.finished { Err(self.invalid(Fault::Trailing)) } else { Ok(()) }
    }
}
