//! The test app: a whole process in this one, on real stores, spoken to over real HTTP.
//!
//! [`engines!`] runs tests on every engine. Kinds of users are types: [`Anonymous`], [`Issuer`], [`Inspector`], [`Operator`]; all of
//! them make requests ([`User`]).

#![cfg(test)]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of this")]

pub mod accounts;
pub mod chain;
pub mod oidc;
pub mod redis;
pub mod witness;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use credence_api::config::{Config, Oidc, RateLimit, ServeOptions, StoreOptions};
use credence_api::node::Node;
use credence_api::oidc::Times;
use credence_api::services::App;
use credence_api::stores::{self, DEFAULT_ISSUER, Sources};
use credence_ledger::event::credential::CredentialIssued;
use credence_ledger::event::subject::SubjectErased;
use credence_ledger::event::{New, Origination};
use credence_ledger::log::{Append, Expected};
use credence_ledger::testing::ManualClock;
use credence_ledger::testing::postgres::Database;
use credence_ledger::vault::{Role, Terms};
use credence_ledger::{Clock, Stream};
use credence_projections::generation::{Held, Lock};
use credence_projections::projection::Projection;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::Connection as _;
use tempfile::TempDir;

/// Where a test's stores are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Makes a test of each function, on every engine: `engines!(a_test, another_test);` beside `async fn a_test(engine: Engine)`.
#[macro_export]
macro_rules! engines {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $test() { super::$test(super::support::Engine::Sqlite).await; })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")] async fn $test() { super::$test(super::support::Engine::Postgres).await; })+
        }
    };
}

/// Stores that end with the test. Several processes may share them.
pub struct Stores {
    pub folder: TempDir,
    database: Option<Database>,
}

impl Stores {
    pub async fn new(engine: Engine) -> Stores {
        let database = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(Database::create().await),
        };
        Stores { folder: TempDir::new().unwrap(), database }
    }

    /// Moves a store out of the way, as if it had been lost. The answer, awaited, puts it back.
    pub async fn lose(&self, store: &str) -> impl Future<Output = ()> + use<> {
        let rename = async |url: String, from: String, to: String| {
            let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
            let rename = format!("alter schema {from} rename to {to}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(rename)).execute(&mut connection).await.unwrap();
        };
        let (file, aside) = (self.folder.path().join(format!("{store}.sqlite")), self.folder.path().join("aside"));
        let (store, url) = (store.to_owned(), self.database.as_ref().map(|database| database.url.clone()));
        match &url {
            None => std::fs::rename(&file, &aside).unwrap(),
            Some(url) => rename(url.clone(), store.clone(), "aside".to_owned()).await,
        }
        async move {
            match url {
                None => std::fs::rename(aside, file).unwrap(),
                Some(url) => rename(url, "aside".to_owned(), store).await,
            }
        }
    }

    /// Whatever the stores hold on disk: of PostgreSQL every row of every table, and their files, too, where they can be read.
    pub async fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.database {
            None => {
                for file in std::fs::read_dir(self.folder.path()).unwrap() {
                    let path = file.unwrap().path();
                    // Keys are kept beside the stores, for their owner.
                    if path.is_file() && path.extension().is_none_or(|extension| extension != "key") {
                        bytes.extend(std::fs::read(path).unwrap());
                    }
                }
            }
            Some(database) => {
                let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
                let tables =
                    "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('ledger', 'audit', 'vault', 'read')";
                let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
                for table in tables {
                    // Bytes as they are, not in hex: what is text within them would not be found.
                    let rows = format!("select convert_to(t::text, 'UTF8') from {table} t");
                    let rows: Vec<Vec<u8>> = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(&mut connection).await.unwrap();
                    for row in rows {
                        let hex = row.split(|byte| b"(),\"".contains(byte)).filter_map(|part| part.strip_prefix(b"\\\\x"));
                        bytes.extend(hex.filter_map(|digits| hex::decode(digits).ok()).flatten());
                        bytes.extend(row);
                    }
                }
            }
        }
        bytes
    }

    /// The value of `--store`.
    pub fn url(&self) -> String {
        self.database.as_ref().map_or_else(|| format!("sqlite:{}", self.folder.path().display()), |database| database.url.clone())
    }

    /// Where keys are kept.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration of a process on these stores: any free port, no limits, defaults otherwise.
    pub fn config(&self) -> Config {
        let stores = StoreOptions {
            store: Some(self.url()),
            data_dir: Some(self.data_dir().display().to_string()),
            worker_id: Some("test-worker".to_owned()),
            ..StoreOptions::default()
        };
        let serve = ServeOptions { listen: Some("127.0.0.1:0".to_owned()), rate_limit: Some("off".to_owned()), ..ServeOptions::default() };
        let (config, warnings) = Config::read(&stores, &serve, std::iter::empty()).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        config
    }
}

