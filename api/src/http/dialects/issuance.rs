//! `/issuance/credentials`.
