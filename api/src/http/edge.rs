//! The outermost layer: what holds for every answer, whatever happens inside.
//!
//! Every answer names its request and the worker, carries the security headers, is counted and, when it failed here, logged. A
//! problem gets its body here. Neither query strings nor headers nor bodies are logged.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::admission;
use super::auth::Identities;
use super::metrics::Answers;
use super::problem::{Kind, Problem};
use super::{Bounds, Part, Route, Tell};
use crate::caller::Caller;
use crate::config::TrustedProxies;
use crate::policy::{May, Open};
use crate::services::App;

/// What a table's line says beside its handlers.
pub(super) struct Line {
    /// Who serves it.
    pub(super) part: Part,
    /// How it tells problems.
    tell: Option<Tell>,
    /// Whether callers without credentials are not counted.
    pub(super) is_free: bool,
    /// By each of the [`NAMED`] methods, and behind them by any other.
    operations: Vec<Operation>,
}

/// What is done at a path by a method.
pub(super) struct Operation {
    /// How events, lines of the log and metrics call it: the method and the path's template.
    via: Arc<str>,
    /// Who may; `None` where nothing is done.
    pub(super) may: Option<May>,
    answers: Answers,
}

/// Methods that are called by their names: those of routes, and what others know. A client may send any word as a method, so that all the
/// rest are `OTHER`.
const NAMED: [Method; 7] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];

impl Line {
    /// Of a path's template, with who may by which method.
    pub(super) fn new(route: &Route, path: &str, may: &[(Method, May)]) -> Line {
        let named = NAMED.iter().map(|method| {
            // What is read is read by HEAD, too.
            let asked = if method == Method::HEAD { &Method::GET } else { method };
            let may = may.iter().find(|(each, _)| each == asked).map(|(_, may)| *may);
            Operation::new(format!("{method} {path}"), may)
        });
        let operations = named.chain([Operation::new(format!("OTHER {path}"), None)]).collect();
        Line { part: route.part, tell: route.tell, is_free: route.is_free, operations }
    }

    fn operation(&self, method: &Method) -> &Operation {
        let at = NAMED.iter().position(|each| each == method).unwrap_or(NAMED.len());
        &self.operations[at]
    }
}

impl Operation {
    fn new(via: String, may: Option<May>) -> Operation {
        let via = Arc::from(via);
        Operation { answers: Answers::of(Arc::clone(&via)), via, may }
    }
}

/// What the layers around the routes share.
pub struct Edge {
    pub(super) app: App,
    pub(super) identities: Identities,
    pub(super) body_bytes_max: usize,
    pub(super) body_max: Duration,
    pub(super) answer_max: Duration,
    pub(super) open: Open,
    lines: HashMap<String, Line>,
    /// What is asked for at a path that is none of ours, which may hold anything: it is not repeated.
    elsewhere: Operation,
    trusted_proxies: TrustedProxies,
    is_tls: bool,
    worker: HeaderValue,
}

/// A request's address, put into its extensions by whoever accepted the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Edge {
    /// For a process.
    pub(super) fn new(app: App, bounds: &Bounds, lines: HashMap<String, Line>) -> Edge {
        Edge {
            identities: Identities::new(app.clone()),
            body_bytes_max: bounds.body_bytes_max,
            body_max: bounds.body_max,
            answer_max: bounds.answer_max,
            open: Open { issuance: app.settings.open_issuance, registration: app.settings.accounts.open_registration },
            lines,
            elsewhere: Operation::new("unknown".to_owned(), None),
            trusted_proxies: bounds.trusted_proxies.clone(),
            is_tls: bounds.is_tls,
            // The configuration takes visible ASCII only.
            worker: HeaderValue::from_str(&app.worker).unwrap_or(HeaderValue::from_static("worker")),
            app,
        }
    }

    /// What is asked for, and the line that it stands in, if it is in one.
    pub(super) fn asked(&self, request: &Request) -> (Option<&Line>, &Operation) {
        let line = request.extensions().get::<MatchedPath>().and_then(|path| self.lines.get(path.as_str()));
        (line, line.map_or(&self.elsewhere, |line| line.operation(request.method())))
    }
}