/// How a test app is started.
pub struct Builder {
    stores: Arc<Stores>,
    config: Config,
    sources: Sources,
}

impl Builder {
    /// Changes the configuration.
    pub fn with(mut self, change: impl FnOnce(&mut Config)) -> Builder {
        change(&mut self.config);
        self
    }

    /// Takes the place of the stores' clocks.
    pub fn clock(mut self, clock: Arc<ManualClock>) -> Builder {
        self.sources.clock = Some(clock);
        self
    }

    /// How many appends may wait for each log.
    pub fn queue(mut self, appends: usize) -> Builder {
        self.sources.appender.queue_count = appends;
        self
    }

    /// Takes the tokens of an identity provider.
    pub fn provider(mut self, provider: Oidc, change: impl FnOnce(&mut Times)) -> Builder {
        change(&mut self.sources.oidc);
        self.with(|config| config.oidc = Some(provider))
    }

    /// Limits what an address may ask without credentials.
    pub fn rate_limit(self, rate: &str) -> Builder {
        let rate: RateLimit = rate.parse().unwrap();
        self.with(|config| config.rate_limits.public = Some(rate))
    }

    pub async fn start(self) -> TestApp {
        let node = Node::start(self.config, self.sources).await.unwrap();
        TestApp { node: Some(node), stores: self.stores, client: client() }
    }
}

/// A running process.
pub struct TestApp {
    node: Option<Node>,
    pub stores: Arc<Stores>,
    client: reqwest::Client,
}

impl TestApp {
    /// Everything in one process, with the configuration's defaults.
    pub async fn start(engine: Engine) -> TestApp {
        TestApp::builder(engine).await.start().await
    }

    pub async fn builder(engine: Engine) -> Builder {
        TestApp::on(Arc::new(Stores::new(engine).await))
    }

    /// One more process on stores that there are.
    pub fn on(stores: Arc<Stores>) -> Builder {
        Builder { config: stores.config(), stores, sources: Sources::default() }
    }

    /// What its handlers are given.
    pub fn services(&self) -> &App {
        self.node.as_ref().unwrap().services()
    }

