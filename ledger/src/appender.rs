//! The appender.
