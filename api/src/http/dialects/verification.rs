//! `/verification/credentials`.
