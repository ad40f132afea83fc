//! `/verification/credentials`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::caller::Caller;
use crate::http::body;
use crate::http::problem::{Kind, Problem};
use crate::http::{Part, Route};
use crate::services::App;
use crate::use_cases::verify::{self, Presented, VerifyCredential};
use crate::wire::credential;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(Part::Verification, routes!(verify_older)).told_by(tell)]
}

/// What is presented.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; the handler reads it")]
struct VerificationRequest {
    /// The credential's id.
    id: Uuid,
    /// The holder's name; must match if given.
    name: Option<String>,
    /// The holder's e-mail address; must match if given.
    email: Option<String>,
}

/// The credential is valid.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct VerificationAnswer {
    /// Always true.
    valid: bool,
    /// For people.
    message: &'static str,
    /// What was verified.
    credential: VerifiedCredential,
    /// The worker that verified.
    verified_by: String,
    /// When the verification was recorded.
    verified_at: String,
}

/// A credential.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct VerifiedCredential {
    /// Its id.
    id: Uuid,
    /// What kind of credential.
    credential_type: String,
    /// The worker that issued it.
    issued_by: String,
    /// When it was issued.
    issued_at: String,
    /// The holder's name, if the caller sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The holder's e-mail address, if the caller sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

/// Verify a credential.
///
/// Older dialect: new clients use `POST /v1/verifications`.
#[utoipa::path(
    post,
    path = "/verification/credentials",
    tag = "Older dialects",
    request_body = VerificationRequest,
    responses(
        (status = 200, description = "Valid", body = VerificationAnswer),
        (status = 400, description = "Something is wrong with the body: `errors` names each field"),
        super::Unknown,
        (status = 404, description = "Unknown, not valid now, or another holder's"),
        super::Failures,
    ),
    security((), ("api_key" = [])),
)]
async fn verify_older(
    State(app): State<App>,
    caller: Caller,
    body: Result<body::Json, Problem>,
) -> Result<Json<VerificationAnswer>, Problem> {
    let (id, name, email) = super::read(body, |fields| {
        let id = fields.required_string("id");
        let id = id.and_then(|id| id.parse::<Uuid>().map_err(|_| fields.refuse("id", "format", "expected a UUID")).ok());
        let name = fields.text("name", &credential::NAME);
        let email = credential::email(fields, "email", false);
        Some((id?, name, email))
    })?;
    let presented = Presented::Id { id, name: name.clone(), email: email.clone() };
    let verdict = verify::verify(&app, &caller, &VerifyCredential { presented, as_of: None, passed: None, proof: false }).await?;
    let verified_at = verdict.verified_at.to_string();
    let Some(found) = verdict.credential.filter(|_| verdict.finding.is_valid()) else {
        let mut problem = Problem::new(Kind::NOT_FOUND).detail("Credential not found or invalid");
        problem.members.insert(VERIFIED_AT.to_owned(), verified_at.into());
        return Err(problem);
    };
    let credential = VerifiedCredential {
        id: found.id,
        credential_type: found.credential_type,
        issued_by: found.issued_by,
        issued_at: found.issued_at.to_string(),
        name,
        email,
    };
    let message = "Credential verified successfully";
    Ok(Json(VerificationAnswer { valid: true, message, credential, verified_by: app.worker.clone(), verified_at }))
}

/// The member of a problem that says when the verdict was recorded.
const VERIFIED_AT: &str = "verified_at";

fn tell(problem: &Problem, app: &App) -> Value {
    if problem.kind == Kind::MALFORMED_JSON {
        return super::validation_failed(problem);
    }
    let verified_at = problem.members.get(VERIFIED_AT).cloned().unwrap_or_else(|| app.clock.now().to_string().into());
    json!({"valid": false, "message": super::message(problem), "verifiedBy": app.worker, "verifiedAt": verified_at})
}
