//! `credence vault backup`: the whole vault in one encrypted file, beside running servers.
//!
//! A file that can be restored is on record: the record is made when all but the file's end is on the disk. There is no other order that
//! promises it, for file and audit log share no transaction.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, value_parser};
use credence_ledger::Clock as _;
use credence_ledger::clock::SystemClock;
use credence_ledger::event::audit::VaultBackedUp;
use credence_ledger::stream::category;
use credence_ledger::vault::backup::{self, BackupError, Terms};

use super::refused;
use crate::caller::Caller;
use crate::commands::whole_file::WholeFile;
use crate::commands::{open, output};
use crate::config::StoreOptions;
use crate::stores::Error;
use crate::use_cases::audit;

/// What `vault backup` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The file to write, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// For how long it may be restored.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=365))]
    valid_days: u64,
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let app = open::services(&config).await?;
    let made_at = SystemClock.now();
    let valid_until = made_at.plus(Duration::from_secs(options.valid_days * 24 * 3600));
    let cannot_write = |error: std::io::Error| refused("--out", format!("cannot write {}: {error}", options.out.display()));
    let file = WholeFile::create_private(&options.out).map_err(cannot_write)?;
    // Before the vault is read: whatever they hold then has its keys in the backup.
    let (ledger, audit) = (app.ledger()?.log.head().await?.size, app.audit.log.head().await?.size);
    let terms = Terms { made_at, valid_until, ledger, audit };
    let url = &config.stores.vault;
    let written = backup::write(url, app.vault.ring(), terms, &*app.random, file).await;
    let mut unfinished = match written {
        Ok(written) => written,
        Err(BackupError::Write(error)) => return Err(cannot_write(error).into()),
        Err(BackupError::Store(source)) => return Err(Error::Store { store: "vault".to_owned(), url: url.clone(), source }.into()),
        Err(rotating @ BackupError::Rotating) => return Err(rotating.into()),
    };
    unfinished.out().sync().map_err(cannot_write)?;
    // Until here a crash leaves nothing but an unnamed file that nobody can restore.
    let caller = Caller::operator("credence vault backup");
    audit::record(&app, &caller, category::VAULT, &VaultBackedUp { valid_until }).await?;
    // From here on a crash leaves the record of a file that was not made.
    let rows = unfinished.rows;
    unfinished.finish().and_then(WholeFile::finish).map_err(cannot_write)?;
    // From here on the file has its name, whole and durable.
    output::write(format!("{}: {rows} rows, may be restored until {valid_until}\n", options.out.display()))?;
    Ok(ExitCode::SUCCESS)
}
