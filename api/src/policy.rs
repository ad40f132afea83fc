//! Who may do what: one table, an entry an operation.
//!
//! Admission judges by it before a handler sees the request; an operation without an entry is nobody's, and a test walks the OpenAPI
//! document so that there is none. What of its organisation's, or of all organisations', a caller meets behind a route is the use
//! case's affair ([`Principal::may_know_of`](crate::caller::Principal::may_know_of)).

use credence_ledger::vault::{Role, Roles};

use crate::caller::Principal;

/// Who may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// Anybody, known or not.
    Everybody,
    /// Anybody; who it is, is not asked: what is presented besides does not matter.
    Unasked,
    /// Whoever is known, whatever its roles.
    Known,
    /// The owner of an account, in one of its sessions.
    Owner,
    /// Whoever has one of these roles.
    Any(Roles),
    /// Whoever has one of these roles; anybody while issuing is open.
    AnyOrOpenIssuance(Roles),
    /// Whoever has one of these roles; anybody while registration is open.
    AnyOrOpenRegistration(Roles),
}

/// What the configuration opens to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Open {
    /// Issuing by the two older dialects.
    pub issuance: bool,
    /// Registering accounts.
    pub registration: bool,
}

/// Why a caller may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It has to say who it is.
    Unknown,
    /// Its roles are others.
    Forbidden,
}

const ISSUERS: May = May::Any(Roles::of(&[Role::Issuer, Role::Admin, Role::Operator]));
const READERS: May = May::Any(Roles::of(&[Role::Issuer, Role::Auditor, Role::Admin, Role::Inspector, Role::Operator]));
const LISTERS: May = May::Any(Roles::of(&[Role::Issuer, Role::Auditor, Role::Billing, Role::Admin, Role::Inspector, Role::Operator]));
const INSPECTORS: May = May::Any(Roles::of(&[Role::Inspector, Role::Operator]));
const LOG_READERS: May = May::Any(Roles::of(&[Role::Auditor, Role::Admin, Role::Inspector, Role::Operator]));
const OPERATORS: May = May::Any(Roles::of(&[Role::Operator]));
const ADMINS: May = May::Any(Roles::of(&[Role::Admin, Role::Operator]));
// What is told of accounts and keys.
const HOLDER_READERS: May = May::Any(Roles::of(&[Role::Admin, Role::Inspector, Role::Operator]));
const REGISTRARS: May = May::AnyOrOpenRegistration(Roles::of(&[Role::Admin, Role::Operator]));
const OPEN_ISSUERS: May = May::AnyOrOpenIssuance(Roles::of(&[Role::Issuer, Role::Admin, Role::Operator]));

/// The table, by method and path's template.
pub const TABLE: &[(&str, May)] = &[
    ("DELETE /v1/keys/{id}", ADMINS),
    ("DELETE /v1/me/sessions/{id}", May::Owner),
    ("GET /.well-known/jwks.json", May::Unasked),
    ("GET /docs", May::Unasked),
    ("GET /docs/{file}", May::Unasked),
    ("GET /health", May::Unasked),
    ("GET /health/live", May::Unasked),
    ("GET /health/ready", May::Unasked),
    ("GET /metrics", May::Unasked),
    ("GET /openapi.json", May::Unasked),
    ("GET /problems", May::Unasked),
    ("GET /problems/{name}", May::Unasked),
    ("GET /v1/accounts", HOLDER_READERS),
    ("GET /v1/accounts/{id}", HOLDER_READERS),
    ("GET /v1/credentials", LISTERS),
    ("GET /v1/credentials/{id}", READERS),
    ("GET /v1/credentials/{id}/events", READERS),
    ("GET /v1/credentials/{id}/receipt", READERS),
    ("GET /v1/credentials/{id}/verifications", READERS),
    ("GET /v1/issuers", May::Known),
    ("GET /v1/issuers/{id}", May::Known),
    ("GET /v1/keys", HOLDER_READERS),
    ("GET /v1/keys/{id}", HOLDER_READERS),
    // Of the audit log for whoever may inspect it, unless its tiles are public: the handlers tell.
    ("GET /v1/logs/{log}/checkpoint", May::Everybody),
    ("GET /v1/logs/{log}/events", LOG_READERS),
    ("GET /v1/logs/{log}/keys", May::Everybody),
    ("GET /v1/logs/{log}/proofs/consistency", May::Everybody),
    ("GET /v1/logs/{log}/proofs/inclusion", May::Everybody),
    ("GET /v1/logs/{log}/tile/{tile}", May::Everybody),
    ("GET /v1/me", May::Known),
    ("GET /v1/me/sessions", May::Owner),
    ("GET /v1/projections", INSPECTORS),
    ("GET /v1/projections/{name}/rebuilds/{id}", OPERATORS),
    ("GET /v1/services", INSPECTORS),
    ("PATCH /v1/issuers/{id}", ADMINS),
    ("PATCH /v1/me", May::Owner),
    ("POST /check", May::Everybody),
    ("POST /issuance/credentials", OPEN_ISSUERS),
    ("POST /issue", OPEN_ISSUERS),
    ("POST /v1/accounts/{id}/activate", ADMINS),
    ("POST /v1/accounts/{id}/deactivate", ADMINS),
    ("POST /v1/auth/introspect", READERS),
    ("POST /v1/auth/login", May::Unasked),
    ("POST /v1/auth/logout", May::Owner),
    ("POST /v1/auth/refresh", May::Unasked),
    ("POST /v1/auth/register", REGISTRARS),
    ("POST /v1/credentials", ISSUERS),
    ("POST /v1/credentials/search", READERS),
    ("POST /v1/credentials/{id}/reinstate", ISSUERS),
    ("POST /v1/credentials/{id}/revoke", ISSUERS),
    ("POST /v1/credentials/{id}/suspend", ISSUERS),
    ("POST /v1/issuers", OPERATORS),
    ("POST /v1/keys", ADMINS),
    ("POST /v1/keys/{id}/rotate", ADMINS),
    ("POST /v1/projections/{name}/rebuilds", OPERATORS),
    ("POST /v1/subjects/erasures", ADMINS),
    ("POST /v1/subjects/exports", ADMINS),
    ("POST /v1/verifications", May::Everybody),
    ("POST /verification/credentials", May::Everybody),
    ("POST /verify", May::Everybody),
    ("PUT /v1/accounts/{id}/roles", ADMINS),
    ("PUT /v1/me/password", May::Owner),
];

impl May {
    /// Who may do the operation, such as `GET /v1/credentials`.
    #[must_use]
    pub fn of(operation: &str) -> Option<May> {
        TABLE.iter().find(|(entry, _)| *entry == operation).map(|(_, may)| *may)
    }

    /// Whether a caller may.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(self, caller: Option<&Principal>, open: Open) -> Result<(), Refused> {
        let (roles, is_open) = match self {
            May::Everybody | May::Unasked => return Ok(()),
            May::Known => return caller.map(|_| ()).ok_or(Refused::Unknown),
            May::Owner => return caller.ok_or(Refused::Unknown)?.session().map(|_| ()).ok_or(Refused::Forbidden),
            May::Any(roles) => (roles, false),
            May::AnyOrOpenIssuance(roles) => (roles, open.issuance),
            May::AnyOrOpenRegistration(roles) => (roles, open.registration),
        };
        match caller {
            None if is_open => Ok(()),
            None => Err(Refused::Unknown),
            Some(principal) if principal.roles.intersects(roles) => Ok(()),
            Some(_) => Err(Refused::Forbidden),
        }
    }
}
