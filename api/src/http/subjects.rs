//! `/v1/subjects`: what a person may ask for of what is held about it.

use axum::Json as Answer;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use credence_ledger::{LogName, causes, store};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use utoipa_axum::routes;

use super::body::{Fields, Json};
use super::headers::{IDEMPOTENCY_REPLAYED, IdempotencyKey, LEDGER_POSITION, set};
use super::problem::{Kind, Problem, problems};
use super::query::Parameters;
use super::{Part, Route};
use crate::caller::Caller;
use crate::services::App;
use crate::use_cases::Error;
use crate::use_cases::subjects::erase;
use crate::use_cases::subjects::export::{self, Export, Part as Told};
use crate::wire::account::AccountBody;
use crate::wire::credential::CredentialBody;
use crate::wire::erasure::{ErasureBody, ErasureRequest, read_erasure};
use crate::wire::event::{Event, Keys};
use crate::wire::export::{ExportBody, ExportRequest, List, Writer, read_export};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::new(Part::Issuance, routes!(erase_subjects)), Route::new(Part::Issuance, routes!(export_subjects))]
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
    IdempotencyKey(key): IdempotencyKey,
    parameters: Parameters,
    Json(body): Json,
) -> Result<Response, Problem> {
    parameters.finish()?;
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

problems! {
    /// What can keep somebody from being told what is held about a person.
    ExportRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, TIMEOUT, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, VALIDATION_FAILED,
    NOT_CAUGHT_UP, PROJECTION_UNHEALTHY, STALE, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, INTERNAL
}

/// Tell everything that is held about a person.
///
/// For whoever has to answer its request for access. The read is recorded in the audit log before the first byte. The answer is streamed. Whoever is
/// erased meanwhile is told in `erased`, and nothing more of it; where the answer breaks off, because a store failed, it is no JSON.
#[utoipa::path(
    post,
    path = "/v1/subjects/exports",
    tag = "Subjects",
    request_body = ExportRequest,
    responses((status = 200, description = "What is held; nobody, where nothing is", body = ExportBody), ExportRefusals),
    security(("api_key" = [])),
)]
async fn export_subjects(State(app): State<App>, caller: Caller, parameters: Parameters, Json(body): Json) -> Result<Response, Problem> {
    parameters.finish()?;
    let command = Fields::read(body, read_export)?;
    let export = export::begin(&app, &caller, command).await?;
    let bytes = written(app, export).inspect_err(|error| tracing::error!(reason = causes(error), "an export broke off"));
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(bytes)).into_response())
}

fn written(app: App, export: Export) -> BoxStream<'static, Result<Bytes, Error>> {
    let bytes = async_stream::try_stream! {
        let account = export.account.as_ref().map(|(account, issuer)| AccountBody::new(account, issuer.clone()));
        let mut writer = Writer::begin(account.as_ref()).map_err(unwritable)?;
        let parts = export::parts(app.clone(), export);
        futures::pin_mut!(parts);
        while let Some(part) = parts.try_next().await? {
            write(&app, &mut writer, &part)?;
            yield Bytes::from(writer.take());
        }
        yield Bytes::from(writer.end().map_err(unwritable)?);
    };
    bytes.boxed()
}

fn write(app: &App, writer: &mut Writer, part: &Told) -> Result<(), Error> {
    let written = match part {
        Told::Subject(about) => writer.subject(about),
        Told::Credential(opened) => writer.item(List::Credentials, &CredentialBody::new(opened)),
        Told::Events(events, keys) => {
            let log = &app.ledger()?.log;
            let mut shown = events.iter().map(|event| Event::new(log.name(), log.origin(), event, Keys::Open(keys)));
            shown.try_for_each(|event| writer.item(List::Events, &event))
        }
        Told::Verifications(events, keys) => {
            let log = &app.audit.log;
            let mut shown = events.iter().map(|event| Event::new(log.name(), log.origin(), event, Keys::Closed(keys)));
            shown.try_for_each(|event| writer.item(List::Verifications, &event))
        }
        Told::Erased(erased) => {
            writer.erased(erased);
            Ok(())
        }
    };
    written.map_err(unwritable)
}

fn unwritable(error: serde_json::Error) -> Error {
    store::Error::Failed(error.into()).into()
}
