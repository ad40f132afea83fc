//! A real Redis for tests, of this machine's `redis-server`: a process of its own on a free port, in a temporary folder, killed when dropped.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use redis::{Client, Connection};
use tempfile::TempDir;

/// Everybody who asks needs it, so that it can be searched for in what a process writes.
pub const PASSWORD: &str = "hunter2-of-redis";

pub struct Redis {
    server: Option<Child>,
    port: u16,
    tls_port: u16,
    folder: TempDir,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub fn start() -> Redis {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Redis { server: None, port: free(), tls_port: free(), folder: TempDir::new().unwrap() };
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(redis.certificate(), certificate.pem()).unwrap();
        std::fs::write(redis.folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        redis.resume();
        redis
    }

    /// Kills it; it forgets everything.
    pub fn kill9(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Starts it again, at the same address.
    pub fn resume(&mut self) {
        let (port, tls_port) = (self.port.to_string(), self.tls_port.to_string());
        let started = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", "", "--appendonly", "no"])
            .args(["--tls-port", &tls_port, "--tls-cert-file", "certificate.pem", "--tls-key-file", "key.pem", "--tls-auth-clients", "no"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .spawn();
        self.server = Some(started.expect("no redis-server: install it (Debian and Ubuntu: apt-get install redis-server)"));
        let start = Instant::now();
        while self.connect().is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it in its tracks, or lets it go on: it takes connections and does not answer.
    pub fn signal(&self, name: &str) {
        let id = self.server.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// The same by TLS.
    pub fn tls_url(&self) -> String {
        format!("rediss://:{PASSWORD}@127.0.0.1:{}", self.tls_port)
    }

    /// What a client by TLS has to trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    pub fn connect(&self) -> redis::RedisResult<Connection> {
        Client::open(self.url())?.get_connection()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill9();
    }
}
