//! `credence keys`: API keys, made, listed, rotated and revoked; and the keys that sign documents, checkpoints and access tokens, rotated.
//! What is changed is recorded in the audit log.

mod rotate;
mod signing;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use credence_ledger::clock::SystemClock;
use credence_ledger::vault::{ApiKey, Issuer, Role, Terms};
use credence_ledger::{Clock as _, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::{argument, open, output};
use crate::caller::Caller;
use crate::config::{self, StoreOptions};
use crate::services::App;
use crate::stores;
use crate::use_cases::Error;
use crate::use_cases::keys::{self, Made};
use crate::wire::credential::TYPE;
use crate::wire::key::{ISSUER, KeyBody, NAME, each_once};

/// What `keys` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a key; it alone goes to standard output, once.
    Create(Create),
    /// List all keys, revoked ones included; or issuers' signing keys, retired ones included.
    List(List),
    /// Revoke a key: within a second it is taken nowhere.
    Revoke(Revoke),
    /// Put another key in the place of one. Within a second an issuer issues under another did, and an access token signed until now is taken
    /// nowhere; with the next checkpoint a log signs with another key. The new API key, the did, or the key that others check with goes to
    /// standard output.
    Rotate(rotate::Rotate),
}

#[derive(Debug, Args)]
struct Create {
    /// What it may do: member, issuer, auditor, billing and admin of its issuer, inspector and operator of the whole installation; several with
    /// commas between.
    #[arg(long, value_name = "ROLE,…", required = true, value_delimiter = ',')]
    role: Vec<Role>,
    /// The issuer it acts for; a new one is registered.
    #[arg(long, value_name = "NAME", default_value = stores::DEFAULT_ISSUER, value_parser = argument::text(&ISSUER))]
    issuer: String,
    /// For people to tell keys apart.
    #[arg(long, value_name = "NAME", value_parser = argument::text(&NAME))]
    name: Option<String>,
    /// A type of credentials that it issues and changes, and no others; several by saying this again.
    #[arg(long = "type", value_name = "TYPE", value_parser = argument::text(&TYPE))]
    types: Vec<String>,
    /// From when on it holds no longer, as RFC 3339 has it: 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
    #[command(flatten)]
    stores: StoreOptions,
}

#[derive(Debug, Args)]
struct List {
    /// The signing keys of all issuers instead.
    #[arg(long)]
    issuers: bool,
    /// A table for people, or a JSON array.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    stores: StoreOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The key's id, as `keys list` shows it.
    id: Uuid,
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    match &options.act {
        Act::Create(options) => create(options, environment).await?,
        Act::List(options) => list(options, environment).await?,
        Act::Revoke(options) => revoke(options, environment).await?,
        Act::Rotate(options) => rotate::run(options, environment).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(options: &Create, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<()> {
    let config = open::config(&options.stores, environment)?;
    require_output()?;
    let app = open::services(&config).await?;
    if options.expires.is_some_and(|expires| expires <= app.clock.now()) {
        let problem = "expected a time that is to come".to_owned();
        return Err(config::Error { source_name: "--expires".to_owned(), problem }.into());
    }
    let issuer = stores::register_issuer(&*app.vault, app.ledger()?, &options.issuer, &app.worker, &app.clock, &app.random).await?;
    let terms = Terms {
        roles: options.role.iter().copied().collect(),
        issuer: issuer.id,
        types: Some(options.types.clone()).filter(|types| !types.is_empty()).map(each_once),
        name: options.name.clone(),
        expires_at: options.expires,
    };
    let caller = Caller::operator("credence keys create");
    let made = keys::create(&app, &caller, &terms).await?;
    tell(&app, &caller, &made).await
}

/// A key is told nowhere else.
fn require_output() -> Result<(), config::Error> {
    if output::is_discarded() {
        let problem = "is closed or the null device, but the key is told nowhere else".to_owned();
        return Err(config::Error { source_name: "standard output".to_owned(), problem });
    }
    Ok(())
}

/// Tells a key just made, this once. A key that nobody was told is no key.
async fn tell(app: &App, caller: &Caller, made: &Made) -> anyhow::Result<()> {
    let Err(untold) = output::write(format!("{}\n", *made.text)) else { return Ok(()) };
    let id = made.key.id;
    keys::revoke(app, caller, id).await.with_context(|| format!("{untold:#}, and the key {id} could not be revoked"))?;
    // Not the error itself: that a pipe was closed is a success elsewhere.
    bail!("the key {id} is revoked, for nobody was told it: {untold:#}")
}

/// That there is no such key is an error of the argument that names it.
fn named(error: Error, argument: &str) -> anyhow::Error {
    match error {
        Error::NotFound => config::Error { source_name: argument.to_owned(), problem: "there is no key with this id".to_owned() }.into(),
        other => other.into(),
    }
}

async fn list(options: &List, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<()> {
    let config = open::config(&options.stores, environment)?;
    if options.issuers {
        return signing::list(&config, options.format).await;
    }
    let vault = open::vault(&config).await?;
    let (keys, issuers) = (vault.keys().await?, vault.issuers().await?);
    match options.format {
        Format::Json => {
            let now = SystemClock.now();
            let keys: Vec<KeyBody> = keys.iter().map(|key| KeyBody::new(key, issuer_of(key, &issuers), now)).collect();
            output::write(format!("{:#}\n", json!(keys)))
        }
        Format::Table => {
            let mut table = row(["ID", "ROLES", "ISSUER", "PREFIX", "CREATED", "EXPIRES", "LAST USED", "REVOKED", "TYPES", "NAME"]);
            for key in &keys {
                let time = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
                table += &row([
                    &key.id.to_string(),
                    &key.terms.roles.to_string(),
                    issuer_of(key, &issuers),
                    &key.prefix,
                    &key.created_at.to_string(),
                    &time(key.terms.expires_at),
                    &time(key.last_used_at),
                    &time(key.revoked_at),
                    &key.terms.types.as_deref().map_or_else(|| "-".to_owned(), |types| types.join(", ")),
                    key.terms.name.as_deref().unwrap_or("-"),
                ]);
            }
            output::write(table)
        }
    }
}

fn issuer_of<'a>(key: &ApiKey, issuers: &'a [Issuer]) -> &'a str {
    issuers.iter().find(|issuer| issuer.id == key.terms.issuer).map_or("?", |issuer| &issuer.name)
}

fn row([id, roles, issuer, prefix, created, expires, used, revoked, types, name]: [&str; 10]) -> String {
    format!(
        "{id:<36}  {roles:<14}  {issuer:<16}  {prefix:<17}  {created:<27}  {expires:<27}  {used:<27}  {revoked:<27}  {types:<16}  {name}\n"
    )
}

async fn revoke(options: &Revoke, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<()> {
    let app = open::services(&open::config(&options.stores, environment)?).await?;
    let caller = Caller::operator("credence keys revoke");
    keys::revoke(&app, &caller, options.id).await.map_err(|error| named(error, "ID"))
}
