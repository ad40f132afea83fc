//! Opens the four stores: by URL, patiently, under the master key's rules; and goes through the [`first_start()`].
//!
//! A store that cannot be reached is tried for [`PATIENCE`]. What would have to be mended by somebody is told at once. Whoever may
//! migrates on the way; whoever may not is sent to `credence migrate`.

mod first_start;
mod moved;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use credence_ledger::chain::Origin;
use credence_ledger::clock::SystemClock;
use credence_ledger::log::Log;
use credence_ledger::publisher::Contradiction;
use credence_ledger::random::SystemRandom;
use credence_ledger::store::postgres::{self, Durability};
use credence_ledger::store::{self, Url};
use credence_ledger::tiles::Tiles;
use credence_ledger::vault::master_key::source::File;
use credence_ledger::vault::master_key::{self, MasterKeys, Source};
use credence_ledger::vault::rows::Keyring;
use credence_ledger::vault::{OpenError, Vault};
use credence_ledger::{Clock, LogName, Random, appender, causes, log, tiles, vault};
use credence_projections::generation;
use credence_projections::read_store;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use crate::config::{self, StoreConfig, Stores};
use crate::oidc;
use crate::services::AppendError;

pub use first_start::{DEFAULT_ISSUER, first_start, register, register_issuer};
pub use moved::{TheirKey, is_one_place, keyring_at_hand, source_log, target_log, their_key, vault_opened_by, vault_settings};

/// For how long a store that cannot be reached is tried.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What comes in from outside: time and randomness; and the bounds that tests want tight.
#[derive(Clone)]
pub struct Sources {
    /// A clock that takes the place of the stores' own, for tests.
    pub clock: Option<Arc<dyn Clock>>,
    /// Where randomness comes from.
    pub random: Arc<dyn Random>,
    /// How much may wait to be appended to a log.
    pub appender: appender::Limits,
    /// How often an identity provider is asked, and for how long it is believed.
    pub oidc: oidc::Times,
}

impl Default for Sources {
    /// The machine's.
    fn default() -> Sources {
        Sources { clock: None, random: Arc::new(SystemRandom), appender: appender::Limits::default(), oidc: oidc::Times::default() }
    }
}

impl Sources {
    /// The process's clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock))
    }
}

/// Whether opening a store may make or migrate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// What is missing is made, as far as the login may.
    Migrate,
    /// Nothing is made, but what [`Schema::Migrate`] would refuse to make is refused.
    Foresee,
    /// What is there is taken as it is.
    AsItIs,
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What it was told cannot be used.
    #[error(transparent)]
    Configuration(#[from] config::Error),
    /// A store cannot be reached or used.
    #[error("{store} ({url})")]
    Store {
        /// Which one.
        store: String,
        /// Where; without login.
        url: Url,
        /// Why.
        #[source]
        source: store::Error,
    },
    /// The first start cannot be gone through.
    #[error("the first start")]
    FirstStart(#[source] AppendError),
    /// A log contradicts what was signed of it.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// Where the administrator's key should be written.
    #[error("{} cannot be written", .0.display())]
    AdminKey(PathBuf, #[source] std::io::Error),
}

impl Error {
    /// 2 for what was configured, 3 for a store.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Configuration(_) => ExitCode::from(2),
            Error::Store { .. } | Error::FirstStart(_) | Error::Contradiction(_) | Error::AdminKey(..) => ExitCode::from(3),
        }
    }
}

