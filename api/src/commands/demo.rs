//! `credence demo`.
