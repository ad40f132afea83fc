//! `/v1/projections` and rebuilds.
