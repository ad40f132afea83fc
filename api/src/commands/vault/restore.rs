//! `credence vault restore`: a vault from its backup, where there is none, beside the logs that it belongs to.
//!
//! The logs are asked first: what they say was destroyed, or taken away, since the backup was made stays so, in the one transaction in which
//! the vault appears. Whoever was issued a credential since and is not in the backup is nobody to the restored vault, for good: those credentials
//! are listed in a file beside the backup, to be revoked and issued anew.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use credence_ledger::chain::Origin;
use credence_ledger::clock::SystemClock;
use credence_ledger::event::audit::VaultRestored;
use credence_ledger::store;
use credence_ledger::stream::category;
use credence_ledger::vault::backup::{Backup, RestoreError, Since, lost};
use credence_ledger::{Clock as _, LogName};
use uuid::Uuid;

use super::{refused, say};
use crate::caller::Caller;
use crate::commands::whole_file::WholeFile;
use crate::commands::{open, output};
use crate::config::StoreOptions;
use crate::stores::{self, Error, Sources};
use crate::use_cases::audit;

/// What `vault restore` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The backup.
    #[arg(long = "in", value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let url = &config.stores.vault;
    let of_vault = |source| Error::Store { store: "vault".to_owned(), url: url.clone(), source };
    if stores::vault_settings(&config).await?.is_some() {
        return Err(of_vault(store::Error::Failed("there is one: a backup is restored only where there is none".into())).into());
    }
    let keyring = stores::keyring_at_hand(&config, &Sources::default()).await?;
    let now = SystemClock.now();
    let opened = Backup::open(&options.from, keyring.ring(), now);
    let backup = opened.map_err(|error| refused("--in", format!("{}: {:#}", options.from.display(), anyhow::Error::new(error))))?;
    let header = backup.header().clone();
    let log = async |name: LogName| {
        let log = open::log(&config, name.clone()).await?;
        let expected = Origin::new(&header.origin, &name);
        if *log.origin() == expected {
            return Ok(log);
        }
        let problem = format!("it is a backup of another vault, beside the log {expected}", expected = expected.as_str());
        Err(anyhow::Error::new(refused("--in", problem)))
    };
    let (ledger, audit_log) = (log(LogName::LEDGER).await?, log(LogName::AUDIT).await?);
    for (log, size) in [(&ledger, header.ledger), (&audit_log, header.audit)] {
        if log.head().await?.size < size {
            let name = log.name();
            say(&format!("the log {name} ends before the backup was made: who was erased after its end comes back, erase them again"));
        }
    }
    let since = Arc::new(Since::read(&*ledger, &*audit_log, &header).await?);
    let restored = backup.restore(url, &since).await.map_err(|error| match error {
        RestoreError::Store(source) => anyhow::Error::new(of_vault(source)),
        RestoreError::Refused(error) => refused("--in", format!("{:#}", anyhow::Error::new(error))).into(),
    })?;
    let app = open::services(&config).await?;
    let caller = Caller::operator("credence vault restore");
    let recorded = VaultRestored { erased: restored.erased, made_at: header.made_at };
    audit::record(&app, &caller, category::VAULT, &recorded).await?;
    let lost = lost(&*ledger, &*app.vault, &header, &since).await?;
    output::write(format!(
        "vault: {} rows as of {}; left out: subjects {}, months {}; changed since: {}; issued since, and cannot be opened: credentials {}, subjects {}\n",
        restored.rows, header.made_at, restored.erased, restored.months, restored.changed, lost.credentials, lost.subjects
    ))?;
    if !lost.unrevoked.is_empty() {
        say_lost(&options.from, &lost.unrevoked);
    }
    if since.passwords() > 0 {
        say(&format!("accounts with the password that they had before it was changed: {}; have it changed again", since.passwords()));
    }
    if since.profiles() > 0 {
        let count = since.profiles();
        say(&format!(
            "accounts with the username, address and names that they had before these were changed: {count}; have them set again"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// So many are told here where no file can be written.
const TOLD_MAX: usize = 20;

/// Lists credentials of people whom the vault does not know any more. The vault is restored by now: a list that cannot be written stops nothing.
fn say_lost(backup: &Path, ids: &[Uuid]) {
    let mut name = backup.as_os_str().to_owned();
    name.push(".lost");
    let (path, count) = (PathBuf::from(name), ids.len());
    match list(&path, ids) {
        Ok(()) => say(&format!("{}: the ids of the {count} of them that are not revoked", path.display())),
        Err(error) => {
            say(&format!("{}: cannot be written: {error}; not revoked are {count} of them:", path.display()));
            ids.iter().take(TOLD_MAX).for_each(|id| say(&id.to_string()));
            if count > TOLD_MAX {
                say("and others: whose reading is answered with 410 key-lost");
            }
        }
    }
    say(
        "nobody can say any more whose they are: holder details do not match them, no erasure finds them, and the same can be issued again beside \
         them. Revoke each and issue it anew",
    );
}

fn list(path: &Path, ids: &[Uuid]) -> io::Result<()> {
    let mut file = WholeFile::create_private(path)?;
    ids.iter().try_for_each(|id| writeln!(file, "{id}"))?;
    file.finish()
}
