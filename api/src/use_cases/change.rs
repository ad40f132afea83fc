//! Revoke, suspend, reinstate.
