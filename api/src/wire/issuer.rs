//! An organisation, as it is asked for and answered.
//!
//! The request types stand for the OpenAPI document alone: what is read is read by [`read_create`] and [`read_change`].

use credence_ledger::vault::issuers::ProfileChange;
use credence_ledger::vault::{self, Organisation};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::credential::{NAME, TYPE};
use crate::http::body::{Fields, Text};
use crate::http::problem::Problem;
use crate::use_cases::issuers::{ChangeIssuer, CreateIssuer};

/// A web site's address.
const URL: Text = Text { length_max: 2048, normal: str::to_owned, lines: false };

/// What an organisation is made of.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_create` reads it")]
pub struct CreateIssuerRequest {
    /// Its name, which stays: it stands in credentials and requests. 1 to 100 characters.
    #[schema(example = "acme")]
    name: String,
    /// What it is called besides; 1 to 255 characters.
    display_name: Option<String>,
    /// Its web site, `http` or `https`.
    #[schema(example = "https://acme.example/")]
    url: Option<String>,
}

/// What shall be otherwise. What is absent stays; a name or an address that is null is told no longer.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_change` reads it")]
pub struct ChangeIssuerRequest {
    /// What it is called besides its name; 1 to 255 characters.
    display_name: Option<String>,
    /// Its web site, `http` or `https`.
    #[schema(example = "https://acme.example/")]
    url: Option<String>,
    /// Whether its keys and sessions hold; operators alone decide it.
    is_active: Option<bool>,
}

/// An organisation, as lists tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IssuerSummary {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique.
    #[schema(example = "acme")]
    pub name: String,
    /// What it is called besides.
    #[schema(required)]
    pub display_name: Option<String>,
    /// Its web site.
    #[schema(required, example = "https://acme.example/")]
    pub url: Option<String>,
    /// What its documents are issued under now.
    #[schema(example = "did:key:z6MksGH3YQZbAQoNHHCvuCzxptrQYU4ye62aUyKWAgrD4uLa")]
    pub did: String,
    /// Whether its keys and sessions hold.
    pub is_active: bool,
    /// Since when they do not.
    #[schema(required, example = "2026-01-31T12:00:00Z")]
    pub deactivated_at: Option<String>,
}

/// One of an organisation's signing keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IssuerKey {
    /// Its did.
    #[schema(example = "did:key:z6MksGH3YQZbAQoNHHCvuCzxptrQYU4ye62aUyKWAgrD4uLa")]
    pub did: String,
    /// `pending`, `current` or `retired`.
    #[schema(example = "current")]
    pub state: &'static str,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IssuerBody {
    /// What lists tell of it.
    #[serde(flatten)]
    pub summary: IssuerSummary,
    /// Its signing keys, oldest first.
    pub keys: Vec<IssuerKey>,
}

/// A page of organisations, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IssuerPage {
    /// The page.
    pub items: Vec<IssuerSummary>,
    /// Goes on from here; null at the end.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl From<Organisation> for IssuerSummary {
    fn from(organisation: Organisation) -> IssuerSummary {
        let Organisation { issuer, display_name, url, deactivated_at } = organisation;
        IssuerSummary {
            id: issuer.id,
            name: issuer.name,
            display_name,
            url,
            did: issuer.did,
            is_active: deactivated_at.is_none(),
            deactivated_at: deactivated_at.map(|time| time.to_string()),
        }
    }
}

impl From<(Organisation, Vec<vault::IssuerKey>)> for IssuerBody {
    fn from((organisation, keys): (Organisation, Vec<vault::IssuerKey>)) -> IssuerBody {
        let keys = keys.into_iter().map(|key| IssuerKey { did: key.did, state: key.state.as_str() });
        IssuerBody { summary: organisation.into(), keys: keys.collect() }
    }
}

/// Reads a [`CreateIssuerRequest`].
///
/// # Errors
/// Every broken rule.
pub fn read_create(body: Value) -> Result<CreateIssuer, Problem> {
    Fields::read(body, |fields| {
        // As long as a type of credentials, and as plain.
        let name = fields.required_text("name", &TYPE);
        let (display_name, url) = (fields.text("display_name", &NAME), url(fields, "url"));
        Some(CreateIssuer { name: name?, display_name, url })
    })
}

/// Reads a [`ChangeIssuerRequest`].
///
/// # Errors
/// Every broken rule.
pub fn read_change(body: Value) -> Result<ChangeIssuer, Problem> {
    // Here null is not the same as absent: it takes away what was told.
    let is_given = |name: &str| body.get(name).is_some();
    let (named, linked) = (is_given("display_name"), is_given("url"));
    Fields::read(body, |fields| {
        let (display_name, url) = (fields.text("display_name", &NAME), url(fields, "url"));
        let is_active = fields.has("is_active").then(|| fields.flag("is_active"));
        let profile = ProfileChange { display_name: named.then_some(display_name), url: linked.then_some(url) };
        Some(ChangeIssuer { profile, is_active })
    })
}

/// It is shown as a link: any other scheme could do something else than to show a page.
fn url(fields: &mut Fields, name: &str) -> Option<String> {
    let url = fields.text(name, &URL)?;
    let is_web = |url: &fluent_uri::Uri<&str>| {
        let is_http = ["http", "https"].iter().any(|scheme| url.scheme().as_str().eq_ignore_ascii_case(scheme));
        is_http && url.authority().is_some_and(|authority| !authority.host().is_empty())
    };
    if fluent_uri::Uri::parse(url.as_str()).is_ok_and(|url| is_web(&url)) {
        return Some(url);
    }
    fields.refuse(name, "format", "expected an address such as https://example.org/");
    None
}
