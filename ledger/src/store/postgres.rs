//! What every PostgreSQL store of ours shares: how its sessions begin, how its schema is migrated, what its errors mean.
//!
//! A session's `search_path` is the store's schema, so that SQL files name none and serve both logs. It is asked for when the
//! session starts and looked at before the session is used: a connection pooler that hands a session from one transaction
//! to the next (PgBouncer in transaction mode) loses it, and is refused.
//!
//! What was acknowledged must survive: `synchronous_commit` is raised to `on` where it is less and never lowered, and a server
//! that runs with `fsync` or `full_page_writes` off is refused unless that is allowed.
//!
//! No message here holds a URL, which may hold a password.

mod kept;

use std::borrow::Cow;
use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection, SqlSafeStr};

use super::{Error, Source};
use crate::random::{self, SystemRandom};
pub use kept::{Kept, Transaction};

/// How long one waits for a session.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one waits for the answer to a statement. A server that is frozen or cut off keeps its connections open.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one waits for another who migrates, or for whoever uses a table that is to be altered.
const MIGRATION_WAIT: Duration = Duration::from_secs(30);

/// Sessions in a pool when the caller knows no better.
pub const SESSIONS_MAX: u32 = 10;

/// What a session promises about its commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// They survive a crash of the server; a server that is set up otherwise is refused.
    Durable,
    /// As far as the server's own settings go (`CREDENCE_ALLOW_UNSAFE_DURABILITY`). Readiness repeats what is unsafe.
    UnsafeAllowed,
    /// Whatever the server does: for what is derived.
    Derived,
}

/// Whether sessions can be asked for at `url`, with its port and parameters.
#[must_use]
pub fn is_url(url: &str) -> bool {
    PgConnectOptions::from_str(url).is_ok()
}

/// Whether both URLs name one server: the same port of the same host, or of the same folder of Unix sockets.
#[must_use]
pub fn is_same_server(one: &str, other: &str) -> bool {
    let server = |url: &str| PgConnectOptions::from_str(url).ok().map(|options| (host(&options), options.get_port()));
    server(one) == server(other)
}

/// Where one connects to: a folder takes the place of the host, which may stand beside it.
fn host(options: &PgConnectOptions) -> PathBuf {
    options.get_socket().cloned().unwrap_or_else(|| PathBuf::from(options.get_host()))
}

/// Whether both URLs name one database of one server.
#[must_use]
pub fn is_same_database(one: &str, other: &str) -> bool {
    // Without one a session is in the database of its login's name.
    let name = |options: &PgConnectOptions| options.get_database().unwrap_or(options.get_username()).to_owned();
    let database = |url: &str| PgConnectOptions::from_str(url).ok().map(|options| name(&options));
    is_same_server(one, other) && database(one) == database(other)
}

/// Whether both URLs lead to one database, by whatever names of its server: what is locked in one is locked in the other. A copy of a
/// server, such as a standby, is another one.
///
/// # Errors
/// As [`Sessions::connect`].
pub async fn is_one_database(one: &str, other: &str) -> Result<bool, Error> {
    // Drawn, so that nobody else has this lock.
    let key = i64::from_be_bytes(random::bytes(&SystemRandom));
    let mut sessions = Vec::new();
    for url in [one, other] {
        let mut session = Sessions::new(url, "public", Durability::Derived)?.connect().await?;
        let lock = sqlx::query_scalar(include_str!("../../sql/postgres/store/try_lock.sql")).bind(key);
        let is_locked: bool = bounded(lock.fetch_one(&mut session)).await?;
        sessions.push((session, is_locked));
    }
    Ok(sessions.iter().any(|(_, is_locked)| !is_locked))
}

/// How the sessions of one store begin.
#[derive(Clone)]
pub struct Sessions {
    options: PgConnectOptions,
    schema: Cow<'static, str>,
    durability: Durability,
    as_owner: bool,
}

