//! `credence serve`.
