//! A real PostgreSQL for tests.
//!
//! [`Database::create`] gives an empty database, dropped with the value: on the server that `CREDENCE_TEST_POSTGRES` names
//! (a URL whose login may create databases and roles), else on a cluster of our own, made from the binaries of this machine.
//! That cluster is shared by all test processes of this user, since making one takes longer than most tests; it stays a little
//! after its last user and is ended by a watchdog, which also sees users that were killed.
//!
//! [`Server::start_private`] gives a whole cluster to tests that kill, freeze or misconfigure it.
//!
//! Clusters listen on a Unix socket only and run with full durability. When the tests run as root, the server runs as
//! `postgres` (or `nobody`), as it refuses root. Without PostgreSQL a test fails, saying what to install.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that lacks its server fails here and now")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// Names the server to use instead of a cluster of our own.
pub const VARIABLE: &str = "CREDENCE_TEST_POSTGRES";

const START_S_MAX: u64 = 30;
/// How long the shared cluster outlives its last user: longer than the pause between two test programs.
const SHARED_IDLE_S: u64 = 30;

/// An empty database of its own, dropped with this value.
pub struct Database {
    /// As superuser, or as the login of `CREDENCE_TEST_POSTGRES`.
    pub url: String,
    name: String,
    server: String,
}

impl Database {
    /// Makes one.
    pub async fn create() -> Database {
        let server = server_url();
        let database = Database::create_on(&server).await;
        assert!(database.is_ok(), "{}: {}", without_login(&server), database.err().map(|error| error.to_string()).unwrap_or_default());
        database.expect("just looked")
    }

    /// Makes one on the server at `server`, a URL with a maintenance database.
    async fn create_on(server: &str) -> Result<Database, sqlx::Error> {
        let name = format!("credence_test_{}", hex::encode(crate::random::bytes::<8>(&crate::random::SystemRandom)));
        let mut connection = PgConnection::connect(server).await?;
        connection.execute(AssertSqlSafe(format!("create database {name}"))).await?;
        connection.close().await?;
        Ok(Database { url: with_database(server, &name), name, server: server.to_owned() })
    }

    /// The same database under another login.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str) -> String {
        let (scheme, rest) = self.url.split_once("://").expect("a URL");
        let host = rest.split_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{user}:{password}@{host}")
    }
}

impl Drop for Database {
    /// Best effort: what is left behind ends with the cluster.
    fn drop(&mut self) {
        let (server, statement) = (self.server.clone(), format!("drop database if exists {} with (force)", self.name));
        let drop = async move {
            let mut connection = PgConnection::connect(&server).await?;
            connection.execute(AssertSqlSafe(statement)).await?;
            connection.close().await
        };
        // A thread of its own, because the test's runtime may be the one that is dropping us.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let bounded = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), drop).await });
            drop_errors(bounded)
        });
        let _ = dropping.join();
    }
}

/// Prepares every statement of this crate's folder `sql/postgres/FOLDER` in the schema `schema`.
#[cfg(test)]
pub(crate) async fn prepare_all(url: &str, schema: &'static str, folder: &str) {
    let sessions = crate::store::postgres::Sessions::new(url, schema, crate::store::postgres::Durability::Durable).expect("a URL");
    let mut connection = sessions.connect().await.expect("the server is running");
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/postgres").join(folder)).expect("the folder exists");
    let mut prepared = 0;
    for file in files {
        let path = file.expect("a folder's entry").path();
        let statement = fs::read_to_string(&path).expect("a text");
        let refused = connection.prepare(sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(statement))).await.err();
        assert!(refused.is_none(), "{}: {refused:?}", path.display());
        prepared += 1;
    }
    assert!(prepared > 0, "no statement in {folder}");
}

fn drop_errors(result: Result<Result<(), sqlx::Error>, tokio::time::error::Elapsed>) -> std::io::Result<()> {
    result.map_err(std::io::Error::other)?.map_err(std::io::Error::other)
}

/// A cluster that belongs to one test, ended with this value.
pub struct Server {
    cluster: Cluster,
    child: Option<Child>,
    settings: Vec<(String, String)>,
}

impl Server {
    /// Makes a cluster and starts it.
    pub async fn start_private() -> Server {
        Server::start_private_with(&[]).await
    }

