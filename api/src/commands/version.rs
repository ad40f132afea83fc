//! `credence version`: the program's; with a store named, also what is in it.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use credence_ledger::LogName;

use super::{open, output};
use crate::config::StoreOptions;

/// What `version` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    output::write(format!("credence {}\n", env!("CARGO_PKG_VERSION")))?;
    let StoreOptions { config, store, store_file, ledger_store, ledger_store_file, audit_store, audit_store_file, .. } = &options.stores;
    let named = [config, store, store_file, ledger_store, ledger_store_file, audit_store, audit_store_file];
    if named.iter().all(|option| option.is_none()) {
        return Ok(ExitCode::SUCCESS);
    }
    let config = open::config(&options.stores, environment)?;
    for name in [LogName::LEDGER, LogName::AUDIT] {
        let log = open::log(&config, name.clone()).await?;
        let head = log.head().await?;
        let position = head.last().map_or_else(|| "none".to_owned(), |position| name.at(position).to_string());
        // A log with other tables is not opened.
        let schema = log.schema();
        output::write(format!("{name}: origin {}, schema {schema}, head {position} {}\n", log.origin().as_str(), head.chain_hash))?;
    }
    Ok(ExitCode::SUCCESS)
}
