//! Accounts and sessions, as they are asked for and answered.
//!
//! The request types stand for the OpenAPI document alone: what is read is read by [`read_registration`] and its kin, which know the rules
//! and tell every one that is broken. Nothing here answers a password or a token but once, to its owner.

use credence_ledger::vault::accounts::Profile;
use credence_ledger::vault::sessions::Seen;
use credence_ledger::vault::{Account, Role, Roles};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::http::body::{Fields, Text};
use crate::http::problem::Problem;
use crate::passwords;
use crate::use_cases::accounts::{ChangeProfile, RegisterAccount};
use crate::use_cases::sessions::Tokens;
use crate::wire::credential::{self, NAME};

/// How many characters a username has.
const USERNAME_LENGTH: std::ops::RangeInclusive<usize> = 3..=50;
/// What is typed to log in, as long as anything that could be meant.
const IDENTIFIER: Text = Text { length_max: 1000, normal: str::to_owned, lines: true };

/// Who wants an account.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_registration` reads it")]
pub struct RegisterRequest {
    /// 3 to 50 ASCII letters, digits and `_`; compared without regard to case.
    #[schema(example = "ada_lovelace")]
    username: String,
    /// Compared without regard to case.
    #[schema(example = "ada@example.org")]
    email: String,
    /// 12 to 128 characters, and not easily guessed.
    password: String,
    /// A given name.
    first_name: Option<String>,
    /// A family name.
    last_name: Option<String>,
    /// The organisation's name, if it is not the caller's own; operators alone may say so.
    issuer: Option<String>,
}

/// What one logs in with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_login` reads it")]
pub struct LoginRequest {
    /// A username or an e-mail address.
    #[schema(example = "ada_lovelace")]
    identifier: String,
    /// Its password.
    password: String,
}

/// What a session is gone on with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_refresh` reads it")]
pub struct RefreshRequest {
    /// As it was answered; it is good once.
    refresh_token: String,
}

/// What is asked about.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_introspection` reads it")]
pub struct IntrospectRequest {
    /// An access token, an API key or an identity provider's token.
    token: String,
}

/// What changes; what is absent stays, a name that is null goes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_profile` reads it")]
pub struct ProfileRequest {
    /// Compared without regard to case.
    email: Option<String>,
    /// A given name.
    first_name: Option<String>,
    /// A family name.
    last_name: Option<String>,
}

/// A password in place of another.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_passwords` reads it")]
pub struct PasswordRequest {
    /// The one that holds.
    current_password: String,
    /// 12 to 128 characters, and not easily guessed.
    new_password: String,
}

/// Roles in place of others.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_roles` reads it")]
pub struct RolesRequest {
    /// All that the account shall have.
    roles: Vec<RoleName>,
}

/// A role.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum RoleName {
    /// Sees and changes its own account, nothing else.
    Member,
    /// Issues, changes and reads its organisation's credentials.
    Issuer,
    /// Reads what is its organisation's, changes nothing.
    Auditor,
    /// Lists what its organisation issued, without personal data.
    Billing,
    /// Everything in its organisation, accounts and keys included.
    Admin,
    /// Reads the whole installation, changes nothing.
    Inspector,
    /// Everything in the whole installation.
    Operator,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountBody {
    /// Its id.
    pub id: Uuid,
    /// As it was written when it was registered.
    pub username: String,
    /// In normal form.
    pub email: String,
    /// A given name.
    pub first_name: Option<String>,
    /// A family name.
    pub last_name: Option<String>,
    /// What its owner may do.
    #[schema(value_type = Vec<RoleName>)]
    pub roles: Vec<&'static str>,
    /// The organisation it belongs to, by name.
    pub issuer: String,
    /// When it was made.
    pub created_at: String,
    /// Since when nobody may log in to it.
    pub deactivated_at: Option<String>,
}

/// Who calls.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeBody {
    /// `account`, `key` or, of another identity provider, `external`.
    #[schema(example = "account")]
    pub kind: &'static str,
    /// The account's or the key's id, or one that stands for the other provider's subject.
    pub id: Uuid,
    /// What it may do.
    #[schema(value_type = Vec<RoleName>)]
    pub roles: Vec<&'static str>,
    /// The organisation it acts for, by name.
    pub issuer: String,
    /// The account; null of others.
    pub account: Option<AccountBody>,
}

