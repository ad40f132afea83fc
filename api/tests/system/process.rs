//! A process of the binary under test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::store::Store;

/// The binary under test.
pub(crate) const CREDENCE: &str = env!("CARGO_BIN_EXE_credence");

/// A wrapper under which a write beyond the largest size of a file fails, and does not end the process.
pub(crate) const UNDISTURBED: [&str; 4] = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];

/// A running `credence serve`. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    address: String,
    /// What it has written to standard error.
    pub(crate) log: Arc<Mutex<String>>,
}

/// How a server is to be started.
pub(crate) struct Start<'a> {
    store: &'a Store,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
}

impl<'a> Start<'a> {
    /// `credence serve` on a free port of the loopback interface.
    pub(crate) fn on(store: &'a Store) -> Start<'a> {
        Start { store, arguments: Vec::new(), environment: Vec::new(), wrapper: Vec::new() }
    }

    pub(crate) fn role(self, role: &str) -> Self {
        self.variable("CREDENCE_ROLE", role)
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it under another program, such as a tracer.
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it and waits until it accepts.
    pub(crate) fn start(self) -> Server {
        let words: Vec<String> = self.wrapper.into_iter().chain([CREDENCE.to_owned(), "serve".to_owned()]).chain(self.arguments).collect();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .envs(self.store.environment())
            .env("CREDENCE_LISTEN", "127.0.0.1:0")
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let errors = BufReader::new(child.stderr.take().unwrap());
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("listening on ") else {
            let status = child.wait().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            panic!("the server did not start ({status}): {line}{}", log.lock().unwrap());
        };
        Server { address: address.to_owned(), child, log }
    }
}

impl Server {
    /// A client with the administrator's key.
    pub(crate) fn admin(&self, store: &Store) -> Client {
        Client::new(&self.address, Some(store.admin_key()))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A client without credentials.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(&self.address, None)
    }

    pub(crate) fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// From here on the first `fdatasync` of each of its threads fails, as on a disk that gives up for a moment.
    pub(crate) fn break_next_syncs(&self) -> Child {
        self.tamper_with_next_syncs("error=EIO")
    }

    /// From here on the first `fdatasync` of each of its threads takes so much longer.
    pub(crate) fn delay_next_syncs(&self, by: Duration) -> Child {
        self.tamper_with_next_syncs(&format!("delay_enter={}", by.as_micros()))
    }

    fn tamper_with_next_syncs(&self, how: &str) -> Child {
        let inject = format!("inject=fdatasync:{how}:when=1");
        let mut tracer = Command::new("strace")
            .args(["-f", "-p", &self.child.id().to_string(), "-e", "trace=fdatasync", "-e", &inject])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(tracer.stderr.take().unwrap()).lines().map_while(Result::ok);
        // It takes hold of all threads before it tells of the first.
        assert!(lines.next().unwrap().contains("attached"));
        std::thread::spawn(move || lines.for_each(drop));
        tracer
    }

    /// From here on no file of its becomes larger than this, as on a disk that is full; `unlimited` takes that back. It must have been started
    /// [`UNDISTURBED`].
    pub(crate) fn limit_files(&self, bytes: &str) {
        let limit = format!("--fsize={bytes}:");
        let status = Command::new("prlimit").args(["--pid", &self.child.id().to_string(), &limit]).status().unwrap();
        assert!(status.success(), "prlimit {limit}");
    }

    /// How many files it may have open, softly and at most.
    pub(crate) fn open_files_max(&self) -> [String; 2] {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut limits = line.split_whitespace().map(str::to_owned);
        std::array::from_fn(|_| limits.next().unwrap())
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process by its name.
pub(crate) fn signal(process: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status().unwrap();
    assert!(status.success(), "kill -{name} {process}");
}

/// Runs a command of the binary to its end.
pub(crate) fn run(store: &Store, arguments: &[&str]) -> Output {
    Command::new(CREDENCE).args(arguments).envs(store.environment()).stdin(Stdio::null()).output().unwrap()
}

/// The same, when it must succeed: its standard output.
pub(crate) fn run_well(store: &Store, arguments: &[&str]) -> Vec<u8> {
    let output = run(store, arguments);
    assert!(output.status.success(), "credence {}: {}\n{}", arguments.join(" "), output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A command of the binary that runs on, its standard error read line by line. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
}

impl Running {
    pub(crate) fn start(store: &Store, arguments: &[&str]) -> Running {
        let mut child = Command::new(CREDENCE)
            .args(arguments)
            .envs(store.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        Running { child, errors }
    }

    /// The next line of standard error; `None` at its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.errors.read_line(&mut line).unwrap() > 0).then_some(line)
    }

    pub(crate) fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end: exit status and standard output.
    pub(crate) fn finish(mut self) -> (ExitStatus, String) {
        while self.line().is_some() {}
        let mut output = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        (self.child.wait().unwrap(), output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until the answer is yes; stops the test when it is not in time.
pub(crate) async fn until(what: &str, at_most: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < at_most, "not within {at_most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