    /// Makes a cluster and starts it with these settings besides the usual ones, such as `("fsync", "off")`.
    pub async fn start_private_with(settings: &[(&str, &str)]) -> Server {
        let name = format!("credence-pg-{}", hex::encode(crate::random::bytes::<6>(&crate::random::SystemRandom)));
        let cluster = Cluster { folder: temporary_folder().join(name), binaries: Binaries::find(), account: Account::find() };
        cluster.create();
        cluster.register();
        cluster.watch(2);
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut server = Server { cluster, child: None, settings };
        server.start().await;
        server
    }

    /// Where the database `database` is found. `postgres` exists from the beginning.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.cluster.url(database)
    }

    /// The folder of its data files.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.cluster.folder.join("data")
    }

    /// An empty database on this server.
    pub async fn create_database(&self) -> Database {
        Database::create_on(&self.url("postgres")).await.expect("the server is running")
    }

    /// Starts it again after [`Server::kill9`] or [`Server::stop_fast`]; answers when it takes connections.
    pub async fn start(&mut self) {
        assert!(self.child.is_none(), "the server is running");
        self.child = Some(self.cluster.start(&self.settings));
        self.cluster.wait_until_ready().await;
    }

    /// Kills the server and all its processes at once, as a power failure would, but for the disk cache.
    pub fn kill9(&mut self) {
        // Stopped first, so that it starts no process that we do not see.
        self.signal_server(Signal::STOP);
        let processes = self.processes();
        for process in &processes {
            let _ = kill_process(*process, Signal::KILL);
        }
        self.reap();
        // A server that starts while one of them is still going finds its memory in use.
        let deadline = Instant::now() + Duration::from_secs(START_S_MAX);
        while processes.iter().any(|process| is_alive(*process)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it in an orderly way; open transactions are rolled back.
    pub fn stop_fast(&mut self) {
        self.signal_server(Signal::INT);
        self.reap();
    }

    /// Freezes every process of the server: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal_server(Signal::STOP);
        for process in self.processes() {
            let _ = kill_process(process, Signal::STOP);
        }
    }

    /// Ends [`Server::pause`].
    pub fn resume(&self) {
        for process in self.processes() {
            let _ = kill_process(process, Signal::CONT);
        }
    }

    fn signal_server(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the server is running");
        kill_process(pid_of(child), signal).expect("the server is ours");
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().expect("the server is our child");
        }
        let _ = fs::remove_file(self.cluster.pid_file());
    }

    /// The server and its children.
    fn processes(&self) -> Vec<Pid> {
        let server = pid_of(self.child.as_ref().expect("the server is running"));
        let listed = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().expect("ps (package procps) lists processes");
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let pairs = text.lines().filter_map(|line| {
            let mut numbers = line.split_whitespace().filter_map(|number| number.parse::<i32>().ok());
            Some((numbers.next()?, numbers.next()?))
        });
        let children = pairs.filter(|(_, parent)| *parent == server.as_raw_nonzero().get()).filter_map(|(pid, _)| Pid::from_raw(pid));
        children.chain([server]).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Stopped at once, without the checkpoint of an orderly stop; a frozen server must first be woken.
            let _ = kill_process(pid_of(child), Signal::QUIT);
            let _ = kill_process(pid_of(child), Signal::CONT);
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.cluster.folder);
    }
}

/// The maintenance database of the server for [`Database::create`].
fn server_url() -> String {
    static SHARED: OnceLock<String> = OnceLock::new();
    if let Ok(url) = std::env::var(VARIABLE) {
        return url;
    }
    // A thread of its own, since the first caller may be in a runtime, where blocking on another is not allowed.
    SHARED.get_or_init(|| std::thread::spawn(shared_cluster).join().expect("the shared cluster starts")).clone()
}

