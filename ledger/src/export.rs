//! A log as one portable file that shows by itself that it is whole. **Permanent**: docs/FORMAT.md describes it.
//!
//! A CBOR sequence: a header, every event as `replay --format cbor` writes it, each checkpoint directly after the last event that
//! it covers, and a footer. There is one file for a log of a given length: neither the time, nor the machine, nor the engine is in
//! it.
//!
//! The [`Writer`] writes nothing that the [`Reader`] would not take: both hold what passes through them against the same
//! [`Verifier`]. All of it goes on in bounded memory. What needs more than that is left to whoever has it: the versions of streams
//! and the owners of unique keys are checked by the store into which a file is imported ([`Restored`](crate::planner::Restored)),
//! or by a checker that holds a map.

mod format;
mod note;
mod reader;
#[cfg(test)]
mod tests;
mod verifier;
mod writer;

pub use format::{Checkpoint, FORMAT, Footer, Header, ITEM_BYTES_MAX, VERSION};
pub use reader::{Item, ReadError, Reader};
pub use verifier::{Fault, Invalid, Verifier};
pub use writer::{WriteError, Writer};
