//! `credence fsck`: a finding a line, then what was checked; beside a running service.
//!
//! First the logs, each against its tree, its checkpoints and what is kept of them elsewhere; it reads only. Then the read models
//! against logs that were found whole, for which a generation that never serves is built beside them.

mod evidence;
mod read_models;
mod state;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use credence_ledger::log::Log;
use credence_ledger::transfer::Kept;
use credence_ledger::{LogName, fsck, store};

use self::evidence::Evidence;
use self::state::StateFile;
use super::progress::Progress;
use super::{open, output};
use crate::config::StoreOptions;
use crate::stores;

/// What `fsck` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Which log: ledger or audit, and nothing else [default: both, and the read models].
    #[arg(long, value_name = "LOG")]
    log: Option<LogName>,
    /// Leave out the read models.
    #[arg(long)]
    logs_only: bool,
    /// A file of verifier keys, one a line, that checkpoints are trusted for. May be repeated.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// A checkpoint that is kept elsewhere, which the log must agree with. May be repeated.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// Where to write now and then how far it has come, and to go on from; removed when it has come to its end.
    #[arg(long, value_name = "FILE", requires = "log")]
    state: Option<PathBuf>,
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let names = options.log.clone().map_or_else(|| vec![LogName::LEDGER, LogName::AUDIT], |name| vec![name]);
    let mut evidence = Evidence::read(&options.keys, &options.checkpoints, &names)?;
    evidence.add_vaults(&config, &names).await?;
    let (mut is_ok, mut whole) = (true, Vec::new());
    for name in names {
        let kept = match open::kept(&config, name.clone()).await {
            Err(stores::Error::Store { source: store::Error::Corrupt(what), .. }) => {
                tell_unopened(name, what).or_else(output::unless_closed)?;
                is_ok = false;
                continue;
            }
            kept => kept?,
        };
        match check(&kept, &evidence, options.state.as_deref().map(StateFile::at)).await? {
            0 => whole.push(kept.log as Arc<dyn Log>),
            _ => is_ok = false,
        }
    }
    if options.log.is_none() && !options.logs_only {
        is_ok &= read_models::compare(&config, &whole).await?;
    }
    Ok(ExitCode::from(u8::from(!is_ok)))
}

/// Tells a copy's findings and what was checked, and answers how many there were.
pub(super) async fn check_alone(kept: &Kept) -> anyhow::Result<u64> {
    check(kept, &Evidence::default(), None).await
}

/// Answers how many findings there were.
async fn check(kept: &Kept, evidence: &Evidence, file: Option<StateFile>) -> anyhow::Result<u64> {
    let (log, tiles) = (&kept.log, &kept.tiles);
    let (known, held) = evidence.of(log.name());
    let against = fsck::Against { tiles: &**tiles, known, held: &held };
    let mut keep = file;
    let state = keep.as_mut().map(|file| file.read(log.origin(), &against)).transpose()?.flatten();
    let mut progress = Progress::new(format!("fsck {}", log.name()));
    let mut written = Ok(());
    let mut report = |finding: fsck::Finding| {
        // Once nobody reads any more the check still comes to its end, for its exit status.
        if written.is_ok() {
            written = output::write(format!("{finding}\n"));
        }
    };
    let mut nothing = fsck::KeepNothing;
    let keeping: &mut dyn fsck::Keep = match &mut keep {
        Some(file) => file,
        None => &mut nothing,
    };
    let advance = &mut |done, total| progress.at("checking", done, total);
    let mut summary = fsck::check_from(&**log, &against, state, keeping, &mut report, advance).await?;
    drop(progress);
    let found = fsck::erased(&**log, evidence.vault()).await?;
    summary.findings += found.len() as u64;
    found.into_iter().for_each(&mut report);
    if let Some(vault) = evidence.vault() {
        let found = fsck::keys_destroyed(&**log, vault).await?;
        summary.findings += found.len() as u64;
        found.into_iter().for_each(&mut report);
    }
    summary.findings += fsck::remembered(&**log, evidence.vault(), &mut report).await?;
    written.and_then(|()| output::write(format!("{summary}\n"))).or_else(output::unless_closed)?;
    if let Some(file) = keep {
        file.finish()?;
    }
    Ok(summary.findings)
}

/// That a log holds what keeps it from being opened is found as much as anything that can be read.
fn tell_unopened(log: LogName, what: String) -> anyhow::Result<()> {
    let finding = fsck::Finding { log: log.clone(), position: None, kind: fsck::Kind::File, detail: what };
    output::write(format!("{finding}\n{log}: cannot be opened, 1 findings\n"))
}
