//! Accepts connections and serves them until the process is told to stop.
//!
//! hyper reads requests; its bounds lie above those of [`super::admission`], so that what is a little too long is answered with a
//! problem. What exceeds even hyper's (64 KiB of target, 256 headers, 256 KiB altogether) or is no HTTP is answered with a bare status.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::edge::Peer;

/// How long a connection may take to send a request's headers, and how long it may be idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(60);

/// How many connections the system holds for us until we accept them.
const BACKLOG: u32 = 1024;

/// Takes an address, a host or an IP address with a port, without listening yet: who connects is refused until [`listen`].
///
/// # Errors
/// The operating system's, such as that somebody else has it.
pub async fn bind(address: &str) -> io::Result<TcpSocket> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in tokio::net::lookup_host(address).await? {
        let bound = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.and_then(|socket| {
            // Connections of a process that has ended linger for a minute.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Accepts connections from now on.
///
/// # Errors
/// The operating system's.
pub fn listen(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)
}

/// Serves until `stop` is cancelled, then finishes the requests in flight, at most for `drain_max`. Answers whether all of them
/// could be finished.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, drain_max: Duration) -> bool {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => connection(stream, peer, &router, &graceful),
            Err(error) => {
                // Usually there are no more file descriptors: others must close first.
                tracing::warn!(error = &error as &dyn std::error::Error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    tokio::time::timeout(drain_max, graceful.shutdown()).await.is_ok()
}

fn connection(stream: TcpStream, peer: SocketAddr, router: &Router, graceful: &GracefulShutdown) {
    // Answers are small and wanted at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = &error as &dyn std::error::Error, "no TCP_NODELAY");
    }
    let router = router.clone();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(peer));
        // A router is ready always.
        router.clone().call(request)
    });
    let mut builder = http1::Builder::new();
    // A client may close its sending half as soon as it has asked, and still wants the answer.
    builder.half_close(true);
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_headers(256).max_buf_size(256 * 1024);
    let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            // The client hung up or spoke no HTTP: its affair.
            tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
        }
    });
}
