//! `/v1/services`: which processes run.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::problem::{Kind, Problem, problems};
use super::query::Parameters;
use super::{Part, Route};
use crate::services::App;
use crate::wire::worker::Worker;

/// A process that was not heard of for longer is taken for dead: one of its heartbeats may be late, not several.
const LIVE_FOR: Duration = Duration::from_secs(10);

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::new(Part::Issuance, routes!(list_services))]
}

problems! {
    /// What can keep the processes from being told.
    Refusals: UNAUTHENTICATED, FORBIDDEN, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, INTERNAL
}

/// The live processes.
#[derive(Debug, Serialize, ToSchema)]
struct WorkerList {
    /// By name and start.
    items: Vec<Worker>,
    /// Always null: there are few.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List the live processes, of every role.
#[utoipa::path(
    get,
    path = "/v1/services",
    tag = "Services",
    responses(
        (status = 200, description = "The live processes", body = WorkerList),
        Refusals,
    ),
    security(("api_key" = [])),
)]
async fn list_services(State(app): State<App>, parameters: Parameters) -> Result<Json<WorkerList>, Problem> {
    parameters.finish()?;
    let items = app.vault.workers(app.clock.now().minus(LIVE_FOR)).await?.into_iter().map(Worker::from).collect();
    Ok(Json(WorkerList { items, next_cursor: None }))
}
