//! The command line: one file a command. Data alone goes to standard output, everything else to standard error.
//!
//! Exit status: 0 done, 1 a check found something, 2 usage or configuration, 3 a store cannot be reached or used.

mod argument;
pub mod copy;
pub mod demo;
pub mod erase;
pub mod export;
pub mod fsck;
pub mod import;
pub mod keys;
pub mod migrate;
mod open;
pub mod openapi;
mod output;
mod progress;
pub mod rebuild;
pub mod replay;
pub mod serve;
pub mod vault;
pub mod verify;
pub mod version;
mod whole_file;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{self, LogConfig, LogFormat};
use crate::stores;

/// An event-sourced credential ledger.
#[derive(Debug, Parser)]
#[command(name = "credence", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// How long a process waits at its end for threads that are still at something.
const LEAVE_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP until told to stop.
    Serve(Box<serve::Options>),
    /// Issue, verify, revoke, rebuild and replay on a throwaway store, telling what happens.
    Demo,
    /// Build read models anew, beside those that serve, or only compare them with the log.
    Rebuild(Box<rebuild::Options>),
    /// Print a log's events.
    Replay(Box<replay::Options>),
    /// Check every event, hash, tile, checkpoint and unique key of the logs, and the read models.
    Fsck(Box<fsck::Options>),
    /// Write a log into a file that shows by itself that it is whole.
    Export(Box<export::Options>),
    /// Fill a log from such a file.
    Import(Box<import::Options>),
    /// Bring ledger, audit log and vault from one store to another.
    Copy(Box<copy::Options>),
    /// Check a document, a receipt or an export, offline, by keys that are trusted.
    Verify(Box<verify::Options>),
    /// Make, list and revoke API keys; rotate and list issuers' signing keys.
    Keys(Box<keys::Options>),
    /// Back the vault up and restore it; rotate its master key.
    Vault(Box<vault::Options>),
    /// Erase a person for good: what is sealed about it can never be opened again, and every proof stays.
    Erase(Box<erase::Options>),
    /// Make the stores, or bring them up to date.
    Migrate(Box<migrate::Options>),
    /// Print the OpenAPI document.
    Openapi,
    /// Print the program's version; with a store named, also its origins and heads.
    Version(Box<version::Options>),
}

/// Runs the command line in this environment and answers the exit status.
pub fn run(arguments: impl Iterator<Item = OsString>, environment: impl Iterator<Item = (OsString, OsString)>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is not an error: there is nobody left to tell.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from);
    let done = runtime.and_then(|runtime| {
        let done = runtime.block_on(dispatch(cli.command, environment));
        // A thread that waits for a file that does not answer would keep the process for ever.
        runtime.shutdown_timeout(LEAVE_MAX);
        done
    });
    done.unwrap_or_else(|error| failed(&error))
}

async fn dispatch(command: Command, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(options) => serve::run(&options, environment).await,
        Command::Demo => demo::run().await,
        Command::Rebuild(options) => rebuild::run(&options, environment).await,
        Command::Replay(options) => replay::run(&options, environment).await,
        Command::Fsck(options) => fsck::run(&options, environment).await,
        Command::Export(options) => export::run(&options, environment).await,
        Command::Import(options) => import::run(&options, environment).await,
        Command::Copy(options) => copy::run(&options, environment).await,
        Command::Verify(options) => verify::run(&options).await,
        Command::Keys(options) => keys::run(&options, environment).await,
        Command::Vault(options) => vault::run(&options, environment).await,
        Command::Erase(options) => erase::run(&options, environment).await,
        Command::Migrate(options) => migrate::run(&options, environment).await,
        Command::Openapi => openapi::run(),
        Command::Version(options) => version::run(&options, environment).await,
    }
}

/// Tells why, once, with the whole chain of causes.
fn failed(error: &anyhow::Error) -> ExitCode {
    if error.is::<output::Closed>() {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(std::io::stderr(), "credence: {error:#}");
    if let Some(error) = error.downcast_ref::<stores::Error>() {
        return error.exit_code();
    }
    ExitCode::from(if error.is::<config::Error>() { 2 } else { 3 })
}

/// Returns when this process is told to stop.
async fn interrupted() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Logs go to standard error. What the configuration warned of is said first.
fn start_logging(log: &LogConfig, warnings: &[String]) {
    let is_terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("rusqlite_migration=warn,{}", log.filter)))
        .with_writer(std::io::stderr);
    // A terminal's user may not want colours (NO_COLOR); nobody else does.
    let builder = if is_terminal { builder } else { builder.with_ansi(false) };
    // Only a test that runs several commands in one process has started logging before.
    let _ = if json { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
    // A panic is a line like any other, with the request's id where there is one.
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map(ToString::to_string);
        tracing::error!(message, place, backtrace = %std::backtrace::Backtrace::capture(), "panicked");
    }));
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}
