//! `/v1/credentials`: issue, read, change, list and search credentials, and read what happened to one.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use credence_ledger::decision::credential::Change;
use credence_ledger::event::Recorded;
use credence_ledger::log::Log;
use credence_ledger::{LogName, Position, Version};
use serde_json::Value;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{Fields, Json, OptionalJson};
use super::headers::{IDEMPOTENCY_REPLAYED, Id, IdempotencyKey, LEDGER_POSITION, MinPosition, prefers, set, set_as_of};
use super::problem::{Kind, Problem, problems};
use super::query::{Cursor, LIMIT_MAX, Parameters};
use super::{Known, Part, Route};
use crate::caller::Principal;
use crate::services::{App, Services};
use crate::use_cases::credential::Done;
use crate::use_cases::idempotency::Key;
use crate::use_cases::list::ListCredentials;
use crate::use_cases::read::{self, Page};
use crate::use_cases::{Error, change, issue, list, receipt};
use crate::wire::credential::{
    ChangeRequest, CredentialBody, IssueRequest, SearchRequest, Summary, SummaryPage, WithReceipt, read_change, read_issue, read_list,
    read_search,
};
use crate::wire::event::{Event, EventPage, Keys, sealed_under};
use crate::wire::proof::ReceiptBody;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Part::Issuance, routes!(issue_credential, list_credentials)),
        Route::new(Part::Issuance, routes!(search_credentials)),
        Route::new(Part::Issuance, routes!(read_credential)),
        Route::new(Part::Issuance, routes!(revoke_credential)),
        Route::new(Part::Issuance, routes!(suspend_credential)),
        Route::new(Part::Issuance, routes!(reinstate_credential)),
        Route::new(Part::Issuance, routes!(read_receipt)),
        Route::new(Part::Issuance, routes!(list_credential_events)),
        Route::new(Part::Issuance, routes!(list_credential_verifications)),
    ]
}

problems! {
    /// What can keep a credential from being issued.
    IssueRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, TIMEOUT, ALREADY_ISSUED, ERASED, KEY_LOST, PAYLOAD_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE, VALIDATION_FAILED, IDEMPOTENCY_KEY_REUSED, STORE_UNAVAILABLE, OVERLOADED, INTERNAL
}

problems! {
    /// What can keep a credential from being changed.
    ChangeRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, ALREADY_REVOKED, ALREADY_SUSPENDED, NOT_SUSPENDED,
    CHANGED_TOO_OFTEN, ERASED, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, VALIDATION_FAILED, IDEMPOTENCY_KEY_REUSED, STORE_UNAVAILABLE, OVERLOADED, INTERNAL
}

problems! {
    /// What can keep a credential from being read.
    ReadRefusals: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, ERASED, KEY_LOST, VALIDATION_FAILED, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, INTERNAL
}

problems! {
    /// What can keep a receipt from being given.
    ReceiptRefusals: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, VALIDATION_FAILED, NOT_CAUGHT_UP, STORE_UNAVAILABLE, INTERNAL
}

problems! {
    /// What can keep a page from being read.
    PageRefusals: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, NOT_CAUGHT_UP,
    PROJECTION_UNHEALTHY, STALE, INTERNAL
}

problems! {
    /// What can keep credentials from being listed.
    ListRefusals: UNAUTHENTICATED, FORBIDDEN, TIMEOUT, VALIDATION_FAILED, NOT_CAUGHT_UP, PROJECTION_UNHEALTHY, STALE, STORE_UNAVAILABLE,
    INTERNAL
}

problems! {
    /// What can keep credentials from being searched.
    SearchRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, TIMEOUT, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, VALIDATION_FAILED,
    NOT_CAUGHT_UP, PROJECTION_UNHEALTHY, STALE, STORE_UNAVAILABLE, INTERNAL
}

