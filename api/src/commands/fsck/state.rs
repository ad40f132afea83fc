//! The file that tells how far a check has come.
//!
//! It is written beside and renamed, so that it is always a whole one; whoever checks alone may read or write it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use credence_ledger::causes;
use credence_ledger::chain::Origin;
use credence_ledger::fsck::{Against, Keep, State};

use crate::config;

/// How often it is written: what an interruption costs, at most.
const EVERY: Duration = Duration::from_secs(5);

pub(super) struct StateFile {
    path: PathBuf,
    written: Instant,
    /// Told once.
    failed: bool,
}

impl StateFile {
    pub(super) fn at(path: &Path) -> StateFile {
        StateFile { path: path.to_owned(), written: Instant::now(), failed: false }
    }

    /// What an earlier check has left, if there is anything.
    ///
    /// # Errors
    /// It is damaged, or of another log or check.
    pub(super) fn read(&mut self, origin: &Origin, against: &Against<'_>) -> Result<Option<State>, config::Error> {
        let refused = |problem: String| config::Error { source_name: format!("--state {}", self.path.display()), problem };
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(None),
            Err(failed) => return Err(refused(failed.to_string())),
        };
        let state =
            State::from_text(&text, origin, against).map_err(|wrong| refused(format!("{wrong}: remove it to check from the beginning")))?;
        // Nobody may be reading; that must not stop the work.
        let _ = writeln!(std::io::stderr(), "fsck: goes on after {} events, which are not read again", state.events());
        Ok(Some(state))
    }

    /// The check has come to its end.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(failed) if failed.kind() != ErrorKind::NotFound => {
                Err(failed).with_context(|| format!("--state {} cannot be removed", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)
    }
}

impl Keep for StateFile {
    fn is_due(&mut self) -> bool {
        self.written.elapsed() >= EVERY
    }

    fn keep(&mut self, state: &State) {
        self.written = Instant::now();
        if let Err(failed) = self.write(&state.to_text())
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!(file = %self.path.display(), reason = causes(&failed), "the check goes on, but cannot be gone on with");
        }
    }
}
