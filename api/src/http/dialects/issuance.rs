//! `/issuance/credentials`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::caller::Caller;
use crate::http::body;
use crate::http::problem::{Kind, Problem};
use crate::http::{Part, Route};
use crate::services::App;
use crate::use_cases::issue::{self, About, Content, IssueCredential};
use crate::wire::credential;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(Part::Issuance, routes!(issue_older)).told_by(tell)]
}

/// What is issued.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; the handler reads it")]
#[schema(rename_all = "camelCase")]
struct IssuanceRequest {
    /// The holder's name.
    name: String,
    /// The holder's e-mail address.
    email: String,
    /// What kind of credential.
    credential_type: String,
    /// Anything else that is certified: the claims.
    metadata: Option<std::collections::HashMap<String, Value>>,
}

/// What was issued.
#[derive(Debug, Serialize, ToSchema)]
struct IssuanceAnswer {
    /// Always true.
    success: bool,
    /// For people.
    message: String,
    /// What was issued.
    credential: IssuedCredential,
}

/// A credential.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IssuedCredential {
    /// Its id.
    id: Uuid,
    /// The holder's name, in normal form.
    name: String,
    /// The holder's e-mail address, in normal form.
    email: String,
    /// What kind of credential.
    credential_type: String,
    /// The claims.
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    metadata: Value,
    /// The worker that issued it.
    issued_by: String,
    /// When it was issued.
    issued_at: String,
}

/// Issue a credential.
///
/// Older dialect: new clients use `POST /v1/credentials`.
#[utoipa::path(
    post,
    path = "/issuance/credentials",
    tag = "Older dialects",
    request_body = IssuanceRequest,
    responses(
        (status = 201, description = "Issued", body = IssuanceAnswer),
        (status = 400, description = "Something is wrong with the body: `errors` names each field"),
        (status = 401, description = "No API key, or an unknown one"),
        (status = 403, description = "Neither an issuer nor an administrator"),
        (status = 409, description = "Issued before: `existingCredential` names it"),
        super::Failures,
    ),
    security((), ("api_key" = [])),
)]
async fn issue_older(
    State(app): State<App>,
    caller: Caller,
    body: Result<body::Json, Problem>,
) -> Result<(StatusCode, Json<IssuanceAnswer>), Problem> {
    let issuer = super::issuer(&app, &caller).await?;
    let (credential_type, about) = super::read(body, |fields| {
        let name = fields.required_text("name", &credential::NAME);
        let email = credential::email(fields, "email", true);
        let credential_type = credential::issued_type(fields, "credentialType");
        let claims = credential::claims(fields, "metadata");
        Some((credential_type?, About { name: name?, email: email?, uri: None, claims, valid_from: None, valid_until: None }))
    })?;
    let command = IssueCredential { credential_type: credential_type.clone(), content: Content::Subject(Box::new(about.clone())) };
    let done = issue::issue(&app, &caller, issuer, &command, None).await?;
    super::let_the_read_model_see(&app, done.position).await;
    let credential = done.opened.credential;
    let credential = IssuedCredential {
        id: credential.id,
        name: about.name,
        email: about.email,
        credential_type,
        metadata: about.claims.unwrap_or_else(|| Value::Object(Map::new())),
        issued_by: credential.issued_by,
        issued_at: credential.issued_at.to_string(),
    };
    let message = format!("credential issued by {}", app.worker);
    Ok((StatusCode::CREATED, Json(IssuanceAnswer { success: true, message, credential })))
}

fn tell(problem: &Problem, _: &App) -> Value {
    match problem.kind {
        Kind::MALFORMED_JSON => super::validation_failed(problem),
        Kind::ALREADY_ISSUED => {
            let existing = problem.members.get("existing").unwrap_or(&Value::Null);
            let existing = json!({"id": existing["id"], "issuedBy": existing["issued_by"], "issuedAt": existing["issued_at"]});
            json!({"success": false, "message": "Credential already issued", "existingCredential": existing})
        }
        _ => json!({"success": false, "message": super::message(problem)}),
    }
}
