//! Reads an export item by item, and takes none that does not hold.

use std::io::{self, Read};

use super::format::{AnyHeader, Checkpoint, FORMAT, Footer, Header, ITEM_BYTES_MAX, VERSION};
use super::verifier::{Fault, Invalid, Verifier};
use crate::codec::{self, sequence};
use crate::event::Recorded;

/// How much is read at a time.
const CHUNK: usize = 256 << 10;

/// An item that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The log's next event.
    Event(Recorded),
    /// A checkpoint of all events so far.
    Checkpoint(Checkpoint),
    /// The end: everything before it holds.
    Footer(Footer),
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What it holds does not hold.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// It cannot be read.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
}

/// An export that is being read.
pub struct Reader<R> {
    bytes: Buffered<R>,
    verifier: Verifier,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is none that this program knows.
    pub fn open(source: R) -> Result<Reader<R>, ReadError> {
        let mut bytes = Buffered { source, buffer: Vec::new(), start: 0 };
        let first = bytes.item().map_err(|stopped| match stopped {
            Stopped::Io(error) => ReadError::Io(error),
            // Whatever else it is, it does not begin like one.
            Stopped::Fault(_) => Invalid { position: None, byte: 0, fault: Fault::NoExport }.into(),
        })?;
        let header = header(first.unwrap_or_default()).map_err(|fault| Invalid { position: None, byte: 0, fault })?;
        let mut verifier = Verifier::begin(&header)?;
        verifier.absorb(&codec::encode(&header));
        Ok(Reader { bytes, verifier })
    }

    /// What is known of the file so far.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The next item; `None` after the footer, when nothing follows it.
    ///
    /// # Errors
    /// What stands there is not what must; no further item can be read then.
    #[expect(clippy::should_implement_trait, reason = "it fails once and for all, which an iterator does not say")]
    pub fn next(&mut self) -> Result<Option<Item>, ReadError> {
        let bytes = match self.bytes.item() {
            Ok(Some(bytes)) => bytes,
            Ok(None) if self.verifier.is_finished() => return Ok(None),
            Ok(None) => return Err(self.verifier.invalid(Fault::CutOff).into()),
            Err(Stopped::Io(error)) => return Err(error.into()),
            Err(Stopped::Fault(_)) if self.verifier.is_finished() => return Err(self.verifier.invalid(Fault::Trailing).into()),
            Err(Stopped::Fault(fault)) => return Err(self.verifier.invalid(fault).into()),
        };
        let item = if self.verifier.is_finished() { Err(Fault::Trailing) } else { item(bytes) };
        let item = item.map_err(|fault| self.verifier.invalid(fault))?;
        match &item {
            Item::Event(event) => self.verifier.event(event)?,
            Item::Checkpoint(checkpoint) => self.verifier.checkpoint(checkpoint)?,
            Item::Footer(footer) => self.verifier.finish(footer)?,
        }
        self.verifier.absorb(bytes);
        Ok(Some(item))
    }
}

fn header(bytes: &[u8]) -> Result<Header, Fault> {
    let AnyHeader { format, version } = codec::decode(bytes).map_err(|_| Fault::NoExport)?;
    match version {
        _ if format != FORMAT => Err(Fault::NoExport),
        ..VERSION => Err(Fault::NoExport),
        VERSION => codec::decode(bytes).map_err(|_| Fault::NoExport),
        newer => Err(Fault::Newer(newer)),
    }
}

/// Items are told apart by how many entries they have.
fn item(bytes: &[u8]) -> Result<Item, Fault> {
    const CHECKPOINT: u8 = 0xa2;
    const FOOTER: u8 = 0xa5;
    const EVENT: u8 = 0xaa;
    match bytes.first() {
        Some(&EVENT) => sequence::event(bytes).map(Item::Event).map_err(Fault::NoEvent),
        Some(&CHECKPOINT) => codec::decode(bytes).map(Item::Checkpoint).map_err(|_| Fault::Unknown),
        Some(&FOOTER) => codec::decode(bytes).map(Item::Footer).map_err(|_| Fault::Unknown),
        _ => Err(Fault::Unknown),
    }
}

enum Stopped {
    Io(io::Error),
    Fault(Fault),
}

/// Bytes that are read ahead of the items in them, never more than an item's bound and a chunk.
struct Buffered<R> {
    source: R,
    buffer: Vec<u8>,
    /// What lies before has been handed out.
    start: usize,
}

impl<R: Read> Buffered<R> {
    /// The bytes of the next item; `None` at the end.
    fn item(&mut self) -> Result<Option<&[u8]>, Stopped> {
        loop {
            let rest = &self.buffer[self.start..];
            match codec::first(rest) {
                Err(wrong) => return Err(Stopped::Fault(Fault::NotDeterministic(wrong))),
                Ok(Some(length)) if length <= ITEM_BYTES_MAX => {
                    let item = self.start..self.start + length;
                    self.start = item.end;
                    return Ok(Some(&self.buffer[item]));
                }
                Ok(None) if rest.len() <= ITEM_BYTES_MAX => {}
                Ok(_) => return Err(Stopped::Fault(Fault::TooLong)),
            }
            if self.read_on().map_err(Stopped::Io)? == 0 {
                let is_empty = self.buffer.len() == self.start;
                return if is_empty { Ok(None) } else { Err(Stopped::Fault(Fault::CutOff)) };
            }
        }
    }

    fn read_on(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        // As much again as is there, so that a long item is not looked at many times.
        let chunk = CHUNK.max(self.buffer.len()) as u64;
        (&mut self.source).take(chunk).read_to_end(&mut self.buffer)
    }
}
