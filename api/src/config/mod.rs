//! What a process is told: command line over environment over a TOML file, the same names everywhere.
//!
//! Everything is read and judged once, when the process starts, before anything is opened. There are no default secrets, and no
//! message repeats a value.

mod layers;
mod oidc;
mod options;
mod proxies;
mod role;
#[cfg(test)]
mod tests;
mod witnesses;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use credence_ledger::LogName;
use credence_ledger::publisher::anchor::Anchor;
use credence_ledger::store;
use credence_ledger::vault::master_key;
use tracing_subscriber::EnvFilter;

pub use layers::{Error, variable};
use layers::{Layers, Source};
pub use oidc::{Oidc, Organisation};
use options::Given;
pub use options::{ServeOptions, StoreOptions};
pub use proxies::TrustedProxies;
pub use role::{Role, UnknownRole};
pub use witnesses::{Asked, Witnesses};

use crate::http::tls;
use crate::limits::redis;

/// What every command is told.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Where the four stores are.
    pub stores: Stores,
    /// Where keys are written when the vault is on PostgreSQL.
    pub data_dir: Option<PathBuf>,
    /// Where the vault's master key comes from; `None` is the file beside the vault.
    pub master_key: Option<Arc<dyn master_key::Source>>,
    /// Names the logs in the world, when they are created.
    pub origin: Option<String>,
    /// This process's name.
    pub worker: String,
    /// Whether to start where acknowledged commits can be lost.
    pub allow_unsafe_durability: bool,
    /// How to log.
    pub log: LogConfig,
}

/// Where the four stores are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stores {
    /// The ledger log.
    pub ledger: store::Url,
    /// The audit log.
    pub audit: store::Url,
    /// The read models.
    pub read: store::Url,
    /// The vault.
    pub vault: store::Url,
}

impl Stores {
    /// Where a log is.
    #[must_use]
    pub fn log(&self, name: &LogName) -> &store::Url {
        if *name == LogName::AUDIT { &self.audit } else { &self.ledger }
    }
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A tracing filter, known to be well formed.
    pub filter: String,
    /// In which format.
    pub format: LogFormat,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON, unless on a terminal.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What `serve` is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// What every command is told.
    pub store: StoreConfig,
    /// Where to listen: a host, or an address, and a port.
    pub listen: String,
    /// The certificate to listen by TLS with.
    pub tls: Option<tls::Files>,
    /// What to serve.
    pub role: Role,
    /// A read model confirmed longer ago than this gives no answers.
    pub staleness_max: Duration,
    /// A read waits no longer than this for a position.
    pub wait_max: Duration,
    /// How long a repeated request is recognised.
    pub idempotency_kept: Duration,
    /// How long the audit log's details can be opened, at least; `None` is for ever.
    pub audit_details_kept: Option<Duration>,
    /// The largest body that is taken.
    pub body_bytes_max: usize,
    /// Whether anybody may issue through the two older dialects.
    pub open_issuance: bool,
    /// What the configuration says of accounts.
    pub accounts: Accounts,
    /// How much anybody may ask.
    pub rate_limits: RateLimits,
    /// By which limits are shared with other processes.
    pub redis: Option<redis::Url>,
    /// Proxies that are believed when they say for whom they ask.
    pub trusted_proxies: TrustedProxies,
    /// How often a checkpoint of each log is published, unless one is asked for.
    pub checkpoint_interval: Duration,
    /// Where the last signed checkpoints are kept outside the ledger's server.
    pub checkpoint_anchor: Option<Anchor>,
    /// Who is asked to cosign checkpoints.
    pub witnesses: Option<Witnesses>,
    /// Whether the audit log's checkpoints and tiles are for everybody.
    pub audit_tiles_public: bool,
    /// Whose bearer tokens are taken besides our own.
    pub oidc: Option<Oidc>,
    /// Origins whose pages may call.
    pub cors_origins: Vec<HeaderValue>,
    /// How long requests in flight may take when the process is told to stop.
    pub drain_max: Duration,
}

/// What the configuration says of accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accounts {
    /// Whether anybody may register one.
    pub open_registration: bool,
    /// How long an access token holds, unless its session ends before.
    pub access_token: Duration,
    /// How long a session goes on without being refreshed.
    pub session: Duration,
    /// What the hash of a password costs.
    pub password: PasswordCost,
}

