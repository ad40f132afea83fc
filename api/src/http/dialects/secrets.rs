//! `/issue`, `/check`, `/verify`: credentials that are opaque strings.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::caller::Caller;
use crate::http::body::{self, Fields};
use crate::http::problem::{Kind, Problem};
use crate::http::{Part, Route};
use crate::services::App;
use crate::use_cases::Error;
use crate::use_cases::issue::{self, Content, IssueCredential};
use crate::use_cases::verify::{self, Presented, Verdict, VerifyCredential};
use crate::wire::credential;

/// The type of the credentials issued here.
const TYPE: &str = "secret";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Part::Issuance, routes!(issue_secret_older)).told_by(tell),
        Route::new(Part::Verification, routes!(check_secret_older)).told_by(tell),
        Route::new(Part::Verification, routes!(verify_secret_older)).told_by(tell),
    ]
}

/// A credential that is an opaque string.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; the handlers read it")]
struct SecretRequest {
    /// 1 to 4096 bytes.
    credential: String,
}

/// Its hash.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; the handler reads it")]
struct CheckRequest {
    /// As `/issue` answered it.
    credential_hash: String,
}

/// What was issued.
#[derive(Debug, Serialize, ToSchema)]
struct SecretIssued {
    /// For people.
    message: String,
    /// By which it can be checked: hex.
    credential_hash: String,
    /// When.
    issued_at: String,
}

/// Whether a credential with this hash is valid now.
#[derive(Debug, Serialize, ToSchema)]
struct SecretChecked {
    /// Whether it is.
    exists: bool,
    /// The worker that issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<String>,
    /// When it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<String>,
}

/// Whether a credential is valid now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SecretVerified {
    /// Whether it is.
    is_valid: bool,
    /// For people.
    message: String,
    /// The worker that issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_by: Option<String>,
    /// When it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<String>,
}

/// Issue an opaque string.
///
/// Older dialect: new clients use `POST /v1/credentials`.
#[utoipa::path(
    post,
    path = "/issue",
    tag = "Older dialects",
    request_body = SecretRequest,
    responses(
        (status = 200, description = "Issued", body = SecretIssued),
        (status = 400, description = "Not a string, blank, too long, or issued before"),
        (status = 401, description = "No API key, or an unknown one"),
        (status = 403, description = "Neither an issuer nor an administrator"),
        super::Failures,
    ),
    security((), ("api_key" = [])),
)]
async fn issue_secret_older(
    State(app): State<App>,
    caller: Caller,
    body: Result<body::Json, Problem>,
) -> Result<Json<SecretIssued>, Problem> {
    let issuer = super::issuer(&app, &caller).await?;
    let secret = read(body, |fields| credential::secret(fields, "credential"))?;
    let command = IssueCredential { credential_type: TYPE.to_owned(), content: Content::Secret(secret) };
    let done = issue::issue(&app, &caller, issuer, &command, None).await.map_err(|error| match error {
        Error::AlreadyIssued(_) => bad_request("credential already issued"),
        error => error.into(),
    })?;
    super::let_the_read_model_see(&app, done.position).await;
    let credential = done.opened.credential;
    Ok(Json(SecretIssued {
        message: format!("credential issued by {}", app.worker),
        credential_hash: hex::encode(*credential.issued.digest),
        issued_at: credential.issued_at.to_string(),
    }))
}

/// Check an opaque string by its hash.
///
/// Asked is the issuer of the caller's API key; without a key the issuer `default`. Older dialect: new clients use `POST /v1/verifications`.
#[utoipa::path(
    post,
    path = "/check",
    tag = "Older dialects",
    request_body = CheckRequest,
    responses(
        (status = 200, description = "Whether it is valid now", body = SecretChecked),
        (status = 400, description = "No hash"),
        super::Unknown,
        super::Failures,
    ),
    security((), ("api_key" = [])),
)]
async fn check_secret_older(
    State(app): State<App>,
    caller: Caller,
    body: Result<body::Json, Problem>,
) -> Result<Json<SecretChecked>, Problem> {
    let hash = read(body, |fields| fields.required_string("credential_hash"))?;
    // What is no hash is nobody's hash: it is looked for and recorded like any other that does not exist.
    let mut digest = [0; 32];
    if hex::decode_to_slice(&hash, &mut digest).is_err() {
        digest = [0; 32];
    }
    let verdict = ask(&app, &caller, Presented::SecretDigest { digest, issuer: super::asked(&caller) }).await?;
    let (exists, issued) = found(verdict);
    let (worker_id, issued_at) = issued.unzip();
    Ok(Json(SecretChecked { exists, worker_id, issued_at }))
}

/// Verify an opaque string.
///
/// Asked is the issuer of the caller's API key; without a key the issuer `default`. Older dialect: new clients use `POST /v1/verifications`.
#[utoipa::path(
    post,
    path = "/verify",
    tag = "Older dialects",
    request_body = SecretRequest,
    responses(
        (status = 200, description = "Whether it is valid now", body = SecretVerified),
        (status = 400, description = "Not a string, blank, or too long"),
        super::Unknown,
        super::Failures,
    ),
    security((), ("api_key" = [])),
)]
async fn verify_secret_older(
    State(app): State<App>,
    caller: Caller,
    body: Result<body::Json, Problem>,
) -> Result<Json<SecretVerified>, Problem> {
    let secret = read(body, |fields| credential::secret(fields, "credential"))?;
    let verdict = ask(&app, &caller, Presented::Secret { secret, issuer: super::asked(&caller) }).await?;
    let (is_valid, issued) = found(verdict);
    let what = if is_valid { "credential verified by" } else { "credential not found - verified by" };
    let (issued_by, issued_at) = issued.unzip();
    Ok(Json(SecretVerified { is_valid, message: format!("{what} {}", app.worker), issued_by, issued_at }))
}

async fn ask(app: &App, caller: &Caller, presented: Presented) -> Result<Verdict, Error> {
    verify::verify(app, caller, &VerifyCredential { presented, as_of: None, passed: None, proof: false }).await
}

/// Whether it is valid; if so, who issued it and when.
fn found(verdict: Verdict) -> (bool, Option<(String, String)>) {
    let valid = verdict.finding.is_valid();
    let issued = verdict.credential.filter(|_| valid).map(|found| (found.issued_by, found.issued_at.to_string()));
    (valid, issued)
}

/// These routes do not tell what is wrong with a body.
fn read<T>(body: Result<body::Json, Problem>, fields: impl FnOnce(&mut Fields) -> Option<T>) -> Result<T, Problem> {
    super::read(body, fields).map_err(|problem| match problem.kind {
        Kind::MALFORMED_JSON => bad_request("invalid credential format"),
        _ => problem,
    })
}

fn bad_request(message: &str) -> Problem {
    Problem::new(Kind::MALFORMED_JSON).detail(message)
}

fn tell(problem: &Problem, _: &App) -> Value {
    json!({"message": super::message(problem)})
}