impl Sessions {
    /// Sessions at `url` whose tables are those of `schema`.
    ///
    /// # Errors
    /// The URL is malformed.
    pub fn new(url: &str, schema: impl Into<Cow<'static, str>>, durability: Durability) -> Result<Sessions, Error> {
        let schema = schema.into();
        let options = PgConnectOptions::from_str(url).map_err(|_| Error::Failed("the URL is malformed".into()))?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("credence"),
        };
        let settings = [
            ("search_path", &*schema),
            // Our statements are short: compiling one takes longer than running it ever does.
            ("jit", "off"),
            // "drop if exists" and its kin would tell the log of what is not there.
            ("client_min_messages", "warning"),
            // Whoever waited for a lock must see what was written meanwhile, whatever the database's default is.
            ("default_transaction_isolation", "read committed"),
        ];
        Ok(Sessions { options: options.options(settings), schema, durability, as_owner: false })
    }

    /// The same with another of the server's settings.
    #[must_use]
    pub fn with(self, setting: &str, value: &str) -> Sessions {
        Sessions { options: self.options.options([(setting, value)]), ..self }
    }

    /// The same without any promise.
    #[must_use]
    pub fn derived(&self) -> Sessions {
        Sessions { durability: Durability::Derived, ..self.clone() }
    }

    /// The same for statements that touch few rows, or rows in the order of an index, always. A plan that was made while a
    /// table was small, or before it was analysed, must not read it whole once it has grown.
    #[must_use]
    pub fn by_index(self) -> Sessions {
        let elsewise = ["enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_sort"];
        let sessions = elsewise.into_iter().fold(self, |sessions, way| sessions.with(way, "off"));
        // So there is one good plan, which need not be made again for every value.
        sessions.with("plan_cache_mode", "force_generic_plan")
    }

    /// The same acting as the schema's owner, where the login is a member of it: what is made then belongs to the owner and has
    /// the rights that the owner's things have, and every login of the owner can replace it.
    #[must_use]
    pub fn as_owner(self) -> Sessions {
        Sessions { as_owner: true, ..self }
    }

    /// Begins one session.
    ///
    /// # Errors
    /// [`Error::UnsafeDurability`]; a pooler in between; whatever keeps the server from answering.
    pub async fn connect(&self) -> Result<PgConnection, Error> {
        let connecting = async {
            let mut connection = PgConnection::connect_with(&self.options).await.map_err(error)?;
            self.prepare(&mut connection).await?;
            Ok(connection)
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|late| Err(Error::Unavailable(late.into())))
    }

    /// A pool of such sessions. The first is tried now, the others when they are needed.
    ///
    /// # Errors
    /// As [`Sessions::connect`].
    pub async fn pool(&self, sessions_max: u32) -> Result<PgPool, Error> {
        let _ = self.connect().await?.close().await;
        Ok(self.lazy_pool(sessions_max))
    }

    /// A pool whose first session begins when it is needed.
    pub(crate) fn lazy_pool(&self, sessions_max: u32) -> PgPool {
        let sessions = self.clone();
        let options = PgPoolOptions::new().max_connections(sessions_max).acquire_timeout(CONNECT_TIMEOUT);
        let options = options.after_connect(move |connection, _| {
            let sessions = sessions.clone();
            Box::pin(async move { sessions.prepare(connection).await.map_err(|refused| sqlx::Error::Configuration(refused.into())) })
        });
        options.connect_lazy_with(self.options.clone())
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let session = Session::of(connection).await?;
        if session.search_path != self.schema {
            return Err(Error::Failed(POOLER.into()));
        }
        if self.as_owner {
            let statement = sqlx::query(include_str!("../../sql/postgres/store/act_as_owner.sql")).bind(&*self.schema);
            bounded(statement.execute(&mut *connection)).await?;
        }
        if self.durability == Durability::Derived {
            return Ok(());
        }
        if let Some(setting) = session.unsafe_setting().filter(|_| self.durability == Durability::Durable) {
            return Err(Error::UnsafeDurability(setting));
        }
        if matches!(session.synchronous_commit.as_str(), "off" | "local" | "remote_write") {
            sqlx::query(include_str!("../../sql/postgres/store/raise_synchronous_commit.sql")).execute(connection).await.map_err(error)?;
        }
        Ok(())
    }
}

const POOLER: &str = "the session does not keep its search_path: a connection pooler stands in between that shares sessions \
                      (PgBouncer in transaction mode); connect to PostgreSQL itself";

