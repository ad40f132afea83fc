//! The program without sealing and without the subject look-up, for `make bench-sealing` to be held against and for nothing else: what it
//! issues stands in clear.
//!
//! It cannot be had by accident. It is a binary of its own, made by the feature `bench-unsealed` alone, with which `credence` itself does
//! not compile; and it touches no store but those whose folder the bench has marked.

use std::path::PathBuf;
use std::process::ExitCode;

/// The product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the bench leaves in the folder of a store that it has made for this.
const MARK: &str = "bench-unsealed";

/// What the bench says to it. Nothing else is listened to, so that nothing leads it to another store.
const SAID: [&str; 5] = ["CREDENCE_STORE", "CREDENCE_DATA_DIR", "CREDENCE_MASTER_KEY_FILE", "CREDENCE_RATE_LIMIT", "CREDENCE_LOG"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_said = |name: String| !name.starts_with("CREDENCE_") || SAID.contains(&name.as_str());
    let is_alone = std::env::vars_os().all(|(name, _)| is_said(name.to_string_lossy().into_owned()));
    let folder = match std::env::var("CREDENCE_STORE").unwrap_or_default().strip_prefix("sqlite:") {
        Some(folder) => Some(PathBuf::from(folder)),
        None => std::env::var_os("CREDENCE_DATA_DIR").map(PathBuf::from),
    };
    let is_marked = folder.is_some_and(|folder| folder.join(MARK).is_file());
    if arguments != ["serve", "--listen", "127.0.0.1:0"] || !is_alone || !is_marked {
        eprintln!("credence-unsealed: it issues in clear, for the bench alone, and serves no store that the bench has not made");
        return ExitCode::from(2);
    }
    eprintln!("credence-unsealed: what is issued stands in clear");
    credence_api::commands::run(std::env::args_os(), std::env::vars_os())
}
