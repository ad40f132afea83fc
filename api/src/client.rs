//! The one way in which this process asks others over HTTP: witnesses and identity providers.
//!
//! Redirects are not followed, an answer is read whole and is bounded in size, and nothing that it says is taken for granted. How
//! long an answer is waited for is the asker's to say; to stop waiting loses nothing.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::uri::Scheme;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// How long a connection may take to be made, of each of a host's addresses.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long a connection is kept for the next request.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// Makes connections and keeps them. Clones share them.
#[derive(Clone)]
pub struct Client(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer. The messages name no address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
    #[error("it cannot be reached")]
    Unreachable(#[source] legacy::Error),
    /// The connection ended before the answer.
    #[error("the connection broke")]
    Broken(#[source] legacy::Error),
    /// The answer is too long, or ended early.
    #[error("its answer cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A text that is no address to ask at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an http or https URL without user, query and fragment")]
pub struct MalformedUrl;

impl Client {
    /// One that trusts the certificates of Mozilla's list.
    #[must_use]
    pub fn new() -> Client {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(connector);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE_MAX).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        Client(builder.build(connector))
    }

    /// Asks, and reads an answer of at most so many bytes.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ask(&self, request: Request<Full<Bytes>>, answer_bytes_max: usize) -> Result<Answer, Error> {
        let unsent = |error: legacy::Error| if error.is_connect() { Error::Unreachable(error) } else { Error::Broken(error) };
        let (head, body) = self.0.request(request).await.map_err(unsent)?.into_parts();
        let body = Limited::new(body, answer_bytes_max).collect().await.map_err(Error::Unreadable)?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

/// Whether nobody on the way can read or change what is said there: over TLS, or within this machine.
#[must_use]
pub fn is_private(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default();
    let ip: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    address.scheme() == Some(&Scheme::HTTPS) || host.eq_ignore_ascii_case("localhost") || ip.is_some_and(|ip| ip.is_loopback())
}

/// An address below a prefix: `https://host/prefix` and `/path`.
///
/// # Errors
/// [`MalformedUrl`].
pub fn address(prefix: &str, path: &str) -> Result<Uri, MalformedUrl> {
    let whole = !prefix.contains(['?', '#', '@']);
    let address: Uri = format!("{}{path}", prefix.trim_end_matches('/')).parse().map_err(|_| MalformedUrl)?;
    let speaks_http = matches!(address.scheme_str(), Some("http" | "https")) && address.host().is_some_and(|host| !host.is_empty());
    if whole && speaks_http { Ok(address) } else { Err(MalformedUrl) }
}
