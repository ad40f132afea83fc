//! `/v1/projections`: where the read models stand, and their rebuilds.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use credence_ledger::causes;
use credence_ledger::event::new_id;
use credence_projections::projection::Projection;
use credence_projections::rebuild::Options;
use serde::Serialize;
use tracing::Instrument as _;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::body::OptionalJson;
use super::headers::{Path, parse_uuid};
use super::problem::{Kind, Problem, problems};
use super::query::Parameters;
use super::{Part, Route};
use crate::caller::Caller;
use crate::services::App;
use crate::use_cases::rebuild;
use crate::wire::projection::{Rebuild, Standing};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Part::Projector, routes!(list_projections)),
        Route::new(Part::Projector, routes!(start_rebuild)),
        Route::new(Part::Projector, routes!(read_rebuild)),
    ]
}

problems! {
    /// What can keep the read models' standing from being told.
    StandingRefusals: UNAUTHENTICATED, FORBIDDEN, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, INTERNAL
}

problems! {
    /// What can keep a rebuild from beginning.
    RebuildRefusals: MALFORMED_JSON, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, REBUILD_RUNNING, PAYLOAD_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE, VALIDATION_FAILED, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, INTERNAL
}

problems! {
    /// What can keep a rebuild's progress from being told.
    ProgressRefusals: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, INTERNAL
}

/// All read models.
#[derive(Debug, Serialize, ToSchema)]
struct StandingList {
    /// By name.
    items: Vec<Standing>,
    /// Always null: there are few.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Tell where the read models stand.
#[utoipa::path(
    get,
    path = "/v1/projections",
    tag = "Projections",
    responses(
        (status = 200, description = "All read models", body = StandingList),
        StandingRefusals,
    ),
    security(("api_key" = [])),
)]
async fn list_projections(State(app): State<App>, parameters: Parameters) -> Result<Json<StandingList>, Problem> {
    parameters.finish()?;
    let found = app.read.standings().await?;
    let (now, staleness_max) = (app.clock.now(), app.settings.staleness_max);
    let items = Projection::ALL.into_iter().map(|projection| {
        let standing = found.iter().find(|standing| standing.cursor.projection == projection);
        standing.map_or_else(|| Standing::missing(projection), |standing| Standing::new(standing, now, staleness_max))
    });
    Ok(Json(StandingList { items: items.collect(), next_cursor: None }))
}

/// Build a read model anew, beside the one that serves.
#[utoipa::path(
    post,
    path = "/v1/projections/{name}/rebuilds",
    tag = "Projections",
    params(("name" = String, Path, description = "`verification` or `history`")),
    responses(
        (status = 202, description = "It has begun; `Location` tells how it is getting on", body = Rebuild, headers(("Location" = String))),
        RebuildRefusals,
    ),
    security(("api_key" = [])),
)]
async fn start_rebuild(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    parameters: Parameters,
    body: Result<OptionalJson, Problem>,
) -> Result<Response, Problem> {
    let projection: Projection = name.parse().map_err(|_| Problem::new(Kind::NOT_FOUND))?;
    parameters.finish()?;
    body?.without_members()?;
    let options = Options { cancel: app.draining.clone(), ..Options::new(new_id(&app.clock, &app.random)) };
    let id = options.id;
    let job = rebuild::begin(&app, &caller, app.projector(projection)?, options).await?;
    let running = app.clone();
    app.tasks.spawn(
        async move {
            if let Err(error) = rebuild::run(&running, &caller, job).await {
                tracing::error!(reason = causes(&error), rebuild = %id, "a rebuild failed");
            }
        }
        .in_current_span(),
    );
    let location = format!("/v1/projections/{projection}/rebuilds/{id}");
    let begun = app.read.rebuild(id).await?.ok_or_else(|| Problem::internal("a rebuild that began is not there"))?;
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(Rebuild::from(&begun))).into_response())
}

/// Tell how a rebuild is getting on.
#[utoipa::path(
    get,
    path = "/v1/projections/{name}/rebuilds/{id}",
    tag = "Projections",
    params(("name" = String, Path, description = "`verification` or `history`"), ("id" = String, Path, description = "The rebuild's id")),
    responses(
        (status = 200, description = "The rebuild", body = Rebuild),
        ProgressRefusals,
    ),
    security(("api_key" = [])),
)]
async fn read_rebuild(
    State(app): State<App>,
    Path((name, id)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Json<Rebuild>, Problem> {
    parameters.finish()?;
    let not_found = || Problem::new(Kind::NOT_FOUND);
    let projection: Projection = name.parse().map_err(|_| not_found())?;
    let id = parse_uuid(&id).ok_or_else(not_found)?;
    let rebuild = app.read.rebuild(id).await?.filter(|rebuild| rebuild.projection == projection).ok_or_else(not_found)?;
    Ok(Json(Rebuild::from(&rebuild)))
}