/// Opens the vault. It is made where there is none yet; but beside a log a vault that is not there has been lost, and a new one in
/// its place would take all its subjects for erased.
///
/// # Errors
/// There is no master key or another one; the vault cannot be reached or used, or is gone.
pub async fn vault(config: &StoreConfig, schema: Schema, sources: &Sources) -> Result<Arc<dyn Vault>, Error> {
    let url = &config.stores.vault;
    patiently("vault", url, async || {
        let (keyring, source) = keyring(config, schema, sources).await?;
        if schema != Schema::AsItIs && !vault_exists(config).await? {
            require_no_log(config).await?;
        }
        match open_vault(config, schema, keyring).await {
            Ok(vault) => Ok(vault),
            Err(OpenError::WrongMasterKey) => Err(Unopened::Configuration(refused(&*source, "this master key does not open the vault"))),
            Err(OpenError::OtherMasterKey(other)) => {
                let problem = format!("this master key does not open the vault, whose master key is {other} by now");
                Err(Unopened::Configuration(refused(&*source, problem)))
            }
            Err(OpenError::Store(error)) => Err(error.into()),
        }
    })
    .await
}

async fn open_vault(config: &StoreConfig, schema: Schema, keyring: Keyring) -> Result<Arc<dyn Vault>, OpenError> {
    let origin = config.origin.as_deref();
    Ok(match (&config.stores.vault, schema) {
        (Url::Sqlite(folder), Schema::Migrate) => Arc::new(vault::sqlite::Sqlite::open(folder, keyring, origin).await?),
        (Url::Sqlite(folder), Schema::AsItIs | Schema::Foresee) => Arc::new(vault::sqlite::Sqlite::open_existing(folder, keyring).await?),
        (Url::Postgres(url), schema) => {
            let opened = match schema {
                Schema::Migrate => vault::postgres::Postgres::open(url.expose_secret(), keyring, origin, durability(config)).await?,
                Schema::AsItIs | Schema::Foresee => {
                    vault::postgres::Postgres::open_existing(url.expose_secret(), keyring, durability(config)).await?
                }
            };
            let beside_the_ledger = config.stores.ledger == config.stores.vault;
            Arc::new(if beside_the_ledger { opened.beside_the_ledger() } else { opened })
        }
    })
}

fn durability(config: &StoreConfig) -> Durability {
    if config.allow_unsafe_durability { Durability::UnsafeAllowed } else { Durability::Durable }
}

/// The settings by which the servers of ledger, audit log and vault can lose acknowledged commits. Unless that is allowed, no such
/// store was opened.
///
/// # Errors
/// A server does not answer.
pub async fn unsafe_durability(config: &StoreConfig) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    if !config.allow_unsafe_durability {
        return Ok(found);
    }
    let stores = [("ledger", &config.stores.ledger), ("audit", &config.stores.audit), ("vault", &config.stores.vault)];
    for (name, url) in stores {
        let Url::Postgres(text) = url else { continue };
        let setting = patiently(name, url, async || {
            let pool = postgres::connect(text.expose_secret(), name, Durability::UnsafeAllowed).await?;
            Ok(postgres::unsafe_setting(&pool).await?)
        });
        found.extend(setting.await?);
    }
    found.dedup();
    Ok(found)
}

/// Opens a log beside its vault. It is made, in the vault's origin, by whoever goes through the first start: beside a vault that
/// holds an API key a log that is not there has been lost, and an empty one in its place would hide that.
///
/// # Errors
/// It cannot be reached or used, or is gone.
pub async fn log(config: &StoreConfig, name: LogName, vault: &dyn Vault, sources: &Sources) -> Result<Arc<dyn Log>, Error> {
    let url = config.stores.log(&name);
    patiently(name.as_str(), url, async || {
        require_not_lost(config, &name, vault).await?;
        let (name, clock) = (name.clone(), sources.clock());
        let opened: Arc<dyn Log> = match url {
            Url::Sqlite(folder) => Arc::new(log::sqlite::Sqlite::open(folder, name, vault.origin_base(), clock).await?),
            Url::Postgres(url) => {
                let (base, clock) = (Some(vault.origin_base()), sources.clock.clone());
                Arc::new(log::postgres::Postgres::open(url.expose_secret(), name, base, clock, durability(config)).await?)
            }
        };
        require_origin(&*opened, vault)?;
        Ok(opened)
    })
    .await
}

