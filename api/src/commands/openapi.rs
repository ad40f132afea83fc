//! `credence openapi`.
