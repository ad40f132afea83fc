//! `/v1/auth/register`, `/v1/accounts` and `/v1/me`: accounts, for administrators and for their owners.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use credence_ledger::vault::Account;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{self, OptionalJson};
use super::headers::Id;
use super::problem::{Kind, Problem, problems};
use super::query::{LIMIT_MAX, Parameters, end_page, one_more};
use super::{Known, Part, Route};
use crate::caller::{Caller, Who};
use crate::services::{App, Services};
use crate::use_cases::accounts;
use crate::wire::account::{self, AccountBody, MeBody, PasswordRequest, ProfileRequest, RegisterRequest, RolesRequest};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Part::Issuance, routes!(register_account)),
        Route::new(Part::Issuance, routes!(list_accounts)),
        Route::new(Part::Issuance, routes!(read_account)),
        Route::new(Part::Issuance, routes!(set_roles)),
        Route::new(Part::Issuance, routes!(deactivate_account)),
        Route::new(Part::Issuance, routes!(activate_account)),
        Route::new(Part::Issuance, routes!(read_me, change_me)),
        Route::new(Part::Issuance, routes!(change_password)),
    ]
}

problems! {
    /// What can keep accounts from being told.
    ReadRefusals: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, OVERLOADED,
    INTERNAL
}

problems! {
    /// What can keep an account from being made or changed.
    ChangeRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, ACCOUNT_EXISTS, PAYLOAD_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE, VALIDATION_FAILED, RATE_LIMITED, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, OVERLOADED, INTERNAL
}

/// A page of accounts.
#[derive(Debug, Serialize, ToSchema)]
struct AccountList {
    /// Newest first.
    items: Vec<AccountBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// Register an account, of a member of the caller's organisation.
///
/// While registration is open anybody may, and is a member of the default organisation.
#[utoipa::path(
    post,
    path = "/v1/auth/register",
    tag = "Accounts",
    request_body = RegisterRequest,
    responses(
        (status = 201, description = "The account", body = AccountBody, headers(("Location" = String))),
        ChangeRefusals,
    ),
    security((), ("api_key" = [])),
)]
async fn register_account(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
    body: Result<body::Json, Problem>,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let command = account::read_registration(body?.0)?;
    let made = accounts::register(&app, &caller, &command).await?;
    let location = format!("/v1/accounts/{}", made.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(told(&app, &made).await?)).into_response())
}

/// List the organisation's accounts; for inspectors and operators all. It is on record that a page of them was read.
#[utoipa::path(
    get,
    path = "/v1/accounts",
    tag = "Accounts",
    params(
        ("limit" = Option<u64>, Query, description = "1 to 100, 20 by default"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page of accounts", body = AccountList), ReadRefusals),
    security(("api_key" = [])),
)]
async fn list_accounts(State(app): State<App>, by: Known, mut parameters: Parameters) -> Result<Json<AccountList>, Problem> {
    let limit = parameters.limit(LIMIT_MAX);
    let before = parameters.id_cursor();
    parameters.finish()?;
    let mut found = accounts::list(&app, &by.caller, &by.principal, before, one_more(limit)).await?;
    let next_cursor = end_page(&mut found, limit, |account| account.id);
    let mut items = Vec::with_capacity(found.len());
    for account in &found {
        items.push(told(&app, account).await?);
    }
    Ok(Json(AccountList { items, next_cursor }))
}

/// Read an account. It is on record that it was read, unless it is one's own.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}",
    tag = "Accounts",
    params(("id" = String, Path, description = "The account's id")),
    responses((status = 200, description = "The account", body = AccountBody), ReadRefusals),
    security(("api_key" = [])),
)]
async fn read_account(State(app): State<App>, by: Known, Id(id): Id, parameters: Parameters) -> Result<Json<AccountBody>, Problem> {
    parameters.finish()?;
    let account = accounts::tell(&app, &by.caller, &by.principal, id).await?;
    Ok(Json(told(&app, &account).await?))
}

/// Give an account other roles.
///
/// They hold within a second, on every worker and in sessions that go on.
#[utoipa::path(
    put,
    path = "/v1/accounts/{id}/roles",
    tag = "Accounts",
    params(("id" = String, Path, description = "The account's id")),
    request_body = RolesRequest,
    responses((status = 200, description = "The account", body = AccountBody), ChangeRefusals),
    security(("api_key" = [])),
)]
async fn set_roles(
    State(app): State<App>,
    by: Known,
    Id(id): Id,
    parameters: Parameters,
    body: Result<body::Json, Problem>,
) -> Result<Json<AccountBody>, Problem> {
    parameters.finish()?;
    let roles = account::read_roles(body?.0)?;
    let account = accounts::set_roles(&app, &by.caller, &by.principal, id, roles).await?;
    Ok(Json(told(&app, &account).await?))
}