/// Opens a log as [`log`] would, and makes nothing.
///
/// # Errors
/// As [`log`]; [`store::Error::NotMigrated`] where that would make it, or bring it up to date.
pub async fn foresee_log(config: &StoreConfig, name: LogName, vault: &dyn Vault, sources: &Sources) -> Result<(), Error> {
    patiently(name.as_str(), config.stores.log(&name), async || {
        require_not_lost(config, &name, vault).await?;
        let kept = moved::open(config, name.clone(), None, sources).await?;
        Ok(require_origin(&*kept.log, vault)?)
    })
    .await
}

async fn require_not_lost(config: &StoreConfig, name: &LogName, vault: &dyn Vault) -> Result<(), store::Error> {
    if log_exists(&config.stores, name).await? || vault.keys().await?.is_empty() {
        return Ok(());
    }
    // Another process may just have gone through the first start: both logs are made before the first key is.
    if log_exists(&config.stores, name).await? { Ok(()) } else { Err(store::Error::Missing) }
}

fn require_origin(log: &dyn Log, vault: &dyn Vault) -> Result<(), store::Error> {
    let expected = Origin::new(vault.origin_base(), log.name());
    if *log.origin() == expected {
        return Ok(());
    }
    Err(store::Error::Foreign { found: log.origin().as_str().to_owned(), expected: expected.as_str().to_owned() })
}

async fn log_exists(stores: &Stores, name: &LogName) -> Result<bool, store::Error> {
    match stores.log(name) {
        Url::Sqlite(folder) => log::sqlite::exists(folder, name).await,
        Url::Postgres(url) => log::postgres::Postgres::exists(url.expose_secret(), name).await,
    }
}

/// A log without a vault has lost it, or never had one.
async fn require_no_log(config: &StoreConfig) -> Result<(), store::Error> {
    for name in [LogName::LEDGER, LogName::AUDIT] {
        let is_there = match log_exists(&config.stores, &name).await {
            // One that is not this login's to look at is there.
            Err(store::Error::Denied(_)) => true,
            known => known?,
        };
        // Another process may just have made both.
        if is_there && !vault_exists(config).await? {
            return Err(store::Error::Archive);
        }
    }
    Ok(())
}

/// Opens a log as it is.
///
/// # Errors
/// It cannot be reached or used.
pub async fn existing_log(config: &StoreConfig, name: LogName, sources: &Sources) -> Result<Arc<dyn Log>, Error> {
    Ok(source_log(config, name, sources).await?.log)
}

/// A log's tiles and checkpoints. Nothing is opened before it is needed.
///
/// # Errors
/// The URL is malformed.
pub fn tiles(config: &StoreConfig, name: LogName, vault: &dyn Vault) -> Result<Arc<dyn Tiles>, Error> {
    let (origin, url) = (Origin::new(vault.origin_base(), &name), config.stores.log(&name));
    let failed = |source| Error::Store { store: name.to_string(), url: url.clone(), source };
    Ok(match url {
        Url::Sqlite(folder) => Arc::new(tiles::sqlite::Sqlite::new(folder, name.clone(), origin)),
        Url::Postgres(text) => {
            Arc::new(tiles::postgres::Postgres::new(text.expose_secret(), name.clone(), origin, durability(config)).map_err(failed)?)
        }
    })
}

/// Whether the vault, which keeps the last signed checkpoint, is on another server than the ledger.
#[must_use]
pub fn vault_is_elsewhere(config: &StoreConfig) -> bool {
    match (&config.stores.ledger, &config.stores.vault) {
        (Url::Postgres(ledger), Url::Postgres(vault)) => !postgres::is_same_server(ledger.expose_secret(), vault.expose_secret()),
        (Url::Sqlite(_), Url::Sqlite(_)) => false,
        _ => true,
    }
}

/// Opens the read store, in which nothing need be there yet.
///
/// # Errors
/// It cannot be reached or used.
pub async fn read(config: &StoreConfig) -> Result<Arc<dyn generation::Store>, Error> {
    let url = &config.stores.read;
    patiently("read store", url, async || Ok(read_store::open(url).await?)).await
}

