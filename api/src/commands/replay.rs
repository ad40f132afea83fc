//! `credence replay`.
