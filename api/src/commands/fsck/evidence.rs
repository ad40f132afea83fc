//! What is given besides the stores: keys, and checkpoints that were kept where whoever owns the stores cannot reach.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use credence_ledger::LogName;
use credence_ledger::checkpoint::{Checkpoint, VerifierKey};
use credence_ledger::fsck::Held;

use crate::config;

/// Keys and checkpoints from files.
pub(super) struct Evidence {
    known: Vec<VerifierKey>,
    held: Vec<(LogName, Held)>,
}

impl Evidence {
    /// Reads files of keys and of checkpoints, each of which is of one of these logs.
    pub(super) fn read(keys: &[PathBuf], checkpoints: &[PathBuf], logs: &[LogName]) -> Result<Evidence, config::Error> {
        let mut evidence = Evidence { known: Vec::new(), held: Vec::new() };
        for file in keys {
            let text = text("--key", file)?;
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                evidence.known.push(line.trim().parse().map_err(|malformed| refused("--key", file, malformed))?);
            }
        }
        for file in checkpoints {
            let checkpoint = Checkpoint::parse(&text("--checkpoint", file)?).map_err(|wrong| refused("--checkpoint", file, wrong))?;
            let origin = checkpoint.head().origin.as_str();
            let is_of = |log: &&LogName| origin.ends_with(&format!("/v1/logs/{log}"));
            let other = || refused("--checkpoint", file, format!("it is of {origin}, which is not checked"));
            let log = logs.iter().find(is_of).ok_or_else(other)?.clone();
            evidence.held.push((log, Held { at: file.display().to_string(), checkpoint, is_published: true }));
        }
        Ok(evidence)
    }

    /// All keys, and the checkpoints of this log.
    pub(super) fn of(&self, log: &LogName) -> (&[VerifierKey], Vec<Held>) {
        let held = self.held.iter().filter(|(of, _)| of == log).map(|(_, held)| held.clone());
        (&self.known, held.collect())
    }
}

fn text(option: &str, file: &Path) -> Result<String, config::Error> {
    std::fs::read_to_string(file).map_err(|failed| refused(option, file, failed))
}

fn refused(option: &str, file: &Path, problem: impl Display) -> config::Error {
    config::Error { source_name: format!("{option} {}", file.display()), problem: problem.to_string() }
}
