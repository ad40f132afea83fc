//! `/v1/logs`.
