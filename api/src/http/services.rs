//! `/v1/services`.
