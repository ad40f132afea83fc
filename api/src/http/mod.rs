//! HTTP: one table of routes, and what is done for every request around them.
//!
//! A room's routes are listed by its `routes()`; the table is their sum. Router, roles, OpenAPI document and tests all read
//! that one table. A handler extracts, calls one use case and maps its answer; it never knows a status code.
//!
//! ```ignore
//! #[utoipa::path(post, path = "/v1/credentials", …)]
//! async fn issue(State(app): State<App>, caller: Caller, …) -> Result<Response, Problem> { … }
//!
//! pub(crate) fn routes() -> Vec<Route> {
//!     vec![Route::new(Part::Issuance, routes!(issue)), Route::new(Part::Issuance, routes!(list))]
//! }
//! ```

pub mod body;
pub mod credentials;
pub mod dialects;
pub mod logs;
pub mod problem;
pub mod projections;
pub mod query;
pub mod services;
pub mod verifications;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::caller::Caller;
use crate::config::Role;
use crate::http::problem::Problem;
use crate::services::App;

/// Which roles serve a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Every role.
    Everywhere,
    /// Credentials, issuers, logs, services, the older dialects' issuing routes.
    Issuance,
    /// Verifications and the older dialects' verifying routes.
    Verification,
    /// Projections and rebuilds.
    Projector,
}

impl Part {
    /// Whether a process of that role serves it.
    #[must_use]
    pub fn is_served_by(self, role: Role) -> bool {
        match (role, self) {
            (Role::All, _) | (_, Part::Everywhere) => true,
            (Role::Issuance, part) => part == Part::Issuance,
            (Role::Verification, part) => part == Part::Verification,
            (Role::Projector, part) => part == Part::Projector,
        }
    }
}

/// A line of the table: one path, its methods, and who serves it.
pub struct Route {
    /// Which roles serve it.
    pub part: Part,
    /// What `utoipa_axum::routes!` made of its handlers. Of one path all handlers stand in one `routes!`.
    pub handlers: UtoipaMethodRouter<App>,
}

impl Route {
    /// A line of the table.
    #[must_use]
    pub fn new(part: Part, handlers: UtoipaMethodRouter<App>) -> Route {
        Route { part, handlers }
    }
}

/// Every handler may take the [`Caller`]; the authentication around the routes has put it there.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Caller, Problem> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(|| Problem::internal("a request without a caller"))
    }
}
