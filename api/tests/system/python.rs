//! The scripts that check what this program writes without it, run by the Python that `scripts/install-test-needs` sets up.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a script of `scripts/` to its end.
pub(crate) fn run(script: &str, arguments: &[&str]) -> Output {
    run_with(&[], script, arguments)
}

/// The same with Python's own library alone.
pub(crate) fn run_bare(script: &str) -> Output {
    run_with(&["-S"], script, &["any"])
}

fn run_with(options: &[&str], script: &str, arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = root.join("target/python/bin/python");
    assert!(python.exists(), "there is no {}: run scripts/install-test-needs, which makes it", python.display());
    Command::new(python).args(options).arg(root.join("scripts").join(script)).args(arguments).stdin(Stdio::null()).output().unwrap()
}
