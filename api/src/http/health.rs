//! Whether a process lives, serves, and should be sent requests.
//!
//! `/health` and `/health/live` look at nothing: that they answer is the answer. `/health/ready` asks every store and every read
//! model that the role needs, and whether what they hold can be opened and sealed here, and names what fails; for those who ask within
//! [`READINESS_KEPT`] together, once.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use credence_ledger::publisher::Status;
use credence_ledger::store;
use credence_ledger::vault::MonthForgotten;
use credence_projections::projection::Projection;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;
use utoipa_axum::router::UtoipaMethodRouterExt as _;
use utoipa_axum::routes;

use super::{Part, Route};
use crate::config::Role;
use crate::services::{App, LogAccess, Services};

/// A clock may be so far behind a log's last event without a word: other processes and the database's server have clocks of their own.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(10);
/// How long a store is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// For how long an answer about readiness is told again. Anybody may ask, as often as it likes, and each time it is half a dozen questions
/// to the stores.
pub const READINESS_KEPT: Duration = Duration::from_millis(500);

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
    /// A store, a read model, `master-key`, `audit-details`, `durability`, `checkpoints`, `limits`, `identity-provider`, `clock`, or `process`.
    name: &'static str,
    /// Why.
    reason: String,
}

pub(super) fn routes() -> Vec<Route> {
    let ready = routes!(ready).layer(Extension(Told::default()));
    [routes!(health), routes!(live), ready].into_iter().map(|handlers| Route::new(Part::Everywhere, handlers)).collect()
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

/// What was last told of readiness, and when. One asks the stores, and whoever comes meanwhile is told the same.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Option<(Instant, StatusCode, Bytes)>>>);

/// Whether the process should be sent requests.
#[utoipa::path(get, path = "/health/ready", tag = "Operations",
    responses((status = 200, description = "Ready", body = Readiness), (status = 503, description = "Not ready: what fails is named", body = Readiness)))]
async fn ready(State(app): State<App>, Extension(Told(told)): Extension<Told>) -> Response {
    let mut told = told.lock().await;
    // That it is stopping is told at once.
    let recent = told.take().filter(|(at, ..)| at.elapsed() < READINESS_KEPT && !app.draining.is_cancelled());
    let (at, code, body) = match recent {
        Some(recent) => recent,
        None => {
            let (code, readiness) = readiness(&app).await;
            (Instant::now(), code, Bytes::from(serde_json::to_vec(&readiness).unwrap_or_default()))
        }
    };
    *told = Some((at, code, body.clone()));
    (code, [(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn readiness(app: &Services) -> (StatusCode, Readiness) {
    let (mut failing, lacking) = futures::join!(failing(app), timeout(ANSWER_MAX, app.vault.lacking_master_key()));
    let mut warnings = warnings(app);
    warnings.extend(clock_is_behind(app).await);
    // A vault that does not tell is named already.
    if let Ok(Ok(Some(lacking))) = lacking {
        let told = Failing { name: "master-key", reason: lacking.to_string() };
        if lacking.is_needed() { failing.push(told) } else { warnings.push(told) }
    }
    let (code, status) = if failing.is_empty() { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    (code, Readiness { status, failing, warnings })
}

async fn failing(app: &Services) -> Vec<Failing> {
    let (vault, ledger, audit, read, details) = futures::join!(
        vault_fails(app),
        async {
            match &app.ledger {
                Some(ledger) => log_fails(ledger).await,
                None => None,
            }
        },
        log_fails(&app.audit),
        read_fails(app),
        details_fail(app),
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
    let details = details.map(|reason| Failing { name: "audit-details", reason });
    stores.chain(read).chain(details).chain(durability).chain(refused).chain(draining).collect()
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
    // A projector goes on telling how far its models are.
    let halted = do_not_move(app).filter(|_| app.role == Role::Projector);
    kept.into_iter().chain(failing).chain(limits).chain(provider).chain(halted).collect()
}

/// Where a log's time is ahead, whatever is recorded bears it until the clock has come as far; or the clock is wrong.
async fn clock_is_behind(app: &Services) -> Option<Failing> {
    for access in app.ledger.iter().chain([&app.audit]) {
        // A log that does not tell is named elsewhere.
        let Ok(Ok(head)) = timeout(ANSWER_MAX, access.log.head()).await else { continue };
        let ahead = head.recorded_at.since(app.clock.now());
        if ahead > CLOCK_BEHIND_MAX {
            let (log, recorded_at, seconds) = (access.log.name(), head.recorded_at, ahead.as_secs());
            let reason = format!("the last event of the {log} log is of {recorded_at}, {seconds} s later than this process's clock");
            return Some(Failing { name: "clock", reason });
        }
    }
    None
}

/// A store may answer whoever asks and yet take nothing, as on a disk that is full: what was last written to it tells.
async fn vault_fails(app: &Services) -> Option<String> {
    let trouble = app.vault_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match trouble {
        Some(reason) => Some(format!("it cannot be written: {reason}; see the log of this process")),
        None => asked(app.vault.ping()).await,
    }
}

async fn log_fails(access: &LogAccess) -> Option<String> {
    if !access.is_healthy() {
        return Some("appending has stopped: see the log of this process".to_owned());
    }
    if let Some(error) = access.trouble() {
        return Some(format!("the last append to it failed: {error}; see the log of this process"));
    }
    asked(access.log.head()).await
}

/// Whoever calls over HTTP has an address, and nothing of it can be recorded without a key to seal it. That the vault does not answer is told
/// elsewhere.
async fn details_fail(app: &Services) -> Option<String> {
    match timeout(ANSWER_MAX, app.month_key()).await {
        Ok(Err(store::Error::Failed(beneath))) if beneath.is::<MonthForgotten>() => Some(beneath.to_string()),
        Ok(_) | Err(_) => None,
    }
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
    if app.role != Role::Projector {
        failing.extend(do_not_move(app).filter(|halted| failing.iter().all(|failing| failing.name != halted.name)).collect::<Vec<_>>());
    }
    failing
}

/// What this process keeps up and cannot just now: it still answers until it is stale.
fn do_not_move(app: &Services) -> impl Iterator<Item = Failing> {
    let halted = |(projection, reason): (Projection, String)| Failing {
        name: projection.as_str(),
        reason: format!("it cannot go on: {reason}; see the log of this process"),
    };
    app.projector_troubles.all().into_iter().map(halted)
}

/// Why there is no good answer; `None` when there is one. Errors tell no address and no name of a login.
async fn asked<T, E: std::error::Error>(answer: impl Future<Output = Result<T, E>>) -> Option<String> {
    match timeout(ANSWER_MAX, answer).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer in time".to_owned()),
    }
}
