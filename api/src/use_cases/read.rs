//! Read a credential, its events and its verifications.