/// What the hash of a password costs: Argon2id's parameters (RFC 9106, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Accounts {
    /// OWASP's first choice for Argon2id with little memory.
    fn default() -> Accounts {
        Accounts {
            open_registration: false,
            access_token: Duration::from_secs(600),
            session: Duration::from_secs(720 * 3600),
            password: PasswordCost { memory_kib: 19_456, iterations: 2, lanes: 1 },
        }
    }
}

/// How much anybody may ask; `None` is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// An address, without credentials.
    pub public: Option<RateLimit>,
    /// A key or an account.
    pub authenticated: Option<RateLimit>,
    /// Logins that fail, of an account and from an address.
    pub login_failures: Option<RateLimit>,
}

/// So many in so much time, and no more than one a microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How many.
    pub count: std::num::NonZeroU32,
    /// In which time; not zero.
    pub per: Duration,
}

/// A text that is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a count, '/' and a time in s, m or h, such as 600/1m")]
pub struct MalformedRate;

impl FromStr for RateLimit {
    type Err = MalformedRate;

    fn from_str(text: &str) -> Result<RateLimit, MalformedRate> {
        let (count, time) = text.split_once('/').ok_or(MalformedRate)?;
        let (number, unit) = time.split_at(time.len().saturating_sub(1));
        let unit_s = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(MalformedRate),
        };
        let number: u64 = if number.is_empty() { 1 } else { number.parse().map_err(|_| MalformedRate)? };
        let per = number.checked_mul(unit_s).filter(|seconds| (1..=86_400).contains(seconds)).ok_or(MalformedRate)?;
        let count: std::num::NonZeroU32 = count.parse().map_err(|_| MalformedRate)?;
        if u64::from(count.get()) > per * 1_000_000 {
            return Err(MalformedRate);
        }
        Ok(RateLimit { count, per: Duration::from_secs(per) })
    }
}

