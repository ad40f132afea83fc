//! Whether a process lives, serves, and should be sent requests.
//!
//! `/health` and `/health/live` look at nothing: that they answer is the answer. `/health/ready` asks every store and every read
//! model that the role needs, and names what fails.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use credence_ledger::publisher::Status;
use credence_projections::projection::Projection;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Part, Route};
use crate::config::Role;
use crate::services::{App, LogAccess, Services};

/// How long a store is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The answer to `GET /health`.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `healthy`
    status: &'static str,
    /// The process's role.
    service: String,
    /// The process's name.
    worker: String,
    /// Now.
    #[schema(format = DateTime)]
    timestamp: String,
}

/// The answer to `GET /health/ready`.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    /// `ready` or `not_ready`
    status: &'static str,
    /// What keeps it from being ready.
    failing: Vec<Failing>,
    /// What should be mended, though requests can be sent.
    warnings: Vec<Failing>,
}

/// What keeps a process from being ready, or should be mended.
#[derive(Debug, Serialize, ToSchema)]
struct Failing {
    /// A store, a read model, `durability`, `checkpoints`, `limits`, `identity-provider`, or `process`.
    name: &'static str,
    /// Why.
    reason: String,
}

pub(super) fn routes() -> Vec<Route> {
    [routes!(health), routes!(live), routes!(ready)].into_iter().map(|handlers| Route::new(Part::Everywhere, handlers)).collect()
}

/// Whether the process serves.
#[utoipa::path(get, path = "/health", tag = "Operations", responses((status = 200, description = "It serves", body = Health)))]
async fn health(State(app): State<App>) -> Json<Health> {
    let (service, worker) = (app.role.to_string(), app.worker.clone());
    Json(Health { status: "healthy", service, worker, timestamp: app.clock.now().to_string() })
}

/// Whether the process lives.
#[utoipa::path(get, path = "/health/live", tag = "Operations", responses((status = 200, description = "It lives", body = Health)))]
async fn live(app: State<App>) -> Json<Health> {
    health(app).await
}

/// Whether the process should be sent requests.
#[utoipa::path(get, path = "/health/ready", tag = "Operations",
    responses((status = 200, description = "Ready", body = Readiness), (status = 503, description = "Not ready: what fails is named", body = Readiness)))]
async fn ready(State(app): State<App>) -> Response {
    let failing = failing(&app).await;
    let (code, status) = if failing.is_empty() { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    (code, Json(Readiness { status, failing, warnings: warnings(&app) })).into_response()
}

async fn failing(app: &Services) -> Vec<Failing> {
    let (vault, ledger, audit, read) = futures::join!(
        asked(app.vault.ping()),
        async {
            match &app.ledger {
                Some(ledger) => log_fails(ledger).await,
                None => None,
            }
        },
        log_fails(&app.audit),
        read_fails(app),
    );
    let stores = [("vault", vault), ("ledger", ledger), ("audit", audit)];
    let stores = stores.into_iter().filter_map(|(name, reason)| Some(Failing { name, reason: reason? }));
    let durability =
        app.unsafe_durability.iter().map(|setting| Failing { name: "durability", reason: format!("the server runs with {setting}") });
    let draining = app.draining.is_cancelled().then(|| Failing { name: "process", reason: "it is stopping".to_owned() });
    let refused = app.proofs.troubles().into_iter().filter_map(|(_, status)| match status {
        Status::Refused(contradiction) => Some(Failing { name: "checkpoints", reason: contradiction.to_string() }),
        Status::Good | Status::Contested(_) | Status::Failing(_) => None,
    });
    stores.chain(read).chain(durability).chain(refused).chain(draining).collect()
}

fn warnings(app: &Services) -> Vec<Failing> {
    let at_home = "the last signed checkpoint is kept on the ledger's own server alone: if both are restored from one backup, nobody notices. \
                   Set CREDENCE_CHECKPOINT_ANCHOR";
    let kept = (!app.proofs.kept_outside).then(|| Failing { name: "checkpoints", reason: at_home.to_owned() });
    let failing = app.proofs.troubles().into_iter().filter_map(|(log, status)| match status {
        Status::Contested(said) => Some(Failing { name: "checkpoints", reason: format!("{log}: a witness contradicts it: {said}") }),
        Status::Failing(reason) => Some(Failing { name: "checkpoints", reason: format!("{log}: {reason}") }),
        Status::Good | Status::Refused(_) => None,
    });
    let limits = app.limits.trouble().map(|reason| Failing { name: "limits", reason: reason.to_owned() });
    // Other callers are served, and so are its own for as long as its keys are known.
    let provider = app.oidc.as_ref().and_then(|provider| provider.trouble()).map(|reason| Failing { name: "identity-provider", reason });
    kept.into_iter().chain(failing).chain(limits).chain(provider).collect()
}

async fn log_fails(access: &LogAccess) -> Option<String> {
    if !access.is_healthy() {
        return Some("appending has stopped: see the log of this process".to_owned());
    }
    asked(access.log.head()).await
}

/// A projector repairs read models and serves what it knows of them; the others answer from them.
async fn read_fails(app: &Services) -> Vec<Failing> {
    if let Some(reason) = asked(app.read.ping()).await {
        return vec![Failing { name: "read", reason }];
    }
    let mut failing = Vec::new();
    for projection in Projection::ALL.into_iter().filter(|_| app.role != Role::Projector) {
        let name = projection.as_str();
        match timeout(ANSWER_MAX, app.read.cursor(projection)).await {
            Ok(Ok(cursor)) => {
                let judged = cursor.check(app.clock.now(), app.settings.staleness_max);
                failing.extend(judged.err().map(|error| Failing { name, reason: error.to_string() }));
            }
            Ok(Err(error)) => failing.push(Failing { name, reason: error.to_string() }),
            Err(_) => failing.push(Failing { name, reason: "no answer in time".to_owned() }),
        }
    }
    failing
}

/// Why there is no good answer; `None` when there is one. Errors tell no address and no name of a login.
async fn asked<T, E: std::error::Error>(answer: impl Future<Output = Result<T, E>>) -> Option<String> {
    match timeout(ANSWER_MAX, answer).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer in time".to_owned()),
    }
}
