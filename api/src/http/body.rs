//! Bodies of requests: strict JSON, read into typed commands with an error for every field.