impl StoreConfig {
    /// Reads what a command is told. Warnings come beside: they stop nothing.
    ///
    /// # Errors
    /// A value cannot be used; the option, variable or member is named.
    pub fn read(
        options: &StoreOptions,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(StoreConfig, Vec<String>), Error> {
        let layers = Layers::read(&options.given(), environment)?;
        Ok((StoreConfig::of(&layers)?, layers.warnings))
    }

    fn of(layers: &Layers) -> Result<StoreConfig, Error> {
        let default = store::Url::Sqlite("./credence-data".into());
        let all = given_or_in_file(layers, "store", "store_file")?.unwrap_or(default);
        let one = |name, file| Ok::<_, Error>(given_or_in_file(layers, name, file)?.unwrap_or_else(|| all.clone()));
        let stores = Stores {
            ledger: one("ledger_store", "ledger_store_file")?,
            audit: one("audit_store", "audit_store_file")?,
            read: one("read_store", "read_store_file")?,
            vault: one("vault_store", "vault_store_file")?,
        };
        let path = |name| layers.get(name).map(|(_, path)| PathBuf::from(path));
        Ok(StoreConfig {
            stores,
            data_dir: path("data_dir"),
            master_key: master_key_source(layers)?,
            origin: value(layers, "origin", origin)?,
            worker: value(layers, "worker_id", worker)?.unwrap_or_else(host_name),
            allow_unsafe_durability: value(layers, "allow_unsafe_durability", flag)?.unwrap_or(false),
            log: LogConfig {
                filter: value(layers, "log", filter)?.unwrap_or_else(|| "info".to_owned()),
                format: value(layers, "log_format", log_format)?.unwrap_or(LogFormat::Auto),
            },
        })
    }
}

impl Config {
    /// Reads what `serve` is told. Warnings come beside: they stop nothing.
    ///
    /// # Errors
    /// A value cannot be used; the option, variable or member is named.
    pub fn read(
        stores: &StoreOptions,
        serve: &ServeOptions,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(Config, Vec<String>), Error> {
        let given: Vec<Given<'_>> = stores.given().into_iter().chain(serve.given()).collect();
        let layers = Layers::read(&given, environment)?;
        let number = |name, range: std::ops::RangeInclusive<u64>, default: u64| {
            Ok::<_, Error>(value(&layers, name, |text| whole(text, &range))?.unwrap_or(default))
        };
        let witnesses = value(&layers, "witness_policy_file", Witnesses::read)?;
        let config = Config {
            store: StoreConfig::of(&layers)?,
            listen: value(&layers, "listen", listen)?.unwrap_or_else(|| "127.0.0.1:8080".to_owned()),
            tls: tls_files(&layers)?,
            role: value(&layers, "role", |text| text.parse().map_err(|error: UnknownRole| error.to_string()))?.unwrap_or(Role::All),
            staleness_max: Duration::from_secs(number("staleness_s_max", 1..=31_536_000, 300)?),
            wait_max: Duration::from_millis(number("wait_ms_max", 0..=600_000, 5000)?),
            idempotency_kept: Duration::from_secs(3600 * number("idempotency_hours", 1..=87_600, 168)?),
            audit_details_kept: value(&layers, "audit_retention_days", |text| whole(text, &AUDIT_RETENTION_DAYS))?.map(days),
            body_bytes_max: usize::try_from(number("body_bytes_max", 1024..=1 << 30, 1 << 20)?).unwrap_or(usize::MAX),
            open_issuance: value(&layers, "open_issuance", flag)?.unwrap_or(false),
            accounts: accounts(&layers)?,
            rate_limits: rate_limits(&layers)?,
            redis: given_or_in_file(&layers, "redis_url", "redis_url_file")?,
            trusted_proxies: value(&layers, "trusted_proxies", TrustedProxies::read)?.unwrap_or_default(),
            checkpoint_interval: Duration::from_secs(number("checkpoint_interval_s", 1..=86_400, 5)?),
            checkpoint_anchor: value(&layers, "checkpoint_anchor", |text| anchor(text, witnesses.as_ref()))?,
            witnesses,
            audit_tiles_public: value(&layers, "audit_tiles_public", flag)?.unwrap_or(false),
            oidc: Oidc::read(&layers)?,
            cors_origins: value(&layers, "cors_origins", origins)?.unwrap_or_default(),
            drain_max: Duration::from_secs(number("drain_s_max", 0..=3600, 30)?),
        };
        Ok((config, layers.warnings))
    }
}

/// A month is in use for 31 days, so that nothing in use can be older.
const AUDIT_RETENTION_DAYS: std::ops::RangeInclusive<u64> = 31..=36_500;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

fn accounts(layers: &Layers) -> Result<Accounts, Error> {
    let default = Accounts::default();
    let number = |name, range: std::ops::RangeInclusive<u64>| value(layers, name, |text| whole(text, &range));
    let small = |name, range, default| {
        let number = number(name, range)?;
        Ok::<_, Error>(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default))
    };
    Ok(Accounts {
        open_registration: value(layers, "registration", open_or_closed)?.unwrap_or(default.open_registration),
        access_token: number("access_token_s", 10..=86_400)?.map_or(default.access_token, Duration::from_secs),
        session: number("session_hours", 1..=87_600)?.map_or(default.session, |hours| Duration::from_secs(3600 * hours)),
        password: PasswordCost {
            // Argon2 takes 8 KiB a lane at least.
            memory_kib: small("password_memory_kib", 128..=4_194_304, default.password.memory_kib)?,
            iterations: small("password_iterations", 1..=100, default.password.iterations)?,
            lanes: small("password_lanes", 1..=16, default.password.lanes)?,
        },
    })
}

fn open_or_closed(text: &str) -> Result<bool, String> {
    match text {
        "open" => Ok(true),
        "closed" => Ok(false),
        _ => Err("expected open or closed".to_owned()),
    }
}

fn value<T>(layers: &Layers, name: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Error> {
    let Some((source, text)) = layers.get(name) else { return Ok(None) };
    read(text.trim()).map(Some).map_err(|problem| Error::of(&source, problem))
}

/// A URL that may hold a password, and therefore may be given in a file.
fn given_or_in_file<T: FromStr<Err: fmt::Display>>(layers: &Layers, name: &'static str, file: &'static str) -> Result<Option<T>, Error> {
    let Some((source, text)) = layers.either(name, file)? else { return Ok(None) };
    let text = if source.is_of(file) {
        std::fs::read_to_string(&text).map_err(|error| Error::of(&source, format!("cannot read {text}: {error}")))?
    } else {
        text
    };
    text.trim().parse().map(Some).map_err(|error: T::Err| Error::of(&source, error))
}

/// A file, a value or a command. Whoever gives two of them, wherever, is told so: the one that is passed over might be the one that
/// opens the vault.
fn master_key_source(layers: &Layers) -> Result<Option<Arc<dyn master_key::Source>>, Error> {
    let (file, text, command) = (layers.get("master_key_file"), layers.get("master_key"), layers.get("master_key_command"));
    let given: Vec<&Source> = [&file, &text, &command].into_iter().flatten().map(|(source, _)| source).collect();
    if let [one, other, ..] = given[..] {
        return Err(Error::of(one, format!("give this or {other}, not both")));
    }
    Ok(match (file, text, command) {
        (Some((_, path)), ..) => {
            let name = format!("{} ({path})", variable("master_key_file"));
            Some(Arc::new(master_key::source::File::new(name, path.into())))
        }
        (_, Some((source, text)), _) => Some(Arc::new(master_key::source::Given::new(source.to_string(), text.into()))),
        (.., Some((source, command))) => Some(Arc::new(master_key::source::Command::new(source.to_string(), command.into()))),
        _ => None,
    })
}

fn tls_files(layers: &Layers) -> Result<Option<tls::Files>, Error> {
    let lacks = |given: &Source, other| Error::of(given, format!("{} is needed, too", variable(other)));
    match (layers.get("tls_certificate_file"), layers.get("tls_key_file")) {
        (None, None) => Ok(None),
        (Some((_, certificate)), Some((_, key))) => Ok(Some(tls::Files { certificate: certificate.into(), key: key.into() })),
        (Some((given, _)), None) => Err(lacks(&given, "tls_key_file")),
        (None, Some((given, _))) => Err(lacks(&given, "tls_certificate_file")),
    }
}

fn rate_limits(layers: &Layers) -> Result<RateLimits, Error> {
    let limited = value(layers, "rate_limit", on_or_off)?.unwrap_or(true);
    let rate = |name, default: &str| {
        let given = value(layers, name, |text| text.parse::<RateLimit>().map_err(|error| error.to_string()))?;
        Ok::<_, Error>(given.or_else(|| default.parse().ok()).filter(|_| limited))
    };
    Ok(RateLimits {
        public: rate("rate_limit_public", "600/1m")?,
        authenticated: rate("rate_limit_authenticated", "6000/1m")?,
        login_failures: rate("rate_limit_login_failures", "5/15m")?,
    })
}

fn whole(text: &str, range: &std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
}

fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "expected true or false".to_owned())
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected on or off".to_owned()),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("expected auto, json or text".to_owned()),
    }
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|error| format!("not a tracing filter: {error}"))?;
    Ok(text.to_owned())
}

