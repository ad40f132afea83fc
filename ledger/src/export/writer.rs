//! Writes an export item by item, and nothing that a reader would not take.

use std::io::{self, Write};

use super::format::{Checkpoint, FORMAT, Footer, Header, ITEM_BYTES_MAX, VERSION};
use super::verifier::{Fault, Invalid, Verifier};
use crate::LogName;
use crate::chain::Origin;
use crate::codec::{self, sequence};
use crate::event::Recorded;

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The log does not hold together.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// It cannot be written.
    #[error("the file cannot be written")]
    Io(#[from] io::Error),
}

/// An export that is being written. Without [`Writer::finish`] it is none.
pub struct Writer<W> {
    sink: W,
    verifier: Verifier,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// There can be no such log; the sink's.
    pub fn begin(sink: W, log: &LogName, origin: &Origin) -> Result<Writer<W>, WriteError> {
        let (log, origin) = (log.as_str().to_owned(), origin.as_str().to_owned());
        let header = Header { log, format: FORMAT.to_owned(), origin, version: VERSION };
        let mut writer = Writer { sink, verifier: Verifier::begin(&header)? };
        writer.write(&codec::encode(&header))?;
        Ok(writer)
    }

    /// Writes the log's next event.
    ///
    /// # Errors
    /// It does not go on from the one before, or is longer than an item may be; the sink's.
    pub fn event(&mut self, event: &Recorded) -> Result<(), WriteError> {
        let item = sequence::item(event);
        if item.len() > ITEM_BYTES_MAX {
            return Err(self.verifier.invalid(Fault::TooLong).into());
        }
        self.verifier.event(event)?;
        self.write(&item)
    }

    /// Writes a checkpoint of exactly the events so far.
    ///
    /// # Errors
    /// It is none of them; the sink's.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), WriteError> {
        self.verifier.checkpoint(checkpoint)?;
        self.write(&codec::encode(checkpoint))
    }

    /// Writes the footer and gives the sink back, flushed.
    ///
    /// # Errors
    /// The sink's.
    pub fn finish(mut self) -> Result<(W, Footer), WriteError> {
        let footer = self.verifier.footer();
        self.write(&codec::encode(&footer))?;
        self.sink.flush()?;
        Ok((self.sink, footer))
    }

    fn write(&mut self, item: &[u8]) -> Result<(), WriteError> {
        self.verifier.absorb(item);
        Ok(self.sink.write_all(item)?)
    }
}
