//! `credence keys`.
