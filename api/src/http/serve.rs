//! Accepts connections and serves them until the process is told to stop.
//!
//! hyper reads requests; its bounds lie above those of [`super::admission`], so that what is a little too long is answered with a
//! problem. What exceeds even hyper's (64 KiB of target, 256 headers, 256 KiB altogether) or is no HTTP is answered with a bare status.
//!
//! Nobody holds a connection by doing nothing: there is a bound on how long a client may take to agree on TLS, to send a request's
//! headers, and to take what it is sent ([`Patience`]); for bodies and answers there are those of admission.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use credence_ledger::causes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::edge::Peer;
use super::tls::Tls;

/// For how long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To agree on TLS.
    pub handshake: Duration,
    /// To send a request's headers, the first or the next: how long a connection may be idle, too.
    pub headers: Duration,
    /// To take anything at all of what it is sent.
    pub write: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { handshake: Duration::from_secs(10), headers: Duration::from_secs(60), write: Duration::from_secs(60) }
    }
}

/// What is done with connections.
#[derive(Clone)]
pub struct Server {
    /// Answers requests.
    pub router: Router,
    /// Plain HTTP without it.
    pub tls: Option<Arc<Tls>>,
    /// For how long clients are waited for.
    pub patience: Patience,
}

/// How often it is told that connections are not accepted, while that goes on.
const TELL_EVERY: Duration = Duration::from_secs(10);

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
pub async fn serve(listener: TcpListener, server: Server, stop: CancellationToken, drain_max: Duration) -> bool {
    let graceful = GracefulShutdown::new();
    let mut refusals = Refusals::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::spawn(connection(stream, peer, server.clone(), stop.clone(), graceful.watcher()));
            }
            Err(error) => {
                // Usually there are no more file descriptors: others must close first.
                if let Some(times) = refusals.count(Instant::now()) {
                    tracing::warn!(reason = causes(&error), times, "a connection was not accepted");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    tokio::time::timeout(drain_max, graceful.shutdown()).await.is_ok()
}

/// How often no connection was accepted since that was told last: the first is told at once, those that follow it together.
#[derive(Default)]
struct Refusals {
    told: Option<Instant>,
    count: u64,
}

impl Refusals {
    /// Counts one; answers how many are to be told now.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < TELL_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, server: Server, stop: CancellationToken, watcher: Watcher) {
    // Answers are small and wanted at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(reason = causes(&error), "no TCP_NODELAY");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(server.patience.write));
    let stream = Box::pin(stream);
    let Some(tls) = &server.tls else { return http(stream, peer, server, watcher).await };
    // Who has asked for nothing yet is not waited for when the process is told to stop.
    let handshake = stop.run_until_cancelled(tokio::time::timeout(server.patience.handshake, tls.acceptor().accept(stream)));
    match handshake.await {
        Some(Ok(Ok(stream))) => http(stream, peer, server, watcher).await,
        Some(Ok(Err(error))) => tracing::debug!(reason = causes(&error), "a client did not agree on TLS"),
        Some(Err(_)) => tracing::debug!("a client did not agree on TLS in time"),
        None => {}
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, peer: SocketAddr, server: Server, watcher: Watcher) {
    let Server { router, patience, .. } = server;
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(peer));
        // A router is ready always.
        router.clone().call(request)
    });
    let mut builder = http1::Builder::new();
    // A client may close its sending half as soon as it has asked, and still wants the answer.
    builder.half_close(true);
    builder.timer(TokioTimer::new()).header_read_timeout(patience.headers).max_headers(256).max_buf_size(256 * 1024);
    if let Err(error) = watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await {
        // The client hung up, was too slow or spoke no HTTP: its affair.
        tracing::debug!(reason = causes(&error), "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_are_not_accepted_are_told_at_once_and_then_together() {
        let (start, mut refusals) = (Instant::now(), Refusals::default());
        let told: Vec<(u64, u64)> = (0..500)
            .filter_map(|step| Some((step, refusals.count(start + Duration::from_millis(50) * u32::try_from(step).unwrap())?)))
            .collect();
        assert_eq!(told, [(0, 1), (200, 200), (400, 200)]);
        assert_eq!(refusals.count(start + Duration::from_secs(3600)), Some(100));
    }
}
