//! `credence keys`: API keys, made, listed and revoked; and signing keys of issuers and logs, rotated and listed. What is changed is recorded in
//! the audit log.

mod signing;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use credence_ledger::event::Payload as _;
use credence_ledger::event::audit::{KeyCreated, KeyRevoked};
use credence_ledger::log::{Expected, Query};
use credence_ledger::stream::category;
use credence_ledger::vault::{ApiKey, Issuer, Role, Terms};
use credence_ledger::{Stream, subject};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{open, output};
use crate::caller::Caller;
use crate::config::{self, StoreOptions};
use crate::http::body::Text;
use crate::services::App;
use crate::stores;
use crate::use_cases::audit;

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
    /// Give an issuer or a log a new signing key: within a second an issuer issues under another did, with the next checkpoint a log signs with another key.
    /// The did, or the key that others check with, goes to standard output.
    Rotate(signing::Rotate),
}

#[derive(Debug, Args)]
struct Create {
    /// What it may do: issuer, auditor, billing and admin of its issuer, inspector and operator of the whole installation; several with
    /// commas between.
    #[arg(long, value_name = "ROLE,…", required = true, value_delimiter = ',')]
    role: Vec<Role>,
    /// The issuer it acts for; a new one is registered.
    #[arg(long, value_name = "NAME", default_value = stores::DEFAULT_ISSUER, value_parser = issuer_name)]
    issuer: String,
    /// For people to tell keys apart.
    #[arg(long, value_name = "NAME", value_parser = key_name)]
    name: Option<String>,
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
        Act::Rotate(options) => signing::rotate(options, environment).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An issuer's name stands in requests and answers for ever.
fn issuer_name(text: &str) -> Result<String, String> {
    let normal = subject::normal_name(text);
    let whole = (1..=100).contains(&normal.chars().count()) && !normal.chars().any(char::is_control);
    if whole { Ok(normal) } else { Err("expected 1 to 100 characters without control characters".to_owned()) }
}

/// A key's name stands in lists, one key a line.
fn key_name(text: &str) -> Result<String, String> {
    const NAME: Text = Text { length_max: 255, normal: subject::normal_name, lines: false };
    NAME.read(text).map_err(|(_, problem)| problem)
}

async fn create(options: &Create, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<()> {
    let config = open::config(&options.stores, environment)?;
    if output::is_discarded() {
        let problem = "is closed or the null device, but the key is told nowhere else".to_owned();
        return Err(config::Error { source_name: "standard output".to_owned(), problem }.into());
    }
    let app = open::services(&config).await?;
    let issuer = stores::register_issuer(&*app.vault, app.ledger()?, &options.issuer, &app.worker, &app.clock, &app.random).await?;
    let terms = Terms {
        roles: options.role.iter().copied().collect(),
        issuer: issuer.id,
        types: None,
        name: options.name.clone(),
        expires_at: None,
    };
    let (key, text) = app.vault.create_key(&terms, app.clock.now()).await?;
    let created = KeyCreated { role: terms.roles.to_string(), issuer: issuer.id };
    let caller = Caller::operator("credence keys create");
    let recorded = audit::record_on(&app, &caller, stream(key.id), Expected::None, &created).await;
    if let Err(error) = recorded {
        // A key that nobody was told is no key.
        app.vault.revoke_key(key.id, app.clock.now()).await?;
        return Err(error.into());
    }
    let Err(untold) = output::write(format!("{}\n", *text)) else { return Ok(()) };
    revoke_key(&app, &caller, key.id).await.with_context(|| format!("{untold:#}, and the key {} could not be revoked", key.id))?;
    // Not the error itself: that a pipe was closed is a success elsewhere.
    bail!("the key {} is revoked, for nobody was told it: {untold:#}", key.id)
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
            let keys: Vec<Value> = keys.iter().map(|key| shown(key, &issuers)).collect();
            output::write(format!("{:#}\n", Value::Array(keys)))
        }
        Format::Table => {
            let mut table = row(["ID", "ROLE", "ISSUER", "PREFIX", "CREATED", "LAST USED", "REVOKED", "NAME"]);
            for key in &keys {
                table += &row([
                    &key.id.to_string(),
                    &key.terms.roles.to_string(),
                    issuer_of(key, &issuers),
                    &key.prefix,
                    &key.created_at.to_string(),
                    &key.last_used_at.map_or_else(|| "-".to_owned(), |time| time.to_string()),
                    &key.revoked_at.map_or_else(|| "-".to_owned(), |time| time.to_string()),
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

fn shown(key: &ApiKey, issuers: &[Issuer]) -> Value {
    json!({
        "id": key.id, "role": key.terms.roles.to_string(), "issuer": issuer_of(key, issuers), "name": key.terms.name, "prefix": key.prefix,
        "created_at": key.created_at.to_string(), "last_used_at": key.last_used_at.map(|time| time.to_string()),
        "revoked_at": key.revoked_at.map(|time| time.to_string()),
    })
}

fn row([id, role, issuer, prefix, created, used, revoked, name]: [&str; 8]) -> String {
    format!("{id:<36}  {role:<7}  {issuer:<16}  {prefix:<17}  {created:<27}  {used:<27}  {revoked:<27}  {name}\n")
}

async fn revoke(options: &Revoke, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<()> {
    let app = open::services(&open::config(&options.stores, environment)?).await?;
    revoke_key(&app, &Caller::operator("credence keys revoke"), options.id).await
}

async fn revoke_key(app: &App, caller: &Caller, id: Uuid) -> anyhow::Result<()> {
    let key = app.vault.revoke_key(id, app.clock.now()).await?;
    let key = key.ok_or_else(|| config::Error { source_name: "ID".to_owned(), problem: "there is no key with this id".to_owned() })?;
    let revoked = Query { kind: Some(KeyRevoked::TYPE.to_owned()), limit: 1, ..Query::stream(&stream(key.id)) };
    // A second revocation changes nothing; but one that could not be recorded is recorded now.
    if app.audit.log.read(&revoked).await?.is_empty() {
        let recorded = audit::record_on(app, caller, stream(key.id), Expected::Any, &KeyRevoked {}).await;
        recorded.context("the key is revoked, but that could not be recorded: run this again")?;
    }
    Ok(())
}

fn stream(key: Uuid) -> Stream {
    Stream::new(category::KEY, key)
}
