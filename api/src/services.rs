//! What use cases and handlers need of the process they run in. Made once when the process starts, shared by all requests.
//!
//! A verification process has no ledger: its login may not read it. Everything else is there in every role.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use credence_ledger::appender::{self, Appender};
use credence_ledger::event::{Metadata, Payload, Place, new_id};
use credence_ledger::log::{Append, Log, Outcome};
use credence_ledger::sealing::{KeyId, Sealed, SealingKey};
use credence_ledger::store::{self, Error};
use credence_ledger::vault::subjects::Subjects;
use credence_ledger::vault::{MonthForgotten, Vault};
use credence_ledger::{Clock, LogName, Position, Random, Stream, Timestamp};
use credence_projections::generation;
use credence_projections::lookups::Lookups;
use credence_projections::projection::{self, Cursor, Projection};
use credence_projections::projector::Projector;
use credence_projections::runner::Troubles;
use credence_projections::waits::Waits;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::caller::Caller;
use crate::config::{self, RateLimits, Role};
use crate::issuers::{Issuers, SigningKeys};
use crate::limits::Limits;
use crate::long_reads::LongReads;
use crate::oidc::Provider;
use crate::passwords::Passwords;
use crate::proofs::Proofs;
use crate::stores::Sources;
use crate::tokens::Tokens;
use crate::used_keys::UsedKeys;

/// The state of every handler.
pub type App = Arc<Services>;

/// See the module.
pub struct Services {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub random: Arc<dyn Random>,
    /// This process's name: `CREDENCE_WORKER_ID` or the host's.
    pub worker: String,
    /// What this process serves.
    pub role: Role,
    /// What the configuration says to use cases.
    pub settings: Settings,
    /// The vault.
    pub vault: Arc<dyn Vault>,
    /// Subjects, made when new, and what they are compared by: many at once.
    pub subjects: Subjects,
    /// Issuers by name and id.
    pub issuers: Issuers,
    /// The keys that sign documents, by did.
    pub signing_keys: SigningKeys,
    /// Access tokens of sessions.
    pub tokens: Tokens,
    /// Passwords of accounts.
    pub passwords: Passwords,
    /// The ledger; `None` in a verification process.
    pub ledger: Option<LogAccess>,
    /// The audit log.
    pub audit: LogAccess,
    /// The read models. Whether they may be written is a matter of the process's login.
    pub read: Arc<dyn generation::Store>,
    /// Look-ups in the read models by id, many at once.
    pub lookups: Lookups<dyn generation::Store>,
    /// Waiting for the read models, many at once.
    pub waits: Waits,
    /// The logs' trees.
    pub proofs: Proofs,
    /// The audit log's month keys.
    pub months: Months,
    /// How much anybody may ask. A command asks as much as it likes.
    pub limits: Arc<Limits>,
    /// Which API keys were used lately.
    pub used_keys: UsedKeys,
    /// One start of this process.
    pub instance: Uuid,
    /// What runs on behalf of requests; a process that is told to stop waits for it.
    pub tasks: TaskTracker,
    /// Whose bearer tokens are taken besides our own.
    pub oidc: Option<Arc<Provider>>,
    /// Settings of a server that loses acknowledged commits, where that was allowed. Readiness repeats them.
    pub unsafe_durability: Vec<String>,
    /// Why this process could not write to the vault when it last said there that it lives.
    pub vault_trouble: Mutex<Option<String>>,
    /// Why read models that this process keeps up do not move on.
    pub projector_troubles: Troubles,
    /// Cancelled when the process begins to drain: answers that would never end, end then.
    pub draining: CancellationToken,
}

/// The stores of a process, opened.
pub struct Stores {
    /// The vault.
    pub vault: Arc<dyn Vault>,
    /// The ledger; `None` in a verification process.
    pub ledger: Option<LogAccess>,
    /// The audit log.
    pub audit: LogAccess,
    /// The read models.
    pub read: Arc<dyn generation::Store>,
    /// The logs' trees.
    pub proofs: Proofs,
}

/// What the configuration says to use cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A read model confirmed longer ago than this gives no answers.
    pub staleness_max: Duration,
    /// A read that waits for a position waits no longer than this.
    pub wait_max: Duration,
    /// How long a repeated request is recognised.
    pub idempotency_kept: Duration,
    /// How long the audit log's details can be opened, at least; `None` is for ever.
    pub audit_details_kept: Option<Duration>,
    /// Whether the two older dialects issue without a key, as issuer `default`.
    pub open_issuance: bool,
    /// What it says of accounts.
    pub accounts: config::Accounts,
}

