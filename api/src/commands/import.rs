//! `credence import`: a log out of a file that `credence export` wrote. The whole file is checked before anything is written.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use credence_ledger::LogName;
use credence_ledger::chain::Origin;
use credence_ledger::export::{ReadError, Reader};
use credence_ledger::log::RestoreError;
use credence_ledger::planner::Unfit;
use credence_ledger::store;
use credence_ledger::transfer::{self, Verified};

use super::export::summary;
use super::progress::Progress;
use super::{open, output};
use crate::config::{self, StoreConfig, StoreOptions};
use crate::stores::{self, Error, Sources};

/// What `import` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// A file that `credence export` wrote.
    #[arg(long = "in", value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let sources = Sources::default();
    let file = File::open(&options.file).map_err(|error| refused(format!("{} cannot be read: {error}", options.file.display())))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(refused(format!("{} is no file: it is read twice, so a pipe will not do", options.file.display())).into());
    }
    let reader = match Reader::open(file.try_clone()?) {
        Ok(reader) => reader,
        Err(error) => return does_not_hold(error),
    };
    let (name, origin) = (reader.verifier().log().clone(), reader.verifier().origin().clone());
    let has_vault = require_its_vault(&config, &name, &origin).await?;
    // Whatever else is there is told before a long file is read.
    stores::target_log(&config, name.clone(), &origin, false, &sources).await?;
    let verified = match verify(name.clone(), file.metadata()?.len(), reader, file.try_clone()?).await? {
        Ok(verified) => verified,
        Err(error) => return does_not_hold(error),
    };
    let Some(target) = stores::target_log(&config, name.clone(), &origin, true, &sources).await? else {
        return Err(store::Error::NotMigrated.into());
    };
    (&file).rewind()?;
    let total = verified.footer.events;
    let mut progress = Progress::new(format!("import {name}"));
    let imported = transfer::import(Reader::open(file)?, &target, &mut |done| progress.at("writing", done, total)).await;
    drop(progress);
    match imported {
        Ok(_) => {}
        // What a file alone cannot show, or one that was changed while it was read.
        Err(transfer::Error::Read(error)) => return does_not_hold(error),
        Err(
            error
            @ transfer::Error::Restore(_, RestoreError::Unfit(Unfit::Version { .. } | Unfit::KeyTaken { .. } | Unfit::Unreadable(..))),
        ) => {
            return does_not_hold(error);
        }
        Err(error) => return Err(error.into()),
    }
    output::write(format!("{}\n", summary(&name, &verified.footer))).or_else(output::unless_closed)?;
    if !has_vault {
        let _ = writeln!(
            std::io::stderr(),
            "{name}: there is no vault beside it: it is a read-only archive, which is replayed, checked and exported, but not served"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(problem: String) -> config::Error {
    config::Error { source_name: "--in".to_owned(), problem }
}

/// The file is told to be wrong, and where; nothing more is written.
fn does_not_hold(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Result<ExitCode> {
    let _ = writeln!(std::io::stderr(), "credence: {:#}", anyhow::Error::new(error));
    Ok(ExitCode::from(1))
}

/// Whether there is a vault. One that is there must be the log's.
async fn require_its_vault(config: &StoreConfig, name: &LogName, origin: &Origin) -> Result<bool, Error> {
    let Some(settings) = stores::vault_settings(config).await? else { return Ok(false) };
    let expected = Origin::new(&settings.origin_base, name);
    if *origin == expected {
        return Ok(true);
    }
    let (found, expected) = (origin.as_str().to_owned(), expected.as_str().to_owned());
    let source = store::Error::Foreign { found, expected };
    Err(Error::Store { store: name.to_string(), url: config.stores.vault.clone(), source })
}

/// Reads the whole file. How many events it has is told at its end only, so until then it is estimated by its length.
async fn verify(name: LogName, length: u64, reader: Reader<File>, place: File) -> anyhow::Result<Result<Verified, ReadError>> {
    let verifying = move || {
        let mut progress = Progress::new(format!("import {name}"));
        let mut place = place;
        transfer::verify(reader, 0, &mut |done| {
            let read = place.stream_position().unwrap_or(length).max(1);
            let total = u128::from(done) * u128::from(length.max(read)) / u128::from(read);
            progress.at("checking", done, u64::try_from(total).unwrap_or(u64::MAX));
        })
    };
    Ok(tokio::task::spawn_blocking(verifying).await?)
}