/// Issue a credential.
///
/// About a subject, or over a secret. One type of credential exists once for a subject (issuer, name and e-mail address in normal
/// form), and one credential for a secret, until it is revoked.
#[utoipa::path(
    post,
    path = "/v1/credentials",
    tag = "Credentials",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters; the repeat answers as the first did")),
    request_body = IssueRequest,
    responses(
        (status = 201, description = "Issued", body = CredentialBody, headers(
            ("Location" = String, description = "The credential"),
            ("Ledger-Position" = String, description = "Where it was appended"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when this answers a repeat"),
        )),
        IssueRefusals,
    ),
    security(("api_key" = [])),
)]
async fn issue_credential(
    State(app): State<App>,
    by: Known,
    IdempotencyKey(key): IdempotencyKey,
    parameters: Parameters,
    Json(body): Json,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let WithReceipt { command, receipt } = Fields::read(body, read_issue)?;
    let done = issue::issue(&app, &by.caller, by.principal.issuer, &command, key.as_ref()).await?;
    let location = format!("/v1/credentials/{}", done.opened.credential.id);
    let mut response = (StatusCode::CREATED, Answer(after(&app, &done, "issued", receipt).await)).into_response();
    set(&mut response, LOCATION, &location);
    Ok(of_act(response, &done))
}

/// What an act made of the credential, with the act's receipt if it is wanted.
async fn after<'a>(app: &Services, done: &'a Done, what: &str, receipt: bool) -> CredentialBody<'a> {
    let receipt = if receipt { Some(receipt::of_act(app, done.position).await) } else { None };
    CredentialBody::after(done, what, receipt.as_ref().map(Option::as_ref))
}

/// Says where an act was appended, and whether it was just now.
fn of_act(mut response: Response, done: &Done) -> Response {
    set(&mut response, LEDGER_POSITION, &LogName::LEDGER.at(done.position).to_string());
    if done.repeated {
        set(&mut response, IDEMPOTENCY_REPLAYED, "true");
    }
    response
}

/// Read a credential.
///
/// From the ledger itself, so that it is always current. Opening personal data is recorded in the audit log.
#[utoipa::path(
    get,
    path = "/v1/credentials/{id}",
    tag = "Credentials",
    params(("id" = Uuid, Path, description = "The credential's id")),
    responses((status = 200, description = "The credential", body = CredentialBody), ReadRefusals),
    security(("api_key" = [])),
)]
async fn read_credential(State(app): State<App>, by: Known, Id(id): Id, parameters: Parameters) -> Result<Response, Problem> {
    parameters.finish()?;
    let opened = read::read(&app, &by.caller, &by.principal, id).await?;
    Ok(Answer(CredentialBody::new(&opened)).into_response())
}

/// Read the receipt of one of a credential's events.
///
/// What to keep in order to show, offline and to anybody who has the log's key, that it is in the ledger. Waits for a checkpoint
/// that covers the event. `Accept: text/plain` answers it as a C2SP tlog-proof.
#[utoipa::path(
    get,
    path = "/v1/credentials/{id}/receipt",
    tag = "Proofs",
    params(
        ("id" = Uuid, Path, description = "The credential's id"),
        ("version" = Option<u64>, Query, description = "Which of its events; without it 0, which is `CredentialIssued`"),
    ),
    responses(
        (status = 200, description = "The receipt", content((ReceiptBody = "application/json"), (String = "text/plain"))),
        ReceiptRefusals,
    ),
    security(("api_key" = [])),
)]
async fn read_receipt(
    State(app): State<App>,
    by: Known,
    Id(id): Id,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let version = Version(parameters.integer("version", 0, i64::MAX.unsigned_abs()).unwrap_or_default());
    parameters.finish()?;
    let receipt = receipt::of_version(&app, &by.principal, id, version).await?;
    if prefers(&headers, &["application/json", "text/plain"]) == 1 {
        return Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], receipt.to_string()).into_response());
    }
    Ok(Answer(ReceiptBody::from(&receipt)).into_response())
}

