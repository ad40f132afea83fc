//! Query parameters: unknown and repeated ones are refused.