/// Why one try failed.
enum Unopened {
    Configuration(config::Error),
    Store(store::Error),
}

impl From<store::Error> for Unopened {
    fn from(error: store::Error) -> Unopened {
        Unopened::Store(error)
    }
}

async fn patiently<T>(what: &str, url: &Url, open: impl AsyncFn() -> Result<T, Unopened>) -> Result<T, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match open().await {
            Ok(opened) => return Ok(opened),
            Err(Unopened::Configuration(error)) => return Err(error.into()),
            Err(Unopened::Store(error)) if error.is_transient() && Instant::now() < deadline => {
                tracing::info!(store = what, reason = causes(&error), "not reached yet");
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Err(Unopened::Store(source)) => return Err(Error::Store { store: what.to_owned(), url: url.clone(), source }),
        }
    }
}

/// The folder in which keys are kept: the vault's own, or the one configured.
#[must_use]
pub fn data_folder(config: &StoreConfig) -> Option<&Path> {
    match &config.stores.vault {
        Url::Sqlite(folder) => Some(folder),
        Url::Postgres(_) => config.data_dir.as_deref(),
    }
}

/// The file beside the vault, for whom nothing else is configured.
fn file_beside(config: &StoreConfig) -> Option<File> {
    data_folder(config).map(|folder| File::at(folder.join("master.key")))
}

/// Where the master key comes from: what is configured, or the file beside the vault.
#[must_use]
pub fn master_key_source(config: &StoreConfig) -> Option<Arc<dyn Source>> {
    config.master_key.clone().or_else(|| file_beside(config).map(|file| Arc::new(file) as Arc<dyn Source>))
}

/// What cannot be used of a master key's source.
fn refused(source: &dyn Source, problem: impl Into<String>) -> config::Error {
    config::Error { source_name: source.name(), problem: problem.into() }
}

/// What the source configured holds, or the file beside the vault, which is made only where there is no vault yet.
async fn keyring(config: &StoreConfig, schema: Schema, sources: &Sources) -> Result<(Keyring, Arc<dyn Source>), Unopened> {
    let Some(source) = master_key_source(config) else {
        let problem = "required when the vault is on PostgreSQL: a file of 64 hex digits (or set CREDENCE_DATA_DIR, where one is made)";
        let source_name = config::variable("master_key_file");
        return Err(Unopened::Configuration(config::Error { source_name, problem: problem.to_owned() }));
    };
    let loaded = match source.load().await {
        Err(master_key::Error::Missing) if config.master_key.is_none() => {
            if vault_exists(config).await? {
                // Another process may just have made both, the file first.
                source.load().await
            } else if schema == Schema::AsItIs {
                return Err(Unopened::Store(store::Error::NotMigrated));
            } else {
                require_no_log(config).await?;
                if schema == Schema::Foresee {
                    return Err(Unopened::Store(store::Error::NotMigrated));
                }
                generate(config, sources)?
            }
        }
        loaded => loaded,
    };
    let loaded = loaded.map_err(|error| Unopened::Configuration(refused(&*source, causes(&error))))?;
    Ok((Keyring::from_source(&loaded, source.clone(), sources.random.clone()), source))
}

/// Makes the file beside a vault that is not there yet, and the folder for both.
fn generate(config: &StoreConfig, sources: &Sources) -> Result<Result<MasterKeys, master_key::Error>, store::Error> {
    let (Some(folder), Some(file)) = (data_folder(config), file_beside(config)) else { return Ok(Err(master_key::Error::Missing)) };
    std::fs::create_dir_all(folder).map_err(|error| store::Error::Unavailable(error.into()))?;
    Ok(file.load_or_generate(&*sources.random))
}

/// A file that nobody has come to write a vault into is none.
async fn vault_exists(config: &StoreConfig) -> Result<bool, store::Error> {
    Ok(vault::copy::settings(&config.stores.vault).await?.is_some())
}