/// Revoke a credential.
///
/// For ever. Another one of its kind can be issued from then on.
#[utoipa::path(
    post,
    path = "/v1/credentials/{id}/revoke",
    tag = "Credentials",
    params(
        ("id" = Uuid, Path, description = "The credential's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters; the repeat answers as the first did"),
    ),
    request_body = Option<ChangeRequest>,
    responses(
        (status = 200, description = "Revoked", body = CredentialBody, headers(
            ("Ledger-Position" = String, description = "Where it was appended"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when this answers a repeat"),
        )),
        ChangeRefusals,
    ),
    security(("api_key" = [])),
)]
async fn revoke_credential(
    State(app): State<App>,
    by: Known,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    parameters: Parameters,
    OptionalJson(body): OptionalJson,
) -> Result<Response, Problem> {
    parameters.finish()?;
    change_status(&app, by, (id, Change::Revoke), key.as_ref(), body, "revoked").await
}

/// Suspend a credential.
///
/// It does not count until it is reinstated.
#[utoipa::path(
    post,
    path = "/v1/credentials/{id}/suspend",
    tag = "Credentials",
    params(
        ("id" = Uuid, Path, description = "The credential's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters; the repeat answers as the first did"),
    ),
    request_body = Option<ChangeRequest>,
    responses(
        (status = 200, description = "Suspended", body = CredentialBody, headers(
            ("Ledger-Position" = String, description = "Where it was appended"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when this answers a repeat"),
        )),
        ChangeRefusals,
    ),
    security(("api_key" = [])),
)]
async fn suspend_credential(
    State(app): State<App>,
    by: Known,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    parameters: Parameters,
    OptionalJson(body): OptionalJson,
) -> Result<Response, Problem> {
    parameters.finish()?;
    change_status(&app, by, (id, Change::Suspend), key.as_ref(), body, "suspended").await
}

/// Reinstate a suspended credential.
#[utoipa::path(
    post,
    path = "/v1/credentials/{id}/reinstate",
    tag = "Credentials",
    params(
        ("id" = Uuid, Path, description = "The credential's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters; the repeat answers as the first did"),
    ),
    request_body = Option<ChangeRequest>,
    responses(
        (status = 200, description = "Reinstated", body = CredentialBody, headers(
            ("Ledger-Position" = String, description = "Where it was appended"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when this answers a repeat"),
        )),
        ChangeRefusals,
    ),
    security(("api_key" = [])),
)]
async fn reinstate_credential(
    State(app): State<App>,
    by: Known,
    Id(id): Id,
    IdempotencyKey(key): IdempotencyKey,
    parameters: Parameters,
    OptionalJson(body): OptionalJson,
) -> Result<Response, Problem> {
    parameters.finish()?;
    change_status(&app, by, (id, Change::Reinstate), key.as_ref(), body, "reinstated").await
}

async fn change_status(
    app: &Services,
    by: Known,
    (id, change): (Uuid, Change),
    key: Option<&Key>,
    body: Value,
    what: &str,
) -> Result<Response, Problem> {
    let WithReceipt { command, receipt } = read_change(id, change, body)?;
    let done = change::change(app, &by.caller, &by.principal, &command, key).await?;
    Ok(of_act(Answer(after(app, &done, what, receipt).await).into_response(), &done))
}

/// List credentials, newest first, without personal data.
#[utoipa::path(
    get,
    path = "/v1/credentials",
    tag = "Credentials",
    params(
        ("type" = Option<String>, Query, description = "Of this type only"),
        ("status" = Option<String>, Query, description = "With this status now: active, suspended, revoked, expired or not_yet_valid"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("limit" = Option<u64>, Query, description = "1 to 100, 20 by default"),
        ("Ledger-Min-Position" = Option<String>, Header, description = "Waits until the read model has passed this position"),
    ),
    responses(
        (status = 200, description = "A page", body = SummaryPage, headers(("Ledger-As-Of" = String, description = "How far the read model has come"))),
        ListRefusals,
    ),
    security(("api_key" = [])),
)]
async fn list_credentials(State(app): State<App>, by: Known, passed: MinPosition, mut parameters: Parameters) -> Result<Response, Problem> {
    let passed = passed.of(&LogName::LEDGER)?;
    let wanted = read_list(&mut parameters, passed);
    parameters.finish()?;
    summaries(&app, &by.principal, wanted).await
}

