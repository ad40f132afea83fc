//! The command line: one file a command. Data alone goes to standard output, everything else to standard error.
//!
//! Exit status: 0 done, 1 a check found something, 2 usage or configuration, 3 a store cannot be reached or used.

pub mod demo;
pub mod fsck;
pub mod keys;
pub mod migrate;
pub mod openapi;
pub mod rebuild;
pub mod replay;
pub mod serve;
pub mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An event-sourced credential ledger.
#[derive(Debug, Parser)]
#[command(name = "credence", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the program's version.
    Version,
}

/// Runs the command line in this environment and answers the exit status.
pub fn run(arguments: impl Iterator<Item = OsString>, _environment: impl Iterator<Item = (OsString, OsString)>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is not an error: there is nobody left to tell.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match cli.command {
        Command::Version => {
            println!("credence {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}
