//! `credence vault`: what is done to the vault as a whole.

mod rotate;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Subcommand};

/// What `vault` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Put another master key in the place of the vault's, while it is served; or go on with that.
    RotateMasterKey(rotate::Options),
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    match &options.act {
        Act::RotateMasterKey(options) => rotate::run(options, environment).await,
    }
}
