//! What a token claims, judged: pure, by the time that it is told.

use std::time::Duration;

use credence_ledger::Timestamp;
use credence_ledger::vault::Roles;
use serde_json::{Map, Value};

use super::Invalid;
use crate::config::{Oidc, Organisation};

/// What a token that holds says of its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    /// Who, as the provider knows them: personal.
    pub(super) subject: String,
    /// Those of the provider's roles that mean something here, as they are ours.
    pub(super) roles: Roles,
    /// The organisation's name; `None` where the token should name it and does not.
    pub(super) organisation: Option<String>,
    /// From when on it holds no longer.
    pub(super) until: Timestamp,
}

/// Judges the claims of a token whose signature holds.
pub(super) fn judge(claims: &Map<String, Value>, provider: &Oidc, now: Timestamp) -> Result<Claims, Invalid> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(provider.issuer.as_str()) {
        return Err(Invalid::Issuer);
    }
    if !claims.get("aud").is_some_and(|audience| texts(audience).any(|one| one == provider.audience)) {
        return Err(Invalid::Audience);
    }
    let until = times(claims, provider.clock_skew, now)?;
    let subject = text("sub").filter(|subject| !subject.is_empty()).ok_or(Invalid::Subject)?.to_owned();
    let theirs: Vec<&str> = member(claims, &provider.role_claim).into_iter().flat_map(texts).collect();
    let roles = provider.roles.iter().filter(|(role, _)| theirs.contains(&role.as_str())).map(|(_, role)| *role).collect();
    let organisation = match &provider.organisation {
        Organisation::Fixed(name) => Some(name.clone()),
        Organisation::Claim(claim) => member(claims, claim).and_then(Value::as_str).map(str::to_owned),
    };
    Ok(Claims { subject, roles, organisation, until })
}

/// From when on it holds no longer. `exp` is required, `nbf` and `iat` are judged where they stand (RFC 7519, section 4.1). The
/// provider's clock may be ahead or behind by `skew`.
fn times(claims: &Map<String, Value>, skew: Duration, now: Timestamp) -> Result<Timestamp, Invalid> {
    let time = |name: &str| claims.get(name).map(|time| date(time).ok_or(Invalid::Malformed)).transpose();
    let until = time("exp")?.ok_or(Invalid::Malformed)?.plus(skew);
    if now >= until {
        return Err(Invalid::Expired);
    }
    let has_come = |from: Option<Timestamp>| from.is_none_or(|from| from <= now.plus(skew));
    if has_come(time("nbf")?) && has_come(time("iat")?) { Ok(until) } else { Err(Invalid::NotYet) }
}

/// Seconds since the epoch, which need not be whole.
fn date(value: &Value) -> Option<Timestamp> {
    let whole = value.as_u64().map(Duration::from_secs);
    let since = whole.or_else(|| Duration::try_from_secs_f64(value.as_f64()?).ok())?;
    Some(Timestamp::EPOCH.plus(since))
}

/// A text, or those in a list.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let listed = value.as_array().map(Vec::as_slice).unwrap_or_default();
    value.as_str().into_iter().chain(listed.iter().filter_map(Value::as_str))
}

/// The member of this name; if there is none, its dots lead inwards. Some providers' names are URLs, which have dots.
fn member<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let inwards = || {
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, name| value.get(name))
    };
    claims.get(name).or_else(inwards)
}

#[cfg(test)]
mod tests {
    use credence_ledger::vault::Role;
    use serde_json::json;

    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn provider() -> Oidc {
        let pairs = [("cr-issuer", Role::Issuer), ("cr-auditor", Role::Auditor), ("cr-admin", Role::Admin)];
        Oidc {
            issuer: "https://id.example.org".to_owned(),
            discovery: "https://id.example.org/.well-known/openid-configuration".parse().unwrap(),
            audience: "credence".to_owned(),
            role_claim: "roles".to_owned(),
            roles: pairs.map(|(theirs, ours)| (theirs.to_owned(), ours)).into(),
            organisation: Organisation::Fixed("default".to_owned()),
            clock_skew: Duration::from_secs(60),
        }
    }

    /// A token's claims with one changed, judged; null takes it away.
    fn with(name: &str, value: Value) -> Result<Claims, Invalid> {
        judged(&provider(), name, value)
    }