/// A pool of the sessions of `schema`.
///
/// # Errors
/// As [`Sessions::connect`].
pub async fn connect(url: &str, schema: impl Into<Cow<'static, str>>, durability: Durability) -> Result<PgPool, Error> {
    Sessions::new(url, schema, durability)?.pool(SESSIONS_MAX).await
}

/// The server's setting by which acknowledged commits can be lost, if there is one, as `fsync=off`.
///
/// # Errors
/// The server does not answer.
pub async fn unsafe_setting(pool: &PgPool) -> Result<Option<String>, Error> {
    let mut connection = bounded(pool.acquire()).await?;
    Ok(Session::of(&mut connection).await?.unsafe_setting())
}

struct Session {
    search_path: String,
    synchronous_commit: String,
    fsync: String,
    full_page_writes: String,
}

impl Session {
    async fn of(connection: &mut PgConnection) -> Result<Session, Error> {
        let statement = sqlx::query_as(include_str!("../../sql/postgres/store/session.sql"));
        let (search_path, synchronous_commit, fsync, full_page_writes) = bounded(statement.fetch_one(connection)).await?;
        Ok(Session { search_path, synchronous_commit, fsync, full_page_writes })
    }

    fn unsafe_setting(&self) -> Option<String> {
        let settings = [("fsync", &self.fsync), ("full_page_writes", &self.full_page_writes)];
        settings.into_iter().find(|(_, value)| *value == "off").map(|(name, value)| format!("{name}={value}"))
    }
}

/// Waits for an answer of the server, at most [`ANSWER_TIMEOUT`].
///
/// # Errors
/// The server's, by [`error`]; [`Error::Unavailable`] when it does not answer.
pub async fn bounded<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(error),
        Err(late) => Err(Error::Unavailable(late.into())),
    }
}

/// What an error of PostgreSQL or of the way to it means to a caller.
#[must_use]
pub fn error(failed: sqlx::Error) -> Error {
    match failed {
        sqlx::Error::Database(refused) => {
            let code = refused.code().unwrap_or_default().into_owned();
            if code == "08P01" && refused.message().contains("startup parameter") {
                return Error::Failed(POOLER.into());
            }
            // The server's own words: around them sqlx tells the line of the server's source, and twice.
            by_code(&code, refused.message().into())
        }
        sqlx::Error::Io(failed) => Error::Unavailable(failed.into()),
        sqlx::Error::Tls(failed) => Error::Unavailable(failed),
        sqlx::Error::Configuration(refused) => match refused.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::Failed(other),
        },
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
            Error::Unavailable(failed.into())
        }
        _ => Error::Failed(failed.into()),
    }
}

/// The codes are those of PostgreSQL's documentation, appendix A.
fn by_code(code: &str, source: Source) -> Error {
    match (code, code.get(..2).unwrap_or_default()) {
        // insufficient privilege; wrong password or no such login
        ("42501", _) | (_, "28") => Error::Denied(source),
        // undefined table, schema, column, function
        ("42P01" | "3F000" | "42703" | "42883", _) => Error::NotMigrated,
        // lock not available, serialization failure, deadlock
        ("55P03" | "40001" | "40P01", _) => Error::Busy,
        // a standby, as after a failover; the session sat idle in a transaction
        ("25006" | "25P03", _) => Error::Unavailable(source),
        // connection lost, out of resources, shut down by its administrator, input or output failed
        (_, "08" | "53" | "57" | "58") => Error::Unavailable(source),
        (_, "XX") => Error::Corrupt(source.to_string()),
        _ => Error::Failed(source),
    }
}

/// One step of a schema: number, name, statements. Permanent once released.
pub type Step = (i64, &'static str, &'static str);

fn migrator(steps: &[Step]) -> Migrator {
    let migration =
        |(number, name, sql): &Step| Migration::new(*number, Cow::Borrowed(*name), MigrationType::Simple, (*sql).into_sql_str(), false);
    Migrator::with_migrations(steps.iter().map(migration).collect())
}

/// Brings `schema` up to `steps`, making it where it is missing. Any number of processes may do so at once. A step takes the time that it
/// takes; only locks are not waited for without end.
///
/// # Errors
/// [`Error::NewerSchema`]; [`Error::Denied`] when the login may not, though something is to be done; [`Error::Busy`] when another one
/// who migrates does not come to an end.
pub async fn migrate(url: &str, schema: &'static str, steps: &[Step]) -> Result<(), Error> {
    migrate_within(url, schema, steps, MIGRATION_WAIT).await
}

