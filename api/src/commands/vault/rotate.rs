//! `credence vault rotate-master-key`: another master key, beside running servers. Interrupted, it is gone on with by the next.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, value_parser};

use super::{refused, say};
use crate::caller::Caller;
use crate::commands::open;
use crate::commands::progress::Progress;
use crate::config::StoreOptions;
use crate::stores;
use crate::use_cases::master_key::{self, Done, Error, Told};

/// What `vault rotate-master-key` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// For how long processes are waited for that do not have the new key yet.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = value_parser!(u64).range(..=86_400))]
    wait_s_max: u64,
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let app = open::services(&config).await?;
    let caller = Caller::operator("credence vault rotate-master-key");
    // What opened the vault came from it.
    let source = stores::master_key_source(&config).ok_or_else(|| refused("the master key", "it has no source".to_owned()))?;
    let name = source.name();
    let mut passes: Option<(u32, Progress)> = None;
    let wait_max = Duration::from_secs(options.wait_s_max);
    let done = master_key::rotate(&app, &caller, &*source, wait_max, &mut |told| match told {
        Told::Made => {
            say(&format!("{name}: a new key was made and added: keep a copy of this file now, apart from the vault and its backups"))
        }
        Told::Announced(rotation) => say(&format!("the master key {} is being replaced by {}", rotation.from, rotation.to)),
        Told::Waiting(missing) => missing.iter().for_each(|worker| say(&format!("waiting for {worker}"))),
        Told::Wrapping { pass, done, total } => {
            let stage = if pass == 0 { "wrapping anew" } else { "making sure" };
            let (_, progress) = match &mut passes {
                Some(running) if running.0 == pass => running,
                over => over.insert((pass, Progress::counting("secrets", "vault"))),
            };
            progress.at(stage, done, total);
        }
    })
    .await;
    drop(passes);
    match done {
        Ok(Done { rotation, is_pruned, was_over }) => {
            let when = if was_over { "was over before: call again for another one" } else { "is over" };
            say(&format!("the rotation {when}: the vault's master key is {}, and {} opens nothing", rotation.to, rotation.from));
            if !is_pruned {
                say(&format!("{name}: take the old key out"));
            }
            say("take the old key away wherever else it is kept; backups that were made under it cannot be restored any more");
            Ok(ExitCode::SUCCESS)
        }
        Err(Error::Waited(missing)) => {
            missing.iter().for_each(|worker| say(&format!("waited in vain for {worker}")));
            say("give them the key and call this again, which goes on from here; until then everything opens");
            Ok(ExitCode::FAILURE)
        }
        Err(error @ (Error::NoNewKey | Error::NoOldKey { .. })) => Err(refused(&name, error.to_string()).into()),
        Err(Error::Source(error)) => Err(refused(&name, format!("{:#}", anyhow::Error::new(error))).into()),
        Err(other) => Err(other.into()),
    }
}
