//! `credence copy`: ledger, audit log and vault from one store to another, where they are the same: positions, hashes, keys.
//! Interrupted, it is gone on with by the next.
//!
//! The order is that of a backup: the logs first and the vault after them, so that whatever is sealed in a copied log has its key
//! in the copied vault. Until the vault is there nothing serves the copy. It goes on until the source has stood still for one
//! round.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use credence_ledger::chain::Origin;
use credence_ledger::clock::SystemClock;
use credence_ledger::store::{self, Url};
use credence_ledger::transfer::{self, Kept};
use credence_ledger::vault::copy::CopyError;
use credence_ledger::vault::rows::Settings;
use credence_ledger::{Clock as _, LogName, Timestamp, vault};

use super::progress::Progress;
use super::{fsck, open};
use crate::config::{self, StoreConfig, StoreOptions, Stores};
use crate::stores::{self, Error, Sources, TheirKey};

/// How often what the source has grown by is copied, too, before it is taken for one that does not stand still.
const ROUNDS_MAX: u32 = 10;

/// A process that was heard of since may be at work.
const LIVE_FOR: Duration = Duration::from_secs(10);

/// What `copy` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where ledger, audit log and vault are: `sqlite:DIR` or `postgres://user@host/database`.
    #[arg(long, value_name = "URL", required_unless_present = "from_file", conflicts_with = "from_file")]
    from: Option<String>,
    /// Where they are to be.
    #[arg(long, value_name = "URL", required_unless_present = "to_file", conflicts_with = "to_file")]
    to: Option<String>,
    /// A file that holds the value of --from.
    #[arg(long, value_name = "FILE")]
    from_file: Option<String>,
    /// A file that holds the value of --to.
    #[arg(long, value_name = "FILE")]
    to_file: Option<String>,
    #[command(flatten)]
    stores: StoreOptions,
}

/// One log, here and there.
struct Pair {
    from: Kept,
    to: Kept,
    /// How far a round before has come.
    known: u64,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let from = at(&config, url("from", options.from.as_deref(), options.from_file.as_deref())?);
    let to = at(&config, url("to", options.to.as_deref(), options.to_file.as_deref())?);
    let same_place = || config::Error { source_name: "--to".to_owned(), problem: "it is where --from is".to_owned() };
    if from.stores.vault.is_same_place(&to.stores.vault) {
        return Err(same_place().into());
    }
    open::require_folder("vault", &from.stores.vault)?;
    let settings = stores::vault_settings(&from).await?.ok_or_else(|| of_vault(&from, store::Error::Archive))?;
    // Replaced by itself, a vault would lose what is written to it meanwhile.
    if stores::is_one_place(&from, &to).await? {
        return Err(same_place().into());
    }
    let key = stores::their_key(&to, &settings, &Sources::default()).await?;
    require_room(&to, &settings, &key).await?;
    let mut pairs = pairs(&from, &to, &settings).await?;
    let stood_still = copy(&from, &to, &key, &mut pairs).await?;
    let mut findings = 0;
    for pair in &pairs {
        findings += fsck::check_alone(&pair.to).await?;
    }
    if !stood_still {
        let _ = writeln!(
            std::io::stderr(),
            "credence: the source does not stand still: stop what writes to it and copy again, which goes on from here"
        );
    }
    warn_of_workers(&from, key).await?;
    Ok(ExitCode::from(u8::from(findings > 0 || !stood_still)))
}

fn url(option: &str, text: Option<&str>, file: Option<&str>) -> Result<Url, config::Error> {
    let refused = |option: &str, problem: String| config::Error { source_name: format!("--{option}"), problem };
    let text = match (text, file) {
        (_, Some(file)) => {
            std::fs::read_to_string(file).map_err(|error| refused(&format!("{option}-file"), format!("cannot read {file}: {error}")))?
        }
        (text, None) => text.unwrap_or_default().to_owned(),
    };
    text.trim().parse().map_err(|error: store::MalformedUrl| refused(option, error.to_string()))
}