async fn migrate_within(url: &str, schema: &'static str, steps: &[Step], wait: Duration) -> Result<(), Error> {
    // A login without the right to create anything can still use a schema that is up to date.
    if pending(url, schema, steps).await?.is_empty() {
        return Ok(());
    }
    let sessions = Sessions::new(url, schema, Durability::UnsafeAllowed)?.with("lock_timeout", &format!("{}ms", wait.as_millis()));
    let mut connection = sessions.connect().await?;
    let mut migrator = migrator(steps);
    if access(&mut connection, schema).await?.is_none() {
        migrator.create_schema(schema);
    }
    // The migrator's lock belongs to the session, which ends with this function, also when a step failed.
    migrator.run_direct(None, &mut connection, false).await.map_err(migrate_error)
}

/// The same for a process that migrates on its way when its login may.
///
/// # Errors
/// [`Error::NotMigrated`] when the login may not; otherwise as [`migrate`].
pub async fn migrate_if_allowed(url: &str, schema: &'static str, steps: &[Step]) -> Result<(), Error> {
    if pending(url, schema, steps).await?.is_empty() {
        return Ok(());
    }
    match migrate(url, schema, steps).await {
        Err(Error::Denied(reason)) => {
            tracing::info!(schema, %reason, "this login may not migrate");
            Err(Error::NotMigrated)
        }
        done => done,
    }
}

/// The names of the steps that `schema` lacks.
///
/// # Errors
/// [`Error::NewerSchema`]; [`Error::Denied`] when the login may not even look.
pub async fn pending(url: &str, schema: &'static str, steps: &[Step]) -> Result<Vec<&'static str>, Error> {
    let mut connection = Sessions::new(url, schema, Durability::UnsafeAllowed)?.connect().await?;
    missing(&mut connection, schema, steps).await
}

/// Holds the schema against `steps` and changes nothing.
///
/// # Errors
/// [`Error::NotMigrated`], [`Error::NewerSchema`], or [`Error::Denied`] when the login may not even look.
pub async fn require_current(pool: &PgPool, schema: &str, steps: &[Step]) -> Result<(), Error> {
    let mut connection = bounded(pool.acquire()).await?;
    match missing(&mut connection, schema, steps).await?.as_slice() {
        [] => Ok(()),
        _ => Err(Error::NotMigrated),
    }
}

async fn missing(connection: &mut PgConnection, schema: &str, steps: &[Step]) -> Result<Vec<&'static str>, Error> {
    let statement = sqlx::query_scalar::<_, i64>(include_str!("../../sql/postgres/store/applied_migrations.sql"));
    let applied = match bounded(statement.fetch_all(&mut *connection)).await {
        Ok(applied) => applied,
        // A schema that one may not use looks as if it were not there.
        Err(Error::NotMigrated) => match access(connection, schema).await? {
            Some(false) => return Err(denied(schema)),
            _ => Vec::new(),
        },
        Err(other) => return Err(other),
    };
    if applied.iter().any(|number| steps.iter().all(|(known, _, _)| known != number)) {
        return Err(Error::NewerSchema);
    }
    Ok(steps.iter().filter(|(number, _, _)| !applied.contains(number)).map(|(_, name, _)| *name).collect())
}

/// Whether `schema` is there.
///
/// # Errors
/// [`Error::Denied`] when it is, but not for this login; the server's.
pub async fn schema_exists(pool: &PgPool, schema: &str) -> Result<bool, Error> {
    let mut connection = bounded(pool.acquire()).await?;
    match access(&mut connection, schema).await? {
        Some(true) => Ok(true),
        Some(false) => Err(denied(schema)),
        None => Ok(false),
    }
}

fn denied(schema: &str) -> Error {
    Error::Denied(format!("no right to use the schema {schema}").into())
}

/// Whether the login may use `schema`; `None` when it does not exist.
async fn access(connection: &mut PgConnection, schema: &str) -> Result<Option<bool>, Error> {
    bounded(sqlx::query_scalar(include_str!("../../sql/postgres/store/schema_access.sql")).bind(schema).fetch_optional(connection)).await
}

