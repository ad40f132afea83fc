//! `/v1/credentials`.
