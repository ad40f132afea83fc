//! Give a verdict and record it.
