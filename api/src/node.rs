//! A running process: its stores, its appenders, its projections, its listener, and what it does in the background.
//!
//! [`Node::start`] returns once connections are accepted. [`Node::shutdown`] is the only good end: it stops accepting, finishes the
//! requests in flight, flushes the appenders and says goodbye.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use credence_ledger::publisher::witness::Quorum;
use credence_ledger::publisher::{self, Publisher};
use credence_ledger::random::SystemRandom;
use credence_ledger::vault::{Vault, Worker};
use credence_ledger::{LogName, Timestamp, causes};
use credence_projections::generation;
use credence_projections::projection::Projection;
use credence_projections::projector::Projector;
use credence_projections::runner::{self, Runner};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::config::{self, Config, Role};
use crate::http;
use crate::http::tls::{self, Tls, Which};
use crate::limits::{Limits, redis};
use crate::oidc::Provider;
use crate::proofs::{LogProofs, Proofs};
use crate::services::{App, LogAccess, Services, Settings, Stores};
use crate::stores::{self, Error, Schema, Sources};
use crate::{tokens, use_cases, witness};

/// How often a process says that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// A process not heard of for so long is forgotten.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How often repeated requests that are recognised no longer are forgotten, and other things are tidied up.
const FORGET_EVERY: Duration = Duration::from_secs(600);
/// How often it is looked whether an erasure was left half done: at the start, and as long as a read model was behind.
const FINISH_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether details of the audit log have grown too old.
const SHRED_EVERY: Duration = Duration::from_secs(3600);
/// For how long it is remembered of a session that is over that it was one.
const SESSIONS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long a body may take to arrive.
const BODY_MAX: Duration = Duration::from_secs(30);
/// How long a request may take beyond the longest wait for a position.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long a stop waits for the last checkpoints.
const LAST_CHECKPOINT_MAX: Duration = Duration::from_secs(5);

/// How long a start waits for the read models.
const SETTLE_MAX: Duration = Duration::from_secs(3);

/// See the module.
pub struct Node {
    /// Where it listens.
    pub address: SocketAddr,
    /// The administrator's key, if this start was the first.
    pub administrator_key: Option<Zeroizing<String>>,
    app: App,
    runners: Vec<Runner>,
    server: JoinHandle<bool>,
    background: Vec<JoinHandle<()>>,
    drain_max: Duration,
    tls: Option<Arc<Tls>>,
}

impl Node {
    /// Opens the stores, goes through the first start if need be, and listens.
    ///
    /// # Errors
    /// What it was told cannot be used, or a store cannot be reached or used.
    pub async fn start(config: Config, sources: Sources) -> Result<Node, Error> {
        http::metrics::install();
        // Before any store is made: whoever mistook the port is told so and leaves nothing behind.
        let cannot_listen = |error: std::io::Error| config::Error {
            source_name: "--listen (CREDENCE_LISTEN)".to_owned(),
            problem: format!("cannot listen on {}: {error}", config.listen),
        };
        let socket = http::serve::bind(&config.listen).await.map_err(cannot_listen)?;
        let tls = config.tls.clone().map(tls).transpose()?;
        let vault = stores::vault(&config.store, Schema::Migrate, &sources).await?;
        let open = async |name| stores::log(&config.store, name, &*vault, &sources).await;
        let audit = open(LogName::AUDIT).await?;
        // A verification process may not read the ledger, and must not need to.
        let ledger = if config.role == Role::Verification { None } else { Some(open(LogName::LEDGER).await?) };
        let read = stores::read(&config.store).await?;

        let audit = LogAccess::new(audit, sources.appender);
        let ledger = ledger.map(|ledger| LogAccess::new(ledger, sources.appender));
        let administrator_key = match &ledger {
            Some(ledger) if matches!(config.role, Role::All | Role::Issuance) => {
                stores::first_start(&config.store, &*vault, ledger, &audit, &sources).await?
            }
            _ => None,
        };
        let settings = Settings {
            staleness_max: config.staleness_max,
            wait_max: config.wait_max,
            idempotency_kept: config.idempotency_kept,
            audit_details_kept: config.audit_details_kept,
            open_issuance: config.open_issuance,
            accounts: config.accounts,
        };
        let client = Client::new();
        let proofs = proofs(&config, &vault, &client, &sources).await?;
        let oidc = config.oidc.clone().map(|provider| Arc::new(Provider::new(provider, client, sources.oidc)));
        let opened = Stores { vault, ledger, audit, read: read.clone(), proofs };
        let unsafe_durability = stores::unsafe_durability(&config.store).await?;
        let limits = limits(&config, &opened, &sources)?;
        limits.probe().await;
        let services = Services::new(&config.store.worker, config.role, settings, opened, &sources);
        let app: App = Arc::new(Services { oidc, unsafe_durability, limits: Arc::new(limits), ..services });

        let listener = http::serve::listen(socket).map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let bounds = http::Bounds {
            body_bytes_max: config.body_bytes_max,
            trusted_proxies: config.trusted_proxies.clone(),
            is_tls: tls.is_some(),
            cors_origins: config.cors_origins.clone(),
            body_max: BODY_MAX,
            answer_max: ANSWER_MAX + config.wait_max,
        };
        let router = http::router(&app, &bounds);
        let runners = if matches!(config.role, Role::All | Role::Projector) { start_runners(&app, &read) } else { Vec::new() };
        if config.role == Role::All {
            settle(&app).await;
        }
        let background = background(&app);
        let server = http::serve::Server { router, tls: tls.clone(), patience: http::serve::Patience::default() };
        let server = tokio::spawn(http::serve::serve(listener, server, app.draining.clone(), config.drain_max));
        Ok(Node { address, administrator_key, app, runners, server, background, drain_max: config.drain_max, tls })
    }