    pub fn address(&self) -> SocketAddr {
        self.node.as_ref().unwrap().address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn anonymous(&self) -> Anonymous {
        Anonymous(self.session(None))
    }

    /// Whoever bears this token.
    pub fn bearer(&self, token: &str) -> Bearer {
        Bearer(self.session(Some(token.to_owned())))
    }

    /// An issuer of the default issuer's credentials.
    pub async fn issuer(&self) -> Issuer {
        self.issuer_of(DEFAULT_ISSUER).await
    }

    /// An issuer with this key.
    pub fn issuer_with(&self, key: &str) -> Issuer {
        Issuer(self.session(Some(key.to_owned())))
    }

    /// An issuer of the credentials of the organisation `name`, which is registered if it is not.
    pub async fn issuer_of(&self, name: &str) -> Issuer {
        Issuer(self.keyed(Role::Issuer, name).await)
    }

    /// Who sees everything and changes nothing.
    pub async fn inspector(&self) -> Inspector {
        Inspector(self.keyed(Role::Inspector, DEFAULT_ISSUER).await)
    }

    /// Who may do everything.
    pub async fn operator(&self) -> Operator {
        Operator(self.keyed(Role::Operator, DEFAULT_ISSUER).await)
    }

    /// Waits until the read models are there. They are built after the start, and while they are no rebuild can begin.
    pub async fn with_read_models(self) -> TestApp {
        for projection in Projection::ALL {
            let read = &self.services().read;
            self.eventually("it serves", || async { read.pointer(projection).await.unwrap().is_some() }).await;
            drop(self.hold(Lock::Rebuild(projection)).await);
        }
        self
    }

    /// Waits for a lock of the read store, and holds it.
    pub async fn hold(&self, lock: Lock) -> Box<dyn Held> {
        for _ in 0..1000 {
            if let Some(held) = self.services().read.try_lock(lock).await.unwrap() {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not within 20 seconds: {lock:?} is free")
    }

    /// Waits until `condition` holds.
    pub async fn eventually<F: Future<Output = bool>>(&self, what: &str, condition: impl Fn() -> F) {
        eventually(what, condition).await;
    }

    /// Appends that the subject of a credential was erased, and destroys nothing.
    pub async fn append_erasure(&self, issued: &Value) {
        let services = self.services();
        let ledger = services.ledger().unwrap();
        let stream: Stream = format!("credential/{}", issued["id"].as_str().unwrap()).parse().unwrap();
        let first = ledger.log.read_first(&[stream]).await.unwrap().remove(0);
        let of: CredentialIssued = first.payload().unwrap();
        let subject = Stream::subject(of.subject_id.unwrap());
        let payload = SubjectErased { keys: vec![subject.to_string()], order: uuid::Uuid::nil(), issuer: of.issuer, credentials: 1 };
        let event = New::of(&payload, &Origination::system("test").metadata(&services.random));
        ledger.appender.append(Append::to(subject, Expected::None, vec![event])).await.unwrap();
    }

    /// Stops as a process told to stop does.
    pub async fn shutdown(mut self) -> Arc<Stores> {
        self.node.take().unwrap().shutdown().await;
        self.stores.clone()
    }

    /// Somebody with a key of one role.
    pub async fn caller(&self, role: Role, issuer: &str) -> Session {
        self.keyed(role, issuer).await
    }

    async fn keyed(&self, role: Role, issuer: &str) -> Session {
        let app = self.services();
        let ledger = app.ledger.as_ref().expect("a process that may register issuers");
        let issuer = stores::register_issuer(&*app.vault, ledger, issuer, &app.worker, &app.clock, &app.random).await.unwrap();
        let (_, key) = app.vault.create_key(&Terms::of(role, issuer.id), app.clock.now()).await.unwrap();
        self.session(Some(key.to_string()))
    }

    fn session(&self, key: Option<String>) -> Session {
        Session { client: self.client.clone(), address: self.address(), key }
    }
}

/// Waits until `condition` holds, at most 20 seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    for _ in 0..1000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 20 seconds: {what}");
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(30)).build().unwrap()
}

/// Somebody who makes requests of a process.
#[derive(Clone)]
pub struct Session {
    pub client: reqwest::Client,
    pub address: SocketAddr,
    /// The API key.
    pub key: Option<String>,
}

impl User for Session {
    fn session(&self) -> &Session {
        self
    }
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// Null unless the body is JSON.
    pub body: Value,
}

impl Answer {
    pub async fn read(response: reqwest::Response) -> Answer {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, text, body }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// It has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// It is this problem, told as every problem is.
    #[track_caller]
    pub fn expect_problem(self, status: u16, name: &str) -> Answer {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
        assert_eq!(answer.body["type"], format!("/problems/{name}"), "{}", answer.text);
        assert_eq!(answer.body["status"], status);
        assert_eq!(answer.body["request_id"], answer.header("x-request-id"));
        assert!(answer.body["title"].is_string() && !answer.header("x-worker-id").is_empty());
        answer
    }

    /// It is `validation-failed`, and of this field with this code.
    #[track_caller]
    pub fn expect_field(self, field: &str, code: &str) -> Answer {
        let answer = self.expect_problem(422, "validation-failed");
        let named = answer.body["errors"].as_array().is_some_and(|errors| {
            errors.iter().any(|error| error["field"] == field && error["code"] == code && error["message"].is_string())
        });
        assert!(named, "no {code} of {field:?}: {}", answer.text);
        answer
    }
}

/// Whoever makes requests.
pub trait User {
    fn session(&self) -> &Session;

