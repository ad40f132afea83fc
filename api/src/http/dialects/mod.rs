//! Two older dialects, for clients that already exist. They call the same use cases and need the same rights.
//!
//! They are more lenient than the API: unknown fields and `Idempotency-Key` are ignored. They tell problems in shapes of their
//! own, each by its `tell`, be they from a handler or from what stands around all handlers; and whatever is wrong with what a body
//! says is a 400 to them.

pub mod issuance;
pub mod secrets;
pub mod verification;

use credence_ledger::Position;
use credence_ledger::causes;
use credence_projections::projection::Projection;
use credence_projections::verification::AtIssuer;
use serde_json::{Value, json};
use utoipa::IntoResponses;
use uuid::Uuid;

use super::Route;
use super::body::{Fields, Json};
use super::problem::{Kind, Problem};
use crate::caller::Caller;
use crate::services::Services;
use crate::stores::DEFAULT_ISSUER;
use crate::use_cases::Error;

pub(crate) fn routes() -> Vec<Route> {
    [issuance::routes(), verification::routes(), secrets::routes()].into_iter().flatten().collect()
}

/// What is answered to credentials that do not hold, where anybody may call without; told in the dialect's own shape.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the OpenAPI document; each dialect's `tell` writes them")]
enum Unknown {
    /// An API key or a token that does not hold
    #[response(status = 401)]
    Caller,
    /// A token of nobody known here
    #[response(status = 403)]
    Organisation,
}

/// What keeps any of these routes from answering; told in the dialect's own shape.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the OpenAPI document; each dialect's `tell` writes them")]
enum Failures {
    /// The request took too long to arrive or to answer
    #[response(status = 408)]
    Timeout,
    /// The body is larger than this server takes
    #[response(status = 413)]
    PayloadTooLarge,
    /// The body is of another media type than JSON
    #[response(status = 415)]
    UnsupportedMediaType,
    /// Too many requests
    #[response(status = 429)]
    RateLimited,
    /// Something went wrong here
    #[response(status = 500)]
    Internal,
    /// A store or a read model is unavailable: try again
    #[response(status = 503)]
    Unavailable,
}

/// Reads a body, ignoring members that are not asked for.
fn read<T>(body: Result<Json, Problem>, fields: impl FnOnce(&mut Fields) -> Option<T>) -> Result<T, Problem> {
    let Json(body) = body.map_err(as_bad_request)?;
    Fields::read_leniently(body, fields).map_err(|errors| as_bad_request(Problem::invalid(errors)))
}

fn as_bad_request(problem: Problem) -> Problem {
    if problem.kind == Kind::VALIDATION_FAILED { Problem { kind: Kind::MALFORMED_JSON, ..problem } } else { problem }
}

/// How the two routes that check fields tell what is wrong with a body.
fn validation_failed(problem: &Problem) -> Value {
    let mut errors: Vec<Value> =
        problem.errors.iter().map(|error| json!({"path": error.field, "message": error.message, "code": error.code})).collect();
    if errors.is_empty() {
        errors.push(json!({"path": "", "message": message(problem), "code": problem.kind.name}));
    }
    json!({"success": false, "message": "Validation failed", "errors": errors})
}

fn message(problem: &Problem) -> &str {
    problem.detail.as_deref().unwrap_or(problem.kind.title)
}

/// In whose name the caller issues: its own issuer's; with open issuance, anybody without a key as issuer `default`.
async fn issuer(services: &Services, caller: &Caller) -> Result<Uuid, Problem> {
    if caller.principal.is_none() && services.settings.open_issuance {
        let issuer = services.issuers.by_name(DEFAULT_ISSUER).await?;
        return issuer.map(|issuer| issuer.id).ok_or_else(|| Problem::internal("there is no default issuer"));
    }
    Ok(caller.known()?.issuer)
}

/// Whose secrets the caller asks about: those that its key issues; without a key those of issuer `default`.
fn asked(caller: &Caller) -> AtIssuer {
    caller.principal.as_ref().map_or_else(|| AtIssuer::Name(DEFAULT_ISSUER.to_owned()), |principal| AtIssuer::Id(principal.issuer))
}

/// These clients verify as soon as they have issued: gives the read model time to see what was appended. If it does not, the
/// credential is issued all the same, and that is what is answered.
async fn let_the_read_model_see(services: &Services, position: Position) {
    if let Err(error) = services.wait_for(Projection::Verification, Some(position)).await {
        tracing::debug!(reason = causes(&Error::from(error)), "issued, but not seen by the read model yet");
    }
}
