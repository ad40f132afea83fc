//! `credence fsck`: a finding a line, then what was checked; it reads only, and beside a running service.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use credence_ledger::log::Log;
use credence_ledger::{LogName, fsck, store};

use super::progress::Progress;
use super::{open, output};
use crate::config::StoreOptions;
use crate::stores;

/// What `fsck` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Which log: ledger or audit [default: both].
    #[arg(long, value_name = "LOG")]
    log: Option<LogName>,
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let names = options.log.clone().map_or_else(|| vec![LogName::LEDGER, LogName::AUDIT], |name| vec![name]);
    let mut findings = 0;
    for name in names {
        let log = match open::log(&config, name.clone()).await {
            Err(stores::Error::Store { source: store::Error::Corrupt(what), .. }) => {
                tell_unopened(name, what).or_else(output::unless_closed)?;
                findings += 1;
                continue;
            }
            log => log?,
        };
        findings += check(&*log).await?;
    }
    Ok(ExitCode::from(u8::from(findings > 0)))
}

/// Tells a log's findings and what was checked, and answers how many there were.
pub(super) async fn check(log: &dyn Log) -> anyhow::Result<u64> {
    let mut progress = Progress::new(format!("fsck {}", log.name()));
    let mut written = Ok(());
    let mut report = |finding: fsck::Finding| {
        // Once nobody reads any more the check still comes to its end, for its exit status.
        if written.is_ok() {
            written = output::write(format!("{finding}\n"));
        }
    };
    let summary = fsck::check(log, &mut report, &mut |done, total| progress.at("checking", done, total)).await?;
    drop(progress);
    written.and_then(|()| output::write(format!("{summary}\n"))).or_else(output::unless_closed)?;
    Ok(summary.findings)
}

/// That a log holds what keeps it from being opened is found as much as anything that can be read.
fn tell_unopened(log: LogName, what: String) -> anyhow::Result<()> {
    let finding = fsck::Finding { log: log.clone(), position: None, kind: fsck::Kind::File, detail: what };
    output::write(format!("{finding}\n{log}: cannot be opened, 1 findings\n"))
}
