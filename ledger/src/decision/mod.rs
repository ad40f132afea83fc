//! Decisions: pure functions from state and command to events or a rejection. State is a fold of events.
//!
//! Nothing here knows of time, storage, encryption or hashes: what a decision needs of them comes in with the command.

pub mod credential;
pub mod issuer;
pub mod subject;