/// A log, and the way to append to it.
#[derive(Clone)]
pub struct LogAccess {
    /// For reading.
    pub log: Arc<dyn Log>,
    /// For appending.
    pub appender: Appender,
    /// For reading all of it.
    pub long_reads: Arc<LongReads>,
}

/// An append was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Too many wait already; this one was not taken. A later try can help.
    #[error("too many appends are waiting")]
    Overloaded,
    /// The log failed. Whether the events are in it may be unknown.
    #[error("the log failed")]
    Store(#[from] Arc<Error>),
    /// Appending has stopped: the process is draining, or the log contradicted the planner.
    #[error("appending has stopped")]
    Stopped,
}

impl From<Error> for AppendError {
    fn from(error: Error) -> AppendError {
        AppendError::Store(Arc::new(error))
    }
}

impl LogAccess {
    /// Starts the appender of a log. It must be called within a tokio runtime.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, limits: appender::Limits) -> LogAccess {
        LogAccess { appender: Appender::start(log.clone(), limits), long_reads: Arc::new(LongReads::new(log.clone())), log }
    }

    /// Appends, and answers after the commit.
    ///
    /// # Errors
    /// See [`AppendError`]; that a precondition did not hold is an outcome.
    pub async fn append(&self, append: Append) -> Result<Outcome, AppendError> {
        self.appender.append(append).await.map_err(|error| match error {
            appender::Error::Full(_) => AppendError::Overloaded,
            appender::Error::Stopped => AppendError::Stopped,
            appender::Error::Store(error) | appender::Error::Unknown(error) => AppendError::Store(error),
        })
    }

    /// False once appending has stopped for good, because the log contradicted the planner.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.appender.is_healthy()
    }

    /// Why appends fail just now, though the log may answer: see [`Appender::trouble`].
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<Error>> {
        self.appender.trouble()
    }
}

/// The audit log's month keys, each read from the vault once.
pub struct Months {
    vault: Arc<dyn Vault>,
    known: Mutex<HashMap<String, SealingKey>>,
}

impl Months {
    /// Over a vault.
    #[must_use]
    pub fn new(vault: Arc<dyn Vault>) -> Months {
        Months { vault, known: Mutex::default() }
    }

    /// The key of the month of `now`, made if there is none.
    ///
    /// # Errors
    /// The vault's.
    pub async fn key(&self, now: Timestamp) -> Result<(KeyId, SealingKey), Error> {
        let month = now.month();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&month).cloned();
        let key = match known {
            Some(key) => key,
            None => {
                let key = self.vault.month_key(&month).await?;
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.retain(|held, _| *held == month);
                known.insert(month.clone(), key.clone());
                key
            }
        };
        Ok((KeyId::Month(month), key))
    }
}

impl Services {
    /// Of a process called `worker` that begins now. It must be called within a tokio runtime.
    #[must_use]
    pub fn new(worker: &str, role: Role, settings: Settings, stores: Stores, sources: &Sources) -> Services {
        let Stores { vault, ledger, audit, read, proofs } = stores;
        let (clock, random) = (sources.clock(), sources.random.clone());
        Services {
            instance: new_id(&clock, &random),
            worker: worker.to_owned(),
            role,
            subjects: Subjects::start(vault.clone()),
            lookups: Lookups::start(read.clone()),
            waits: Waits::start(&read),
            issuers: Issuers::new(vault.clone()),
            signing_keys: SigningKeys::new(vault.clone()),
            months: Months::new(vault.clone()),
            tokens: Tokens::new(vault.clone()),
            passwords: Passwords::new(settings.accounts.password),
            vault,
            ledger,
            audit,
            read,
            proofs,
            limits: Arc::new(Limits::new(RateLimits::default(), clock.clone(), None)),
            used_keys: UsedKeys::default(),
            draining: CancellationToken::new(),
            tasks: TaskTracker::new(),
            oidc: None,
            unsafe_durability: Vec::new(),
            vault_trouble: Mutex::default(),
            projector_troubles: Troubles::default(),
            settings,
            clock,
            random,
        }
    }

