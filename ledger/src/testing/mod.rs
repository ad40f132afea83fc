//! What the tests of several crates share. Compiled for tests only (feature `testing`).

pub mod postgres;
