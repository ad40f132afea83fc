//! What is given besides the stores: keys, and checkpoints that were kept where whoever owns the stores cannot reach.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use credence_ledger::LogName;
use credence_ledger::chain::Origin;
use credence_ledger::checkpoint::{Checkpoint, VerifierKey};
use credence_ledger::fsck::Held;
use credence_ledger::vault::Vault;

use crate::commands::open;
use crate::config::{self, StoreConfig};
use crate::stores;

/// Keys and checkpoints: from files, and from the vault; and the vault itself, for the keys that it must not have.
#[derive(Default)]
pub(super) struct Evidence {
    known: Vec<VerifierKey>,
    held: Vec<(LogName, Held)>,
    vault: Option<Arc<dyn Vault>>,
}

impl Evidence {
    /// Reads files of keys and of checkpoints, each of which is of one of these logs.
    pub(super) fn read(keys: &[PathBuf], checkpoints: &[PathBuf], logs: &[LogName]) -> Result<Evidence, config::Error> {
        let mut evidence = Evidence::default();
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

    /// Adds the logs' own keys, and the last checkpoints that they signed. Without a vault, or without the master key that opens it, what is
    /// checked is checked without them, and that is told; as is a last checkpoint that nobody keeps elsewhere.
    pub(super) async fn add_vaults(&mut self, config: &StoreConfig, logs: &[LogName]) -> Result<(), stores::Error> {
        let vault = match open::vault(config).await {
            Ok(vault) => vault,
            Err(error) => {
                let reason = anyhow::Error::new(error);
                tell(format!("the vault is not open, so that signatures are checked with keys that were given only: {reason:#}"));
                return Ok(());
            }
        };
        let failed = |source| stores::Error::Store { store: "vault".to_owned(), url: config.stores.vault.clone(), source };
        for log in logs {
            let origin = Origin::new(vault.origin_base(), log);
            let keys = vault.log_keys(log).await.map_err(failed)?;
            self.known.extend(keys.iter().filter_map(|key| VerifierKey::of_log(&origin, &key.public)));
            let is_kept_outside = stores::vault_is_elsewhere(config) || self.held.iter().any(|(of, _)| of == log);
            let Some(note) = vault.guard(log).await.map_err(failed)? else { continue };
            if !is_kept_outside {
                tell(format!(
                    "{log}: the last checkpoint is kept on the ledger's own server alone: a ledger and a vault that were restored together are not told \
                     apart from what they were (--checkpoint names one that is kept elsewhere)"
                ));
            }
            if let Ok(checkpoint) = Checkpoint::parse(&note) {
                self.held.push((log.clone(), Held { at: "the vault".to_owned(), checkpoint, is_published: false }));
            }
        }
        self.vault = Some(vault);
        Ok(())
    }

    /// The vault, if it could be opened.
    pub(super) fn vault(&self) -> Option<&dyn Vault> {
        self.vault.as_deref()
    }

    /// All keys, and the checkpoints of this log.
    pub(super) fn of(&self, log: &LogName) -> (&[VerifierKey], Vec<Held>) {
        let held = self.held.iter().filter(|(of, _)| of == log).map(|(_, held)| held.clone());
        (&self.known, held.collect())
    }
}

fn tell(what: String) {
    let _ = writeln!(std::io::stderr(), "credence: {what}");
}

fn text(option: &str, file: &Path) -> Result<String, config::Error> {
    std::fs::read_to_string(file).map_err(|failed| refused(option, file, failed))
}

fn refused(option: &str, file: &Path, problem: impl Display) -> config::Error {
    config::Error { source_name: format!("{option} {}", file.display()), problem: problem.to_string() }
}