    /// What its handlers are given.
    #[must_use]
    pub fn services(&self) -> &App {
        &self.app
    }

    /// Where it is asked, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Reads the certificate again. One that cannot be used is told in the log, and the old one stays.
    pub fn reload_certificate(&self) {
        match self.tls.as_ref().map(|tls| tls.reload()) {
            Some(Ok(())) => tracing::info!("new connections are shown the certificate that was read just now"),
            Some(Err(error)) => {
                let reason = causes(&error);
                tracing::error!(reason, "the certificate could not be read again: the old one stays");
            }
            None => {}
        }
    }

    /// Stops accepting, finishes what is in flight, within the time configured, flushes, says goodbye.
    pub async fn shutdown(self) {
        let deadline = Instant::now() + self.drain_max;
        self.app.draining.cancel();
        let finished = self.server.await.unwrap_or(false);
        self.app.tasks.close();
        let quiet = timeout(deadline.saturating_duration_since(Instant::now()), self.app.tasks.wait()).await.is_ok();
        if !(finished && quiet) {
            tracing::warn!("not everything in flight was finished in time");
        }
        for access in self.app.ledger.iter().chain([&self.app.audit]) {
            access.appender.shutdown().await;
        }
        // What was appended last is covered by a checkpoint, too.
        for tree in [&self.app.proofs.ledger, &self.app.proofs.audit] {
            if let Some(publisher) = &tree.publisher {
                publisher.shutdown(LAST_CHECKPOINT_MAX).await;
            }
        }
        for runner in self.runners {
            runner.stop().await;
        }
        for task in self.background {
            task.abort();
        }
        tell_used_keys(&self.app).await;
        if let Err(error) = self.app.vault.goodbye(self.app.instance).await {
            tracing::warn!(reason = causes(&error), "the vault still counts this worker");
        }
    }
}

/// The certificate, which is looked at before anything is opened.
fn tls(files: tls::Files) -> Result<Arc<Tls>, Error> {
    let unusable = |error: tls::Error| {
        let name = match error.which() {
            Which::Certificate => "tls_certificate_file",
            Which::Key => "tls_key_file",
        };
        let problem = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        config::Error { source_name: config::variable(name), problem }
    };
    Ok(Arc::new(Tls::load(files).map_err(unusable)?))
}

/// How much anybody may ask, shared with other processes where there is a Redis.
fn limits(config: &Config, stores: &Stores, sources: &Sources) -> Result<Limits, Error> {
    // All processes on one vault have it, and nobody else.
    let key = || stores.vault.lookup().idempotency(&[b"limits"]);
    let shared = config.redis.as_ref().map(|url| redis::Shared::new(url, key())).transpose();
    let unusable = |error: ::redis::RedisError| config::Error {
        source_name: config::variable("redis_url"),
        problem: format!("cannot be used: {error}"),
    };
    Ok(Limits::new(config.rate_limits, sources.clock(), shared.map_err(unusable)?))
}

