//! Two older dialects, for clients that already exist. They call the same use cases and need the same rights.

pub mod issuance;
pub mod secrets;
pub mod verification;
