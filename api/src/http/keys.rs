//! `/v1/keys`: API keys for programs, made, listed, rotated and revoked.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use credence_ledger::vault::{ApiKey, Terms};
use utoipa_axum::routes;

use super::accounts::organisation;
use super::body::{Fields, Json, OptionalJson};
use super::headers::{Id, set};
use super::problem::{Kind, Problem, problems};
use super::query::{IdCursor, Parameters};
use super::{Known, Part, Route};
use crate::caller::Caller;
use crate::services::{App, Services};
use crate::use_cases::keys::{self, Made};
use crate::wire::key::{Asked, KeyBody, KeyPage, KeyRequest, NewKeyBody, RotateRequest, read_key, read_list, read_rotation};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Part::Issuance, routes!(create_api_key, list_api_keys)),
        Route::new(Part::Issuance, routes!(read_api_key, revoke_api_key)),
        Route::new(Part::Issuance, routes!(rotate_api_key)),
    ]
}

problems! {
    /// What can keep a key from being made.
    CreateRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, TIMEOUT, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, VALIDATION_FAILED,
    STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, INTERNAL
}

problems! {
    /// What can keep keys from being listed.
    ListRefusals: UNAUTHENTICATED, FORBIDDEN, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, INTERNAL
}

problems! {
    /// What can keep a key from being told of.
    ReadRefusals: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, INTERNAL
}

problems! {
    /// What can keep a key from being revoked.
    RevokeRefusals: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, INTERNAL
}

problems! {
    /// What can keep a key from being rotated.
    RotateRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, KEY_ENDED, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE,
    VALIDATION_FAILED, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, INTERNAL
}

/// Make an API key.
///
/// The answer holds the key, this once. An administrator makes keys of its organisation, an operator of any; nobody gives more than it has.
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "Keys",
    request_body = KeyRequest,
    responses(
        (status = 201, description = "Made", body = NewKeyBody, headers(("Location" = String, description = "The key"))),
        CreateRefusals,
    ),
    security(("api_key" = [])),
)]
async fn create_api_key(State(app): State<App>, by: Known, parameters: Parameters, Json(body): Json) -> Result<Response, Problem> {
    parameters.finish()?;
    let now = app.clock.now();
    let Asked { roles, issuer, name, types, expires_at } = Fields::read(body, |fields| read_key(fields, now))?;
    let issuer = keys::organisation(&app, &by.principal, issuer.as_deref()).await?;
    let made = keys::create(&app, &by.caller, &Terms { roles, issuer, types, name, expires_at }).await?;
    Ok(told(&app, &made))
}

/// A key just made, told this once.
fn told(app: &Services, made: &Made) -> Response {
    let row = KeyBody::new(&made.key, &made.issuer, app.clock.now());
    let mut response = (StatusCode::CREATED, Answer(NewKeyBody { key: made.text.to_string(), row })).into_response();
    set(&mut response, LOCATION, &format!("/v1/keys/{}", made.key.id));
    response
}

async fn shown(app: &Services, key: &ApiKey) -> Result<KeyBody, Problem> {
    let issuer = organisation(app, key.terms.issuer).await?;
    Ok(KeyBody::new(key, &issuer, app.clock.now()))
}

/// List API keys, newest first, those that hold no longer included.
///
/// An administrator sees those of its organisation, an inspector or an operator all.
#[utoipa::path(
    get,
    path = "/v1/keys",
    tag = "Keys",
    params(
        ("prefix" = Option<String>, Query, description = "Those that begin so: `credence_` and at most 8 digits"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("limit" = Option<u64>, Query, description = "1 to 100, 20 by default"),
    ),
    responses((status = 200, description = "A page", body = KeyPage), ListRefusals),
    security(("api_key" = [])),
)]
async fn list_api_keys(State(app): State<App>, by: Known, mut parameters: Parameters) -> Result<Answer<KeyPage>, Problem> {
    let wanted = read_list(&mut parameters);
    parameters.finish()?;
    let (found, next) = keys::list(&app, &by.principal, wanted).await?;
    let mut items = Vec::with_capacity(found.len());
    for key in &found {
        items.push(shown(&app, key).await?);
    }
    Ok(Answer(KeyPage { items, next_cursor: next.map(|id| IdCursor(id).to_string()) }))
}

/// Read what is told of an API key.
#[utoipa::path(
    get,
    path = "/v1/keys/{id}",
    tag = "Keys",
    params(("id" = Uuid, Path, description = "The key's id")),
    responses((status = 200, description = "The key", body = KeyBody), ReadRefusals),
    security(("api_key" = [])),
)]
async fn read_api_key(State(app): State<App>, caller: Caller, Id(id): Id, parameters: Parameters) -> Result<Answer<KeyBody>, Problem> {
    parameters.finish()?;
    let key = keys::read(&app, &caller, id).await?;
    shown(&app, &key).await.map(Answer)
}

/// Rotate an API key.
///
/// Makes another on the same terms, told this once, and lets the key end: at once, or after `overlap_s` seconds in which both hold.
#[utoipa::path(
    post,
    path = "/v1/keys/{id}/rotate",
    tag = "Keys",
    params(("id" = Uuid, Path, description = "The key's id")),
    request_body = Option<RotateRequest>,
    responses(
        (status = 201, description = "The key that takes its place", body = NewKeyBody, headers(("Location" = String, description = "The new key"))),
        RotateRefusals,
    ),
    security(("api_key" = [])),
)]
async fn rotate_api_key(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    parameters: Parameters,
    OptionalJson(body): OptionalJson,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let overlap = read_rotation(body)?;
    let made = keys::rotate(&app, &caller, id, overlap).await?;
    Ok(told(&app, &made))
}

/// Revoke an API key.
///
/// For ever: within a second it is taken nowhere. To revoke one again changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    tag = "Keys",
    params(("id" = Uuid, Path, description = "The key's id")),
    responses((status = 204, description = "Revoked"), RevokeRefusals),
    security(("api_key" = [])),
)]
async fn revoke_api_key(State(app): State<App>, caller: Caller, Id(id): Id, parameters: Parameters) -> Result<StatusCode, Problem> {
    parameters.finish()?;
    keys::revoke(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