/// What a session's owner gets.
#[derive(Serialize, ToSchema)]
pub struct TokensBody {
    /// A JWT: `Authorization: Bearer …`.
    #[schema(value_type = String)]
    pub access_token: Zeroizing<String>,
    /// Always `bearer`.
    #[schema(example = "bearer")]
    pub token_type: &'static str,
    /// How many seconds the access token holds, unless the session ends before.
    #[schema(example = 600)]
    pub expires_in: u64,
    /// Gets the next ones, once.
    #[schema(value_type = String)]
    pub refresh_token: Zeroizing<String>,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionBody {
    /// Its id.
    pub id: Uuid,
    /// Whether it is the one that asks.
    pub is_current: bool,
    /// With which program it was begun, as that said.
    pub user_agent: Option<String>,
    /// When it was begun.
    pub created_at: String,
    /// When it was last gone on with.
    pub refreshed_at: String,
    /// When it ends, unless it is gone on with.
    pub expires_at: String,
}

/// What a token is worth now (after RFC 7662). All but `active` is absent of one that is worth nothing, or is not yours to know of.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct IntrospectionBody {
    /// Whether it holds.
    pub active: bool,
    /// `access_token`, `api_key` or, of the identity provider's, `external_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
    /// The account's or the key's id, or one that stands for the provider's subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<Uuid>,
    /// The session's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<Uuid>,
    /// What its bearer may do: names of roles, with spaces between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The organisation it acts for, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// From when on it holds no longer, in seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
}

impl AccountBody {
    /// An account of the organisation `issuer`.
    #[must_use]
    pub fn new(account: &Account, issuer: String) -> AccountBody {
        let Account { id, issuer: _, roles, profile, created_at, deactivated_at } = account;
        AccountBody {
            id: *id,
            username: profile.username.clone(),
            email: profile.email.clone(),
            first_name: profile.first_name.clone(),
            last_name: profile.last_name.clone(),
            roles: names(*roles),
            issuer,
            created_at: created_at.to_string(),
            deactivated_at: deactivated_at.map(|time| time.to_string()),
        }
    }
}

/// Roles by name, the least first.
#[must_use]
pub fn names(roles: Roles) -> Vec<&'static str> {
    roles.iter().map(Role::as_str).collect()
}

impl From<Tokens> for TokensBody {
    fn from(tokens: Tokens) -> TokensBody {
        TokensBody { expires_in: tokens.holds.as_secs(), access_token: tokens.access, token_type: "bearer", refresh_token: tokens.refresh }
    }
}

impl SessionBody {
    /// A session, seen from the session `current`.
    #[must_use]
    pub fn new(seen: &Seen, current: Uuid) -> SessionBody {
        SessionBody {
            id: seen.id,
            is_current: seen.id == current,
            user_agent: seen.agent.clone(),
            created_at: seen.created_at.to_string(),
            refreshed_at: seen.refreshed_at.to_string(),
            expires_at: seen.expires_at.to_string(),
        }
    }
}

/// Reads a [`RegisterRequest`].
///
/// # Errors
/// Every broken rule.
pub fn read_registration(body: Value) -> Result<RegisterAccount, Problem> {
    Fields::read(body, |fields| {
        let username = username(fields);
        let email = credential::email(fields, "email", true);
        let (first_name, last_name) = (fields.text("first_name", &NAME), fields.text("last_name", &NAME));
        let issuer = fields.text("issuer", &NAME);
        let known = [&username, &email, &first_name, &last_name].map(|text| text.clone().unwrap_or_default());
        let password = new_password(fields, "password", &known);
        let profile = Profile { username: username?, email: email?, first_name, last_name };
        Some(RegisterAccount { profile, password: password?, issuer })
    })
}

/// Reads a [`LoginRequest`].
///
/// # Errors
/// Every broken rule; what an identifier or a password must be like is not among them.
pub fn read_login(body: Value) -> Result<(Zeroizing<String>, Zeroizing<String>), Problem> {
    Fields::read(body, |fields| {
        let (identifier, password) = (fields.required_text("identifier", &IDENTIFIER), presented(fields, "password"));
        Some((identifier?.into(), password?))
    })
}

/// Reads a [`RefreshRequest`].
///
/// # Errors
/// Every broken rule.
pub fn read_refresh(body: Value) -> Result<Zeroizing<String>, Problem> {
    Fields::read(body, |fields| fields.required_string("refresh_token").map(Zeroizing::new))
}