/// Joins the shared cluster, making and starting it if need be.
fn shared_cluster() -> String {
    let account = Account::find();
    let cluster = Cluster {
        folder: temporary_folder().join(format!("credence-pg-{}", rustix::process::getuid().as_raw())),
        binaries: Binaries::find(),
        account,
    };
    let lock = File::create(cluster.folder.with_extension("lock")).expect("the temporary folder is writable");
    lock.lock().expect("a local file can be locked");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let deadline = Instant::now() + Duration::from_secs(2 * START_S_MAX);
    loop {
        assert!(Instant::now() < deadline, "the test cluster in {} does not start", cluster.folder.display());
        if !cluster.is_running() {
            if cluster.folder.exists() && !cluster.is_closing() {
                // It fails when the watchdog was faster; then the next round looks again.
                let _ = fs::remove_dir_all(&cluster.folder);
            }
            if !cluster.folder.exists() {
                cluster.create();
                // Nobody waits for this child: it outlives us, and is reaped by the system.
                drop(cluster.start(&[]));
            }
        }
        cluster.register();
        if cluster.is_closing() {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        }
        runtime.block_on(cluster.wait_until_ready());
        cluster.ensure_watched();
        if cluster.is_registered() {
            return cluster.url("postgres");
        }
    }
}

/// A cluster in a folder: `data`, the socket, `server.log`, and what the watchdog looks at.
struct Cluster {
    folder: PathBuf,
    binaries: Binaries,
    account: Option<Account>,
}

impl Cluster {
    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost:5432/{database}?host={}", self.folder.display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("server.pid")
    }

    fn is_running(&self) -> bool {
        let alive = read_pid(&self.pid_file()).is_some_and(is_alive);
        alive && UnixStream::connect(self.socket()).is_ok()
    }

    /// Makes the folder and the cluster's files.
    fn create(&self) {
        fs::create_dir_all(self.folder.join("users")).expect("the temporary folder is writable");
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700)).expect("the folder is ours");
        if let Some(account) = &self.account {
            chown(&self.folder, Some(account.uid), Some(account.gid)).expect("root may give a folder away");
        }
        let mut initdb = self.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--pgdata"]);
        initdb.arg(self.folder.join("data"));
        let output = initdb.output().expect("initdb runs");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts the server as a child, in a process group of its own, so that an interrupt on the terminal leaves it alone.
    fn start(&self, settings: &[(String, String)]) -> Child {
        let log = File::options().create(true).append(true).open(self.folder.join("server.log")).expect("the folder is ours");
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        server.args(["-p", "5432", "-h", "", "-c", "max_connections=300", "-c", "shared_buffers=64MB"]);
        for (name, value) in settings {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        server.stdin(Stdio::null()).stdout(log.try_clone().expect("an open file")).stderr(log).process_group(0);
        let child = server.spawn().expect("postgres runs");
        fs::write(self.pid_file(), child.id().to_string()).expect("the folder is ours");
        child
    }

    async fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(START_S_MAX);
        loop {
            match PgConnection::connect(&self.url("postgres")).await {
                Ok(connection) => return drop(connection.close().await),
                Err(error) if Instant::now() > deadline => {
                    let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                    panic!("the test server does not start: {error}\n{log}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Says that this process uses the cluster. A folder that is being removed may swallow it: see [`Cluster::is_registered`].
    fn register(&self) {
        let _ = fs::create_dir_all(self.folder.join("users"));
        let _ = fs::write(self.user_file(), "");
    }

    fn is_registered(&self) -> bool {
        self.user_file().exists() && !self.is_closing()
    }

    fn user_file(&self) -> PathBuf {
        self.folder.join("users").join(std::process::id().to_string())
    }

    fn ensure_watched(&self) {
        if !self.is_watched() {
            let _ = fs::remove_file(self.folder.join("closing"));
            self.watch(SHARED_IDLE_S);
        }
    }

    fn is_watched(&self) -> bool {
        read_pid(&self.folder.join("watchdog.pid")).is_some_and(is_alive)
    }

    /// Whether the watchdog is about to take it away. One that was killed at that takes away nothing.
    fn is_closing(&self) -> bool {
        self.folder.join("closing").exists() && self.is_watched()
    }

    /// Starts the watchdog, which ends with the cluster.
    fn watch(&self, idle_s: u64) {
        let script = self.folder.join("watchdog.sh");
        let mut file = File::create(&script).expect("the folder is ours");
        file.write_all(include_bytes!("watchdog.sh")).expect("the folder is ours");
        let mut watchdog = Command::new("sh");
        watchdog.arg(&script).arg(&self.folder).arg(idle_s.to_string()).current_dir("/");
        watchdog.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        #[expect(clippy::zombie_processes, reason = "it outlives us")]
        let child = watchdog.spawn().expect("sh runs");
        fs::write(self.folder.join("watchdog.pid"), child.id().to_string()).expect("the folder is ours");
    }

    /// One of PostgreSQL's programs, under the account that may run a server.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.0.join(program));
        command.current_dir("/").env_remove("PGDATA").env("LC_ALL", "C");
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }
}

/// The folder that holds `initdb` and `postgres`.
struct Binaries(PathBuf);

impl Binaries {
    fn find() -> Binaries {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path().join("bin"));
        // The newest of the packaged versions first: they are plain numbers.
        let mut packaged: Vec<PathBuf> = packaged.collect();
        packaged.sort_by_key(|folder| {
            let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok());
            std::cmp::Reverse(version)
        });
        let complete = |folder: &PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
        // Packages put links into the PATH, and the server finds its files by its true place.
        let listed = std::env::split_paths(&path).filter(complete).filter_map(|folder| fs::canonicalize(folder.join("postgres")).ok());
        let listed = listed.filter_map(|program| program.parent().map(Path::to_owned));
        let found = listed.chain(packaged).find(complete);
        assert!(
            found.is_some(),
            "no PostgreSQL: install the server (Debian and Ubuntu: apt-get install postgresql) or set {VARIABLE} to the URL of one \
             whose login may create databases"
        );
        Binaries(found.expect("just looked"))
    }
}

/// Whom the server runs as when we are root.
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    fn find() -> Option<Account> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let accounts = fs::read_to_string("/etc/passwd").expect("the list of accounts is readable");
        let find = |wanted: &str| {
            let mut fields =
                accounts.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == wanted)?.into_iter();
            Some(Account { uid: fields.nth(2)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        };
        let account = find("postgres").or_else(|| find("nobody"));
        assert!(account.is_some(), "PostgreSQL refuses to run as root, and there is neither an account postgres nor one named nobody");
        account
    }
}

