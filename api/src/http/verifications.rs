//! `/v1/verifications`.