    /// A request with this user's key, if it has one.
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let session = self.session();
        let request = session.client.request(method, format!("http://{}{path}", session.address));
        match &session.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    fn get(&self, path: &str) -> impl Future<Output = Answer> + Send {
        send(self.request(Method::GET, path))
    }

    /// Posts JSON.
    fn post(&self, path: &str, body: &Value) -> impl Future<Output = Answer> + Send {
        send(self.request(Method::POST, path).json(body))
    }

    /// Posts nothing.
    fn post_empty(&self, path: &str) -> impl Future<Output = Answer> + Send {
        send(self.request(Method::POST, path))
    }
}

/// Sends a request and reads the answer.
pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    Answer::read(request.send().await.unwrap()).await
}

macro_rules! users {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        $($(#[$doc])*
        #[derive(Clone)]
        pub struct $name(pub Session);

        impl User for $name {
            fn session(&self) -> &Session {
                &self.0
            }
        })+
    };
}

users!(
    /// Without a key.
    Anonymous,
    /// With an issuer's key.
    Issuer,
    /// With an auditor's key.
    Inspector,
    /// With an administrator's key.
    Operator,
    /// With a token.
    Bearer,
);

impl Issuer {
    /// Issues a credential of the type `developer-certificate` and answers it.
    pub async fn issue(&self, name: &str, email: &str) -> Value {
        let body = serde_json::json!({"type": "developer-certificate", "subject": {"name": name, "email": email}});
        self.post("/v1/credentials", &body).await.expect(201).body
    }
}

/// A document without its proof: what the log holds of it.
pub fn unsigned(document: &Value) -> Value {
    let mut unsigned = document.clone();
    unsigned.as_object_mut().unwrap().remove("proof").expect("a proof");
    unsigned
}

/// The binary itself, as a child that is killed when the test ends.
pub struct Child {
    pub process: std::process::Child,
    /// `http` or `https`.
    pub scheme: String,
    pub address: SocketAddr,
    pub stderr: PathBuf,
}

impl Child {
    /// Starts `credence serve` with these arguments and waits until it listens. `folder` takes what it writes to standard error.
    pub fn serve(folder: &Path, arguments: &[&str]) -> Child {
        Child::serve_in(folder, arguments, &[])
    }

    /// The same, with these variables in its environment.
    pub fn serve_in(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        use std::io::BufRead as _;
        let stderr = folder.join(format!("stderr-{}", std::fs::read_dir(folder).unwrap().count()));
        let mut process = command(&["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(std::process::Stdio::piped())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").and_then(|url| url.split_once("://"));
        let at = url.and_then(|(scheme, address)| Some((scheme.to_owned(), address.parse().ok()?)));
        let (scheme, address) = at.unwrap_or_else(|| panic!("{line:?}: {}", std::fs::read_to_string(&stderr).unwrap()));
        Child { process, scheme, address, stderr }
    }

    pub fn anonymous(&self) -> Anonymous {
        Anonymous(self.session(None))
    }

    pub fn admin(&self, key: &str) -> Operator {
        Operator(self.session(Some(key.trim().to_owned())))
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) {
        let told = std::process::Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    /// Tells it to stop and answers how it ended.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal("TERM");
        self.process.wait().unwrap()
    }

    fn session(&self, key: Option<String>) -> Session {
        Session { client: client(), address: self.address, key }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `credence` with these arguments, in an environment without any of its variables but where to listen: somebody may have the usual port.
pub fn command(arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_credence"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CREDENCE_")) {
        command.env_remove(name);
    }
    command.env("CREDENCE_LISTEN", "127.0.0.1:0").args(arguments);
    command
}

/// Runs `credence` with these arguments on these stores, expects it to end like this and answers what it wrote to standard output.
pub async fn run(stores: &Stores, arguments: &[&str], status: i32) -> String {
    let mut command = command(arguments);
    command.args(["--store", &stores.url(), "--data-dir", &stores.data_dir().display().to_string()]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(status), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
