//! What one can do with Credence, without HTTP: each loads, decides, appends, and answers in the ledger's own types.

pub mod audit;
pub mod change;
pub mod idempotency;
pub mod issue;
pub mod list;
pub mod read;
pub mod replay;
pub mod verify;
