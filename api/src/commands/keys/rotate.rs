//! `credence keys rotate`: other keys in the place of those that there are.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, value_parser};
use credence_ledger::LogName;
use uuid::Uuid;

use super::{named, require_output, tell};
use crate::caller::Caller;
use crate::commands::{argument, open, output};
use crate::config::{self, StoreOptions};
use crate::use_cases::{keys, rotate as signing};
use crate::wire::key::ISSUER;

/// What `keys rotate` takes.
#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    which: Which,
    /// For how long the API key goes on beside the new one.
    // `requires = "key"` would be waived beside what excludes it.
    #[arg(
        long,
        value_name = "SECONDS",
        conflicts_with_all = ["tokens", "issuer", "log"],
        value_parser = value_parser!(u64).range(..=keys::OVERLAP_MAX.as_secs())
    )]
    overlap: Option<u64>,
    #[command(flatten)]
    stores: StoreOptions,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// An API key, by its id: another one on the same terms takes its place and goes to standard output, once.
    #[arg(long, value_name = "ID")]
    key: Option<Uuid>,
    /// The keys that sign access tokens: within a second none signed until now is taken.
    #[arg(long)]
    tokens: bool,
    /// The key that an issuer signs documents with.
    #[arg(long, value_name = "NAME", value_parser = argument::text(&ISSUER))]
    issuer: Option<String>,
    /// The key that the checkpoints of a log, ledger or audit, are signed with.
    #[arg(long, value_name = "LOG")]
    log: Option<LogName>,
}

pub(super) async fn run(options: &Rotate, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<()> {
    let config = open::config(&options.stores, environment)?;
    let caller = Caller::operator("credence keys rotate");
    let Which { key, tokens, issuer, log } = &options.which;
    if let Some(id) = key {
        require_output()?;
        let app = open::services(&config).await?;
        let overlap = Duration::from_secs(options.overlap.unwrap_or_default());
        let made = keys::rotate(&app, &caller, *id, overlap).await.map_err(|error| named(error, "--key"))?;
        return tell(&app, &caller, &made).await;
    }
    let app = open::services(&config).await?;
    if *tokens {
        return Ok(signing::rotate_tokens(&app, &caller).await?);
    }
    if let Some(log) = log {
        let key = signing::rotate_log(&app, &caller, log).await?;
        return output::write(format!("{key}\n"));
    }
    let issuer = app
        .issuers
        .by_name(issuer.as_deref().unwrap_or_default())
        .await?
        .ok_or_else(|| config::Error { source_name: "--issuer".to_owned(), problem: "there is no issuer of this name".to_owned() })?;
    let did = signing::rotate(&app, &caller, &issuer).await?;
    output::write(format!("{did}\n"))
}
