//! What a request must pass before its handler sees it: sizes, authentication, the rate limit, a whole body in time.
//!
//! What a handler began is finished: when its time is up, it goes on in a task of its own. That its client has hung up is not noticed before
//! it is answered ([`serve`](super::serve) lets clients close their half). A request that is refused is still read to its end, within bounds, so that the answer is not lost to a connection reset.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::Part;
use super::auth;
use super::body::Whole;
use super::edge::{Edge, Line, Operation};
use super::problem::{Kind, Problem};
use crate::caller::{Caller, Principal, Who};
use crate::limits::Standing;
use crate::policy::{May, Refused};

/// The longest path and query.
pub const URI_BYTES_MAX: usize = 8 * 1024;
/// The most bytes of headers, names and values.
pub const HEADERS_BYTES_MAX: usize = 32 * 1024;
/// The most headers.
pub const HEADERS_MAX: usize = 100;
/// How much of a refused body is read, and for how long.
const LINGER_BYTES_MAX: usize = 16 << 20;
const LINGER_MAX: Duration = Duration::from_secs(2);

/// The layer.
pub async fn admit(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    admitted(&edge, request, next).await
}

/// Sees to a request, and has it handled if there is nothing against it.
pub(super) async fn admitted(edge: &Edge, request: Request, next: Next) -> Response {
    let (line, operation) = edge.asked(&request);
    let (mut parts, body) = request.into_parts();
    let mut standing = None;
    let judged = match judge(edge, line, operation, &mut parts, &mut standing).await {
        Ok(()) => read(edge, &parts, body).await,
        Err(problem) => {
            linger(body, 0).await;
            Err(problem)
        }
    };
    let caller = parts.extensions.get::<Caller>().cloned();
    let mut response = match judged {
        Ok(bytes) => {
            if !bytes.is_empty() {
                parts.extensions.insert(Whole(bytes));
            }
            run(edge, Request::from_parts(parts, Body::empty()), next).await
        }
        Err(problem) => problem.into_response(),
    };
    if let Some(standing) = standing {
        standing.put(response.headers_mut());
    }
    if let (Some(caller), Some(problem)) = (caller, response.extensions().get::<Problem>()) {
        auth::record_refusal(&edge.app, &caller, problem);
    }
    response
}

/// Everything that can be judged without the body.
async fn judge(
    edge: &Edge,
    line: Option<&Line>,
    operation: &Operation,
    parts: &mut Parts,
    standing: &mut Option<Standing>,
) -> Result<(), Problem> {
    let part = line.map(|line| line.part);
    if parts.uri.path_and_query().is_some_and(|text| text.as_str().len() > URI_BYTES_MAX) {
        return Err(Problem::new(Kind::URI_TOO_LONG));
    }
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > HEADERS_BYTES_MAX || parts.headers.len() > HEADERS_MAX {
        return Err(Problem::new(Kind::HEADERS_TOO_LARGE));
    }
    let may = operation.may;
    if part == Some(Part::Everywhere) {
        return Ok(());
    }
    let (known, counted) = known(edge, line, may, parts).await;
    *standing = counted;
    standing.map_or(Ok(()), Standing::judge)?;
    let principal = known?;
    // What another role serves, or no operation takes, is told by the router.
    let is_served = part.is_some_and(|part| part.is_served_by(edge.app.role));
    let refused = may.filter(|_| is_served).map_or(Ok(()), |may| may.judge(principal.as_ref(), edge.open));
    refused.map_err(|refused| match refused {
        Refused::Unknown => Problem::new(Kind::UNAUTHENTICATED),
        Refused::Forbidden => Problem::new(Kind::FORBIDDEN),
    })
}

