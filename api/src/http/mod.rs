//! HTTP: one table of routes, and what is done for every request around them.
//!
//! A room's routes are listed by its `routes()`; [`table`] is their sum. Router, roles, OpenAPI document and tests all read that
//! one table. A handler extracts, calls one use case and maps its answer; it never knows a status code.
//!
//! Around every route stand, from the outside in: [`edge`] (ids, security headers, problems' bodies, a log line, metrics), CORS,
//! and [`admission`] (sizes, authentication, rate limit, the whole body, a bound on the time that an answer takes).

pub mod accounts;
pub mod admission;
pub mod auth;
pub mod body;
pub mod credentials;
pub mod dialects;
pub mod docs;
pub mod edge;
pub mod headers;
pub mod health;
pub mod issuers;
pub mod keys;
pub mod limit;
pub mod logs;
pub mod metrics;
pub mod problem;
pub mod projections;
pub mod proofs;
pub mod query;
pub mod serve;
pub mod services;
pub mod sessions;
pub mod subjects;
pub mod tls;
pub mod verifications;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::routing::{MethodRouter, any};
use axum::{Router, middleware};
use credence_ledger::vault::Roles;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::openapi::PathItem;
use utoipa::openapi::path::Operation;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::caller::{Caller, Principal};
use crate::config::{Role, TrustedProxies};
use crate::http::edge::Edge;
use crate::http::problem::{Kind, Problem};
use crate::policy::May;
use crate::services::App;

/// Which roles serve a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Every role. These routes ignore `Authorization`.
    Everywhere,
    /// Accounts, sessions, credentials, issuers, API keys, logs, services, the older dialects' issuing routes.
    Issuance,
    /// Verifications and the older dialects' verifying routes. They are public.
    Verification,
    /// Checkpoints, tiles, keys and proofs, and the keys of access tokens: issuance publishes them, verification answers for them.
    Proofs,
    /// Projections and rebuilds.
    Projector,
}

impl Part {
    /// Whether a process of that role serves it.
    #[must_use]
    pub fn is_served_by(self, role: Role) -> bool {
        match (role, self) {
            (Role::All, _) | (_, Part::Everywhere) => true,
            (Role::Issuance, part) => matches!(part, Part::Issuance | Part::Proofs),
            (Role::Verification, part) => matches!(part, Part::Verification | Part::Proofs),
            (Role::Projector, part) => part == Part::Projector,
        }
    }
}

/// How a dialect tells a problem: the body of its answer. Status and headers stay.
pub type Tell = fn(&Problem, &App) -> serde_json::Value;

/// A line of the table: one path, its methods, and who serves it.
pub struct Route {
    /// Which roles serve it.
    pub part: Part,
    /// How it tells problems, if not as `application/problem+json`.
    pub tell: Option<Tell>,
    /// Whether callers without credentials are not counted.
    pub is_free: bool,
    /// What `utoipa_axum::routes!` made of its handlers. Of one path all handlers stand in one `routes!`.
    pub handlers: UtoipaMethodRouter<App>,
}

impl Route {
    /// A line of the table.
    #[must_use]
    pub fn new(part: Part, handlers: UtoipaMethodRouter<App>) -> Route {
        Route { part, tell: None, is_free: false, handlers }
    }

    /// With problems told in a shape of its own.
    #[must_use]
    pub fn told_by(self, tell: Tell) -> Route {
        Route { tell: Some(tell), ..self }
    }

    /// Asked without credentials, it is not counted: for what is the same for everybody, costs little and is wanted in thousands.
    #[must_use]
    pub fn free(self) -> Route {
        Route { is_free: true, ..self }
    }

    /// The methods that it has.
    pub fn methods(&self) -> impl Iterator<Item = Method> {
        let item = self.handlers.1.paths.values().next();
        METHODS.into_iter().filter(move |method| item.is_some_and(|item| operation(item, method).is_some()))
    }

    /// Its path, as a template.
    #[must_use]
    pub fn path(&self) -> String {
        self.handlers.1.paths.keys().next().cloned().unwrap_or_default()
    }
}

fn operation<'a>(item: &'a PathItem, method: &Method) -> Option<&'a Operation> {
    let operation = match *method {
        Method::GET => &item.get,
        Method::POST => &item.post,
        Method::PUT => &item.put,
        Method::PATCH => &item.patch,
        Method::DELETE => &item.delete,
        _ => return None,
    };
    operation.as_ref()
}

