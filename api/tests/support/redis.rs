//! A real Redis for tests, of this machine's `redis-server`: a process of its own on a free port, in a temporary folder, killed when dropped.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, Connection};
use tempfile::TempDir;

/// Everybody who asks needs it, so that it can be searched for in what a process writes.
pub const PASSWORD: &str = "hunter2-of-redis";

pub struct Redis {
    server: Option<Child>,
    port: u16,
    folder: TempDir,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub fn start() -> Redis {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Redis { server: None, port, folder: TempDir::new().unwrap() };
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
        let (port, folder) = (self.port.to_string(), self.folder.path());
        let arguments = ["--port", &port, "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", "", "--appendonly", "no"];
        let started = Command::new("redis-server").args(arguments).current_dir(folder).stdout(Stdio::null()).spawn();
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

    pub fn connect(&self) -> redis::RedisResult<Connection> {
        Client::open(self.url())?.get_connection()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill9();
    }
}
