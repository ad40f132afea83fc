//! `/v1/subjects`: what a person may ask for of what is held about it.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use credence_ledger::LogName;
use utoipa_axum::routes;

use super::body::{Fields, Json};
use super::headers::{IDEMPOTENCY_REPLAYED, LEDGER_POSITION, idempotency_key, set};
use super::problem::{Kind, Problem, problems};
use super::query::Parameters;
use super::{Part, Route};
use crate::caller::Caller;
use crate::services::App;
use crate::use_cases::erase;
use crate::wire::erasure::{ErasureBody, ErasureRequest, read_erasure};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::new(Part::Issuance, routes!(erase_subjects))]
}

problems! {
    /// What can keep somebody from being erased.
    ErasureRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, TIMEOUT, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, VALIDATION_FAILED,
    IDEMPOTENCY_KEY_REUSED, NOT_CAUGHT_UP, PROJECTION_UNHEALTHY, STALE, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, OVERLOADED, INTERNAL
}

/// Erase a person.
///
/// For good: the keys are destroyed under which its personal data is sealed, here, in replicas and in exports. Its credentials have the status `erased` from
/// then on; what was proved of their events stays proved. To erase somebody who is not there, or not any more, is answered with an empty list.
#[utoipa::path(
    post,
    path = "/v1/subjects/erasures",
    tag = "Subjects",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters; the repeat answers as the first did")),
    request_body = ErasureRequest,
    responses(
        (status = 200, description = "Erased, or told what would be", body = ErasureBody, headers(
            ("Ledger-Position" = Option<String>, description = "Where the last was appended"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when this answers a repeat"),
        )),
        ErasureRefusals,
    ),
    security(("api_key" = [])),
)]
async fn erase_subjects(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    parameters: Parameters,
    Json(body): Json,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let key = idempotency_key(&headers)?;
    let command = Fields::read(body, read_erasure)?;
    let erasure = erase::erase(&app, &caller, &command, key.as_ref()).await?;
    let mut response = Answer(ErasureBody::new(&erasure, command.dry_run, &app.worker)).into_response();
    if let Some(last) = erasure.subjects.iter().filter_map(|subject| subject.position).max() {
        set(&mut response, LEDGER_POSITION, &LogName::LEDGER.at(last).to_string());
    }
    if erasure.repeated {
        set(&mut response, IDEMPOTENCY_REPLAYED, "true");
    }
    Ok(response)
}
