//! credence
fn main() {}
