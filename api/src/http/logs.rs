//! `/v1/logs`: a log's events, a page at a time, all of them, or as they come; of those who do not see everything, their organisation's.
//!
//! One route answers in four media types; what is wanted is told by `Accept`. All but a page of JSON, which is bounded, are streamed through
//! bounded memory: a reader that is slow slows down the reading, nothing piles up. However many there are, their pages are made in turns
//! ([`LongReads`]), and so are pages of JSON that are longer than elsewhere.

use std::collections::HashMap;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response, sse};
use axum::{Extension, Json};
use credence_ledger::codec::sequence;
use credence_ledger::event::Recorded;
use credence_ledger::log::Log;
use credence_ledger::sealing::{KeyId, SealingKey};
use credence_ledger::{LogName, LogPosition, Position, causes, store};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use utoipa_axum::routes;

use super::auth::{self, Until};
use super::body::Text;
use super::headers::{Path, prefers};
use super::problem::{Kind, Problem, problems};
use super::query::{Cursor, LIMIT_DEFAULT, Parameters};
use super::{Known, Part, Route};
use crate::long_reads::LongReads;
use crate::services::App;
use crate::use_cases::audit;
use crate::use_cases::replay::{self, Selection};
use crate::use_cases::scope::Scope;
use crate::wire::event::{self, Event, EventPage, Keys, ShownPage};

/// More than elsewhere: a log is long, and read by programs.
const LIMIT_MAX: u64 = 1000;
/// A page of more events than other lists have waits for its turn.
const LIMIT_WITHOUT_TURN: usize = 100;
/// An event's type is compared as it is.
const KIND: Text = Text { length_max: 100, normal: str::to_owned, lines: false };

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::new(Part::Issuance, routes!(read_log))]
}

problems! {
    /// What can keep a log from being read.
    Refusals: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, INTERNAL
}

/// Read a log's events, in position order.
///
/// Inspectors and operators see all of them; an organisation's auditors and administrators its own, at the positions that they have in the
/// log: a page of them may be empty and yet have a `next_cursor`.
///
/// `Accept: application/json` answers a page; `application/x-ndjson` every event wanted, one a line; `application/cbor-seq` the same as
/// a CBOR sequence with exactly what is stored; `text/event-stream` follows the log.
#[utoipa::path(
    get,
    path = "/v1/logs/{log}/events",
    tag = "Logs",
    params(
        ("log" = String, Path, description = "`ledger` or `audit`"),
        ("from" = Option<u64>, Query, description = "From this position on, inclusive"),
        ("cursor" = Option<String>, Query, description = "A `next_cursor`; in the place of `from`"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, 20 by default; a page of large events ends sooner. In streams without limit by default"),
        ("stream" = Option<String>, Query, description = "Of this stream only"),
        ("type" = Option<String>, Query, description = "Of this type only"),
        ("since" = Option<String>, Query, description = "Recorded at this time or later"),
        ("until" = Option<String>, Query, description = "Recorded before this time"),
        ("open" = Option<bool>, Query, description = "Show what is sealed; recorded in the audit log. Not in CBOR, which is as stored"),
        ("Last-Event-ID" = Option<String>, Header, description = "`text/event-stream` goes on after this position"),
    ),
    responses(
        (status = 200, description = "The events", content(
            (EventPage = "application/json"), (Event = "application/x-ndjson"), (Vec<u8> = "application/cbor-seq"), (String = "text/event-stream"),
        )),
        Refusals,
    ),
    security(("api_key" = [])),
)]
async fn read_log(
    State(app): State<App>,
    by: Known,
    Path(name): Path<String>,
    until: Option<Extension<Until>>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let until = until.and_then(|Extension(Until(until))| until);
    let name: LogName = name.parse().map_err(|_| Problem::new(Kind::NOT_FOUND))?;
    let access = app.log(&name)?;
    let (log, reads) = (access.log.clone(), access.long_reads.clone());
    let format = Format::wanted(&headers);
    let mut selection = selection(&mut parameters);
    if format == Format::EventStream {
        resume(&mut parameters, &headers, &name, &mut selection);
    }
    let open = parameters.flag("open");
    parameters.finish()?;

    // The first answer of the log comes before the status is sent; what fails later can only break the stream off.
    log.head().await?;
    let principal = &by.principal;
    let scope = if principal.sees_everything() { None } else { Some(Scope::new(&app, principal.issuer)?) };
    if open {
        // It is told to whom the stream belongs what was read of it, not what somebody else asked for in vain.
        let is_shown = match (&scope, &selection.stream) {
            (Some(scope), Some(stream)) => scope.owns(&*log, stream).await?,
            _ => true,
        };
        audit::personal_data_read(&app, &by.caller, selection.stream.as_ref().filter(|_| is_shown)).await?;
    }
    let shown_for = app.clone();
    let shown = Shown { app, log, reads, scope, open };
    match format {
        Format::Json => page(&shown, selection).await,
        Format::Lines => Ok(lines(shown, selection)),
        Format::CborSequence => Ok(cbor(&shown, selection)),
        Format::EventStream => Ok(follow(shown, selection, auth::ended(shown_for, principal.clone(), until))),
    }
}