/// A short one: a socket's path holds about a hundred bytes.
fn temporary_folder() -> PathBuf {
    let folder = std::env::temp_dir();
    if folder.as_os_str().len() <= 60 { folder } else { PathBuf::from("/tmp") }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn read_pid(file: &Path) -> Option<Pid> {
    Pid::from_raw(fs::read_to_string(file).ok()?.trim().parse().ok().filter(|pid| *pid > 0)?)
}

fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

fn with_database(server: &str, database: &str) -> String {
    let (address, parameters) = server.split_once('?').map_or((server, None), |(address, parameters)| (address, Some(parameters)));
    let (scheme, rest) = address.split_once("://").expect("a URL");
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    let parameters = parameters.map(|parameters| format!("?{parameters}")).unwrap_or_default();
    format!("{scheme}://{host}/{database}{parameters}")
}

fn without_login(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(url: &str) -> Result<i32, sqlx::Error> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query_scalar("select 42").fetch_one(&mut connection).await
    }

    #[tokio::test]
    async fn a_database_is_empty_and_gone_afterwards() {
        let database = Database::create().await;
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        let tables: i64 =
            sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'").fetch_one(&mut connection).await.unwrap();
        assert_eq!(tables, 0);
        let url = database.url.clone();
        drop(database);
        assert!(PgConnection::connect(&url).await.is_err());
    }

    #[tokio::test]
    async fn a_private_server_survives_being_killed_and_frozen() {
        let mut server = Server::start_private().await;
        let url = server.url("postgres");
        assert_eq!(answer(&url).await.unwrap(), 42);
        server.kill9();
        assert!(answer(&url).await.is_err());
        server.start().await;
        assert_eq!(answer(&url).await.unwrap(), 42);
        server.pause();
        assert!(tokio::time::timeout(Duration::from_millis(200), answer(&url)).await.is_err());
        server.resume();
        assert_eq!(answer(&url).await.unwrap(), 42);
        server.stop_fast();
        assert!(answer(&url).await.is_err());
    }

    #[test]
    fn a_database_is_named_within_a_url() {
        assert_eq!(with_database("postgres://u:p@h:5/x?host=/s", "y"), "postgres://u:p@h:5/y?host=/s");
        assert_eq!(with_database("postgres://h", "y"), "postgres://h/y");
    }
}
