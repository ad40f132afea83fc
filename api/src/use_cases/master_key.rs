//! Rotate the vault's master key, while any number of processes go on using it.
//!
//! The order is what makes it safe. The new key is in the source of who rotates and announced in the vault, under which every process gets
//! it from its own source; once each can open by it, each is told to wrap by it; once each does, and whoever nobody knows of has stopped
//! believing otherwise ([`BELIEVED`]), everything that the old key wrapped is wrapped anew, until a pass finds nothing. Only then the old
//! key is done with. Every step looks at what the vault remembers: called again, it goes on where it was.

use std::collections::HashMap;
use std::time::Duration;

use credence_ledger::event::audit::MasterKeyRotated;
use credence_ledger::stream::category;
use credence_ledger::vault::master_key::ring::{BELIEVED, Rotation, SENT_WITHIN, Stage};
use credence_ledger::vault::master_key::{self, Fingerprint, MasterKey, MasterKeys, Source};
use credence_ledger::vault::{Worker, rotation};
use credence_ledger::{Timestamp, store};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::audit;
use crate::caller::Caller;
use crate::services::Services;

/// Beyond [`BELIEVED`], for whoever had wrapped something that had not arrived in the vault. What is being written there is waited for
/// itself.
const GRACE: Duration = SENT_WITHIN.saturating_add(Duration::from_secs(2));
/// How often it is looked who does as the vault says.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// By its own clock a process said within this time that it lives: it may be slow, rather than dead.
const SLOW: Duration = Duration::from_secs(15);
/// After so long a process that said nothing more is dead: longer than a command may take that it is waiting for.
const SILENT: Duration = Duration::from_secs(45);

/// Why the master key was not rotated. What was begun is gone on with by calling again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One at a time.
    #[error("another process is rotating the master key")]
    Running,
    /// The source holds one key, and is written by somebody else.
    #[error("add the new key as a second line, here and for every other process, then call this again; `openssl rand -hex 32` makes one")]
    NoNewKey,
    /// The old key is needed to open what it wrapped.
    #[error("a rotation to {to} is under way, and not all is wrapped by that yet: the key {from} is needed, too")]
    NoOldKey {
        /// The old key.
        from: Fingerprint,
        /// The new key.
        to: Fingerprint,
    },
    /// Processes that live have not done what is waited for.
    #[error("waited in vain for {}", .0.join("; "))]
    Waited(Vec<String>),
    /// The source cannot be read or written.
    #[error(transparent)]
    Source(#[from] master_key::Error),
    /// A store failed, or the audit log cannot be written.
    #[error(transparent)]
    Failed(#[from] super::Error),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        Error::Failed(error.into())
    }
}

