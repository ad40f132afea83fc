//! The headers that carry positions and idempotency, and what stands in paths.

use axum::extract::{self, FromRequestParts};
use axum::http::header::ACCEPT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use credence_ledger::{LogName, LogPosition, Position};
use credence_projections::projection::Cursor;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::problem::{Kind, LEDGER_AS_OF, Problem};
use crate::use_cases::idempotency;

/// Where an act was appended: `ledger@42`.
pub const LEDGER_POSITION: HeaderName = HeaderName::from_static("ledger-position");
/// Says that an answer is that of an earlier request.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// `Idempotency-Key`, if there is one. 422 when it is malformed, or stands twice.
pub struct IdempotencyKey(pub Option<idempotency::Key>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IdempotencyKey, Problem> {
        let malformed = |error: idempotency::MalformedKey| Problem::field("Idempotency-Key", "format", error.to_string());
        let key = only(&parts.headers, "Idempotency-Key")?.map(str::parse).transpose();
        key.map(IdempotencyKey).map_err(malformed)
    }
}

/// `Ledger-Min-Position`, if there is one. 422 when it stands twice.
pub struct MinPosition(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for MinPosition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<MinPosition, Problem> {
        only(&parts.headers, "Ledger-Min-Position").map(|text| MinPosition(text.map(str::to_owned)))
    }
}

impl MinPosition {
    /// The position, in the log that the read model is folded from.
    ///
    /// # Errors
    /// 422: it is malformed, or is of another log.
    pub fn of(self, log: &LogName) -> Result<Option<Position>, Problem> {
        let Some(text) = self.0 else { return Ok(None) };
        match text.parse::<LogPosition>() {
            Ok(position) if position.log == *log => Ok(Some(position.position)),
            _ => Err(Problem::field("Ledger-Min-Position", "format", format!("expected a position of this log, such as {log}@42"))),
        }
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

/// What stands in a path. What is no text there, such as `%ff`, is the name of nothing: 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let path = extract::Path::from_request_parts(parts, state).await;
        path.map(|extract::Path(found)| Path(found)).map_err(|_| Problem::new(Kind::NOT_FOUND))
    }
}

/// The id in a path. A malformed one is that of nothing: 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await?;
        parse_uuid(&text).map(Id).ok_or_else(|| Problem::new(Kind::NOT_FOUND))
    }
}

/// Which of these media types the caller likes best (RFC 9110, section 12.5.1), by its place. The first when it does not say, or
/// likes none of them.
pub fn prefers(headers: &HeaderMap, offered: &[&str]) -> usize {
    let accept: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
    let mut best = (0, 0);
    for (at, media_type) in offered.iter().enumerate() {
        let quality = quality(&accept, media_type);
        if quality > best.1 {
            best = (at, quality);
        }
    }
    best.0
}

/// How much a media type is liked, in thousandths: what the most specific range that covers it says.
fn quality(accept: &[&str], media_type: &str) -> u16 {
    let kind = media_type.split('/').next().unwrap_or_default();
    let mut found = (0, 0);
    for range in accept {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specific = match range.as_str() {
            "*/*" => 1,
            range if range.strip_suffix("/*") == Some(kind) => 2,
            range if range == media_type => 3,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok()).unwrap_or(0.0).clamp(0.0, 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
        let weight = (weight * 1000.0) as u16;
        if specific > found.0 {
            found = (specific, weight);
        }
    }
    found.1
}
