//! What is recorded of a request in the audit log.