/// Reads an [`IntrospectRequest`].
///
/// # Errors
/// Every broken rule.
pub fn read_introspection(body: Value) -> Result<Zeroizing<String>, Problem> {
    Fields::read(body, |fields| fields.required_string("token").map(Zeroizing::new))
}

/// Reads a [`ProfileRequest`].
///
/// # Errors
/// Every broken rule.
pub fn read_profile(body: Value) -> Result<ChangeProfile, Problem> {
    // Here null is not the same as absent: it takes a name away.
    let is_given = |name: &str| body.get(name).is_some();
    let (first_given, last_given) = (is_given("first_name"), is_given("last_name"));
    Fields::read(body, |fields| {
        let email = credential::email(fields, "email", false);
        let (first_name, last_name) = (fields.text("first_name", &NAME), fields.text("last_name", &NAME));
        Some(ChangeProfile { email, first_name: first_given.then_some(first_name), last_name: last_given.then_some(last_name) })
    })
}

/// Reads a [`PasswordRequest`]: the current one, and the new one.
///
/// # Errors
/// Every broken rule.
pub fn read_passwords(body: Value, of: &Profile) -> Result<(Zeroizing<String>, Zeroizing<String>), Problem> {
    let known = [Some(&of.username), Some(&of.email), of.first_name.as_ref(), of.last_name.as_ref()];
    let known = known.map(|text| text.cloned().unwrap_or_default());
    Fields::read(body, |fields| {
        let (current, new) = (presented(fields, "current_password"), new_password(fields, "new_password", &known));
        Some((current?, new?))
    })
}

/// Reads a [`RolesRequest`].
///
/// # Errors
/// Every broken rule.
pub fn read_roles(body: Value) -> Result<Roles, Problem> {
    Fields::read(body, |fields| roles(fields, "roles"))
}

/// A list of roles' names, at least one.
pub fn roles(fields: &mut Fields, name: &str) -> Option<Roles> {
    if !fields.has(name) {
        fields.refuse(name, "required", "is required");
        return None;
    }
    let Some(Value::Array(items)) = fields.take(name) else {
        fields.refuse(name, "type", "expected an array");
        return None;
    };
    let mut roles = Vec::new();
    for (at, item) in items.iter().enumerate() {
        match item.as_str().map(str::parse::<Role>) {
            Some(Ok(role)) => roles.push(role),
            Some(Err(unknown)) => fields.refuse(&format!("{name}[{at}]"), "format", unknown.to_string()),
            None => fields.refuse(&format!("{name}[{at}]"), "type", "expected a string"),
        }
    }
    if items.is_empty() {
        fields.refuse(name, "blank", "expected at least one");
    }
    Some(roles.into_iter().collect())
}

fn username(fields: &mut Fields) -> Option<String> {
    let username = fields.required_string("username")?;
    let length = username.chars().count();
    if length > *USERNAME_LENGTH.end() {
        fields.refuse("username", "too_long", format!("longer than {} characters", USERNAME_LENGTH.end()));
        return None;
    }
    if length < *USERNAME_LENGTH.start() {
        fields.refuse("username", "too_short", format!("shorter than {} characters", USERNAME_LENGTH.start()));
        return None;
    }
    if !username.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        fields.refuse("username", "format", "expected letters, digits and _ alone");
        return None;
    }
    Some(username)
}

fn new_password(fields: &mut Fields, name: &str, known: &[String]) -> Option<Zeroizing<String>> {
    let password = Zeroizing::new(fields.required_string(name)?);
    let known: Vec<&str> = known.iter().filter(|text| !text.is_empty()).map(String::as_str).collect();
    passwords::judge(&password, &known).map_err(|(code, message)| fields.refuse(name, code, message)).ok()?;
    Some(password)
}

/// A password that opens something, or not: whatever it is like. What is longer than any is wrong without being hashed.
fn presented(fields: &mut Fields, name: &str) -> Option<Zeroizing<String>> {
    let password = Zeroizing::new(fields.required_string(name)?);
    if password.chars().count() > 4 * *passwords::LENGTH.end() {
        fields.refuse(name, "too_long", format!("longer than {} characters", passwords::LENGTH.end()));
        return None;
    }
    Some(password)
}