/// The logs' trees; where the process may sign, with those who publish their checkpoints.
async fn proofs(config: &Config, vault: &Arc<dyn Vault>, client: &Client, sources: &Sources) -> Result<Proofs, Error> {
    let signs = matches!(config.role, Role::All | Role::Issuance);
    let open = async |log: LogName| {
        let tiles = stores::tiles(&config.store, log, &**vault)?;
        if !signs {
            return Ok::<_, Error>(LogProofs { tiles, publisher: None });
        }
        let settings = publisher::Settings {
            interval: config.checkpoint_interval,
            anchor: config.checkpoint_anchor.clone(),
            cosigners: witness::cosigners(config.witnesses.as_ref(), client),
            clock: sources.clock(),
        };
        let publisher = Publisher::start(tiles.clone(), vault.clone(), settings).await?;
        Ok(LogProofs { tiles, publisher: Some(publisher) })
    };
    // Both at once: each may wait for witnesses.
    let (ledger, audit) = futures::try_join!(open(LogName::LEDGER), open(LogName::AUDIT))?;
    // Witnesses that are wanted keep what they cosigned; those that are merely asked may have missed it.
    let witnessed = config.witnesses.as_ref().is_some_and(|witnesses| witnesses.quorum != Quorum::None);
    let kept_outside = !signs || config.checkpoint_anchor.is_some() || witnessed || stores::vault_is_elsewhere(&config.store);
    Ok(Proofs { ledger, audit, audit_is_public: config.audit_tiles_public, kept_outside })
}

fn start_runners(app: &App, read: &Arc<dyn generation::Store>) -> Vec<Runner> {
    let logs = [app.ledger.as_ref().map(|ledger| (Projection::Verification, ledger)), Some((Projection::History, &app.audit))];
    let logs = logs.into_iter().flatten();
    logs.map(|(projection, access)| {
        // A runner draws ids for what stands in no log, at moments of its own: not from what requests draw from, so that a test that
        // owns the randomness can tell what they draw.
        let (clock, random) = (app.clock.clone(), Arc::new(SystemRandom));
        let projector = Projector { projection, log: access.log.clone(), store: read.clone(), clock, random };
        let wake = Arc::new(Notify::new());
        ring(access, &wake, &app.draining);
        Runner::start(projector, runner::Options { wake, troubles: app.projector_troubles.clone(), ..runner::Options::default() })
    })
    .collect()
}

/// Gives the read models a moment to be there and up to date, so that whoever is told that this process listens is answered. What
/// takes longer, such as a rebuild, is answered with 503 meanwhile.
async fn settle(app: &Services) {
    let settled = async {
        for projection in Projection::ALL {
            while !is_fresh(app, projection).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let _ = timeout(SETTLE_MAX, settled).await;
}

async fn is_fresh(app: &Services, projection: Projection) -> bool {
    let cursor = app.read.cursor(projection).await;
    cursor.is_ok_and(|cursor| cursor.lag_events() == 0 && cursor.check(app.clock.now(), app.settings.staleness_max).is_ok())
}

/// Rings for every batch that this process commits and, where the engine tells, for those of others.
fn ring(access: &LogAccess, wake: &Arc<Notify>, stop: &CancellationToken) {
    ring_for(access.appender.head_watch(), wake.clone(), stop.clone());
    if let Some(others) = access.log.wakeups() {
        ring_for(others, wake.clone(), stop.clone());
    }
}

fn ring_for<T: Send + Sync + 'static>(mut hints: watch::Receiver<T>, wake: Arc<Notify>, stop: CancellationToken) {
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        while hints.changed().await.is_ok() {
            wake.notify_one();
        }
    }));
}

/// What a process does of itself, for as long as it lives.
fn background(app: &App) -> Vec<JoinHandle<()>> {
    let started = app.clock.now();
    let mut tasks = vec![
        every(HEARTBEAT, app, move |app| async move {
            http::metrics::upkeep();
            heartbeat(&app, started).await;
        }),
        every(Duration::from_secs(10), app, |app| async move { tell_used_keys(&app).await }),
    ];
    if app.limits.are_shared() {
        tasks.push(every(redis::PROBE_EVERY, app, |app| async move { app.limits.probe().await }));
    }
    if matches!(app.role, Role::All | Role::Issuance) {
        tasks.push(every(FINISH_EVERY, app, |app| async move { finish_erasures(&app).await }));
        tasks.push(every(FORGET_EVERY, app, |app| async move { finish_rotations(&app).await }));
        tasks.push(every(FORGET_EVERY, app, |app| async move { forget_repeats(&app).await }));
        tasks.push(every(FORGET_EVERY, app, |app| async move { keep_sessions(&app).await }));
        tasks.push(every(SHRED_EVERY, app, |app| async move { shred(&app).await }));
    }
    if let Some(provider) = app.oidc.clone() {
        tasks.push(tokio::spawn(async move { provider.keep_fresh().await }));
    }
    tasks
}