fn migrate_error(failed: MigrateError) -> Error {
    match failed {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(_, _) => Error::NewerSchema,
        MigrateError::VersionMismatch(number) => Error::Corrupt(format!("step {number} of the schema is not the one this program knows")),
        MigrateError::Execute(failed) | MigrateError::ExecuteMigration(failed, _) => error(failed),
        other => Error::Failed(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::postgres::{Database, Server};

    const ONE: &[Step] = &[(1, "one", "create table one (x integer)")];
    const TWO: &[Step] = &[ONE[0], (2, "two", "create table two (x integer)")];

    async fn setting(connection: &mut PgConnection, name: &str) -> String {
        sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(connection).await.unwrap()
    }

    async fn execute(url: &str, statement: String) {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }

    fn name_of(url: &str) -> &str {
        url.rsplit('/').find_map(|part| part.split('?').next().filter(|name| name.starts_with("credence_test_"))).unwrap()
    }

    #[tokio::test]
    async fn synchronous_commit_is_raised_where_it_is_less_and_never_lowered() {
        let database = Database::create().await;
        for (given, effective) in [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")] {
            execute(&database.url, format!("alter database {} set synchronous_commit = {given}", name_of(&database.url))).await;
            let sessions = Sessions::new(&database.url, "ledger", Durability::Durable).unwrap();
            assert_eq!(setting(&mut sessions.connect().await.unwrap(), "synchronous_commit").await, effective, "{given}");
            let pool = sessions.pool(1).await.unwrap();
            assert_eq!(setting(&mut pool.acquire().await.unwrap(), "synchronous_commit").await, effective, "{given}");
            let derived = sessions.derived().connect().await.unwrap();
            assert_eq!(setting(&mut { derived }, "synchronous_commit").await, given);
        }
    }

    #[tokio::test]
    async fn a_server_that_loses_commits_is_refused_unless_that_is_allowed() {
        for name in ["fsync", "full_page_writes"] {
            let server = Server::start_private_with(&[(name, "off")]).await;
            let url = server.url("postgres");
            let refused = connect(&url, "ledger", Durability::Durable).await;
            assert!(matches!(refused, Err(Error::UnsafeDurability(setting)) if setting == format!("{name}=off")));
            let pool = connect(&url, "ledger", Durability::UnsafeAllowed).await.unwrap();
            assert_eq!(unsafe_setting(&pool).await.unwrap(), Some(format!("{name}=off")));
        }
        let database = Database::create().await;
        let pool = connect(&database.url, "ledger", Durability::Durable).await.unwrap();
        assert_eq!(unsafe_setting(&pool).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_session_that_loses_its_search_path_is_refused() {
        let database = Database::create().await;
        let sessions = Sessions::new(&database.url, "ledger", Durability::Durable).unwrap();
        let mut shared = sessions.connect().await.unwrap();
        sqlx::raw_sql("set search_path = public").execute(&mut shared).await.unwrap();
        let refused = sessions.prepare(&mut shared).await.unwrap_err();
        assert!(format!("{refused:?}").contains("pooler"), "{refused:?}");
    }

    #[tokio::test]
    async fn a_wrong_login_is_denied_and_no_message_holds_the_url() {
        let database = Database::create().await;
        for url in [
            "postgres://me:geheim@127.0.0.1:1/x".to_owned(),
            database.url_as("nobody_we_know", "geheim"),
            "postgres://me:geheim@[".to_owned(),
        ] {
            let refused = connect(&url, "ledger", Durability::Durable).await.unwrap_err();
            assert!(!format!("{refused:?}").contains("geheim"), "{refused:?}");
        }
        let refused = connect(&database.url_as("nobody_we_know", "geheim"), "ledger", Durability::Durable).await;
        assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
        let refused = connect("postgres://me@127.0.0.1:1/x", "ledger", Durability::Durable).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn what_the_server_says_is_told_once_and_without_its_source() {
        let database = Database::create().await;
        let refused = connect(&database.url_as("nobody_we_know", "geheim"), "ledger", Durability::Durable).await.unwrap_err();
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        let failed = error(sqlx::query("select 1 / 0").execute(&mut connection).await.unwrap_err());
        for (error, words) in [(refused, "role \"nobody_we_know\" does not exist"), (failed, "division by zero")] {
            let (Error::Denied(source) | Error::Failed(source)) = error else { panic!("{error:?}") };
            assert_eq!((source.to_string().as_str(), source.source().map(ToString::to_string)), (words, None));
        }
    }

    #[tokio::test]
    async fn a_schema_is_brought_up_once_however_many_do_it_and_a_newer_one_is_refused() {
        let database = Database::create().await;
        assert_eq!(pending(&database.url, "ledger", TWO).await.unwrap(), ["one", "two"]);
        let all = (0..4).map(|_| migrate(&database.url, "ledger", TWO));
        futures::future::try_join_all(all).await.unwrap();
        assert!(pending(&database.url, "ledger", TWO).await.unwrap().is_empty());
        assert!(matches!(migrate(&database.url, "ledger", ONE).await, Err(Error::NewerSchema)));
        let pool = connect(&database.url, "ledger", Durability::Durable).await.unwrap();
        require_current(&pool, "ledger", TWO).await.unwrap();
        assert!(matches!(require_current(&pool, "ledger", ONE).await, Err(Error::NewerSchema)));
        let three = [TWO, &[(3, "three", "")]].concat();
        assert!(matches!(require_current(&pool, "ledger", &three).await, Err(Error::NotMigrated)));
    }

    #[tokio::test]
    async fn another_who_migrates_without_end_is_not_waited_for_without_end() {
        let database = Database::create().await;
        let mut other = PgConnection::connect(&database.url).await.unwrap();
        sqlx::migrate::Migrate::lock(&mut other).await.unwrap();
        let impatiently = |steps| migrate_within(&database.url, "ledger", steps, Duration::from_millis(200));
        let refused = tokio::time::timeout(CONNECT_TIMEOUT, impatiently(ONE)).await;
        assert!(matches!(refused, Ok(Err(Error::Busy))), "{refused:?}");
        other.close().await.unwrap();
        migrate(&database.url, "ledger", TWO).await.unwrap();
        // Nor is whoever uses a table that a step wants for itself; the step is taken later.
        let three = [TWO, &[(3, "three", "lock table one in access exclusive mode")]].concat();
        let mut other = PgConnection::connect(&database.url).await.unwrap();
        sqlx::raw_sql("begin; select x from ledger.one").execute(&mut other).await.unwrap();
        let refused = tokio::time::timeout(CONNECT_TIMEOUT, impatiently(&three)).await;
        assert!(matches!(refused, Ok(Err(Error::Busy))), "{refused:?}");
        assert_eq!(pending(&database.url, "ledger", &three).await.unwrap(), ["three"]);
        other.close().await.unwrap();
        migrate(&database.url, "ledger", &three).await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_freezes_is_unavailable_in_time() {
        let server = Server::start_private().await;
        let sessions = Sessions::new(&server.url("postgres"), "ledger", Durability::Durable).unwrap();
        server.pause();
        assert!(matches!(sessions.connect().await, Err(Error::Unavailable(_))));
        server.resume();
        sessions.connect().await.unwrap();
    }

    #[tokio::test]
    async fn a_database_is_known_again_under_another_name_of_its_server() {
        let (server, another) = (Server::start_private().await, Server::start_private().await);
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        let url = server.url("postgres");
        let (rest, sockets) = url.split_once("?host=").unwrap();
        std::os::unix::fs::symlink(sockets, &link).unwrap();
        let renamed = format!("{rest}?host={}", link.display());
        assert!(!is_same_database(&url, &renamed), "the names alone do not tell");
        assert!(is_one_database(&url, &renamed).await.unwrap());
        assert!(is_one_database(&url, &url).await.unwrap());
        for other in [server.url("template1"), another.url("postgres")] {
            assert!(!is_one_database(&url, &other).await.unwrap(), "{other}");
        }
    }

    #[tokio::test]
    async fn every_statement_is_one_that_postgres_takes() {
        let database = Database::create().await;
        migrate(&database.url, "ledger", ONE).await.unwrap();
        crate::testing::postgres::prepare_all(&database.url, "ledger", "store").await;
    }
}