/// The ways to answer, the first being the one when nothing else can be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Lines,
    CborSequence,
    EventStream,
}

impl Format {
    const ALL: [Format; 4] = [Format::Json, Format::Lines, Format::CborSequence, Format::EventStream];

    fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Lines => "application/x-ndjson",
            Format::CborSequence => "application/cbor-seq",
            Format::EventStream => "text/event-stream",
        }
    }

    fn wanted(headers: &HeaderMap) -> Format {
        Format::ALL[prefers(headers, &Format::ALL.map(Format::media_type))]
    }
}

fn selection(parameters: &mut Parameters) -> Selection {
    let from = parameters.integer("from", 0, i64::MAX.unsigned_abs()).map(Position);
    Selection {
        from: parameters.cursor().or(from),
        to: None,
        stream: parameters.parsed("stream"),
        kind: parameters.text("type", &KIND),
        since: parameters.parsed("since"),
        until: parameters.parsed("until"),
        limit: parameters.integer("limit", 1, LIMIT_MAX).and_then(|limit| NonZeroUsize::new(usize::try_from(limit).ok()?)),
    }
}

/// `Last-Event-ID` goes before `from`: whoever reconnects repeats the address that it began with.
fn resume(parameters: &mut Parameters, headers: &HeaderMap, log: &LogName, selection: &mut Selection) {
    let Some(last) = headers.get("last-event-id") else { return };
    match last.to_str().ok().and_then(|last| last.parse::<LogPosition>().ok()) {
        Some(last) if last.log == *log => selection.from = Some(last.position.next()),
        _ => parameters.refuse("Last-Event-ID", "format", format!("expected a position of this log, such as {log}@42")),
    }
}

/// What is needed to show events.
struct Shown {
    app: App,
    log: Arc<dyn Log>,
    reads: Arc<LongReads>,
    /// `None` is everything.
    scope: Option<Scope>,
    open: bool,
}

impl Shown {
    async fn keys(&self, events: &[Recorded]) -> Result<HashMap<KeyId, SealingKey>, store::Error> {
        replay::keys_of(self.app.vault.as_ref(), &*self.log, events).await
    }

    fn events<'a>(&'a self, events: &'a [Recorded], keys: &'a HashMap<KeyId, SealingKey>) -> event::Shown<'a> {
        let keys = if self.open { Keys::Open(keys) } else { Keys::Closed(keys) };
        event::Shown { log: self.log.name(), origin: self.log.origin(), events, keys }
    }
}

async fn page(shown: &Shown, selection: Selection) -> Result<Response, Problem> {
    let limit = selection.limit.map_or(LIMIT_DEFAULT, NonZeroUsize::get);
    let _turn = if limit > LIMIT_WITHOUT_TURN { shown.reads.turn().await } else { None };
    let (found, next) = replay::page(&*shown.log, &selection, limit, shown.scope.as_ref()).await?;
    let next_cursor = next.map(|next| Cursor(next).to_string());
    let keys = shown.keys(&found).await?;
    Ok(Json(ShownPage { items: shown.events(&found, &keys), next_cursor }).into_response())
}