/// Every route of every role.
#[must_use]
pub fn table() -> Vec<Route> {
    [
        accounts::routes(),
        sessions::routes(),
        credentials::routes(),
        verifications::routes(),
        issuers::routes(),
        keys::routes(),
        subjects::routes(),
        logs::routes(),
        proofs::routes(),
        projections::routes(),
        services::routes(),
        dialects::routes(),
        health::routes(),
        metrics::routes(),
        docs::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What the configuration says to the edge.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The largest body that is taken.
    pub body_bytes_max: usize,
    /// Proxies that are believed when they say for whom they ask.
    pub trusted_proxies: TrustedProxies,
    /// Whether the process is spoken to by TLS: browsers are told to do nothing else.
    pub is_tls: bool,
    /// Origins whose pages may call.
    pub cors_origins: Vec<HeaderValue>,
    /// How long a body may take to arrive; then 408.
    pub body_max: Duration,
    /// How long an answer may take; then 408.
    pub answer_max: Duration,
}

/// The methods that routes have.
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// The router of a process.
pub fn router(app: &App, bounds: &Bounds) -> Router {
    serve_table(table(), May::of, app, bounds)
}

/// A router for these routes; apart from [`router`] so that tests may put routes of their own behind the same edge.
pub fn serve_table(table: Vec<Route>, policy: fn(&str) -> Option<May>, app: &App, bounds: &Bounds) -> Router {
    let mut lines = HashMap::new();
    let mut router: Router<App> = Router::new();
    for route in table {
        let path = route.path();
        // The document knows no wildcards. What has no entry is nobody's.
        let operation = |method: &Method| format!("{method} {}", path.replace("{*", "{"));
        let may = route.methods().map(|method| {
            let may = policy(&operation(&method)).unwrap_or(May::Any(Roles::NONE));
            (method, may)
        });
        let may: Vec<_> = may.collect();
        lines.insert(path.clone(), edge::Line::new(&route, &path, &may));
        let elsewhere = || async { Problem::new(Kind::NOT_SERVED_BY_THIS_ROLE) };
        let handlers: MethodRouter<App> = if route.part.is_served_by(app.role) { route.handlers.2 } else { any(elsewhere) };
        router = router.route(&path, handlers);
    }
    let edge = Arc::new(Edge::new(app.clone(), bounds, lines));
    let router = router
        .fallback(|| async { Problem::new(Kind::NOT_FOUND) })
        // axum adds `Allow`, which it alone knows.
        .method_not_allowed_fallback(|| async { Problem::new(Kind::METHOD_NOT_ALLOWED) });
    // Every layer costs each request some allocations, whatever it does.
    let router = if bounds.cors_origins.is_empty() {
        router.layer(middleware::from_fn_with_state(edge, edge::around_admission))
    } else {
        router
            .layer(middleware::from_fn_with_state(edge.clone(), admission::admit))
            .layer(cors(&bounds.cors_origins))
            .layer(middleware::from_fn_with_state(edge, edge::around))
    };
    router.with_state(app.clone())
}

/// Headers that scripts of an allowed origin may read.
const EXPOSED: [&str; 9] = [
    "x-request-id",
    "x-worker-id",
    "ledger-position",
    "ledger-as-of",
    "idempotency-replayed",
    "location",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
];

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let exposed = EXPOSED.into_iter().map(HeaderName::from_static).chain([RETRY_AFTER, WWW_AUTHENTICATE]);
    let taken = ["authorization", "content-type", "idempotency-key", "ledger-min-position", "x-request-id", "traceparent", "last-event-id"];
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods(METHODS)
        .allow_headers(taken.map(HeaderName::from_static))
        .expose_headers(exposed.collect::<Vec<_>>())
        .max_age(Duration::from_secs(600))
}

/// Every handler may take the [`Caller`]; admission has put it there.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Caller, Problem> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(|| Problem::internal("a request without a caller"))
    }
}

/// A caller that is known, behind a route that only the known may take. Told before the body is looked at.
pub(crate) struct Known {
    pub(crate) caller: Caller,
    pub(crate) principal: Principal,
}

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Known, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let principal = caller.known()?.clone();
        Ok(Known { caller, principal })
    }
}