/// Deactivate an account: its sessions end within a second, and nobody can log in to it.
#[utoipa::path(
    post,
    path = "/v1/accounts/{id}/deactivate",
    tag = "Accounts",
    params(("id" = String, Path, description = "The account's id")),
    responses((status = 200, description = "The account", body = AccountBody), ChangeRefusals),
    security(("api_key" = [])),
)]
async fn deactivate_account(
    State(app): State<App>,
    by: Known,
    Id(id): Id,
    parameters: Parameters,
    body: Result<OptionalJson, Problem>,
) -> Result<Json<AccountBody>, Problem> {
    set_active(&app, &by, id, parameters, body, false).await
}

/// Activate an account that was deactivated.
#[utoipa::path(
    post,
    path = "/v1/accounts/{id}/activate",
    tag = "Accounts",
    params(("id" = String, Path, description = "The account's id")),
    responses((status = 200, description = "The account", body = AccountBody), ChangeRefusals),
    security(("api_key" = [])),
)]
async fn activate_account(
    State(app): State<App>,
    by: Known,
    Id(id): Id,
    parameters: Parameters,
    body: Result<OptionalJson, Problem>,
) -> Result<Json<AccountBody>, Problem> {
    set_active(&app, &by, id, parameters, body, true).await
}

async fn set_active(
    app: &Services,
    by: &Known,
    id: Uuid,
    parameters: Parameters,
    body: Result<OptionalJson, Problem>,
    active: bool,
) -> Result<Json<AccountBody>, Problem> {
    parameters.finish()?;
    body?.without_members()?;
    let account = accounts::set_active(app, &by.caller, &by.principal, id, active).await?;
    Ok(Json(told(app, &account).await?))
}

/// Tell who calls.
#[utoipa::path(
    get,
    path = "/v1/me",
    tag = "Accounts",
    responses((status = 200, description = "Who calls", body = MeBody), ReadRefusals),
    security(("api_key" = [])),
)]
async fn read_me(State(app): State<App>, by: Known, parameters: Parameters) -> Result<Json<MeBody>, Problem> {
    parameters.finish()?;
    let principal = &by.principal;
    let (kind, id, account) = match principal.who {
        Who::Key(id) => ("key", id, None),
        Who::Account { id, .. } => ("account", id, Some(told(&app, &accounts::read(&app, principal, id).await?).await?)),
        Who::External(id) => ("external", id, None),
    };
    let issuer = organisation(&app, principal.issuer).await?;
    Ok(Json(MeBody { kind, id, roles: account::names(principal.roles), issuer, account }))
}

/// Change what one's account tells of one.
#[utoipa::path(
    patch,
    path = "/v1/me",
    tag = "Accounts",
    request_body = ProfileRequest,
    responses((status = 200, description = "The account", body = AccountBody), ChangeRefusals),
    security(("api_key" = [])),
)]
async fn change_me(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
    body: Result<body::Json, Problem>,
) -> Result<Json<AccountBody>, Problem> {
    parameters.finish()?;
    let (id, _) = caller.session()?;
    let change = account::read_profile(body?.0)?;
    let account = accounts::change_profile(&app, &caller, id, &change).await?;
    Ok(Json(told(&app, &account).await?))
}

/// Change one's password. All other sessions end.
#[utoipa::path(
    put,
    path = "/v1/me/password",
    tag = "Accounts",
    request_body = PasswordRequest,
    responses((status = 204, description = "It is changed"), ChangeRefusals),
    security(("api_key" = [])),
)]
async fn change_password(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
    body: Result<body::Json, Problem>,
) -> Result<StatusCode, Problem> {
    parameters.finish()?;
    let (id, session) = caller.session()?;
    let account = accounts::read(&app, caller.known()?, id).await?;
    let (current, new) = account::read_passwords(body?.0, &account.profile)?;
    accounts::change_password(&app, &caller, (id, session), &current, &new).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn told(app: &Services, account: &Account) -> Result<AccountBody, Problem> {
    Ok(AccountBody::new(account, organisation(app, account.issuer).await?))
}

/// An organisation's name.
pub(super) async fn organisation(app: &Services, id: Uuid) -> Result<String, Problem> {
    let issuer = app.issuers.by_id(id).await?;
    issuer.map(|issuer| issuer.name).ok_or_else(|| Problem::internal("an organisation that the vault does not know"))
}
