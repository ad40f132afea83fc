//! The stores of a command: those that a running service has made, as they are.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use credence_ledger::LogName;
use credence_ledger::log::Log;
use credence_ledger::store::{self, Url};
use credence_ledger::transfer::Kept;
use credence_ledger::vault::Vault;

use crate::config::{Accounts, Role, StoreConfig, StoreOptions};
use crate::proofs::{LogProofs, Proofs};
use crate::services::{App, LogAccess, Services, Settings, Stores};
use crate::stores::{self, Error, Schema, Sources};

/// Reads what a command is told of the stores, and starts its logging.
pub(super) fn config(options: &StoreOptions, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<StoreConfig> {
    let (config, warnings) = StoreConfig::read(options, environment)?;
    super::start_logging(&config.log, &warnings);
    Ok(config)
}

/// Opens a log, to read it.
pub(super) async fn log(config: &StoreConfig, name: LogName) -> Result<Arc<dyn Log>, Error> {
    Ok(kept(config, name).await?.log)
}

/// Opens a log with its tree and checkpoints.
pub(super) async fn kept(config: &StoreConfig, name: LogName) -> Result<Kept, Error> {
    let url = config.stores.log(&name);
    require_folder(name.as_str(), url)?;
    stores::source_log(config, name, &Sources::default()).await
}

/// Opens the vault.
pub(super) async fn vault(config: &StoreConfig) -> Result<Arc<dyn Vault>, Error> {
    require_folder("vault", &config.stores.vault)?;
    stores::vault(config, Schema::AsItIs, &Sources::default()).await
}

/// A folder that is not there, that one may not enter, or that is a file, is another thing than one in which nothing has been made yet.
pub(super) fn require_folder(store: &str, url: &Url) -> Result<(), Error> {
    let Url::Sqlite(folder) = url else { return Ok(()) };
    let refused = |source| Error::Store { store: store.to_owned(), url: url.clone(), source };
    // Of a file within: to enter a folder takes another right than to see it.
    match folder.join("within").try_exists() {
        Ok(_) if folder.exists() => Ok(()),
        Ok(_) => Err(refused(store::Error::Unavailable(format!("there is no such store: no folder {}", folder.display()).into()))),
        Err(error) => Err(refused(store::Error::Failed(format!("{} cannot be entered: {error}", folder.display()).into()))),
    }
}

/// Opens all stores, to do what is recorded.
pub(super) async fn services(config: &StoreConfig) -> Result<App, Error> {
    // Most commands ask no read model for an answer.
    services_that_wait(config, Duration::ZERO).await
}

/// As [`services`], for a command that waits so long for a read model.
pub(super) async fn services_that_wait(config: &StoreConfig, wait_max: Duration) -> Result<App, Error> {
    let sources = Sources::default();
    let vault = vault(config).await?;
    let ledger = LogAccess::new(log(config, LogName::LEDGER).await?, sources.appender);
    let audit = LogAccess::new(log(config, LogName::AUDIT).await?, sources.appender);
    let read = stores::read(config).await?;
    // No command repeats a request.
    let settings = Settings {
        staleness_max: Duration::MAX,
        wait_max,
        idempotency_kept: Duration::ZERO,
        audit_details_kept: None,
        open_issuance: false,
        accounts: Accounts::default(),
    };
    // A command signs nothing.
    let tree = |log| Ok::<_, Error>(LogProofs { tiles: stores::tiles(config, log, &*vault)?, publisher: None });
    let (ledger_tree, audit_tree) = (tree(LogName::LEDGER)?, tree(LogName::AUDIT)?);
    let proofs = Proofs { ledger: ledger_tree, audit: audit_tree, audit_is_public: false, kept_outside: true };
    let stores = Stores { vault, ledger: Some(ledger), audit, read, proofs };
    Ok(Arc::new(Services::new(&config.worker, Role::All, settings, stores, &sources)))
}
