//! What is true now: read models folded from the logs. Derived, disposable, rebuildable.
//!
//! - [`projection`]: which projections there are, what a cursor is, how fresh an answer is.
//! - [`verification`]: over the ledger log; answers verdicts, also as of an earlier time, and serves the lists.
//! - [`history`]: over the audit log; knows which verifications a credential has had.
//! - [`read_store`]: the store that keeps them, one contract for both engines.
//! - [`lookups`]: look-ups by id for many callers at once.
//! - [`waits`]: waiting until a read model has come far enough, for many callers at once.
//! - [`fold`]: from events to the [`table`]s' rows.
//! - [`generation`]: what the writers of a read model need of its store.
//! - [`projector`]: a log to fold and a store to write to; what the two that follow share.
//! - [`runner`]: tails a log and moves a projection on, effectively once, fenced against a paused twin.
//! - [`rebuild`]: builds a new generation beside the serving one, compares both, flips.
//! - [`check`]: builds a generation only to compare it with the serving one, row by row.
//!
//! Folds are pure. SQL stands in `read_store` only. Nothing here knows of HTTP, a command line or the vault.

pub mod check;
pub mod digest;
pub mod fold;
pub mod generation;
pub mod history;
pub mod lookups;
pub mod projection;
pub mod projector;
pub mod read_store;
pub mod rebuild;
pub mod runner;
pub mod table;
pub mod verification;
pub mod waits;
