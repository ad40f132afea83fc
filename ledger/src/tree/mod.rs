//! The Merkle tree over a log, by which the outside checks it (RFC 6962): a leaf's entry is an event's hash. **Permanent**.

mod frontier;

pub use frontier::{Frontier, leaf_hash, node_hash};
