//! List and search credentials.
