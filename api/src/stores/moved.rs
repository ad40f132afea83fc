//! Stores between which logs and vaults are moved: opened so that events can be put into them as they were recorded.

use std::sync::Arc;

use credence_ledger::chain::Origin;
use credence_ledger::log::Restore;
use credence_ledger::store::{self, Url, postgres};
use credence_ledger::tiles::{self, Tiles};
use credence_ledger::transfer::Kept;
use credence_ledger::vault::master_key::Source;
use credence_ledger::vault::master_key::source::File;
use credence_ledger::vault::rows::{Keyring, Settings};
use credence_ledger::vault::{self, OpenError, Vault};
use credence_ledger::{LogName, causes, log};
use secrecy::ExposeSecret as _;

use super::{Error, Schema, Sources, data_folder, durability, log_exists, open_vault, patiently, refused};
use crate::config::{self, StoreConfig};

/// Whether both vaults are in one place, also where it is the server that has two names.
///
/// # Errors
/// The second, or the first, cannot be reached.
pub async fn is_one_place(from: &StoreConfig, to: &StoreConfig) -> Result<bool, Error> {
    let (one, other) = (&from.stores.vault, &to.stores.vault);
    match (one, other) {
        (Url::Postgres(from), Url::Postgres(to)) if !one.is_same_place(other) => {
            patiently("vault", other, async || Ok(postgres::is_one_database(from.expose_secret(), to.expose_secret()).await?)).await
        }
        _ => Ok(one.is_same_place(other)),
    }
}

/// Opens a log as it is.
///
/// # Errors
/// It cannot be reached or used.
pub async fn source_log(config: &StoreConfig, name: LogName, sources: &Sources) -> Result<Kept, Error> {
    let url = config.stores.log(&name);
    patiently(name.as_str(), url, async || Ok(open(config, name.clone(), None, sources).await?)).await
}

/// Opens the log of that origin, to fill it. With `make` it is made, or brought up to date, where it has to be; without, what is
/// missing is an answer.
///
/// # Errors
/// [`store::Error::OtherLog`]; it cannot be reached or used.
pub async fn target_log(
    config: &StoreConfig,
    name: LogName,
    origin: &Origin,
    make: bool,
    sources: &Sources,
) -> Result<Option<Kept>, Error> {
    let url = config.stores.log(&name);
    patiently(name.as_str(), url, async || {
        let is_there = log_exists(&config.stores, &name).await?;
        if !is_there && !make {
            return Ok(None);
        }
        let base = if make { origin.base(&name) } else { None };
        let opened = match open(config, name.clone(), base, sources).await {
            // It is brought up to date once it is clear that it is filled.
            Err(store::Error::NotMigrated) if !make => return Ok(None),
            opened => opened?,
        };
        if opened.log.origin() != origin {
            let (found, expected) = (opened.log.origin().as_str().to_owned(), origin.as_str().to_owned());
            return Err(store::Error::OtherLog { found, expected }.into());
        }
        Ok(Some(opened))
    })
    .await
}

/// With the base of its origin a log is made where it is missing.
pub(super) async fn open(config: &StoreConfig, name: LogName, base: Option<&str>, sources: &Sources) -> Result<Kept, store::Error> {
    let durability = durability(config);
    let url = config.stores.log(&name);
    let log: Arc<dyn Restore> = match (url, base) {
        (Url::Sqlite(folder), None) => Arc::new(log::sqlite::Sqlite::open_existing(folder, name.clone(), sources.clock()).await?),
        (Url::Sqlite(folder), Some(base)) => Arc::new(log::sqlite::Sqlite::open(folder, name.clone(), base, sources.clock()).await?),
        // The server's clock dates events, unless a test brings its own.
        (Url::Postgres(url), base) => {
            Arc::new(log::postgres::Postgres::open(url.expose_secret(), name.clone(), base, sources.clock.clone(), durability).await?)
        }
    };
    let origin = log.origin().clone();
    let tiles: Arc<dyn Tiles> = match url {
        Url::Sqlite(folder) => Arc::new(tiles::sqlite::Sqlite::new(folder, name, origin)),
        Url::Postgres(url) => Arc::new(tiles::postgres::Postgres::new(url.expose_secret(), name, origin, durability)?),
    };
    Ok(Kept { log, tiles })
}

/// What can be told of a vault without its master key; `None` where there is none.
///
/// # Errors
/// It cannot be reached.
pub async fn vault_settings(config: &StoreConfig) -> Result<Option<Settings>, Error> {
    let url = &config.stores.vault;
    patiently("vault", url, async || Ok(vault::copy::settings(url).await?)).await
}

/// The master key with which a copied vault will be opened.
pub struct TheirKey(pub Keyring);

/// Opens, as it is, the vault that `key` was found to open.
///
/// # Errors
/// It cannot be reached or used.
pub async fn vault_opened_by(config: &StoreConfig, TheirKey(keyring): TheirKey) -> Result<Arc<dyn Vault>, Error> {
    patiently("vault", &config.stores.vault, async || match open_vault(config, Schema::AsItIs, keyring.clone()).await {
        Ok(vault) => Ok(vault),
        Err(OpenError::Store(error)) => Err(error.into()),
        Err(wrong) => Err(store::Error::Failed(wrong.into()).into()),
    })
    .await
}

/// The master keys at hand where a vault is to be restored: of all sources there.
///
/// # Errors
/// There is none, or one cannot be used; nothing was written.
pub async fn keyring_at_hand(config: &StoreConfig, sources: &Sources) -> Result<Keyring, config::Error> {
    let mut found: Option<Keyring> = None;
    for source in sources_there(config) {
        let loaded = source.load().await.map_err(|error| refused(&*source, causes(&error)))?;
        match &found {
            Some(keyring) => keyring.ring().add(&loaded),
            None => found = Some(Keyring::new(loaded, sources.random.clone())),
        }
    }
    found.ok_or_else(|| config::Error {
        source_name: config::variable("master_key_file"),
        problem: "required: the master key under which the backup was made".to_owned(),
    })
}

/// The key at hand where the vault of these settings will be: all of the sources there hold one that opens it.
///
/// # Errors
/// There is none, or one is another vault's; nothing was written.
pub async fn their_key(config: &StoreConfig, settings: &Settings, sources: &Sources) -> Result<TheirKey, config::Error> {
    let mut key = None;
    for source in sources_there(config) {
        let loaded = source.load().await.map_err(|error| refused(&*source, causes(&error)))?;
        let keyring = Keyring::new(loaded, sources.random.clone());
        let wrong = "this master key does not open the vault that is copied: both are opened by the same one";
        vault::copy::require_key(&keyring, settings).map_err(|_| refused(&*source, wrong))?;
        key = key.or(Some(TheirKey(keyring)));
    }
    key.ok_or_else(|| config::Error {
        source_name: config::variable("master_key_file"),
        problem: "required: the master key of the vault that is copied, which is wrapped by it there, too".to_owned(),
    })
}

/// What is configured, and the file beside the vault, where there is one.
fn sources_there(config: &StoreConfig) -> impl Iterator<Item = Arc<dyn Source>> {
    let beside = data_folder(config).map(|folder| folder.join("master.key")).filter(|file| file.exists());
    config.master_key.clone().into_iter().chain(beside.map(|file| Arc::new(File::at(file)) as Arc<dyn Source>))
}
