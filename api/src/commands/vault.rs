//! `credence vault`: what is done to the vault as a whole.

mod backup;
mod restore;
mod rotate;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config;

/// What `vault` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Write the whole vault into one encrypted file, which may be restored for a while.
    Backup(backup::Options),
    /// Make the vault from a backup, where there is none, without what was erased since.
    Restore(restore::Options),
    /// Put another master key in the place of the vault's, while it is served; or go on with that.
    RotateMasterKey(rotate::Options),
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    match &options.act {
        Act::Backup(options) => backup::run(options, environment).await,
        Act::Restore(options) => restore::run(options, environment).await,
        Act::RotateMasterKey(options) => rotate::run(options, environment).await,
    }
}

fn refused(source_name: &str, problem: String) -> config::Error {
    config::Error { source_name: source_name.to_owned(), problem }
}

fn say(line: &str) {
    // Nobody may be reading; that must not stop the work.
    let _ = writeln!(std::io::stderr(), "credence: {line}");
}
