//! `/issue`, `/check`, `/verify`.
