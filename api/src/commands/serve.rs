//! `credence serve`: one process, until it is told to stop.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use credence_ledger::causes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, ServeOptions, StoreOptions};
use crate::node::Node;
use crate::stores::Sources;

/// What `serve` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    stores: StoreOptions,
    #[command(flatten)]
    serve: ServeOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let (config, warnings) = Config::read(&options.stores, &options.serve, environment)?;
    super::start_logging(&config.store.log, &warnings);
    raise_open_files();
    // Before anything is opened: a process told to stop while it starts stops as soon as it has started.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // Without TLS nothing is read again, and a terminal that is closed ends what was started in it.
    let mut hang_up = config.tls.as_ref().map(|_| signal(SignalKind::hangup())).transpose()?;
    let role = config.role;
    let node = Node::start(config, Sources::default()).await?;
    // Whoever started this may have closed its end.
    let _ = writeln!(std::io::stdout(), "listening on {}", node.url());
    tracing::info!(address = %node.address, %role, version = env!("CARGO_PKG_VERSION"), "serving");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = hung_up(&mut hang_up) => node.reload_certificate(),
        }
    }
    tracing::info!("stopping: finishing what is in flight");
    node.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Every connection is an open file: as many as this process is allowed, not as few as its shell was content with.
fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(current, maximum, reason = causes(&error), "the limit of open files stays as it is");
    }
}

/// Waits for the next SIGHUP; for ever, where none is waited for.
async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