fn every<F>(pause: Duration, app: &App, work: impl Fn(App) -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let app = app.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(pause);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            work(app.clone()).await;
        }
    })
}

async fn heartbeat(app: &Services, started_at: Timestamp) {
    let mut cursors = serde_json::Map::new();
    for projection in Projection::ALL {
        if let Ok(cursor) = app.read.cursor(projection).await {
            cursors.insert(projection.to_string(), cursor.as_of().map(|position| position.to_string()).into());
        }
    }
    // First, so that what is said of master keys is what is done from now on.
    if let Err(error) = app.vault.follow_master_key().await {
        tracing::error!(reason = causes(&error), "the vault's master key is not at hand, or could not be asked for");
    }
    let now = app.clock.now();
    let worker = Worker {
        instance: app.instance,
        name: app.worker.clone(),
        role: app.role.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at,
        last_seen_at: now,
        cursors: serde_json::Value::Object(cursors).to_string(),
        master_keys: app.vault.ring().fingerprints(),
    };
    let beat = app.vault.heartbeat(&worker, now.minus(FORGOTTEN_AFTER)).await;
    *app.vault_trouble.lock().unwrap_or_else(PoisonError::into_inner) = beat.as_ref().err().map(ToString::to_string);
    if let Err(error) = beat {
        tracing::warn!(reason = causes(&error), "the vault was not told that this worker lives");
    }
}

async fn tell_used_keys(app: &Services) {
    let used = app.used_keys.take();
    if used.is_empty() {
        return;
    }
    if let Err(error) = app.vault.touch_keys(&used).await {
        tracing::warn!(reason = causes(&error), "the vault was not told which keys were used");
    }
}

async fn forget_repeats(app: &Services) {
    let Some(ledger) = &app.ledger else { return };
    let forgotten = match ledger.log.head().await {
        // By the log's clock, which dated them.
        Ok(head) => ledger.log.forget_idempotency(head.now.minus(app.settings.idempotency_kept)).await,
        Err(error) => Err(error),
    };
    match forgotten {
        Ok(0) => {}
        Ok(rows) => tracing::info!(rows, "forgot repeats that are recognised no longer"),
        Err(error) => tracing::warn!(reason = causes(&error), "repeats could not be forgotten"),
    }
}

/// Goes on with what a process left that was killed, or that did not wait for a read model.
async fn finish_erasures(app: &Services) {
    match use_cases::subjects::erase::finish(app).await {
        Ok(0) => {}
        Ok(subjects) => tracing::info!(subjects, "erasures were seen through"),
        Err(error) => tracing::warn!(reason = causes(&error), "erasures could not be seen through yet"),
    }
}

/// Lets API keys end whose rotation a process left half done.
async fn finish_rotations(app: &Services) {
    match use_cases::keys::finish(app).await {
        Ok(0) => {}
        Ok(keys) => tracing::info!(keys, "rotations of API keys were seen through"),
        Err(error) => tracing::warn!(reason = causes(&error), "rotations of API keys could not be seen through yet"),
    }
}

/// Forgets sessions that are long over, and gives access tokens a new key when theirs grows old.
async fn keep_sessions(app: &Services) {
    let now = app.clock.now();
    let kept = async {
        app.vault.forget_sessions(now.minus(SESSIONS_KEPT)).await?;
        // Where nobody ever logged in there is no key, and none is needed.
        if !app.vault.token_keys().await?.is_empty() {
            app.vault.add_token_key(now.minus(tokens::KEY_AGE_MAX), now).await?;
        }
        app.vault.forget_token_keys(now.minus(tokens::KEY_KEPT)).await
    };
    if let Err(error) = kept.await {
        tracing::warn!(reason = causes(&error), "old sessions and keys of access tokens could not be seen to");
    }
}

/// Lets go of details of the audit log that are older than they are kept, and of those that were let go before a vault was restored.
async fn shred(app: &Services) {
    match use_cases::retention::shred(app).await {
        Ok(months) if months.is_empty() => {}
        Ok(months) => tracing::info!(months = months.join(" "), "the audit log's details of whole months were let go"),
        Err(error) => tracing::warn!(reason = causes(&error), "the audit log's older details could not be let go"),
    }
}