fn lines(shown: Shown, selection: Selection) -> Response {
    let pages = replay::events(shown.reads.clone(), selection, shown.scope.clone());
    let shown = Arc::new(shown);
    let lines = pages.and_then(move |page| {
        let shown = shown.clone();
        async move {
            let _turn = shown.reads.turn().await;
            let mut lines = Vec::new();
            let keys = shown.keys(&page).await?;
            for event in shown.events(&page, &keys).iter() {
                serde_json::to_writer(&mut lines, &event).map_err(|error| store::Error::Failed(error.into()))?;
                lines.push(b'\n');
            }
            Ok(Bytes::from(lines))
        }
    });
    streamed(Format::Lines, lines.boxed())
}

fn cbor(shown: &Shown, selection: Selection) -> Response {
    let start = sequence::start(shown.log.name(), selection.start(), shown.log.origin());
    let pages = replay::events(shown.reads.clone(), selection, shown.scope.clone());
    let items = pages.map_ok(|page| Bytes::from(page.iter().map(sequence::item).collect::<Vec<_>>().concat()));
    streamed(Format::CborSequence, futures::stream::once(async { Ok(start.into()) }).chain(items).boxed())
}

fn streamed(format: Format, bytes: BoxStream<'static, Result<Bytes, store::Error>>) -> Response {
    let bytes = bytes.inspect_err(|error| tracing::error!(reason = causes(error), "a replay broke off"));
    ([(CONTENT_TYPE, format.media_type())], Body::from_stream(bytes)).into_response()
}

/// Ends when the process drains, the log fails or the follower's right has `ended`; the client connects again, to another process perhaps,
/// and goes on after the last event that it saw.
fn follow(shown: Shown, selection: Selection, ended: impl Future<Output = ()> + Send + 'static) -> Response {
    let draining = shown.app.draining.clone();
    let pages = replay::follow(shown.reads.clone(), selection, shown.scope.clone());
    let messages = async_stream::stream! {
        futures::pin_mut!(pages, ended);
        loop {
            let page = tokio::select! {
                biased;
                () = &mut ended => None,
                () = draining.cancelled() => None,
                page = pages.next() => page,
            };
            let messages = match page {
                Some(Ok(page)) => {
                    let _turn = shown.reads.turn().await;
                    shown.keys(&page).await.map(|keys| shown.events(&page, &keys).iter().map(|event| message(&event)).collect::<Vec<_>>())
                }
                Some(Err(error)) => Err(error),
                None => break,
            };
            match messages {
                Ok(messages) => for message in messages {
                    yield message;
                },
                Err(error) => {
                    tracing::error!(reason = causes(&error), "following a log broke off");
                    break;
                }
            }
        }
    };
    let mut response = Sse::new(messages).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response();
    // Proxies that hold answers back would turn a live log into a late one.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn message(event: &Event) -> Result<sse::Event, Infallible> {
    // A type is one word; a damaged log may hold another one, and a line break in it would end the field.
    let kind: String = event.kind.chars().filter(|character| !character.is_control()).collect();
    let data = serde_json::to_string(event).unwrap_or_default();
    Ok(sse::Event::default().id(&event.position).event(kind).data(data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::ACCEPT;

    fn wanted(accept: &[&'static str]) -> Format {
        let headers = accept.iter().map(|value| (ACCEPT, HeaderValue::from_static(value))).collect();
        Format::wanted(&headers)
    }

    #[test]
    fn the_media_type_liked_best_is_answered_and_json_when_none_can_be_met() {
        for (accept, format) in [
            (&[][..], Format::Json),
            (&["*/*"], Format::Json),
            (&["text/html"], Format::Json),
            (&["application/x-ndjson"], Format::Lines),
            (&["application/cbor-seq"], Format::CborSequence),
            (&["Text/Event-Stream"], Format::EventStream),
            (&["text/*"], Format::EventStream),
            (&["text/html, application/x-ndjson;q=0.5, */*;q=0.1"], Format::Lines),
            (&["application/x-ndjson; q=0.5", "application/json; q=0.4"], Format::Lines),
            (&["application/json;q=0, application/*"], Format::Lines),
            (&["application/x-ndjson;q=0"], Format::Json),
        ] {
            assert_eq!(wanted(accept), format, "{accept:?}");
        }
    }
}
