//! Two older dialects, for clients that already exist. They call the same use cases and need the same rights.
//!
//! They are more lenient than the API: unknown fields and `Idempotency-Key` are ignored. They tell problems in shapes of their
//! own, each by its `tell`, be they from a handler or from what stands around all handlers; and whatever is wrong with a body is
//! a 400 to them.

pub mod issuance;
pub mod secrets;
pub mod verification;

use credence_ledger::Position;
use credence_projections::projection::Projection;
use credence_projections::verification::AtIssuer;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Route;
use super::body::{Fields, Json};
use super::problem::{Kind, Problem};
use crate::caller::Caller;
use crate::services::Services;
use crate::use_cases::Error;

/// The issuer in whose name open issuance issues, and whose secrets are checked for anybody without a key.
const ISSUER: &str = "default";

pub(crate) fn routes() -> Vec<Route> {
    [issuance::routes(), verification::routes(), secrets::routes()].into_iter().flatten().collect()
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
        let issuer = services.issuers.by_name(ISSUER).await?;
        return issuer.map(|issuer| issuer.id).ok_or_else(|| Problem::internal("there is no default issuer"));
    }
    Ok(caller.known()?.issuer)
}

/// Whose secrets the caller asks about: those that its key issues; without a key those of issuer `default`.
fn asked(caller: &Caller) -> AtIssuer {
    caller.principal.as_ref().map_or_else(|| AtIssuer::Name(ISSUER.to_owned()), |principal| AtIssuer::Id(principal.issuer))
}

/// These clients verify as soon as they have issued: gives the read model time to see what was appended. If it does not, the
/// credential is issued all the same, and that is what is answered.
async fn let_the_read_model_see(services: &Services, position: Position) {
    if let Err(error) = services.wait_for(Projection::Verification, Some(position)).await {
        tracing::debug!(error = &Error::from(error) as &dyn std::error::Error, "issued, but not seen by the read model yet");
    }
}
