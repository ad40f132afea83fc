//! Whose bearer tokens are taken besides our own: an OpenID Connect provider's, if one is configured.

use std::time::Duration;

use axum::http::Uri;
use credence_ledger::vault::Role;

use super::layers::{Error, Layers, variable};
use super::{value, whole};
use crate::client;

/// An OpenID Connect provider, and what its tokens mean here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// Its name: what stands in `iss`, to the letter.
    pub issuer: String,
    /// Where it tells of itself (OpenID Connect Discovery, section 4).
    pub discovery: Uri,
    /// What `aud` must name: this service, as the provider knows it.
    pub audience: String,
    /// The claim that holds the provider's roles.
    pub role_claim: String,
    /// Pairs of a role of the provider's and one of ours that it gives.
    pub roles: Vec<(String, Role)>,
    /// For which organisation its callers act.
    pub organisation: Organisation,
    /// By how much its clock and ours may differ.
    pub clock_skew: Duration,
}

/// How it is known for which organisation a caller acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Organisation {
    /// All for the one of this name.
    Fixed(String),
    /// Each for the one that this claim names.
    Claim(String),
}

/// What has no meaning without a provider.
const OF_A_PROVIDER: [&str; 6] =
    ["oidc_audience", "oidc_role_claim", "oidc_roles", "oidc_organisation", "oidc_organisation_claim", "oidc_clock_skew_s"];

impl Oidc {
    /// Reads what is configured: a whole provider, or none.
    pub(super) fn read(layers: &Layers) -> Result<Option<Oidc>, Error> {
        let Some((source, _)) = layers.get("oidc_issuer") else {
            let alone = OF_A_PROVIDER.into_iter().find_map(|name| layers.get(name));
            return alone.map_or(Ok(None), |(source, _)| Err(Error::of(&source, needs("oidc_issuer"))));
        };
        let missing = |name| Error::of(&source, needs(name));
        let Some((issuer, discovery)) = value(layers, "oidc_issuer", issuer)? else { return Ok(None) };
        Ok(Some(Oidc {
            issuer,
            discovery,
            audience: value(layers, "oidc_audience", text)?.ok_or_else(|| missing("oidc_audience"))?,
            role_claim: value(layers, "oidc_role_claim", text)?.unwrap_or_else(|| "roles".to_owned()),
            roles: value(layers, "oidc_roles", roles)?.ok_or_else(|| missing("oidc_roles"))?,
            organisation: organisation(layers)?,
            clock_skew: Duration::from_secs(value(layers, "oidc_clock_skew_s", |text| whole(text, &(0..=600)))?.unwrap_or(60)),
        }))
    }
}

fn organisation(layers: &Layers) -> Result<Organisation, Error> {
    let given = layers.either("oidc_organisation_claim", "oidc_organisation")?;
    let Some((source, given)) = given else { return Ok(Organisation::Fixed("default".to_owned())) };
    let named = text(given.trim()).map_err(|problem| Error::of(&source, problem))?;
    Ok(if source.is_of("oidc_organisation_claim") { Organisation::Claim(named) } else { Organisation::Fixed(named) })
}

fn needs(name: &'static str) -> String {
    format!("this needs {}, which is not given", variable(name))
}

/// The provider's name, and where it tells of itself.
fn issuer(text: &str) -> Result<(String, Uri), String> {
    let discovery = client::address(text, "/.well-known/openid-configuration").map_err(|error| error.to_string())?;
    if !client::is_private(&discovery) {
        return Err("expected an https URL; http is for a provider on this machine".to_owned());
    }
    Ok((text.to_owned(), discovery))
}

fn text(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("expected a text that is not empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn roles(text: &str) -> Result<Vec<(String, Role)>, String> {
    let one = |pair: &str| {
        // The provider's role may hold an equals sign; ours does not.
        let (theirs, ours) = pair.rsplit_once('=').ok_or("expected pairs such as credence-issuer=issuer, separated by commas")?;
        let theirs = Some(theirs.trim()).filter(|theirs| !theirs.is_empty()).ok_or("a role of the provider's has no name")?;
        let ours = ours.trim().parse::<Role>().map_err(|error| error.to_string())?;
        Ok::<_, String>((theirs.to_owned(), ours))
    };
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(one).collect::<Result<Vec<_>, String>>()?;
    if pairs.is_empty() { Err("expected at least one role".to_owned()) } else { Ok(pairs) }
}