/// Search credentials by what is personal, which does not belong in a URL. The answer holds nothing personal.
#[utoipa::path(
    post,
    path = "/v1/credentials/search",
    tag = "Credentials",
    params(("Ledger-Min-Position" = Option<String>, Header, description = "Waits until the read model has passed this position")),
    request_body = SearchRequest,
    responses(
        (status = 200, description = "A page", body = SummaryPage, headers(("Ledger-As-Of" = String, description = "How far the read model has come"))),
        SearchRefusals,
    ),
    security(("api_key" = [])),
)]
async fn search_credentials(
    State(app): State<App>,
    by: Known,
    passed: MinPosition,
    parameters: Parameters,
    Json(body): Json,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let passed = passed.of(&LogName::LEDGER)?;
    let wanted = Fields::read(body, |fields| read_search(fields, passed))?;
    summaries(&app, &by.principal, wanted).await
}

async fn summaries(app: &Services, principal: &Principal, wanted: ListCredentials) -> Result<Response, Problem> {
    let (page, progress) = list::list(app, principal, wanted).await?;
    let items = page.items.iter().map(|(credential, status)| Summary::new(credential, *status)).collect();
    let body = SummaryPage { items, next_cursor: next_cursor(page.next) };
    let mut response = Answer(body).into_response();
    set_as_of(&mut response, &progress);
    Ok(response)
}

fn next_cursor(next: Option<Position>) -> Option<String> {
    next.map(|position| Cursor(position).to_string())
}

/// Read a credential's events, oldest first.
#[utoipa::path(
    get,
    path = "/v1/credentials/{id}/events",
    tag = "Credentials",
    params(
        ("id" = Uuid, Path, description = "The credential's id"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("limit" = Option<u64>, Query, description = "1 to 100, 20 by default"),
    ),
    responses((status = 200, description = "A page", body = EventPage), PageRefusals),
    security(("api_key" = [])),
)]
async fn list_credential_events(State(app): State<App>, by: Known, Id(id): Id, mut parameters: Parameters) -> Result<Response, Problem> {
    let (from, limit) = (parameters.cursor().unwrap_or(Position::FIRST), parameters.limit(LIMIT_MAX));
    parameters.finish()?;
    let page = read::events(&app, &by.principal, id, from, limit).await?;
    Ok(Answer(events(&app, app.ledger()?.log.as_ref(), &page).await?).into_response())
}

/// Read which verifications a credential has had, oldest first.
#[utoipa::path(
    get,
    path = "/v1/credentials/{id}/verifications",
    tag = "Credentials",
    params(
        ("id" = Uuid, Path, description = "The credential's id"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("limit" = Option<u64>, Query, description = "1 to 100, 20 by default"),
        ("Ledger-Min-Position" = Option<String>, Header, description = "Waits until the read model has passed this position of the audit log: `audit@7`"),
    ),
    responses(
        (status = 200, description = "A page", body = EventPage, headers(("Ledger-As-Of" = String, description = "How far the read model has come: `audit@7`"))),
        PageRefusals,
    ),
    security(("api_key" = [])),
)]
async fn list_credential_verifications(
    State(app): State<App>,
    by: Known,
    Id(id): Id,
    passed: MinPosition,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let passed = passed.of(&LogName::AUDIT)?;
    let (from, limit) = (parameters.cursor().unwrap_or(Position::FIRST), parameters.limit(LIMIT_MAX));
    parameters.finish()?;
    let (page, progress) = read::verifications(&app, &by.principal, id, (from, limit), passed).await?;
    let mut response = Answer(events(&app, app.audit.log.as_ref(), &page).await?).into_response();
    set_as_of(&mut response, &progress);
    Ok(response)
}

/// Events as they are shown, what is sealed in them closed.
async fn events(app: &Services, log: &dyn Log, page: &Page<Recorded>) -> Result<EventPage, Problem> {
    let keys = app.vault.open_keys(&sealed_under(&page.items)).await.map_err(Error::Store)?;
    let show = |event: &Recorded| Event::new(log.name(), log.origin(), event, Keys::Closed(&keys));
    Ok(EventPage { items: page.items.iter().map(show).collect(), next_cursor: next_cursor(page.next) })
}