/// The layer, around others.
pub async fn around(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    answered(&edge, request, |request| next.run(request)).await
}

/// The layer and admission in one, where nothing stands between them.
pub async fn around_admission(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    answered(&edge, request, |request| admission::admitted(&edge, request, next)).await
}

async fn answered<F: Future<Output = Response>>(edge: &Edge, mut request: Request, inner: impl FnOnce(Request) -> F) -> Response {
    let started = Instant::now();
    let (line, operation) = edge.asked(&request);
    let caller = caller(&request, edge, operation);
    let request_id = Arc::clone(&caller.request_id);
    let span = tracing::info_span!("request", request_id = &*request_id, worker = edge.app.worker, route = &*operation.via);
    request.extensions_mut().insert(caller);

    let mut response = inner(request).instrument(span.clone()).await;

    let problem = tell(edge, line, &request_id, &mut response);
    put_headers(response.headers_mut(), &request_id, edge);
    let (status, took) = (response.status(), started.elapsed());
    span.in_scope(|| {
        let took_ms = took.as_secs_f64() * 1e3;
        match problem {
            Some(problem) if status.is_server_error() => tracing::warn!(status = status.as_u16(), problem, took_ms, "answered"),
            problem => tracing::debug!(status = status.as_u16(), problem, took_ms, "answered"),
        }
    });
    operation.answers.count(status, took);
    response
}

/// Who asks, before anybody has looked at a key.
fn caller(request: &Request, edge: &Edge, operation: &Operation) -> Caller {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let peer = request.extensions().get::<Peer>();
    let agent = text("user-agent").map(|agent| agent.char_indices().nth(512).map_or(agent, |(end, _)| &agent[..end]).into());
    Caller {
        principal: None,
        is_operator: false,
        address: peer.map(|peer| edge.trusted_proxies.client(peer.0.ip(), headers)),
        user_agent: agent,
        request_id: text("x-request-id")
            .filter(|id| is_request_id(id))
            .map_or_else(|| credence_ledger::event::new_id(&edge.app.clock, &edge.app.random).to_string().into(), Arc::from),
        trace_id: text("traceparent").and_then(trace_id).map(Arc::from),
        via: Arc::clone(&operation.via),
    }
}

fn is_request_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// W3C Trace Context, section 3.2.2: version, trace-id, parent-id and flags in lower-case hex.
fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let whole = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let last = version != "00" || parts.next().is_none();
    (whole && version != "ff" && !zero(trace) && !zero(parent) && last).then_some(trace)
}

/// Writes the body of a problem and answers its name.
fn tell(edge: &Edge, line: Option<&Line>, request_id: &str, response: &mut Response) -> Option<&'static str> {
    let problem = response.extensions_mut().remove::<Problem>().or_else(|| foreign(response))?;
    let (body, media_type) = match line.and_then(|line| line.tell) {
        Some(tell) => (tell(&problem, &edge.app), "application/json"),
        None => (problem.body(request_id), "application/problem+json"),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from(body.to_string());
    Some(problem.kind.name)
}

/// A failure that a library answered in its own words.
fn foreign(response: &Response) -> Option<Problem> {
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/"));
    if json || !(response.status().is_client_error() || response.status().is_server_error()) {
        return None;
    }
    let kind = Kind::ALL.iter().find(|kind| kind.status == response.status());
    kind.map(|kind| Problem::new(*kind))
}

fn put_headers(headers: &mut HeaderMap, request_id: &str, edge: &Edge) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    headers.insert("x-worker-id", edge.worker.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if edge.is_tls {
        // RFC 6797. What other hosts of the domain do is theirs to say.
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // Pages that are shown bring rules of their own.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_read_from_a_whole_traceparent_only() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        assert_eq!(trace_id(&format!("cc-{id}-00f067aa0ba902b7-01-what-the-future-will-bring")), Some(id));
        for text in [
            "",
            id,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(trace_id(text), None, "{text}");
        }
    }
}
