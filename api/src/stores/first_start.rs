//! The first start: what a fresh set of stores needs before it can serve anybody.
//!
//! One process at a time goes through it, under the vault's lock, and each step looks whether it has been done: a crash anywhere in
//! between costs nothing. Issuers are registered in the ledger here and nowhere else.

use std::io::Write as _;
use std::path::Path;

use credence_ledger::event::audit::KeyRevoked;
use credence_ledger::event::issuer::IssuerRegistered;
use credence_ledger::event::{New, Origination, Payload};
use credence_ledger::log::{Append, Expected, Outcome, Query, UniqueKey};
use credence_ledger::store;
use credence_ledger::stream::category;
use credence_ledger::vault::{ApiKey, Issuer, Role, Terms, Vault};
use credence_ledger::{Clock, Position, Random, Stream};
use zeroize::Zeroizing;

use super::{Error, Sources, data_folder};
use crate::config::StoreConfig;
use crate::services::{AppendError, LogAccess};
use crate::use_cases::keys;

/// The issuer that is there from the first start on.
pub const DEFAULT_ISSUER: &str = "default";
/// What the key made here is called.
const FIRST_KEY: &str = "first administrator";

/// The issuer of that name, in vault and ledger: made, and registered, where it is not.
///
/// # Errors
/// A store failed.
pub async fn register_issuer(
    vault: &dyn Vault,
    ledger: &LogAccess,
    name: &str,
    worker: &str,
    clock: &(impl Clock + ?Sized),
    random: &(impl Random + ?Sized),
) -> Result<Issuer, AppendError> {
    let issuer = vault.ensure_issuer(name, clock.now()).await?;
    register(ledger, &issuer, &Origination::system(worker), random).await?;
    Ok(issuer)
}

/// Registers an issuer of the vault in the ledger, where it is not: the ledger may be older than the vault, restored from a backup.
/// Answers where, if it was done now.
///
/// # Errors
/// A store failed, or the ledger knows another issuer of that name.
pub async fn register(
    ledger: &LogAccess,
    issuer: &Issuer,
    origination: &Origination,
    random: &(impl Random + ?Sized),
) -> Result<Option<Position>, AppendError> {
    let (key, stream) = (UniqueKey::issuer_name(&issuer.name), Stream::issuer(issuer.id));
    if ledger.log.key_owner(&key).await?.is_none() {
        let registered = IssuerRegistered { did: issuer.did.clone(), name: issuer.name.clone() };
        let events = vec![New::of(&registered, &origination.metadata(random))];
        let append = Append { claims: vec![(key.clone(), stream.clone())], ..Append::to(stream.clone(), Expected::None, events) };
        match ledger.append(append).await? {
            Outcome::Appended(events) => return Ok(events.first().map(|event| event.position)),
            // Another process was faster.
            refused => tracing::debug!(?refused, "the issuer is registered already"),
        }
    }
    match ledger.log.key_owner(&key).await? {
        Some(owner) if owner.stream == stream => Ok(None),
        _ => Err(store::Error::Corrupt(format!("the ledger knows another issuer than the vault by the name {}", issuer.name)).into()),
    }
}

/// The default issuer, in vault and ledger, and the administrator's key, in the vault and told once: a key that was made but not
/// recorded may not have been told, and is replaced.
///
/// Answers the administrator's key if it was made.
///
/// # Errors
/// A store failed, or the key's file cannot be written.
pub async fn first_start(
    config: &StoreConfig,
    vault: &dyn Vault,
    ledger: &LogAccess,
    audit: &LogAccess,
    sources: &Sources,
) -> Result<Option<Zeroizing<String>>, Error> {
    let of_vault = |source| Error::Store { store: "vault".to_owned(), url: config.stores.vault.clone(), source };
    let (clock, random) = (sources.clock(), &*sources.random);
    let origination = Origination::system(&config.worker);
    let guard = vault.first_start().await.map_err(of_vault)?;

    let issuer = register_issuer(vault, ledger, DEFAULT_ISSUER, &config.worker, &clock, random).await.map_err(Error::FirstStart)?;

    let keys = vault.keys().await.map_err(of_vault)?;
    if is_over(audit, &keys).await.map_err(Error::FirstStart)? {
        return Ok(None);
    }
    let (key, text) = vault.create_key(&Terms::of(Role::Operator, issuer.id).named(FIRST_KEY), clock.now()).await.map_err(of_vault)?;
    tell(config, &text)?;
    for untold in keys.iter().filter(|key| key.revoked_at.is_none()) {
        vault.revoke_key(untold.id, clock.now()).await.map_err(of_vault)?;
        record(audit, untold.id, &KeyRevoked {}, &origination, random).await?;
    }
    // From here on the key counts as told.
    record(audit, key.id, &keys::created(&key.terms), &origination, random).await?;
    drop(guard);
    Ok(Some(text))
}

/// Whether an administrator has been told a key: somebody has made others with it, or it is recorded.
async fn is_over(audit: &LogAccess, keys: &[ApiKey]) -> Result<bool, AppendError> {
    for key in keys {
        let stream = Stream::new(category::KEY, key.id);
        let is_another = key.terms.name.as_deref() != Some(FIRST_KEY);
        if is_another || !audit.log.read(&Query { limit: 1, ..Query::stream(&stream) }).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn record<P: Payload>(
    audit: &LogAccess,
    key: uuid::Uuid,
    payload: &P,
    origination: &Origination,
    random: &dyn Random,
) -> Result<(), Error> {
    let events = vec![New::of(payload, &origination.metadata(random))];
    audit.append(Append::to(Stream::new(category::KEY, key), Expected::Any, events)).await.map_err(Error::FirstStart)?;
    Ok(())
}

fn tell(config: &StoreConfig, key: &str) -> Result<(), Error> {
    // Nobody may be reading standard error any more; the key may still be in its file.
    let _ = writeln!(std::io::stderr(), "administrator key (shown once): {key}");
    let Some(folder) = data_folder(config) else { return Ok(()) };
    let file = folder.join("admin.key");
    std::fs::create_dir_all(folder).and_then(|()| write_private(&file, key)).map_err(|error| Error::AdminKey(file, error))
}

fn write_private(file: &Path, line: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    writeln!(file, "{line}")?;
    file.sync_all()
}
