//! `credence rebuild`.