/// What is told of a rotation on its way.
#[derive(Debug)]
pub enum Told<'a> {
    /// A new key was made, and stands in the source: it has to be kept, before anything relies on it.
    Made,
    /// It is announced, or gone on with.
    Announced(&'a Rotation),
    /// These processes are waited for, each with the reason.
    Waiting(&'a [String]),
    /// Every process wraps by the new key; what the old one wrapped is wrapped anew.
    Wrapping {
        /// From 0; those after the first make sure that nothing is left.
        pass: u32,
        /// How many secrets it has looked at.
        done: u64,
        /// Of how many.
        total: u64,
    },
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// The last rotation.
    pub rotation: Rotation,
    /// Whether the source of who rotated holds the new key alone.
    pub is_pruned: bool,
    /// Whether it had been over before.
    pub was_over: bool,
}

/// Puts another master key in the place of the vault's, or goes on with that. For no longer than `wait_max` at a time processes are
/// waited for.
///
/// # Errors
/// See [`Error`].
pub async fn rotate(
    services: &Services,
    caller: &Caller,
    source: &dyn Source,
    wait_max: Duration,
    told: &mut (dyn FnMut(Told<'_>) + Send),
) -> Result<Done, Error> {
    let vault = &*services.vault;
    let _guard = vault.rotation_guard().await?.ok_or(Error::Running)?;
    let held = source.load().await?;
    vault.ring().add(&held);
    vault.follow_master_key().await?;
    let known = vault.rotation().await?;
    let is_held = |fingerprint| held.iter().any(|key| key.fingerprint() == fingerprint);
    let mut rotation = match known {
        Some(done @ Rotation { stage: Stage::Done, from, .. }) if is_held(from) => {
            // Killed, or not allowed, before the old key was taken out.
            return Ok(Done { rotation: done, is_pruned: source.replace(&vault.ring().wrapping().into())?, was_over: true });
        }
        Some(begun @ Rotation { stage: Stage::Announced, to, .. }) if vault.ring().find(to).is_some() => begun,
        Some(Rotation { stage: Stage::Wrapping, from, to }) if vault.ring().find(from).is_none() => {
            return Err(Error::NoOldKey { from, to });
        }
        Some(begun @ Rotation { stage: Stage::Wrapping, .. }) => begun,
        // One that was announced and is lost has wrapped nothing: another takes its place.
        _ => announce(services, caller, source, &held, known.as_ref(), told).await?,
    };
    told(Told::Announced(&rotation));
    let mut watch = Watch::default();
    if rotation.stage == Stage::Announced {
        watch
            .wait(services, BELIEVED, wait_max, told, |worker| {
                (!worker.master_keys.contains(&rotation.to)).then_some("does not have the new key")
            })
            .await?;
        advance(services, &mut rotation, Stage::Wrapping).await?;
    }
    let outlasted = Instant::now() + BELIEVED + GRACE;
    watch
        .wait(services, BELIEVED, wait_max, told, |worker| {
            (worker.master_keys.first() != Some(&rotation.to)).then_some("does not wrap by the new key")
        })
        .await?;
    // Most of it while nobody has to be waited for.
    rewrap(services, 0, told).await?;
    sleep_until(outlasted).await;
    vault.outlast_writers().await?;
    for pass in 1.. {
        if rewrap(services, pass, told).await? == 0 {
            break;
        }
    }
    advance(services, &mut rotation, Stage::Done).await?;
    let is_pruned = source.replace(&vault.ring().wrapping().into())?;
    Ok(Done { rotation, is_pruned, was_over: false })
}

/// Gets the new key, records that it is wanted, and has everybody know.
async fn announce(
    services: &Services,
    caller: &Caller,
    source: &dyn Source,
    held: &MasterKeys,
    known: Option<&Rotation>,
    told: &mut (dyn FnMut(Told<'_>) + Send),
) -> Result<Rotation, Error> {
    let vault = &*services.vault;
    let current = vault.ring().wrapping();
    let new = match held.iter().find(|key| **key != current) {
        Some(new) => new.clone(),
        None => {
            let new = MasterKey::generate(&*services.random);
            // Durable before anything relies on it.
            if !source.replace(&MasterKeys::and(current.clone(), new.clone()))? {
                return Err(Error::NoNewKey);
            }
            told(Told::Made);
            vault.ring().add(&new.clone().into());
            new
        }
    };
    let next = Rotation { from: current.fingerprint(), to: new.fingerprint(), stage: Stage::Announced };
    let rotated = MasterKeyRotated { to: next.to.to_string(), from: next.from.to_string() };
    audit::record(services, caller, category::KEY, &rotated).await?;
    set(services, known, &next).await?;
    Ok(next)
}

async fn advance(services: &Services, rotation: &mut Rotation, stage: Stage) -> Result<(), Error> {
    let next = Rotation { stage, ..*rotation };
    set(services, Some(rotation), &next).await?;
    *rotation = next;
    Ok(())
}

async fn set(services: &Services, known: Option<&Rotation>, next: &Rotation) -> Result<(), Error> {
    // Only a guard that was lost, with its connection, lets another one in between.
    if !services.vault.set_rotation(known, next).await? {
        return Err(Error::Running);
    }
    Ok(services.vault.follow_master_key().await?)
}

async fn rewrap(services: &Services, pass: u32, told: &mut (dyn FnMut(Told<'_>) + Send)) -> Result<u64, Error> {
    Ok(rotation::rewrap(&*services.vault, &mut |done, total| told(Told::Wrapping { pass, done, total })).await?)
}

/// Which processes live: those that say so while they are looked at, whatever their clocks, and those that may only be slow.
#[derive(Default)]
struct Watch {
    seen: HashMap<Uuid, Timestamp>,
    /// When it was noticed last that one had said something.
    heard: HashMap<Uuid, Instant>,
}

impl Watch {
    /// Waits until no process that lives `lacks` anything, and for `least` in any case.
    async fn wait(
        &mut self,
        services: &Services,
        least: Duration,
        most: Duration,
        told: &mut (dyn FnMut(Told<'_>) + Send),
        lacks: impl Fn(&Worker) -> Option<&'static str>,
    ) -> Result<(), Error> {
        let started = Instant::now();
        let mut said = Vec::new();
        loop {
            let missing = self.missing(services, &lacks).await?;
            if missing.is_empty() && started.elapsed() >= least {
                return Ok(());
            }
            if started.elapsed() >= most.max(least) {
                return Err(Error::Waited(missing));
            }
            if missing != said && !missing.is_empty() {
                told(Told::Waiting(&missing));
            }
            said = missing;
            sleep(LOOK_EVERY).await;
        }
    }

    async fn missing(&mut self, services: &Services, lacks: &impl Fn(&Worker) -> Option<&'static str>) -> Result<Vec<String>, Error> {
        let slow_since = services.clock.now().minus(SLOW);
        let mut missing = Vec::new();
        // One that took its leave counts as last seen at the beginning of time.
        for worker in services.vault.workers(Timestamp::from_micros(1)).await? {
            let before = self.seen.insert(worker.instance, worker.last_seen_at);
            if before.is_some_and(|before| worker.last_seen_at > before) {
                self.heard.insert(worker.instance, Instant::now());
            }
            let lives = worker.last_seen_at > slow_since || self.heard.get(&worker.instance).is_some_and(|heard| heard.elapsed() < SILENT);
            if let Some(lack) = lacks(&worker).filter(|_| lives) {
                let why = if worker.master_keys.is_empty() { "runs an older version that knows of one key only" } else { lack };
                missing.push(format!("{} ({}), which {why}", worker.name, worker.role));
            }
        }
        Ok(missing)
    }
}
