//! The self-check of a log.
