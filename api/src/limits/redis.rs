//! The buckets that several processes share, in Redis.
//!
//! A script takes from all buckets that a request needs or from none, in one round trip and by the server's clock; what has filled up expires by
//! itself. A call waits no longer than [`CALL_MAX`]. The first that fails sets Redis away, and nobody waits for it again until a
//! [probe](Shared::probe) was answered. Buckets are named by a keyed hash: neither address nor account can be read out of Redis.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use credence_ledger::causes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, IntoConnectionInfo as _, RedisError, Script};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use super::{Bucket, Quota, Standing, Whose};

/// How long an answer of Redis is waited for.
pub const CALL_MAX: Duration = Duration::from_millis(100);
/// How often it is asked whether it answers.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long a connection may take to come about. It goes on while nobody waits for it.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// What is run for every call.
pub const SCRIPT: &str = include_str!("take.lua");

/// Where Redis is: `redis://` or, by TLS, `rediss://`. It may hold a password, and is never shown.
#[derive(Clone)]
pub struct Url(SecretString);

/// A text that is no Redis URL. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected redis://user:password@host:port/database, or rediss:// for TLS")]
pub struct MalformedUrl;

impl FromStr for Url {
    type Err = MalformedUrl;

    fn from_str(text: &str) -> Result<Url, MalformedUrl> {
        let schemed = text.starts_with("redis://") || text.starts_with("rediss://");
        let whole = schemed && text.into_connection_info().is_ok();
        whole.then(|| Url(text.into())).ok_or(MalformedUrl)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(…)")
    }
}

/// See the module.
pub struct Shared {
    connection: ConnectionManager,
    script: Script,
    key: [u8; 32],
    away: AtomicBool,
}

impl Shared {
    /// Not connected yet: a [probe](Shared::probe) connects. All processes that are to share must be given the same key. It must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn new(url: &Url, key: [u8; 32]) -> Result<Shared, RedisError> {
        let config = ConnectionManagerConfig::new()
            // A probe tries again soon enough.
            .set_number_of_retries(0)
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(CALL_MAX));
        let connection = ConnectionManager::new_lazy_with_config(Client::open(url.0.expose_secret())?, config)?;
        Ok(Shared { connection, script: Script::new(SCRIPT), key, away: AtomicBool::new(false) })
    }

    /// Whether the last call failed.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Takes one from each of these buckets, or from none of them: how the tightest stands then, or the one that refused. `None` while Redis
    /// is away.
    pub async fn take(&self, wanted: &[Bucket]) -> Option<Standing> {
        if self.is_away() {
            return None;
        }
        let answer = self.call("take", wanted).await;
        let answer = self.noted(answer)?;
        let (refused, lacks) = answer.split_first()?;
        let mut stands = wanted.iter().zip(lacks);
        match refused.checked_sub(1) {
            Some(place) => {
                let (bucket, lack_us) = stands.nth(usize::try_from(place).ok()?)?;
                Some(Standing::refused(bucket.quota, *lack_us))
            }
            None => {
                let stands = stands.map(|(bucket, lack_us)| Standing::allowed(bucket.quota, *lack_us));
                Some(stands.fold(Standing::UNLIMITED, Standing::tighter))
            }
        }
    }

    /// Puts back into each of these buckets what was taken from it, unless Redis is away.
    pub async fn give_back(&self, taken: &[Bucket]) {
        if !taken.is_empty() && !self.is_away() {
            let answer = self.call("give_back", taken).await;
            self.noted(answer);
        }
    }

    /// Finds out whether Redis answers, reads and writes.
    pub async fn probe(&self) {
        let answer = self.call("take", &[Bucket { whose: Whose::Probe, quota: Quota { count: u32::MAX, interval_us: 1 } }]).await;
        self.noted(answer);
    }

    async fn call(&self, what: &str, buckets: &[Bucket]) -> Result<Vec<u64>, RedisError> {
        let mut invocation = self.script.prepare_invoke();
        invocation.arg(what);
        for Bucket { whose, quota } in buckets {
            invocation.key(self.name(*whose)).arg(quota.interval_us).arg(quota.capacity_us());
        }
        let mut connection = self.connection.clone();
        let late = |_| RedisError::from((ErrorKind::Io, "no answer in time"));
        timeout(CALL_MAX, invocation.invoke_async(&mut connection)).await.map_err(late)?
    }

    /// Notes whether Redis answered, and says so when that has changed.
    fn noted<T>(&self, answer: Result<T, RedisError>) -> Option<T> {
        let was_away = self.away.swap(answer.is_err(), Ordering::Relaxed);
        match &answer {
            Ok(_) if was_away => tracing::info!("Redis answers again: limits are shared"),
            Err(error) if !was_away => {
                tracing::warn!(reason = causes(error), "Redis does not answer: this process limits by its own count");
            }
            _ => {}
        }
        answer.ok()
    }

    /// What a bucket is called in Redis.
    fn name(&self, whose: Whose) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        match whose {
            Whose::Address(network) => hasher.update(b"a").update(&network.0),
            Whose::Caller(id) => hasher.update(b"c").update(id.as_bytes()),
            Whose::Doubt(network) => hasher.update(b"d").update(&network.0),
            Whose::LoginAccount(account) => hasher.update(b"l").update(&account),
            Whose::LoginAddress(network) => hasher.update(b"m").update(&network.0),
            Whose::Probe => hasher.update(b"p"),
        };
        let mut name = [0; 16];
        hasher.finalize_xof().fill(&mut name);
        format!("credence:limit:{}", hex::encode(name))
    }
}