    /// The ledger.
    ///
    /// # Errors
    /// This process has none: its role does not serve what was asked for.
    pub fn ledger(&self) -> Result<&LogAccess, store::Error> {
        let denied = || store::Error::Denied("a verification process reads no ledger".into());
        self.ledger.as_ref().ok_or_else(denied)
    }

    /// A log by its name.
    ///
    /// # Errors
    /// As [`Services::ledger`].
    pub fn log(&self, name: &LogName) -> Result<&LogAccess, store::Error> {
        if *name == LogName::AUDIT { Ok(&self.audit) } else { self.ledger() }
    }

    /// What moves a read model on, or builds it anew.
    ///
    /// # Errors
    /// This process may not read the log that it folds.
    pub fn projector(&self, projection: Projection) -> Result<Projector, store::Error> {
        let (log, store) = (self.log(&projection.log())?.log.clone(), self.read.clone());
        Ok(Projector { projection, log, store, clock: self.clock.clone(), random: self.random.clone() })
    }

    /// Metadata for an event of the audit log: address and user agent are sealed with the month's key.
    ///
    /// # Errors
    /// The vault's, when the month's key has to be read.
    pub async fn audit_metadata<P: Payload>(&self, caller: &Caller, stream: &Stream) -> Result<Metadata, Error> {
        let mut metadata = caller.origination(&self.worker).metadata(&self.random);
        metadata.details = self.details(caller, stream, P::TYPE, P::SCHEMA).await?;
        Ok(metadata)
    }

    async fn details(&self, caller: &Caller, stream: &Stream, kind: &str, schema: u16) -> Result<Option<Sealed>, Error> {
        let mut details = serde_json::Map::new();
        details.extend(caller.address.map(|address| ("address".to_owned(), address.to_string().into())));
        details.extend(caller.user_agent.as_deref().map(|agent| ("user_agent".to_owned(), agent.into())));
        if details.is_empty() {
            return Ok(None);
        }
        let (id, key) = self.month_key().await?;
        let place = Place { origin: self.audit.log.origin(), stream, kind, schema, field: "details" };
        // Two texts under sorted ASCII names: this is their canonical form (RFC 8785).
        let plain = serde_json::Value::Object(details).to_string();
        Ok(Some(key.seal(&id, &place, plain.as_bytes(), &self.random)))
    }

    /// The key that seals details of what is recorded now: that of the month of this process's clock. Where that month was let go a clock
    /// goes wrong, or went wrong once; then it is that of the month of the audit log's last event, whose time never goes back.
    ///
    /// # Errors
    /// The vault's, or the audit log's.
    pub async fn month_key(&self) -> Result<(KeyId, SealingKey), Error> {
        let now = self.clock.now();
        match self.months.key(now).await {
            Err(Error::Failed(beneath)) if beneath.is::<MonthForgotten>() => {
                let recorded_at = self.audit.log.head().await?.recorded_at;
                self.months.key(now.max(recorded_at)).await
            }
            answer => answer,
        }
    }

    /// Waits until a read model has passed `wanted`, at most as long as the configuration allows, and answers its cursor. Freshness
    /// is judged as well: what this answers may be read.
    ///
    /// # Errors
    /// [`projection::Error::NotCaughtUp`] past the bound; unhealthy, stale, vanished; the store's.
    pub async fn wait_for(&self, projection: Projection, wanted: Option<Position>) -> Result<Cursor, projection::Error> {
        self.wait(projection, move |cursor| cursor.position >= wanted).await
    }

    /// Waits until a read model is known to be complete up to `time`, by its log's clock; otherwise as [`Services::wait_for`].
    ///
    /// # Errors
    /// As [`Services::wait_for`].
    pub async fn wait_until(&self, projection: Projection, time: Timestamp) -> Result<Cursor, projection::Error> {
        self.wait(projection, move |cursor| cursor.confirmed_at >= time).await
    }

    async fn wait(&self, projection: Projection, reached: impl Fn(&Cursor) -> bool + Send + 'static) -> Result<Cursor, projection::Error> {
        let (clock, staleness_max) = (self.clock.clone(), self.settings.staleness_max);
        let judge = move |cursor: &Cursor| cursor.check(clock.now(), staleness_max).map(|()| reached(cursor));
        self.waits.until(projection, judge, self.settings.wait_max).await
    }
}
