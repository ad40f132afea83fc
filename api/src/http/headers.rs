//! The headers that carry positions and idempotency, and the ids in paths.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use credence_ledger::{LogName, LogPosition, Position};
use credence_projections::projection::Cursor;
use uuid::Uuid;

use super::problem::{Kind, LEDGER_AS_OF, Problem};
use crate::use_cases::idempotency;

/// Where an act was appended: `ledger@42`.
pub const LEDGER_POSITION: HeaderName = HeaderName::from_static("ledger-position");
/// Says that an answer is that of an earlier request.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// `Idempotency-Key`, if there is one.
///
/// # Errors
/// 422: it is malformed, or stands twice.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<idempotency::Key>, Problem> {
    only(headers, "Idempotency-Key")?
        .map(|text| text.parse())
        .transpose()
        .map_err(|error: idempotency::MalformedKey| Problem::field("Idempotency-Key", "format", error.to_string()))
}

/// `Ledger-Min-Position`, if there is one: a position of the log that the read model is folded from.
///
/// # Errors
/// 422: it is malformed, stands twice or is of another log.
pub fn min_position(headers: &HeaderMap, log: &LogName) -> Result<Option<Position>, Problem> {
    let Some(text) = only(headers, "Ledger-Min-Position")? else { return Ok(None) };
    match text.parse::<LogPosition>() {
        Ok(position) if position.log == *log => Ok(Some(position.position)),
        _ => Err(Problem::field("Ledger-Min-Position", "format", format!("expected a position of this log, such as {log}@42"))),
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut given = headers.get_all(name).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Problem::field(name, "duplicate", "stands more than once")),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Problem::field(name, "format", "expected visible ASCII characters")),
        },
    }
}

/// Says how far the read model had come that an answer was made from; nothing while its log is empty.
pub fn set_as_of(response: &mut Response, cursor: &Cursor) {
    if let Some(as_of) = cursor.as_of() {
        set(response, LEDGER_AS_OF, &as_of.to_string());
    }
}

/// Sets a header to what we spelled ourselves.
pub fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A UUID with hyphens, in either case. Other spellings that programs know are none here.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == uuid::fmt::Hyphenated::LENGTH { text.parse().ok() } else { None }
}

/// The id in a path. A malformed one is that of nothing: 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.ok().and_then(|Path(text)| parse_uuid(&text)).map(Id).ok_or_else(|| Problem::new(Kind::NOT_FOUND))
    }
}
