//! The shipped program: a process that serves, and commands.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine::Store;

/// A process that serves everything. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) key: String,
}

impl Server {
    /// Starts it and waits until it listens.
    pub(crate) fn start(store: &Store) -> Server {
        Server::of(command(store), store)
    }

    /// The same of the program that seals nothing, on a store that is marked as its own.
    pub(crate) fn start_unsealed(store: &Store) -> Server {
        let program = Path::new(env!("CARGO_BIN_EXE_credence")).with_file_name("credence-unsealed");
        assert!(program.exists(), "there is no {}: `make bench-sealing` builds it", program.display());
        std::fs::write(store.folder.path().join("bench-unsealed"), "").unwrap();
        Server::of(command_of(&program, store), store)
    }

    fn of(mut command: Command, store: &Store) -> Server {
        let log = store.folder.path().join("server.log");
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        // From here on it ends with this value, whatever comes.
        let mut server = Server { child, address: String::new(), key: String::new() };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://");
        server.address =
            address.unwrap_or_else(|| panic!("the server did not start: {}", std::fs::read_to_string(&log).unwrap())).to_owned();
        server.key = std::fs::read_to_string(store.folder.path().join("admin.key")).unwrap().trim().to_owned();
        server
    }

    /// Starts it and measures how long it takes until it says that it is ready.
    pub(crate) fn start_until_ready(store: &Store) -> (Server, Duration) {
        let start = Instant::now();
        let server = Server::start(store);
        while !is_ready(&server.address) {
            assert!(start.elapsed() < Duration::from_secs(60), "the server does not become ready");
            std::thread::sleep(Duration::from_millis(1));
        }
        (server, start.elapsed())
    }

    /// Its memory that lies in the machine's.
    pub(crate) fn resident_bytes(&self) -> f64 {
        crate::machine::kib(&format!("/proc/{}/status", self.child.id()), "VmRSS").expect("it is running") as f64 * 1024.0
    }

    /// Ends it in an orderly way.
    pub(crate) fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        assert!(self.child.wait().unwrap().success(), "the server did not end well");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(address: &str) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /health/ready HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer.starts_with(b"HTTP/1.1 200 ")
}

/// A command on a store, with the environment in which every process of it runs.
pub(crate) fn command(store: &Store) -> Command {
    command_of(Path::new(env!("CARGO_BIN_EXE_credence")), store)
}

fn command_of(program: &Path, store: &Store) -> Command {
    let mut command = Command::new(program);
    // What the caller has set for other purposes must not change what is measured.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CREDENCE_")) {
        command.env_remove(name);
    }
    command.envs([("CREDENCE_STORE", store.url.as_str()), ("CREDENCE_RATE_LIMIT", "off"), ("CREDENCE_LOG", "warn")]);
    if store.url.starts_with("postgres") {
        let folder = store.folder.path();
        command.env("CREDENCE_DATA_DIR", folder).env("CREDENCE_MASTER_KEY_FILE", folder.join("master.key"));
    }
    command
}

/// Runs a command to its good end: its standard output, and how long it took.
pub(crate) fn run(command: &mut Command) -> (String, Duration) {
    let start = Instant::now();
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let elapsed = start.elapsed();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), elapsed)
}

/// How many events each log has.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) ledger: u64,
    pub(crate) audit: u64,
}

/// Asks the program itself.
pub(crate) fn log_sizes(store: &Store) -> Sizes {
    let (told, _) = run(command(store).args(["version", "--store", &store.url]).stdout(Stdio::piped()));
    let size = |log: &str| {
        let line = told.lines().find(|line| line.starts_with(&format!("{log}: "))).expect("every log is told");
        let position = line.split_once(&format!("head {log}@")).map(|(_, head)| head.split(' ').next().unwrap().parse::<u64>().unwrap());
        position.map_or(0, |position| position + 1)
    };
    Sizes { ledger: size("ledger"), audit: size("audit") }
}