fn listen(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err("expected an address and a port, such as 127.0.0.1:8080".to_owned());
    }
    Ok(text.to_owned())
}

fn anchor(text: &str, witnesses: Option<&Witnesses>) -> Result<Anchor, String> {
    match text.split_once(':') {
        Some(("file", path)) if !path.is_empty() && !path.ends_with('/') => Ok(Anchor::File(path.into())),
        Some(("witness", name)) if !name.is_empty() => {
            let witnesses = witnesses.ok_or_else(|| format!("a witness is named, but no {}", variable("witness_policy_file")))?;
            witnesses.anchor(name)
        }
        _ => Err("expected file: and a path, or witness: and a name in the policy".to_owned()),
    }
}

/// It is hashed into every log, and later named in signed notes, whose names have neither spaces nor plus signs.
fn origin(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'+';
    let whole = (1..=200).contains(&text.len()) && text.bytes().all(fits);
    if !whole || text.contains("://") || text.starts_with('/') || text.ends_with('/') {
        return Err("expected a host and an optional path without a scheme, such as ledger.example.org/a".to_owned());
    }
    Ok(text.to_owned())
}

/// It stands in headers and in every event.
fn worker(text: &str) -> Result<String, String> {
    let whole = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if whole { Ok(text.to_owned()) } else { Err("expected 1 to 128 visible ASCII characters".to_owned()) }
}

fn host_name() -> String {
    let name = gethostname::gethostname();
    let name: String = name.to_string_lossy().chars().filter(char::is_ascii_graphic).take(128).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

fn origins(text: &str) -> Result<Vec<HeaderValue>, String> {
    let problem = "expected origins such as https://app.example.org, separated by commas".to_owned();
    let one = |origin: &str| {
        let (scheme, host) = origin.split_once("://")?;
        let whole = matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/');
        HeaderValue::from_str(origin).ok().filter(|_| whole)
    };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(one).collect::<Option<Vec<_>>>().ok_or(problem)
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.count, self.per.as_secs())
    }
}
