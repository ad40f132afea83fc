//! `/v1/issuers`: create, read, list and change organisations.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use credence_ledger::LogName;
use utoipa_axum::routes;

use super::body::Json;
use super::headers::{Id, LEDGER_POSITION, set};
use super::problem::{Kind, Problem, problems};
use super::query::{LIMIT_MAX, Parameters, end_page, one_more};
use super::{Known, Part, Route};
use crate::caller::Caller;
use crate::services::App;
use crate::use_cases::issuers;
use crate::wire::issuer::{ChangeIssuerRequest, CreateIssuerRequest, IssuerBody, IssuerPage, IssuerSummary, read_change, read_create};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::new(Part::Issuance, routes!(create_issuer, list_issuers)), Route::new(Part::Issuance, routes!(read_issuer, change_issuer))]
}

problems! {
    /// What can keep an organisation from being made.
    CreateRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, TIMEOUT, ISSUER_EXISTS, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE,
    VALIDATION_FAILED, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, OVERLOADED, INTERNAL
}

problems! {
    /// What can keep organisations from being listed.
    ListRefusals: UNAUTHENTICATED, FORBIDDEN, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, INTERNAL
}

problems! {
    /// What can keep an organisation from being read.
    ReadRefusals: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, INTERNAL
}

problems! {
    /// What can keep an organisation from being changed.
    ChangeRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, DEFAULT_ISSUER, PAYLOAD_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE, VALIDATION_FAILED, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, OVERLOADED, INTERNAL
}

/// Create an organisation.
///
/// With a signing key and a did of its own. Its name is never given away again.
#[utoipa::path(
    post,
    path = "/v1/issuers",
    tag = "Issuers",
    request_body = CreateIssuerRequest,
    responses(
        (status = 201, description = "Created", body = IssuerBody, headers(
            ("Location" = String, description = "The organisation"),
            ("Ledger-Position" = String, description = "Where it was registered"),
        )),
        CreateRefusals,
    ),
    security(("api_key" = [])),
)]
async fn create_issuer(State(app): State<App>, caller: Caller, parameters: Parameters, Json(body): Json) -> Result<Response, Problem> {
    parameters.finish()?;
    let command = read_create(body)?;
    let (made, position) = issuers::create(&app, &caller, &command).await?;
    let body = IssuerBody::from(made);
    let location = format!("/v1/issuers/{}", body.summary.id);
    let mut response = (StatusCode::CREATED, Answer(body)).into_response();
    set(&mut response, LOCATION, &location);
    set(&mut response, LEDGER_POSITION, &LogName::LEDGER.at(position).to_string());
    Ok(response)
}

/// List organisations, newest first.
///
/// Inspectors and operators see all, everybody else its own.
#[utoipa::path(
    get,
    path = "/v1/issuers",
    tag = "Issuers",
    params(
        ("limit" = Option<u64>, Query, description = "1 to 100, 20 by default"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page of organisations", body = IssuerPage), ListRefusals),
    security(("api_key" = [])),
)]
async fn list_issuers(State(app): State<App>, by: Known, mut parameters: Parameters) -> Result<Response, Problem> {
    let limit = parameters.limit(LIMIT_MAX);
    let before = parameters.id_cursor();
    parameters.finish()?;
    let mut found = issuers::list(&app, &by.principal, before, one_more(limit)).await?;
    let next_cursor = end_page(&mut found, limit, |organisation| organisation.issuer.id);
    Ok(Answer(IssuerPage { items: found.into_iter().map(IssuerSummary::from).collect(), next_cursor }).into_response())
}

/// Read an organisation.
#[utoipa::path(
    get,
    path = "/v1/issuers/{id}",
    tag = "Issuers",
    params(("id" = Uuid, Path, description = "The organisation's id")),
    responses((status = 200, description = "The organisation", body = IssuerBody), ReadRefusals),
    security(("api_key" = [])),
)]
async fn read_issuer(State(app): State<App>, by: Known, Id(id): Id, parameters: Parameters) -> Result<Response, Problem> {
    parameters.finish()?;
    Ok(Answer(IssuerBody::from(issuers::read(&app, &by.principal, id).await?)).into_response())
}

/// Change an organisation.
///
/// Its administrators change what it tells of itself; operators also whether it is active. While it is not, its keys and sessions are 401
/// on every process within a second; what was issued in its name stays what it is.
#[utoipa::path(
    patch,
    path = "/v1/issuers/{id}",
    tag = "Issuers",
    params(("id" = Uuid, Path, description = "The organisation's id")),
    request_body = ChangeIssuerRequest,
    responses((status = 200, description = "The organisation as it is now", body = IssuerBody), ChangeRefusals),
    security(("api_key" = [])),
)]
async fn change_issuer(
    State(app): State<App>,
    by: Known,
    Id(id): Id,
    parameters: Parameters,
    Json(body): Json,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let change = read_change(body)?;
    Ok(Answer(IssuerBody::from(issuers::change(&app, &by.caller, &by.principal, (id, &change)).await?)).into_response())
}
