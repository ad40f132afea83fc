//! `credence version`.
