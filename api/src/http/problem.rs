//! Failures, as they are told outside: `application/problem+json` (RFC 9457). The only place that knows status codes.
//!
//! A [`Problem`] becomes an answer without a body that carries the problem along; the outermost layer, which knows the
//! request's id, writes the body. So a dialect can still tell it in its own shape.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use credence_ledger::causes;
use credence_ledger::decision::credential::Rejection;
use credence_ledger::store;
use credence_projections::projection;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{self, RefOr};

use crate::caller::{Caller, Principal};
use crate::oidc;
use crate::services::AppendError;
use crate::use_cases;
use crate::wire::credential::ExistingBody;

/// How far the read model had come that an answer was made from: `ledger@57`.
pub const LEDGER_AS_OF: HeaderName = HeaderName::from_static("ledger-as-of");

/// What a problem is called: `/problems/<name>`, its title, its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    /// In kebab-case.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// The status of every answer with it.
    pub status: StatusCode,
    /// What it means and what to do; the text of its page.
    pub help: &'static str,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $status:ident, $title:literal, $help:literal;)+) => {
        impl Kind {
            $($(#[$doc])* pub const $constant: Kind = Kind { name: $name, title: $title, status: StatusCode::$status, help: $help };)+

            /// Every problem there is.
            pub const ALL: &'static [Kind] = &[$(Kind::$constant),+];
        }
    };
}

kinds! {
    /// 400.
    MALFORMED_JSON = "malformed-json", BAD_REQUEST, "Malformed JSON",
        "The body is not JSON in UTF-8, holds a lone surrogate, or is missing where one is needed.";
    /// 422.
    VALIDATION_FAILED = "validation-failed", UNPROCESSABLE_ENTITY, "Validation failed",
        "The request was understood, but a rule refuses it. `errors` names each field with a code.";
    /// 401.
    UNAUTHENTICATED = "unauthenticated", UNAUTHORIZED, "Not authenticated",
        "The route needs an API key or an access token, or the one presented is unknown, has ended or is revoked: `Authorization: Bearer …`. Of a login or a refresh: the credentials are wrong.";
    /// 403.
    FORBIDDEN = "forbidden", FORBIDDEN, "Forbidden",
        "It is known who calls, but its roles, or the types of credentials that its key is limited to, do not allow this.";
    /// 404.
    NOT_FOUND = "not-found", NOT_FOUND, "Not found",
        "There is no such thing, or it is not yours to know of.";
    /// 405.
    METHOD_NOT_ALLOWED = "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed",
        "The path exists, but not with this method. `Allow` names those that there are.";
    /// 408.
    TIMEOUT = "timeout", REQUEST_TIMEOUT, "Timeout",
        "The request took too long to arrive or to answer. What it asked for may have been done; an `Idempotency-Key` makes the repeat safe.";
    /// 413.
    PAYLOAD_TOO_LARGE = "payload-too-large", PAYLOAD_TOO_LARGE, "Payload too large",
        "The body is larger than this server takes.";
    /// 414.
    URI_TOO_LONG = "uri-too-long", URI_TOO_LONG, "URI too long",
        "The path and query are longer than this server takes.";
    /// 431.
    HEADERS_TOO_LARGE = "headers-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "Headers too large",
        "The request's headers are more or larger than this server takes.";
    /// 415.
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type",
        "The body must be JSON: `Content-Type: application/json`.";
    /// 429.
    RATE_LIMITED = "rate-limited", TOO_MANY_REQUESTS, "Too many requests",
        "More was asked, from this address or by this key or account, than is allowed in the time. `Retry-After` tells when to try again.";
    /// 409.
    ALREADY_ISSUED = "already-issued", CONFLICT, "Already issued",
        "An unrevoked credential of this type exists for this subject at this issuer (or this secret was issued): `existing` names it. Revoke it first.";
    /// 409.
    ALREADY_REVOKED = "already-revoked", CONFLICT, "Already revoked",
        "The credential is revoked, which is final.";
    /// 409.
    ALREADY_SUSPENDED = "already-suspended", CONFLICT, "Already suspended",
        "The credential is suspended already.";
    /// 409.
    NOT_SUSPENDED = "not-suspended", CONFLICT, "Not suspended",
        "Only a suspended credential can be reinstated.";
    /// 409.
    CHANGED_TOO_OFTEN = "changed-too-often", CONFLICT, "Changed too often",
        "The credential was suspended and reinstated 1000 times altogether, which is as often as any is. It can still be revoked; issue it anew then.";
    /// 409.
    KEY_ENDED = "key-ended", CONFLICT, "Key ended",
        "The API key is revoked, has expired or was rotated before: it cannot be rotated. `detail` says which.";
    /// 409.
    ACCOUNT_EXISTS = "account-exists", CONFLICT, "Account exists",
        "An account with this username or e-mail address exists. Which of the two is taken is not told.";
    /// 409.
    ISSUER_EXISTS = "issuer-exists", CONFLICT, "Issuer exists",
        "An organisation of this name exists: `existing` names it. Names are never given away again.";
    /// 409.
    DEFAULT_ISSUER = "default-issuer", CONFLICT, "The default issuer",
        "The organisation `default` cannot be deactivated: the first operator's key and what names no issuer belong to it.";
    /// 409.
    REBUILD_RUNNING = "rebuild-running", CONFLICT, "A rebuild is running",
        "One rebuild a projection at a time.";
    /// 422.
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused",
        "The same `Idempotency-Key` was used before for another request.";
    /// 410.
    ERASED = "erased", GONE, "Erased",
        "What was asked for has been erased: its key was destroyed.";
    /// 410.
    KEY_LOST = "key-lost", GONE, "Key lost",
        "What was asked for cannot be opened any more, though nobody erased it: its key is not in the vault, which was restored from before. It verifies as it did; revoke it, and issue it anew.";
    /// 503.
    NOT_CAUGHT_UP = "not-caught-up", SERVICE_UNAVAILABLE, "Not caught up",
        "The read model, or for a proof the last checkpoint, has not reached the wished position in time. `Ledger-As-Of` tells how far the read model is.";
    /// 503.
    PROJECTION_UNHEALTHY = "projection-unhealthy", SERVICE_UNAVAILABLE, "Projection unhealthy",
        "The read model stopped rather than skip an event, or is being built: it gives no answers until it is whole.";
    /// 503.
    STALE = "stale", SERVICE_UNAVAILABLE, "Stale",
        "It is not known whether the read model still tells the truth: it was last confirmed too long ago.";
    /// 503.
    STORE_UNAVAILABLE = "store-unavailable", SERVICE_UNAVAILABLE, "Store unavailable",
        "A store that is needed, or the identity provider of the token, cannot be reached or is busy.";
    /// 503.
    AUDIT_UNAVAILABLE = "audit-unavailable", SERVICE_UNAVAILABLE, "Audit log unavailable",
        "What was asked for must be recorded in the audit log, which cannot be written. It was not done, unless `detail` says that it was.";
    /// 503.
    OVERLOADED = "overloaded", SERVICE_UNAVAILABLE, "Overloaded",
        "More is waiting than this server takes. Nothing was done; try again.";
    /// 404.
    NOT_SERVED_BY_THIS_ROLE = "not-served-by-this-role", NOT_FOUND, "Not served by this role",
        "The route exists, but processes of another role serve it.";
    /// 500.
    INTERNAL = "internal", INTERNAL_SERVER_ERROR, "Internal error",
        "Something went wrong here. The request's id helps whoever looks for the cause.";
}

