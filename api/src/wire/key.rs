//! An API key, as it is asked for and answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use credence_ledger::vault::api_key::{PREFIX, PREFIX_LENGTH};
use credence_ledger::vault::{ApiKey, Roles};
use credence_ledger::{Timestamp, subject};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::body::{Fields, Text};
use crate::http::problem::Problem;
use crate::http::query::{LIMIT_MAX, Parameters};
use crate::use_cases::keys::{ListKeys, OVERLAP_MAX};
use crate::wire::account;
use crate::wire::credential::TYPE;

/// A key's name stands in lists, one key a line.
pub const NAME: Text = Text { length_max: 255, normal: subject::normal_name, lines: false };
/// An organisation's name.
pub const ISSUER: Text = Text { length_max: 100, normal: subject::normal_name, lines: false };
/// A key is limited to at most so many types.
const TYPES_MAX: usize = 100;

/// A key that is to be made.
#[derive(Debug, ToSchema)]
#[schema(as = ApiKeyRequest)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_key` reads it")]
pub struct KeyRequest {
    /// What its holder may do: member, issuer, auditor, billing and admin of its organisation, inspector and operator of all of them. Nobody
    /// gives a role that reaches further than its own.
    #[schema(example = json!(["issuer"]))]
    roles: Vec<String>,
    /// The organisation that it acts for, by its name; absent: the caller's own. Only an operator may name another.
    issuer: Option<String>,
    /// For people to tell keys apart.
    name: Option<String>,
    /// The only types of credentials that it issues and changes, at most 100; absent: all.
    types: Option<Vec<String>>,
    /// From when on it holds no longer; absent: for ever.
    #[schema(example = "2027-01-31T12:00:00Z")]
    expires_at: Option<String>,
}

/// How a key is rotated.
#[derive(Debug, ToSchema)]
#[schema(as = RotateRequest)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_rotation` reads it")]
pub struct RotateRequest {
    /// For how many seconds the key goes on beside the new one: 0 to 604800, 0 by default.
    overlap_s: Option<u64>,
}

/// A key. The key itself is known to its holder alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct KeyBody {
    /// Its id.
    pub id: Uuid,
    /// Its first characters, to find it by.
    #[schema(example = "credence_0a1b2c3d")]
    pub prefix: String,
    /// What its holder may do, the least first.
    #[schema(example = json!(["issuer"]))]
    pub roles: Vec<&'static str>,
    /// The organisation that it acts for.
    pub issuer: String,
    /// For people to tell keys apart.
    #[schema(required)]
    pub name: Option<String>,
    /// The only types of credentials that it issues and changes; null: all.
    #[schema(required)]
    pub types: Option<Vec<String>>,
    /// When it was made.
    #[schema(example = "2026-01-31T12:00:00Z")]
    pub created_at: String,
    /// From when on it holds no longer; null: for ever.
    #[schema(required)]
    pub expires_at: Option<String>,
    /// When it was last used, to the minute. It takes some seconds until that is told.
    #[schema(required)]
    pub last_used_at: Option<String>,
    /// When it was revoked.
    #[schema(required)]
    pub revoked_at: Option<String>,
    /// Whether it holds: `active`, `expired` or `revoked`.
    #[schema(example = "active")]
    pub status: &'static str,
}

/// A key just made.
#[derive(Serialize, ToSchema)]
#[schema(as = NewApiKey)]
pub struct NewKeyBody {
    /// The key itself: it is told this once.
    pub key: String,
    /// What is told of it from now on.
    #[serde(flatten)]
    pub row: KeyBody,
}

/// A page of keys, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ApiKeyPage)]
pub struct KeyPage {
    /// The page.
    pub items: Vec<KeyBody>,
    /// Goes on from here; null at the end.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl KeyBody {
    /// A key of the organisation `issuer`, judged at `now`.
    #[must_use]
    pub fn new(key: &ApiKey, issuer: &str, now: Timestamp) -> KeyBody {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let terms = &key.terms;
        KeyBody {
            id: key.id,
            prefix: key.prefix.clone(),
            roles: account::names(terms.roles),
            issuer: issuer.to_owned(),
            name: terms.name.clone(),
            types: terms.types.as_deref().map(<[String]>::to_vec),
            created_at: key.created_at.to_string(),
            expires_at: time(terms.expires_at),
            last_used_at: time(key.last_used_at),
            revoked_at: time(key.revoked_at),
            status: match (key.revoked_at, terms.expires_at) {
                (Some(_), _) => "revoked",
                (None, Some(expires_at)) if expires_at <= now => "expired",
                (None, _) => "active",
            },
        }
    }
}

/// A key that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What its holder may do.
    pub roles: Roles,
    /// The organisation's name, if it is told.
    pub issuer: Option<String>,
    /// For people.
    pub name: Option<String>,
    /// The only types.
    pub types: Option<Arc<[String]>>,
    /// From when on it holds no longer.
    pub expires_at: Option<Timestamp>,
}

/// Reads which key is to be made.
pub fn read_key(fields: &mut Fields, now: Timestamp) -> Option<Asked> {
    let roles = account::roles(fields, "roles");
    let issuer = fields.text("issuer", &ISSUER);
    let name = fields.text("name", &NAME);
    let types = fields.list("types", TYPES_MAX, |text| TYPE.read(text)).map(each_once);
    let expires_at = fields.parsed("expires_at");
    if expires_at.is_some_and(|expires_at: Timestamp| expires_at <= now) {
        fields.refuse("expires_at", "range", "expected a time that is to come");
    }
    Some(Asked { roles: roles?, issuer, name, types, expires_at })
}

/// A key's types, in their order, none twice.
#[must_use]
pub fn each_once(types: Vec<String>) -> Arc<[String]> {
    let mut seen = HashSet::new();
    types.into_iter().filter(|each| seen.insert(each.clone())).collect()
}

/// Reads for how long a key goes on beside the one that replaces it.
///
/// # Errors
/// 422 with every broken rule.
pub fn read_rotation(body: Value) -> Result<Duration, Problem> {
    let body = if body.is_null() { Value::Object(serde_json::Map::new()) } else { body };
    Fields::read(body, |fields| Some(Duration::from_secs(fields.integer("overlap_s", 0, OVERLAP_MAX.as_secs()).unwrap_or_default())))
}

/// Reads which keys are listed.
pub fn read_list(parameters: &mut Parameters) -> ListKeys {
    // More than what is visible of a key does not belong in a URL.
    let visible = |text: &str| text.starts_with(PREFIX) && text.len() <= PREFIX_LENGTH;
    let prefix = parameters.one_of("prefix", "credence_ and at most 8 digits of a key", |text| visible(text).then(|| text.to_owned()));
    let before = parameters.id_cursor();
    let limit = u32::try_from(parameters.limit(LIMIT_MAX)).unwrap_or(u32::MAX);
    ListKeys { prefix, before, limit }
}