/// Who calls, and how the bucket stands that the request was counted by, if it was.
async fn known(
    edge: &Edge,
    line: Option<&Line>,
    may: Option<May>,
    parts: &mut Parts,
) -> (Result<Option<Principal>, Problem>, Option<Standing>) {
    let limits = &edge.app.limits;
    let Parts { headers, extensions, .. } = parts;
    let address = extensions.get::<Caller>().and_then(|caller| caller.address);
    let presented = if may == Some(May::Unasked) { Ok(None) } else { auth::presented(headers) };
    let presented = match (presented, line) {
        (Ok(Some(text)), _) => edge.identities.look(text),
        (Ok(None), None | Some(Line { is_free: true, .. })) => return (Ok(None), None),
        (Ok(None), Some(_)) => return (Ok(None), limits.address(address).await),
        (Err(problem), _) => return (Err(problem), limits.address(address).await),
    };
    // Before the vault is asked, so that what is bad costs it no more than what is limited.
    let doubt = match presented.was_good {
        true => None,
        false => match limits.doubt(address).await {
            Ok(doubt) => doubt,
            Err(standing) => return (Err(Problem::new(Kind::UNAUTHENTICATED)), Some(standing)),
        },
    };
    match auth::authenticate(&edge.identities, presented, extensions).await {
        Err(problem) if [Kind::UNAUTHENTICATED, Kind::FORBIDDEN].contains(&problem.kind) => {
            let standing = match doubt {
                Some(doubt) => Some(doubt.standing),
                None => limits.address(address).await,
            };
            (Err(problem), standing)
        }
        found => {
            if let Some(doubt) = doubt {
                doubt.give_back().await;
            }
            let standing = match (&found, line) {
                (Ok(Principal { who: Who::Key(id) | Who::Account { id, .. } | Who::External(id), .. }), Some(_)) => {
                    limits.caller(*id).await
                }
                _ => None,
            };
            (found.map(Some), standing)
        }
    }
}

async fn read(edge: &Edge, parts: &Parts, body: Body) -> Result<Bytes, Problem> {
    let bytes_max = edge.body_bytes_max;
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let too_large = || Problem::new(Kind::PAYLOAD_TOO_LARGE).detail(format!("at most {bytes_max} bytes are taken"));
    if announced.is_some_and(|announced| announced > bytes_max) {
        linger(body, 0).await;
        return Err(too_large());
    }
    let late = || Problem::new(Kind::TIMEOUT).detail("the body did not arrive in time");
    let mut body = body;
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0));
    let whole = async {
        while let Some(frame) = body.frame().await {
            // The connection was lost: nobody will read the answer.
            let frame = frame.map_err(|_| Problem::new(Kind::MALFORMED_JSON).detail("the body did not arrive whole"))?;
            bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
            if bytes.len() > bytes_max {
                return Err(too_large());
            }
        }
        Ok(())
    };
    let read = timeout(edge.body_max, whole).await.unwrap_or_else(|_| Err(late()));
    if let Err(problem) = read {
        if problem.kind == Kind::PAYLOAD_TOO_LARGE {
            linger(body, bytes_max).await;
        }
        return Err(problem);
    }
    Ok(bytes.into())
}

async fn linger(mut body: Body, already: usize) {
    let mut read = already;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > LINGER_BYTES_MAX {
                break;
            }
        }
    };
    // Whether it came to its end does not matter.
    let _ = timeout(LINGER_MAX, rest).await;
}

async fn run(edge: &Edge, request: Request, next: Next) -> Response {
    let handling = AssertUnwindSafe(next.run(request)).catch_unwind();
    match timeout(edge.answer_max, Finished::begin(edge.app.tasks.track_future(handling))).await {
        Ok(Ok(response)) => response,
        // The panic's message went to standard error with its place.
        Ok(Err(_panicked)) => Problem::internal("a handler panicked").into_response(),
        Err(_elapsed) => Problem::new(Kind::TIMEOUT).detail("the answer took too long; what was asked for may yet be done").into_response(),
    }
}

/// A future that is finished in any case: dropped before its end, it goes on in a task of its own. So the one that is not dropped
/// needs none.
struct Finished<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Finished<F> {
    fn begin(work: F) -> Finished<F> {
        Finished(Some(Box::pin(work)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Finished<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Finished<F> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            // Within the request's span, as it was until now.
            runtime.spawn(work.in_current_span());
        }
    }
}
