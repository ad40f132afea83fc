//! `credence export`: a log as one file that shows by itself that it is whole; equal logs give equal files.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use credence_ledger::chain::Hash;
use credence_ledger::export::{Footer, WriteError};
use credence_ledger::transfer::{self, ExportError, Kept};
use credence_ledger::{LogName, store};

use super::progress::Progress;
use super::whole_file::WholeFile;
use super::{open, output};
use crate::config::{self, StoreOptions};

/// What `export` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Which log: ledger or audit.
    #[arg(long, value_name = "LOG", default_value = "ledger")]
    log: LogName,
    /// The file to be written, or - for standard output.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let kept = open::kept(&config, options.log.clone()).await?;
    if options.out == Path::new("-") {
        let Some((_, footer)) = written(&kept, std::io::stdout().lock()).await? else { return Ok(ExitCode::from(1)) };
        // Nobody may be reading.
        let _ = writeln!(std::io::stderr(), "{}", summary(&options.log, &footer));
        return Ok(ExitCode::SUCCESS);
    }
    let refused = |error: std::io::Error| {
        let problem = match error.kind() {
            ErrorKind::AlreadyExists => "the file is there: --force replaces it".to_owned(),
            _ => format!("{} cannot be written: {error}", options.out.display()),
        };
        config::Error { source_name: "--out".to_owned(), problem }
    };
    let file = WholeFile::create(&options.out, options.force).map_err(refused)?;
    let Some((file, footer)) = written(&kept, file).await? else { return Ok(ExitCode::from(1)) };
    file.finish().map_err(refused)?;
    output::write(format!("{}\n", summary(&options.log, &footer))).or_else(output::unless_closed)?;
    Ok(ExitCode::SUCCESS)
}

/// Tells on standard error where the log does not hold together; such a log has no export.
async fn written<W: Write>(kept: &Kept, sink: W) -> anyhow::Result<Option<(W, Footer)>> {
    let mut progress = Progress::new(format!("export {}", kept.log.name()));
    let exported = transfer::export(&*kept.log, &*kept.tiles, sink, &mut |done, total| progress.at("writing", done, total)).await;
    drop(progress);
    let found = match exported {
        Ok(exported) => return Ok(Some(exported)),
        Err(ExportError::Write(WriteError::Io(error))) if error.kind() == ErrorKind::BrokenPipe => return Err(output::Closed.into()),
        Err(found @ (ExportError::Write(WriteError::Invalid(_)) | ExportError::Store(store::Error::Corrupt(_)))) => found,
        Err(failed) => return Err(failed.into()),
    };
    let _ = writeln!(std::io::stderr(), "credence: {:#}", anyhow::Error::new(found));
    Ok(None)
}

/// `ledger: 43 events, head ledger@42 <hex>, root <hex>, 7 checkpoints`.
pub(super) fn summary(log: &LogName, footer: &Footer) -> String {
    let head = footer.events.checked_sub(1).map_or_else(|| "none".to_owned(), |last| log.at(credence_ledger::Position(last)).to_string());
    let (chain_hash, root) = (Hash(*footer.chain_hash), Hash(*footer.root));
    format!("{log}: {} events, head {head} {chain_hash}, root {root}, {} checkpoints", footer.events, footer.checkpoints)
}
