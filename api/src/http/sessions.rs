//! `/v1/auth/*`, `/v1/me/sessions` and `/.well-known/jwks.json`: sessions, and what others check their tokens with.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use credence_ledger::event::audit::EndedBy;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::accounts::organisation;
use super::auth;
use super::body::{self, OptionalJson};
use super::headers::Id;
use super::problem::{Kind, Problem, problems};
use super::query::Parameters;
use super::{Part, Route};
use crate::caller::{Caller, Who};
use crate::services::App;
use crate::use_cases::sessions;
use crate::wire::account::{self, IntrospectRequest, IntrospectionBody, LoginRequest, RefreshRequest, SessionBody, TokensBody};

/// For how long others may keep the published keys: less than a key is published before it signs.
const KEYS_KEPT: &str = "public, max-age=300";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Part::Issuance, routes!(login)),
        Route::new(Part::Issuance, routes!(refresh)),
        Route::new(Part::Issuance, routes!(logout)),
        Route::new(Part::Issuance, routes!(introspect)),
        Route::new(Part::Issuance, routes!(list_sessions)),
        Route::new(Part::Issuance, routes!(end_session)),
        Route::new(Part::Proofs, routes!(published_keys)).free(),
    ]
}

problems! {
    /// What can keep a session from being begun, gone on with or ended.
    Refusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE,
    VALIDATION_FAILED, RATE_LIMITED, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, OVERLOADED, INTERNAL
}

problems! {
    /// What can keep the published keys from being told.
    KeyRefusals: TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, INTERNAL
}

/// An account's sessions that go on.
#[derive(Debug, Serialize, ToSchema)]
struct SessionList {
    /// Newest first.
    items: Vec<SessionBody>,
    /// Always null: there are few.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Log in: begin a session.
///
/// An unknown account and a wrong password are answered alike. What is presented in `Authorization` does not matter.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    tag = "Sessions",
    request_body = LoginRequest,
    responses((status = 200, description = "The session's tokens", body = TokensBody), Refusals),
)]
async fn login(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
    body: Result<body::Json, Problem>,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let (identifier, password) = account::read_login(body?.0)?;
    let tokens = sessions::login(&app, &caller, &identifier, &password).await?;
    Ok(once(TokensBody::from(tokens)))
}

/// Go on with a session: get its next tokens for a refresh token, which is good once.
///
/// A refresh token that comes a second time ends the session. What is presented in `Authorization` does not matter.
#[utoipa::path(
    post,
    path = "/v1/auth/refresh",
    tag = "Sessions",
    request_body = RefreshRequest,
    responses((status = 200, description = "The session's tokens", body = TokensBody), Refusals),
)]
async fn refresh(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
    body: Result<body::Json, Problem>,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let token = account::read_refresh(body?.0)?;
    let tokens = sessions::refresh(&app, &caller, &token).await?;
    Ok(once(TokensBody::from(tokens)))
}

/// Nobody on the way keeps a token (RFC 6749, section 5.1).
fn once(tokens: TokensBody) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(tokens)).into_response()
}

/// Log out: end the session that asks. Its tokens are worth nothing within a second, on every worker.
#[utoipa::path(
    post,
    path = "/v1/auth/logout",
    tag = "Sessions",
    responses((status = 204, description = "It is over"), Refusals),
    security(("api_key" = [])),
)]
async fn logout(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
    body: Result<OptionalJson, Problem>,
) -> Result<StatusCode, Problem> {
    parameters.finish()?;
    body?.without_members()?;
    let (account, session) = caller.session()?;
    sessions::end(&app, &caller, account, session, EndedBy::Logout).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List one's sessions that go on.
#[utoipa::path(
    get,
    path = "/v1/me/sessions",
    tag = "Sessions",
    responses((status = 200, description = "The sessions", body = SessionList), Refusals),
    security(("api_key" = [])),
)]
async fn list_sessions(State(app): State<App>, caller: Caller, parameters: Parameters) -> Result<Json<SessionList>, Problem> {
    parameters.finish()?;
    let (account, current) = caller.session()?;
    let seen = sessions::list(&app, account).await?;
    Ok(Json(SessionList { items: seen.iter().map(|seen| SessionBody::new(seen, current)).collect(), next_cursor: None }))
}

/// End one of one's sessions, this one or another. Its tokens are worth nothing within a second, on every worker.
#[utoipa::path(
    delete,
    path = "/v1/me/sessions/{id}",
    tag = "Sessions",
    params(("id" = String, Path, description = "The session's id")),
    responses((status = 204, description = "It is over"), Refusals),
    security(("api_key" = [])),
)]
async fn end_session(State(app): State<App>, caller: Caller, Id(id): Id, parameters: Parameters) -> Result<StatusCode, Problem> {
    parameters.finish()?;
    let (account, _) = caller.session()?;
    if sessions::end(&app, &caller, account, id, EndedBy::Owner).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(Kind::NOT_FOUND))
    }
}

/// Ask what an access token, an API key or an identity provider's token is worth now: for services that are given one.
#[utoipa::path(
    post,
    path = "/v1/auth/introspect",
    tag = "Sessions",
    request_body = IntrospectRequest,
    responses((status = 200, description = "What it is worth", body = IntrospectionBody), Refusals),
    security(("api_key" = [])),
)]
async fn introspect(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
    body: Result<body::Json, Problem>,
) -> Result<Json<IntrospectionBody>, Problem> {
    parameters.finish()?;
    let token = account::read_introspection(body?.0)?;
    let asker = caller.known()?;
    let found = match auth::identify(&app, &token).await {
        // Worth nothing, whoever says so.
        Err(problem) if problem.kind == Kind::UNAUTHENTICATED => None,
        found => found?,
    };
    let found = found.filter(|found| asker.may_know_of(found.principal.issuer));
    let Some(found) = found.filter(|found| found.check(app.clock.now()).is_ok()) else {
        return Ok(Json(IntrospectionBody::default()));
    };
    let (token_type, sub, sid) = match found.principal.who {
        Who::Key(id) => ("api_key", id, None),
        Who::Account { id, session } => ("access_token", id, Some(session)),
        Who::External(id) => ("external_token", id, None),
    };
    Ok(Json(IntrospectionBody {
        active: true,
        token_type: Some(token_type),
        sub: Some(sub),
        sid,
        role: Some(found.principal.roles.to_string()),
        issuer: Some(organisation(&app, found.principal.issuer).await?),
        exp: found.until.map(|until| until.as_micros() / 1_000_000),
    }))
}

/// Read the keys that access tokens are checked with: a JSON Web Key Set (RFC 7517).
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "Sessions",
    responses((status = 200, description = "The keys", body = Object), KeyRefusals),
)]
async fn published_keys(State(app): State<App>, parameters: Parameters) -> Result<Response, Problem> {
    parameters.finish()?;
    let keys = app.tokens.published_keys().await?;
    Ok(([(CACHE_CONTROL, KEYS_KEPT)], Json(keys)).into_response())
}
