//! Issue a credential.
