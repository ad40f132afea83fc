//! `credence migrate`: makes and brings up to date what the stores need, for logins that may not do so when they serve.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use credence_ledger::store::{self, Url, roles};
use credence_ledger::{LogName, log, vault};
use secrecy::ExposeSecret as _;

use super::{open, output};
use crate::config::{self, StoreConfig, StoreOptions};
use crate::stores::{self, Error, Schema, Sources};

/// How a store is told that is as this program wants it.
const UP_TO_DATE: &str = "up to date";
/// And one that is not there yet, or older.
const TO_BE_MADE: &str = "would be made, or brought up to date";

/// What `migrate` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only tell what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Also make the PostgreSQL roles credence_issuance, credence_verification and credence_projector, and grant each what it needs.
    #[arg(long)]
    roles: bool,
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let (durable, read) = (databases(&config, false), databases(&config, true));
    if options.roles && durable.is_empty() && read.is_empty() {
        let problem = "none of the stores is on PostgreSQL".to_owned();
        return Err(config::Error { source_name: "--roles".to_owned(), problem }.into());
    }
    if options.dry_run {
        foresee(&config).await?;
    } else {
        migrate(&config).await?;
    }
    if options.roles {
        if !options.dry_run {
            grant(&durable, &read).await?;
        }
        for (url, _) in durable.union(&read) {
            let what = if options.dry_run { "would be made and granted" } else { "made and granted" };
            output::write(format!("roles ({url}): {what}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes schemas, and what the first opening of a store makes: the vault's keys, the logs' origins. Whoever owns the tables of a vault
/// on PostgreSQL need not hold its master key: without one only schemas are made, and the first process that serves does the rest.
async fn migrate(config: &StoreConfig) -> anyhow::Result<()> {
    let sources = Sources::default();
    let vault = match (stores::vault(config, Schema::Migrate, &sources).await, &config.stores.vault) {
        (Err(error), Url::Postgres(url)) if is_without_key(config, &error) => {
            vault::postgres::Postgres::migrate(url.expose_secret()).await?;
            None
        }
        (opened, _) => Some(opened?),
    };
    tell("vault", &config.stores.vault, UP_TO_DATE)?;
    for name in [LogName::LEDGER, LogName::AUDIT] {
        let url = config.stores.log(&name);
        match (&vault, url) {
            (None, Url::Postgres(text)) => log::postgres::Postgres::migrate(text.expose_secret(), &name).await?,
            (None, Url::Sqlite(_)) => return Err(key_required().into()),
            (Some(vault), _) => drop(stores::log(config, name.clone(), &**vault, &sources).await?),
        }
        tell(name.as_str(), url, UP_TO_DATE)?;
    }
    stores::read(config).await?.prepare().await?;
    tell("read store", &config.stores.read, UP_TO_DATE)
}

/// The logs and the vault as `migrate` would find them: what that would refuse is refused.
async fn foresee(config: &StoreConfig) -> anyhow::Result<()> {
    let sources = Sources::default();
    let url = &config.stores.vault;
    let opened = stores::vault(config, Schema::Foresee, &sources).await;
    let is_without_key = opened.as_ref().err().is_some_and(|error| is_without_key(config, error));
    let vault = if is_without_key { None } else { unless_to_be_made(opened)? };
    match url {
        Url::Postgres(text) => foresee_steps("vault", url, &vault::postgres::Postgres::pending(text.expose_secret()).await?)?,
        Url::Sqlite(_) => foresee_file("vault", url, vault.is_some())?,
    }
    for name in [LogName::LEDGER, LogName::AUDIT] {
        let url = config.stores.log(&name);
        let opened = match (&vault, url) {
            (None, Url::Sqlite(_)) if is_without_key => return Err(key_required().into()),
            (None, Url::Postgres(_)) if is_without_key => None,
            (None, _) => unless_to_be_made(stores::existing_log(config, name.clone(), &sources).await.map(drop))?,
            (Some(vault), _) => unless_to_be_made(stores::foresee_log(config, name.clone(), &**vault, &sources).await)?,
        };
        match url {
            Url::Postgres(text) => {
                foresee_steps(name.as_str(), url, &log::postgres::Postgres::pending(text.expose_secret(), &name).await?)?;
            }
            Url::Sqlite(_) => foresee_file(name.as_str(), url, opened.is_some())?,
        }
    }
    Ok(())
}

/// Whether it is for want of a master key alone that a vault on PostgreSQL is not open.
fn is_without_key(config: &StoreConfig, error: &Error) -> bool {
    matches!((error, &config.stores.vault), (Error::Configuration(_), Url::Postgres(_))) && config.master_key.is_none()
}

fn key_required() -> config::Error {
    let problem = "required to make a log beside a vault on PostgreSQL".to_owned();
    config::Error { source_name: config::variable("master_key_file"), problem }
}

fn unless_to_be_made<T>(opened: Result<T, Error>) -> Result<Option<T>, Error> {
    match opened {
        Err(Error::Store { source: store::Error::NotMigrated, .. }) => Ok(None),
        opened => opened.map(Some),
    }
}

fn foresee_steps(store: &str, url: &Url, pending: &[&str]) -> anyhow::Result<()> {
    match pending {
        [] => tell(store, url, UP_TO_DATE),
        steps => tell(store, url, &format!("{TO_BE_MADE}: {}", steps.join(", "))),
    }
}

fn foresee_file(store: &str, url: &Url, is_up_to_date: bool) -> anyhow::Result<()> {
    tell(store, url, if is_up_to_date { UP_TO_DATE } else { TO_BE_MADE })
}

fn tell(store: &str, url: &Url, what: &str) -> anyhow::Result<()> {
    output::write(format!("{store} ({url}): {what}\n"))
}

/// The PostgreSQL databases that hold the read store, or any of the others: as they are shown, and as they are reached.
fn databases(config: &StoreConfig, read: bool) -> BTreeSet<(String, String)> {
    let stores = &config.stores;
    let urls = if read { vec![&stores.read] } else { vec![&stores.vault, &stores.ledger, &stores.audit] };
    let postgres = |url: &Url| match url {
        Url::Postgres(text) => Some((url.to_string(), text.expose_secret().to_owned())),
        Url::Sqlite(_) => None,
    };
    urls.into_iter().filter_map(postgres).collect()
}

async fn grant(durable: &BTreeSet<(String, String)>, read: &BTreeSet<(String, String)>) -> anyhow::Result<()> {
    // The roles themselves are made by the first statements, wherever the read store is.
    for (_, url) in durable.union(read) {
        roles::grant_roles(url).await?;
    }
    for (_, url) in read {
        roles::grant_read_roles(url).await?;
    }
    Ok(())
}
