//! `credence migrate`.