fn at(config: &StoreConfig, url: Url) -> StoreConfig {
    let stores = Stores { ledger: url.clone(), audit: url.clone(), read: url.clone(), vault: url };
    StoreConfig { stores, ..config.clone() }
}

fn of_vault(config: &StoreConfig, source: store::Error) -> Error {
    Error::Store { store: "vault".to_owned(), url: config.stores.vault.clone(), source }
}

/// Another vault is found before anything is written.
async fn require_room(to: &StoreConfig, settings: &Settings, TheirKey(keyring): &TheirKey) -> Result<(), Error> {
    match stores::vault_settings(to).await? {
        Some(there) if !keyring.is_one_vault(&there, settings) => {
            let (found, expected) = (there.origin_base, settings.origin_base.clone());
            Err(of_vault(
                to,
                store::Error::Failed(format!("there is another one, of {found}; the one to be copied is of {expected}").into()),
            ))
        }
        _ => Ok(()),
    }
}

/// Both logs, open on both sides. What cannot be copied into is found before anything is written.
async fn pairs(from: &StoreConfig, to: &StoreConfig, settings: &Settings) -> anyhow::Result<Vec<Pair>> {
    let sources = Sources::default();
    let mut found = Vec::new();
    for name in [LogName::LEDGER, LogName::AUDIT] {
        let log = stores::source_log(from, name.clone(), &sources).await?;
        let origin = Origin::new(&settings.origin_base, &name);
        if *log.log.origin() != origin {
            let (found, expected) = (log.log.origin().as_str().to_owned(), origin.as_str().to_owned());
            let source = store::Error::Foreign { found, expected };
            return Err(Error::Store { store: name.to_string(), url: from.stores.ledger.clone(), source }.into());
        }
        if let Some(there) = stores::target_log(to, name.clone(), &origin, false, &sources).await? {
            transfer::require_room(&*log.log, &*there.log).await?;
        }
        found.push((name, origin, log));
    }
    let mut pairs = Vec::new();
    for (name, origin, from) in found {
        let made = stores::target_log(to, name, &origin, true, &sources).await?;
        pairs.push(Pair { from, to: made.ok_or(store::Error::NotMigrated)?, known: 0 });
    }
    Ok(pairs)
}

/// Whether the source stood still at the end.
async fn copy(from: &StoreConfig, to: &StoreConfig, TheirKey(keyring): &TheirKey, pairs: &mut [Pair]) -> anyhow::Result<bool> {
    for _ in 0..ROUNDS_MAX {
        for pair in &mut *pairs {
            let mut progress = Progress::new(format!("copy {}", pair.from.log.name()));
            let copied = transfer::copy(&pair.from, &pair.to, pair.known, &mut |done, total| progress.at("writing", done, total)).await?;
            pair.known = copied.size;
        }
        let copied = vault::copy::copy(&from.stores.vault, &to.stores.vault, keyring).await;
        copied.map_err(|error| match error {
            CopyError::Store(source) => anyhow::Error::new(of_vault(to, source)),
            CopyError::Another => error.into(),
        })?;
        let mut stood_still = true;
        for pair in &*pairs {
            stood_still &= pair.from.log.head().await?.size == pair.known;
            stood_still &= pair.from.tiles.latest().await? == pair.to.tiles.latest().await?;
        }
        if stood_still {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What still runs on the source may write at any time what is not copied any more.
async fn warn_of_workers(from: &StoreConfig, key: TheirKey) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let since = Timestamp::from_micros(now.as_micros().saturating_sub(u64::try_from(LIVE_FOR.as_micros()).unwrap_or(u64::MAX)));
    let opened = stores::vault_opened_by(from, key).await?;
    for worker in opened.workers(since).await? {
        let _ = writeln!(
            std::io::stderr(),
            "credence: {} ({}) was at work on the source at {}: what it writes from now on is not in the copy",
            worker.name,
            worker.role,
            worker.last_seen_at
        );
    }
    Ok(())
}