/// So many broken rules are told of one request; a body can break a hundred thousand.
pub const ERRORS_MAX: usize = 100;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Dotted: `subject.email`, `claims.a[0]`; empty for the body as a whole.
    pub field: String,
    /// For programs, such as `required`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl FieldError {
    /// One broken rule.
    pub fn new(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), code, message: message.into() }
    }
}

/// A failure, as it is told outside.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Which one.
    pub kind: Kind,
    /// What this one is about; nothing personal, no secret, no path, no SQL.
    pub detail: Option<String>,
    /// Field errors.
    pub errors: Vec<FieldError>,
    /// Members of its own, such as `existing`.
    pub members: serde_json::Map<String, serde_json::Value>,
    /// Headers of its own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of this kind, with the headers that its kind asks for.
    #[must_use]
    pub fn new(kind: Kind) -> Problem {
        let headers = match kind {
            Kind::UNAUTHENTICATED => vec![(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))],
            _ if kind.status == StatusCode::SERVICE_UNAVAILABLE => vec![(RETRY_AFTER, HeaderValue::from_static("1"))],
            _ => Vec::new(),
        };
        Problem { kind, detail: None, errors: Vec::new(), members: serde_json::Map::new(), headers }
    }

    /// With a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Problem {
        self.detail = Some(detail.into());
        self
    }

    /// With one more header, in the place of one of that name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.retain(|(held, _)| *held != name);
        self.headers.push((name, value));
        self
    }

    /// With one more member, in the place of one of that name.
    #[must_use]
    pub fn member(mut self, name: &str, value: serde_json::Value) -> Problem {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// Says when to come back, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Problem {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// 422; every broken rule, at least one, or the first [`ERRORS_MAX`].
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Problem {
        let detail = match errors.as_slice() {
            [one] if one.field.is_empty() => format!("the request as a whole: {}", one.message),
            [one] => format!("{}: {}", one.field, one.message),
            several if several.len() < ERRORS_MAX => format!("{} rules are broken", several.len()),
            _ => format!("{ERRORS_MAX} rules are broken, or more"),
        };
        Problem { errors, ..Problem::new(Kind::VALIDATION_FAILED) }.detail(detail)
    }

    /// 422; one broken rule.
    pub fn field(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Problem {
        Problem::invalid(vec![FieldError::new(field, code, message)])
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed(allow: HeaderValue) -> Problem {
        Problem::new(Kind::METHOD_NOT_ALLOWED).header(ALLOW, allow)
    }

    /// 500; `reason` is logged, never told.
    #[must_use]
    pub fn internal(reason: &str) -> Problem {
        tracing::error!(reason, "internal error");
        Problem::new(Kind::INTERNAL)
    }

    /// The body of its answer.
    #[must_use]
    pub fn body(&self, request_id: &str) -> serde_json::Value {
        let mut body = serde_json::json!({
            "type": format!("/problems/{}", self.kind.name),
            "title": self.kind.title,
            "status": self.kind.status.as_u16(),
            "detail": self.detail.as_deref().unwrap_or(self.kind.title),
            "request_id": request_id,
        });
        if let Some(members) = body.as_object_mut() {
            if !self.errors.is_empty() {
                members.insert("errors".to_owned(), serde_json::json!(self.errors));
            }
            members.extend(self.members.clone());
        }
        body
    }
}

/// The answers of problems of these kinds, for the OpenAPI document: one a status, naming its problems.
#[must_use]
pub fn responses(kinds: &[Kind]) -> BTreeMap<String, RefOr<openapi::Response>> {
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in kinds {
        named.entry(kind.status.as_str().to_owned()).or_default().push(format!("`{}`", kind.name));
    }
    let body = || openapi::Content::new(Some(RefOr::Ref(openapi::Ref::from_schema_name("Problem"))));
    let response =
        |names: Vec<String>| openapi::ResponseBuilder::new().description(names.join(", ")).content("application/problem+json", body());
    named.into_iter().map(|(status, names)| (status, RefOr::T(response(names).build()))).collect()
}

/// Names the problems that a route answers, as a type that its `responses(…)` can list.
macro_rules! problems {
    ($(#[$doc:meta])* $name:ident: $($kind:ident),+) => {
        $(#[$doc])*
        struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::http::problem::responses(&[$(Kind::$kind),+])
            }
        }
    };
}
pub(crate) use problems;

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Problem {
        Problem::new(match rejection {
            Rejection::NotIssued => Kind::NOT_FOUND,
            Rejection::AlreadyIssued => Kind::ALREADY_ISSUED,
            Rejection::AlreadyRevoked => Kind::ALREADY_REVOKED,
            Rejection::AlreadySuspended => Kind::ALREADY_SUSPENDED,
            Rejection::NotSuspended => Kind::NOT_SUSPENDED,
        })
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Problem {
        Problem::from(&error)
    }
}

impl From<&store::Error> for Problem {
    fn from(error: &store::Error) -> Problem {
        match error {
            store::Error::Corrupt(_) | store::Error::Failed(_) => Problem::internal(&causes(error)),
            // Nothing the caller can mend: the store is away, or whoever runs it has to migrate, grant or configure.
            store::Error::Unavailable(_)
            | store::Error::Busy
            | store::Error::Denied(_)
            | store::Error::NotMigrated
            | store::Error::Missing
            | store::Error::Archive
            | store::Error::OtherLog { .. }
            | store::Error::Foreign { .. }
            | store::Error::NewerSchema
            | store::Error::UnsafeDurability(_) => {
                tracing::warn!(reason = causes(error), "a store is unavailable");
                Problem::new(Kind::STORE_UNAVAILABLE)
            }
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Problem {
        match error {
            AppendError::Overloaded => Problem::new(Kind::OVERLOADED),
            AppendError::Store(error) => (&*error).into(),
            AppendError::Stopped => {
                tracing::warn!(reason = causes(&error), "nothing can be appended");
                Problem::new(Kind::STORE_UNAVAILABLE)
            }
        }
    }
}

impl From<use_cases::Error> for Problem {
    fn from(error: use_cases::Error) -> Problem {
        match error {
            use_cases::Error::NotFound => Problem::new(Kind::NOT_FOUND),
            use_cases::Error::Forbidden(why) => Problem::new(Kind::FORBIDDEN).detail(why),
            use_cases::Error::AccountExists => Problem::new(Kind::ACCOUNT_EXISTS),
            use_cases::Error::NoSuchIssuer => Problem::field("issuer", "unknown", error.to_string()),
            use_cases::Error::BadCredentials => Problem::new(Kind::UNAUTHENTICATED).detail(error.to_string()),
            use_cases::Error::WrongPassword => Problem::field("current_password", "wrong", error.to_string()),
            use_cases::Error::TooManyFailures(standing) => standing.into(),
            use_cases::Error::Passwords(_) => Problem::new(Kind::OVERLOADED),
            use_cases::Error::IssuerExists(id) => Problem::new(Kind::ISSUER_EXISTS).member("existing", serde_json::json!({ "id": id })),
            use_cases::Error::DefaultIssuer => Problem::new(Kind::DEFAULT_ISSUER).detail(error.to_string()),
            use_cases::Error::AlreadyIssued(existing) => {
                let existing = serde_json::to_value(ExistingBody::from(&existing)).unwrap_or_default();
                Problem::new(Kind::ALREADY_ISSUED).member("existing", existing)
            }
            use_cases::Error::Rejected(rejection) => rejection.into(),
            use_cases::Error::ChangedTooOften => Problem::new(Kind::CHANGED_TOO_OFTEN),
            use_cases::Error::IdempotencyKeyReused => Problem::new(Kind::IDEMPOTENCY_KEY_REUSED),
            use_cases::Error::RebuildRunning(_) => Problem::new(Kind::REBUILD_RUNNING),
            use_cases::Error::Erased => Problem::new(Kind::ERASED),
            use_cases::Error::KeyLost => Problem::new(Kind::KEY_LOST),
            use_cases::Error::Contended => Problem::new(Kind::OVERLOADED),
            use_cases::Error::NotProved => Problem::new(Kind::NOT_CAUGHT_UP).detail(error.to_string()),
            use_cases::Error::Append(error) => error.into(),
            use_cases::Error::Audit(_) => {
                tracing::warn!(reason = causes(&error), "what must be recorded cannot be recorded");
                Problem::new(Kind::AUDIT_UNAVAILABLE)
            }
            use_cases::Error::Unrecorded(_) => {
                tracing::warn!(reason = causes(&error), "what was done could not be recorded");
                Problem::new(Kind::AUDIT_UNAVAILABLE).detail("it was done, but could not be recorded: ask for it again")
            }
            use_cases::Error::KeyEnded(why) => Problem::new(Kind::KEY_ENDED).detail(why),
            use_cases::Error::Store(error) => error.into(),
            use_cases::Error::Projection(error) => error.into(),
            use_cases::Error::Stored(_) => Problem::internal(&causes(&error)),
        }
    }
}

impl From<oidc::Refused> for Problem {
    fn from(refused: oidc::Refused) -> Problem {
        match refused {
            oidc::Refused::Invalid(why) => Problem::new(Kind::UNAUTHENTICATED).detail(why.to_string()),
            oidc::Refused::Unavailable => Problem::new(Kind::STORE_UNAVAILABLE).detail(refused.to_string()),
        }
    }
}

impl From<projection::Error> for Problem {
    fn from(error: projection::Error) -> Problem {
        let kind = match error {
            projection::Error::Store(error) => return (&*error).into(),
            projection::Error::Vanished(_) | projection::Error::Unhealthy { .. } => Kind::PROJECTION_UNHEALTHY,
            projection::Error::Stale { .. } => Kind::STALE,
            projection::Error::NotCaughtUp { projection, position } => {
                let as_of = position.and_then(|position| HeaderValue::try_from(projection.log().at(position).to_string()).ok());
                let problem = Problem::new(Kind::NOT_CAUGHT_UP);
                return as_of.into_iter().fold(problem, |problem, as_of| problem.header(LEDGER_AS_OF, as_of));
            }
        };
        tracing::warn!(reason = causes(&error), "a read model gives no answer");
        Problem::new(kind)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status.into_response();
        response.headers_mut().extend(self.headers.iter().cloned());
        response.extensions_mut().insert(self);
        response
    }
}

impl Caller {
    /// Who calls, behind a route that only the known may take.
    ///
    /// # Errors
    /// 401 when nobody is known.
    pub fn known(&self) -> Result<&Principal, Problem> {
        self.principal.as_ref().ok_or_else(|| Problem::new(Kind::UNAUTHENTICATED))
    }

    /// Whose account and session it is, behind a route that only owners may take.
    ///
    /// # Errors
    /// 401 when nobody is known, 403 when it is no account's owner.
    pub fn session(&self) -> Result<(uuid::Uuid, uuid::Uuid), Problem> {
        self.known()?.session().ok_or_else(|| Problem::new(Kind::FORBIDDEN))
    }
}
