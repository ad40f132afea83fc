//! The ways in: HTTP and command line.
//!
//! - [`config`]: what a process is told, from command line, environment and file; [`stores`]: the four stores, opened;
//!   [`node`]: a running process; [`services`]: what use cases and handlers need of it; [`issuers`]: what it remembers of them; [`caller`]: on
//!   whose behalf; [`policy`]: who may do what.
//! - [`passwords`] and [`tokens`]: what people log in with, and what they get.
//! - [`limits`]: how much anybody may ask, in one process or in many; [`long_reads`]: lets those who read all of a log take turns.
//! - [`use_cases`]: what one can do, without HTTP; [`wire`]: what is said outside; [`http`]: routes, each extracts, calls one use
//!   case and maps its answer.
//! - [`client`]: asks others over HTTP; [`witness`]: asks them to cosign checkpoints; [`oidc`]: takes an identity provider's tokens.
//! - [`commands`]: the command line.
//!
//! HTTP statuses are known to `http::problem` alone. There is no SQL here, and no decision: those are in the ledger.

pub mod caller;
pub mod client;
pub mod commands;
pub mod config;
pub mod http;
pub mod issuers;
pub mod limits;
pub mod long_reads;
pub mod node;
pub mod oidc;
pub mod passwords;
pub mod policy;
pub mod proofs;
pub mod services;
pub mod stores;
pub mod tokens;
pub mod use_cases;
pub mod used_keys;
pub mod wire;
pub mod witness;