    fn judged(provider: &Oidc, name: &str, value: Value) -> Result<Claims, Invalid> {
        let whole = json!({"iss": "https://id.example.org", "aud": "credence", "sub": "ada", "exp": NOW_S + 300, "iat": NOW_S});
        let mut claims = whole.as_object().unwrap().clone();
        claims.insert(name.to_owned(), value);
        claims.retain(|_, value| !value.is_null());
        judge(&claims, provider, Timestamp::from_micros(NOW_S * 1_000_000))
    }

    #[test]
    fn issuer_audience_and_subject_must_be_there_and_ours() {
        assert_eq!(with("azp", json!("x")).map(|claims| claims.subject), Ok("ada".to_owned()));
        for wrong in [json!(null), json!("https://id.example.org/"), json!(["https://id.example.org"]), json!(1)] {
            assert_eq!(with("iss", wrong), Err(Invalid::Issuer));
        }
        assert!(with("aud", json!(["other", "credence"])).is_ok());
        for wrong in [json!(null), json!("other"), json!([]), json!(["Credence"]), json!([["credence"]]), json!({"credence": "credence"})] {
            assert_eq!(with("aud", wrong), Err(Invalid::Audience));
        }
        for wrong in [json!(null), json!(""), json!(1)] {
            assert_eq!(with("sub", wrong), Err(Invalid::Subject));
        }
    }

    #[test]
    fn times_hold_to_the_edge_of_the_skew_and_no_further() {
        assert!(with("exp", json!(NOW_S - 59)).is_ok());
        assert_eq!(with("exp", json!(NOW_S - 60)), Err(Invalid::Expired));
        for name in ["nbf", "iat"] {
            assert!(with(name, json!(NOW_S + 60)).is_ok(), "{name}");
            assert!(with(name, json!(1_800_000_059.5)).is_ok(), "{name}");
            assert_eq!(with(name, json!(NOW_S + 61)), Err(Invalid::NotYet), "{name}");
            assert_eq!(with(name, json!(1_800_000_060.5)), Err(Invalid::NotYet), "{name}");
            assert!(with(name, json!(null)).is_ok(), "{name}");
        }
        for name in ["exp", "nbf", "iat"] {
            for wrong in [json!("1800000100"), json!(-1), json!(1e300), json!([])] {
                assert_eq!(with(name, wrong), Err(Invalid::Malformed), "{name}");
            }
        }
        assert_eq!(with("exp", json!(null)), Err(Invalid::Malformed));
        assert_eq!(with("exp", json!(NOW_S)).map(|claims| claims.until), Ok(Timestamp::from_micros((NOW_S + 60) * 1_000_000)));
        assert_eq!(with("exp", json!(u64::MAX)).map(|claims| claims.until), Ok(Timestamp::MAX));
    }

    #[test]
    fn roles_are_those_that_are_mapped_wherever_they_stand() {
        let roles = |claim: &str, name: &str, value: Value| {
            judged(&Oidc { role_claim: claim.to_owned(), ..provider() }, name, value).unwrap().roles
        };
        assert_eq!(roles("roles", "roles", json!(["cr-auditor", "x", "cr-issuer"])), Roles::of(&[Role::Issuer, Role::Auditor]));
        assert_eq!(roles("roles", "roles", json!("cr-admin")), Role::Admin.into());
        assert_eq!(roles("realm_access.roles", "realm_access", json!({"roles": ["cr-admin"]})), Role::Admin.into());
        assert_eq!(roles("https://a.example/roles", "https://a.example/roles", json!(["cr-admin"])), Role::Admin.into());
        for nothing in
            [json!(null), json!([]), json!(["CR-ADMIN", 1, ["cr-admin"]]), json!({"cr-admin": true}), json!("cr-admin cr-issuer")]
        {
            assert_eq!(roles("roles", "roles", nothing), Roles::NONE);
        }
        assert_eq!(roles("realm_access.roles", "realm_access", json!("cr-admin")), Roles::NONE);
    }

    #[test]
    fn an_organisation_is_named_by_the_configuration_or_by_the_token() {
        let named =
            |organisation: Organisation, value: Value| judged(&Oidc { organisation, ..provider() }, "org", value).unwrap().organisation;
        assert_eq!(named(Organisation::Fixed("a".to_owned()), json!("b")), Some("a".to_owned()));
        assert_eq!(named(Organisation::Claim("org".to_owned()), json!("b")), Some("b".to_owned()));
        assert_eq!(named(Organisation::Claim("org.name".to_owned()), json!({"name": "b"})), Some("b".to_owned()));
        assert_eq!(named(Organisation::Claim("org".to_owned()), json!(["a", "b"])), None);
        assert_eq!(named(Organisation::Claim("org".to_owned()), json!(null)), None);
    }
}
