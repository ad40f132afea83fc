//! `/v1/verifications`: public.

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use credence_ledger::LogName;
use utoipa_axum::routes;

use super::body::{Fields, Json};
use super::headers::{MinPosition, set_as_of};
use super::problem::{Kind, Problem, problems};
use super::query::Parameters;
use super::{Part, Route};
use crate::caller::Caller;
use crate::services::App;
use crate::use_cases::verify;
use crate::wire::verdict::{VerdictBody, VerificationRequest, read_question};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::new(Part::Verification, routes!(verify_credential))]
}

problems! {
    /// What can keep a verdict from being given.
    Refusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, TIMEOUT, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE,
    VALIDATION_FAILED, NOT_CAUGHT_UP, PROJECTION_UNHEALTHY, STALE, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, OVERLOADED, INTERNAL
}

/// Verify a credential.
///
/// By its id (perhaps with what is known of its holder), by its digest, by presenting its document, or by presenting a secret. The
/// verdict is answered once it is recorded in the audit log.
#[utoipa::path(
    post,
    path = "/v1/verifications",
    tag = "Verifications",
    params(("Ledger-Min-Position" = Option<String>, Header, description = "Waits until the read model has passed this position")),
    request_body = VerificationRequest,
    responses(
        (status = 200, description = "A verdict, good or bad", body = VerdictBody, headers(
            ("Ledger-As-Of" = String, description = "How far the read model has come"),
        )),
        Refusals,
    ),
)]
async fn verify_credential(
    State(app): State<App>,
    caller: Caller,
    passed: MinPosition,
    parameters: Parameters,
    Json(body): Json,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let passed = passed.of(&LogName::LEDGER)?;
    let now = app.clock.now();
    let question = Fields::read(body, |fields| read_question(fields, now))?;
    let proof = question.proof;
    let verdict = verify::verify(&app, &caller, &verify::VerifyCredential { passed, ..question }).await?;
    let mut response = Answer(VerdictBody::new(&verdict, proof, &app.worker)).into_response();
    set_as_of(&mut response, &verdict.cursor);
    Ok(response)
}
