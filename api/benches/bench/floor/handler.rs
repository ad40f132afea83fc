//! The floor of every request: a handler that reads the body and answers a little JSON, in a process of its own, like the product.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::http::header;
use axum::routing::post;
use axum::serve::ListenerExt;
use bytes::Bytes;
use tokio::net::TcpListener;

/// The bench's argument that makes it this server.
pub(crate) const ARGUMENT: &str = "--serve-handler";

/// The process. Killed when dropped.
pub(crate) struct Handler {
    child: Child,
    pub(crate) address: String,
}

impl Handler {
    pub(crate) fn start() -> Handler {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Handler { child, address: address.trim().to_owned() }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until standard input ends, which it does with the process that started this one.
pub(crate) async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    let router = Router::new().fallback(post(answer));
    let end_of_input = || std::io::stdin().read_to_end(&mut Vec::new());
    let serving = async { axum::serve(listener, router).await };
    tokio::select! {
        served = serving => served.unwrap(),
        ended = tokio::task::spawn_blocking(end_of_input) => drop(ended.unwrap().unwrap()),
    }
}

async fn answer(body: Bytes) -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "application/json")], format!(r#"{{"bytes":{}}}"#, body.len()))
}
