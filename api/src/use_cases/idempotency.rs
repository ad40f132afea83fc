//! A repeated request answers as the first did.
