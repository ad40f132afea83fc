//! What happened, and the proof of it.
//!
//! The rooms, in the order in which a fact passes through them:
//!
//! - [`event`]: the facts, one file a family; [`decision`]: pure functions from state and command to facts or a rejection.
//! - [`codec`]: the bytes of an event and of a whole log as a file, deterministic and permanent; [`chain`]: the hashes over them.
//! - [`tree`]: the Merkle tree over a log, in tiles, and its proofs; [`checkpoint`]: signed statements of how it stood; [`receipt`]:
//!   what somebody keeps to show that an event is in a log.
//! - [`document`]: what the holder keeps, its digest and its proof; [`signing`], [`did_key`]: the key that proves, and its name.
//! - [`sealing`]: what is personal is encrypted before anything is appended; [`vault`]: the keys, which can be forgotten.
//! - [`planner`]: what a batch of appends becomes, as a pure function; [`log`]: the engines that fetch, write and commit it;
//!   [`appender`]: the task that collects appends into batches.
//! - [`tiles`]: keeps tree and checkpoints beside the events; [`publisher`]: lets the tree grow and publishes checkpoints.
//! - [`batcher`]: many callers that ask a store alike, one call for all of them.
//! - [`fsck`]: reads a log back and names everything that does not hold.
//! - [`export`]: a log as a portable file that shows by itself that it is whole; [`transfer`]: moves logs into files, out of files and
//!   from store to store.
//!
//! `event`, `decision`, `codec`, `chain`, `tree`, `checkpoint`, `receipt`, `planner` and `export` are synchronous and do no I/O. SQL
//! stands in `log`, `tiles`, `vault` and `store` only.
//! Nothing here knows of projections, HTTP or a command line.

pub mod appender;
pub mod batcher;
mod causes;
pub mod chain;
pub mod checkpoint;
pub mod clock;
pub mod codec;
pub mod decision;
pub mod did_key;
pub mod document;
pub mod event;
pub mod export;
pub mod fsck;
pub mod json;
pub mod log;
pub mod planner;
pub mod position;
pub mod publisher;
pub mod random;
pub mod receipt;
pub mod sealing;
pub mod signing;
pub mod store;
pub mod stream;
pub mod subject;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tiles;
pub mod transfer;
pub mod tree;
pub mod vault;

pub use causes::causes;
pub use clock::{Clock, Timestamp};
pub use position::{LogName, LogPosition, Position, Version};
pub use random::Random;
pub use stream::Stream;
