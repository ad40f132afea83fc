//! A credential, as it is asked for and answered.
//!
//! The request types stand for the OpenAPI document alone: what is read is read by [`read_issue`] and its kin, which know the
//! rules and tell every one that is broken.

use std::borrow::Cow;

use credence_ledger::decision::credential::Change;
use credence_ledger::receipt::Receipt;
use credence_ledger::{LogName, Position, Timestamp, document, json, subject};
use credence_projections::verification::{self as model, Status};
use serde::Serialize;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::body::{self, Fields, Text};
use crate::http::query::{Cursor, LIMIT_DEFAULT, LIMIT_MAX, Parameters};
use crate::use_cases::credential::{Done, Opened};
use crate::use_cases::issue::{About, Content, IssueCredential};
use crate::use_cases::list::ListCredentials;
use crate::use_cases::{Existing, change};
use crate::wire::proof::ReceiptBody;

/// A credential's type.
pub const TYPE: Text = Text { length_max: 100, normal: subject::normal_name, lines: false };
/// A subject's name.
pub const NAME: Text = Text { length_max: 255, normal: subject::normal_name, lines: false };
/// A subject's e-mail address. Whether it could be one is judged by [`email`].
pub const EMAIL: Text = Text { length_max: 254, normal: subject::normal_email, lines: false };
/// A subject's URI.
const URI: Text = Text { length_max: 2048, normal: str::to_owned, lines: false };
/// Why something is done.
pub const REASON: Text = Text { length_max: 1000, normal: normal_reason, lines: true };
/// A secret has at most so many bytes.
const SECRET_BYTES_MAX: usize = 4096;
/// Claims have at most so many bytes in their canonical form.
const CLAIMS_BYTES_MAX: usize = 65_536;
/// Claims nest at most so deep: they stand three levels down when their document is presented.
const CLAIMS_DEPTH_MAX: usize = json::DEPTH_MAX - 3;

fn normal_reason(reason: &str) -> String {
    reason.trim().nfc().collect()
}

/// What is issued about a subject.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_issue` reads it")]
pub struct IssueAboutSubject {
    /// What kind of credential, in the issuer's words; 1 to 100 characters.
    #[schema(example = "developer-certificate")]
    r#type: String,
    /// Whom it is about.
    subject: Subject,
    /// Anything else that is certified: an object of at most 64 KiB.
    claims: Option<Object<'static>>,
    /// Not valid before; absent: from when it is issued.
    #[schema(example = "2026-01-31T12:00:00Z")]
    valid_from: Option<String>,
    /// Not valid from then on; absent: without end.
    valid_until: Option<String>,
    /// Wait for a checkpoint that covers the event, and answer its receipt.
    receipt: Option<bool>,
}

/// That an opaque string was issued. Only its keyed digest is kept.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_issue` reads it")]
pub struct IssueSecret {
    /// What kind of credential, in the issuer's words; 1 to 100 characters.
    #[schema(example = "access-code")]
    r#type: String,
    /// 1 to 4096 bytes.
    secret: String,
    /// Wait for a checkpoint that covers the event, and answer its receipt.
    receipt: Option<bool>,
}

/// A credential with a subject, or a secret one.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum IssueRequest {
    /// About a subject.
    Subject(IssueAboutSubject),
    /// Over a secret.
    Secret(IssueSecret),
}

/// A command, and whether its receipt is waited for. Of a repeat the command alone is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct WithReceipt<C> {
    /// What is to be done.
    pub command: C,
    /// Whether the answer shall hold the receipt.
    pub receipt: bool,
}

/// Why a status is changed.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_reason` reads it")]
pub struct ChangeRequest {
    /// At most 1000 characters; sealed, and shown only to those who open the log.
    reason: Option<String>,
    /// Wait for a checkpoint that covers the event, and answer its receipt.
    receipt: Option<bool>,
}

/// Which credentials are searched for. The conditions hold together; a name or an address is compared whole, in normal form.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_search` reads it")]
pub struct SearchRequest {
    /// The subject's e-mail address.
    #[schema(example = "ada@example.org")]
    email: Option<String>,
    /// The subject's name.
    #[schema(example = "Ada Lovelace")]
    name: Option<String>,
    /// The credential's type.
    r#type: Option<String>,
    /// The status now.
    status: Option<StatusName>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 100, 20 by default.
    limit: Option<u64>,
}

/// Any JSON object; where it is answered, a part of what was read.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(value_type = std::collections::HashMap<String, Value>)]
#[serde(transparent)]
pub struct Object<'a>(pub Cow<'a, Value>);

/// A credential's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatusName {
    /// It counts.
    Active,
    /// It does not count for the time being.
    Suspended,
    /// It does not count any more, for ever.
    Revoked,
    /// Its last day is over.
    Expired,
    /// Its first day has not come.
    NotYetValid,
}

impl From<Status> for StatusName {
    fn from(status: Status) -> StatusName {
        match status {
            Status::Active => StatusName::Active,
            Status::Suspended => StatusName::Suspended,
            Status::Revoked => StatusName::Revoked,
            Status::Expired => StatusName::Expired,
            Status::NotYetValid => StatusName::NotYetValid,
        }
    }
}

/// Whom a credential is about.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Subject {
    /// 1 to 255 characters; answered in NFC, trimmed, with single spaces.
    #[schema(example = "Ada Lovelace")]
    pub name: String,
    /// At most 254 characters; answered in NFC, trimmed, in lower case.
    #[schema(example = "ada@example.org")]
    pub email: String,
    /// The subject's own identifier, an absolute URI. Two credentials that differ in it alone are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "did:example:ada")]
    pub id: Option<String>,
}

/// A credential.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Credential)]
pub struct CredentialBody<'a> {
    /// Its id, a UUID of version 7.
    pub id: Uuid,
    /// What kind of credential.
    #[serde(rename = "type")]
    pub credential_type: String,
    /// The issuer's name.
    #[schema(example = "default")]
    pub issuer: String,
    /// Whom it is about; null for a secret.
    #[schema(required)]
    pub subject: Option<Subject>,
    /// What else is certified, `{}` when nothing is; null for a secret.
    #[schema(required)]
    pub claims: Option<Object<'a>>,
    /// Not valid before.
    #[schema(required)]
    pub valid_from: Option<String>,
    /// Not valid from then on.
    #[schema(required)]
    pub valid_until: Option<String>,
    /// The status now; in the answer to an act, as the act left it.
    pub status: StatusName,
    /// When it was last suspended, reinstated or revoked.
    #[schema(required)]
    pub status_changed_at: Option<String>,
    /// `blake3:` over the document's canonical form without `proof`, or `hmac-sha256:` of the secret under the service's key.
    #[schema(example = "blake3:0f3c…")]
    pub digest: String,
    /// When it was issued, by the ledger's clock.
    pub issued_at: String,
    /// The worker that issued it.
    pub issued_by: String,
    /// What its holder keeps: a W3C Verifiable Credentials 2.0 object with the issuer's proof (`eddsa-jcs-2022`); null for a secret.
    #[schema(required)]
    pub document: Option<Object<'a>>,
    /// The position of its `CredentialIssued`.
    #[schema(example = "ledger@42")]
    pub position: String,
    /// The hash of its `CredentialIssued`, in hex.
    pub event_hash: String,
    /// The receipt of the act's event, where it was asked for; null when no checkpoint covered it in time: it can be asked for later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReceiptBody>)]
    pub receipt: Option<Option<ReceiptBody>>,
    /// What was done, for people; in answers to POST only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "credential issued by worker-1")]
    pub message: Option<String>,
}

impl<'a> CredentialBody<'a> {
    /// As it is read.
    #[must_use]
    pub fn new(opened: &'a Opened) -> CredentialBody<'a> {
        let Opened { credential, issuer, document, status } = opened;
        let of = document.as_ref().map(|document| &document["credentialSubject"]);
        CredentialBody {
            id: credential.id,
            credential_type: credential.issued.credential_type.clone(),
            issuer: issuer.clone(),
            subject: of.map(|of| Subject { name: text(&of["name"]), email: text(&of["email"]), id: of["id"].as_str().map(str::to_owned) }),
            claims: of.map(|of| Object(of.get("claims").map_or_else(|| Cow::Owned(Value::Object(serde_json::Map::new())), Cow::Borrowed))),
            valid_from: time(credential.issued.valid_from),
            valid_until: time(credential.issued.valid_until),
            status: (*status).into(),
            status_changed_at: time(credential.status_changed_at),
            digest: digest(credential.issued.subject_id, &credential.issued.digest),
            issued_at: credential.issued_at.to_string(),
            issued_by: credential.issued_by.clone(),
            document: document.as_ref().map(|document| Object(Cow::Borrowed(document))),
            position: LogName::LEDGER.at(credential.position).to_string(),
            event_hash: credential.event_hash.clone(),
            receipt: None,
            message: None,
        }
    }

    /// As an act left it; `what` names the act. With the act's receipt, if one was asked for.
    #[must_use]
    pub fn after(done: &'a Done, what: &str, receipt: Option<Option<&Receipt>>) -> CredentialBody<'a> {
        let message = format!("credential {what} by {}", done.opened.credential.last.worker);
        let receipt = receipt.map(|receipt| receipt.map(ReceiptBody::from));
        CredentialBody { message: Some(message), receipt, ..CredentialBody::new(&done.opened) }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn time(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

/// A digest with the name of what made it: of a document with a subject, of a secret without.
#[must_use]
pub fn digest(subject_id: Option<Uuid>, digest: &[u8; 32]) -> String {
    let algorithm = if subject_id.is_some() { "blake3" } else { "hmac-sha256" };
    format!("{algorithm}:{}", hex::encode(digest))
}

/// A credential in a list: nothing personal.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Summary {
    /// Its id.
    pub id: Uuid,
    /// What kind of credential.
    #[serde(rename = "type")]
    pub credential_type: String,
    /// The issuer's name.
    pub issuer: String,
    /// The status now.
    pub status: StatusName,
    /// As in the credential.
    pub digest: String,
    /// Not valid before.
    #[schema(required)]
    pub valid_from: Option<String>,
    /// Not valid from then on.
    #[schema(required)]
    pub valid_until: Option<String>,
    /// When it was issued, by the ledger's clock.
    pub issued_at: String,
    /// The worker that issued it.
    pub issued_by: String,
    /// When it was last suspended, reinstated or revoked.
    #[schema(required)]
    pub status_changed_at: Option<String>,
    /// The position of its `CredentialIssued`.
    #[schema(example = "ledger@42")]
    pub position: String,
}

impl Summary {
    /// Of a credential with this status.
    #[must_use]
    pub fn new(credential: &model::Credential, status: Status) -> Summary {
        Summary {
            id: credential.id,
            credential_type: credential.credential_type.clone(),
            issuer: credential.issuer_name.clone(),
            status: status.into(),
            digest: digest(credential.subject_id, &credential.digest),
            valid_from: time(credential.valid_from),
            valid_until: time(credential.valid_until),
            issued_at: credential.issued_at.to_string(),
            issued_by: credential.issued_by.clone(),
            status_changed_at: time(credential.status_changed_at),
            position: LogName::LEDGER.at(credential.position).to_string(),
        }
    }
}

/// A page of credentials, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SummaryPage {
    /// The page.
    pub items: Vec<Summary>,
    /// Goes on from here; null at the end.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// The credential that stands in the way, in an `already-issued`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Existing)]
pub struct ExistingBody {
    /// Its id.
    pub id: Uuid,
    /// When it was issued.
    pub issued_at: String,
    /// The worker that issued it.
    pub issued_by: String,
    /// Its status now.
    pub status: StatusName,
}

impl From<&Existing> for ExistingBody {
    fn from(existing: &Existing) -> ExistingBody {
        ExistingBody {
            id: existing.id,
            issued_at: existing.issued_at.to_string(),
            issued_by: existing.issued_by.clone(),
            status: existing.status.into(),
        }
    }
}

/// Reads what is to be issued.
pub fn read_issue(fields: &mut Fields) -> Option<WithReceipt<IssueCredential>> {
    let receipt = fields.flag("receipt");
    let credential_type = issued_type(fields, "type");
    let content = if fields.has("secret") {
        let secret = secret(fields, "secret");
        fields.refuse_the_rest("no such member beside a secret");
        secret.map(Content::Secret)
    } else {
        about(fields).map(|about| Content::Subject(Box::new(about)))
    };
    Some(WithReceipt { command: IssueCredential { credential_type: credential_type?, content: content? }, receipt })
}

/// Reads the type of a credential that is to be issued. In a document it stands behind the type that all of them have, as a term of JSON-LD:
/// that type again would stand there twice, and what begins like a keyword is no term.
pub fn issued_type(fields: &mut Fields, name: &str) -> Option<String> {
    let credential_type = fields.required_text(name, &TYPE)?;
    if credential_type == document::TYPE || credential_type.starts_with('@') {
        fields.refuse(
            name,
            "format",
            format!("expected another type than {}, which every document has, and none that begins with @", document::TYPE),
        );
        return None;
    }
    Some(credential_type)
}

fn about(fields: &mut Fields) -> Option<About> {
    let subject = fields.required_nested("subject", |subject| {
        let name = subject.required_text("name", &NAME);
        let email = email(subject, "email", true);
        let uri = uri(subject, "id");
        Some((name?, email?, uri))
    });
    let claims = claims(fields, "claims");
    let valid_from: Option<Timestamp> = fields.parsed("valid_from");
    let valid_until = fields.parsed("valid_until");
    if valid_from.zip(valid_until).is_some_and(|(from, until)| until <= from) {
        fields.refuse("valid_until", "order", "expected a time later than valid_from");
    }
    let (name, email, uri) = subject?;
    Some(About { name, email, uri, claims, valid_from, valid_until })
}

/// Reads an e-mail address that could be one.
pub fn email(fields: &mut Fields, name: &str, required: bool) -> Option<String> {
    let email = if required { fields.required_text(name, &EMAIL) } else { fields.text(name, &EMAIL) }?;
    if !subject::email_is_plausible(&email) {
        fields.refuse(name, "format", "expected an e-mail address such as ada@example.org");
        return None;
    }
    Some(email)
}

fn uri(fields: &mut Fields, name: &str) -> Option<String> {
    let uri = fields.text(name, &URI)?;
    if fluent_uri::Uri::parse(uri.as_str()).is_err() {
        fields.refuse(name, "format", "expected an absolute URI");
        return None;
    }
    Some(uri)
}

/// Reads a secret as it is: it is compared byte by byte.
pub fn secret(fields: &mut Fields, name: &str) -> Option<String> {
    let secret = fields.required_string(name)?;
    let refusal = if secret.chars().any(|character| body::is_refused_control(character, false)) {
        Some(("control_character", "control characters are not taken"))
    } else if secret.trim().is_empty() {
        Some(("blank", "is blank"))
    } else if secret.len() > SECRET_BYTES_MAX {
        Some(("too_long", "longer than 4096 bytes"))
    } else {
        None
    };
    match refusal {
        None => Some(secret),
        Some((code, message)) => {
            fields.refuse(name, code, message);
            None
        }
    }
}

/// Reads claims: an object that still fits when its document is presented.
pub fn claims(fields: &mut Fields, name: &str) -> Option<Value> {
    let claims = Value::Object(fields.object(name)?);
    if json::depth(&claims) > CLAIMS_DEPTH_MAX {
        fields.refuse(name, "too_deep", format!("nested over {CLAIMS_DEPTH_MAX} levels"));
    } else if json::canonical_length(&claims) > CLAIMS_BYTES_MAX {
        fields.refuse(name, "too_long", "larger than 64 KiB");
    } else if let Some(field) = body::find_control(name, &claims) {
        fields.refuse(&field, "control_character", "control characters but tab and line breaks are not taken");
    } else {
        return Some(claims);
    }
    None
}

/// Reads why a status is changed; the body may be missing.
///
/// # Errors
/// 422 with every broken rule.
pub fn read_change(id: Uuid, change: Change, body: Value) -> Result<WithReceipt<change::ChangeStatus>, crate::http::problem::Problem> {
    let body = if body.is_null() { Value::Object(serde_json::Map::new()) } else { body };
    Fields::read(body, |fields| {
        let command = change::ChangeStatus { id, change, reason: fields.text("reason", &REASON) };
        Some(WithReceipt { command, receipt: fields.flag("receipt") })
    })
}

/// Reads what is searched for.
pub fn read_search(fields: &mut Fields, passed: Option<Position>) -> Option<ListCredentials> {
    Some(ListCredentials {
        email: fields.text("email", &EMAIL),
        name: fields.text("name", &NAME),
        credential_type: fields.text("type", &TYPE),
        status: fields.one_of("status", STATUSES, status),
        before: fields.parsed("cursor").map(|Cursor(position)| position),
        limit: limit(fields.integer("limit", 1, LIMIT_MAX)),
        passed,
    })
}

/// Reads which credentials are listed.
pub fn read_list(parameters: &mut Parameters, passed: Option<Position>) -> ListCredentials {
    ListCredentials {
        email: None,
        name: None,
        credential_type: parameters.text("type", &TYPE),
        status: parameters.one_of("status", STATUSES, status),
        before: parameters.cursor(),
        limit: parameters.limit(LIMIT_MAX),
        passed,
    }
}

fn limit(given: Option<u64>) -> usize {
    given.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LIMIT_DEFAULT)
}

const STATUSES: &str = "active, suspended, revoked, expired or not_yet_valid";

fn status(text: &str) -> Option<Status> {
    [Status::Active, Status::Suspended, Status::Revoked, Status::Expired, Status::NotYetValid]
        .into_iter()
        .find(|status| status.as_str() == text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::body::parse;

    fn whole() -> Value {
        json!({
            "type": "certificate",
            "subject": {"name": "Ada Lovelace", "email": "ada@example.org", "id": "did:example:ada"},
            "claims": {"level": 3},
            "valid_from": "2026-01-31T12:00:00Z",
            "valid_until": "2027-01-31T12:00:00Z",
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut body = whole();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(member.to_owned(), value);
        body
    }

    fn refusals(body: Value) -> Vec<(String, &'static str)> {
        match Fields::read(body, read_issue) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors.into_iter().map(|error| (error.field, error.code)).collect(),
        }
    }

    fn nested(levels: usize) -> Value {
        (1..levels).fold(json!({}), |inner, _| json!({"a": inner}))
    }

    #[test]
    fn each_rule_of_issuing_is_told_with_its_field_and_code() {
        let long = |count: usize| Value::String("x".repeat(count));
        let email = |local: usize, label: usize| {
            json!(format!("{}@{}.{}.{}.org", "l".repeat(local), "d".repeat(label), "d".repeat(63), "d".repeat(60)))
        };
        for (pointer, value, field, code) in [
            ("/type", json!(null), "type", "required"),
            ("/type", json!(7), "type", "type"),
            ("/type", json!(" \u{a0} "), "type", "blank"),
            ("/type", long(101), "type", "too_long"),
            ("/type", json!("a\u{1b}[0m"), "type", "control_character"),
            ("/subject", json!(null), "subject", "required"),
            ("/subject", json!([]), "subject", "type"),
            ("/subject/name", json!(null), "subject.name", "required"),
            ("/subject/name", json!(["Ada"]), "subject.name", "type"),
            ("/subject/name", json!(""), "subject.name", "blank"),
            ("/subject/name", long(256), "subject.name", "too_long"),
            ("/subject/name", json!("Ada\nLovelace"), "subject.name", "control_character"),
            ("/subject/name", json!("Ada\u{85}"), "subject.name", "control_character"),
            ("/subject/email", json!(null), "subject.email", "required"),
            ("/subject/email", json!("ada"), "subject.email", "format"),
            ("/subject/email", json!("ada@example.org\u{0}"), "subject.email", "control_character"),
            ("/subject/email", email(64, 63), "subject.email", "too_long"),
            ("/subject/id", json!("ada"), "subject.id", "format"),
            ("/subject/id", json!("//example.org/ada"), "subject.id", "format"),
            ("/subject/id", json!("did:example:a\u{7f}"), "subject.id", "control_character"),
            ("/subject/phone", json!("1"), "subject.phone", "unknown"),
            ("/claims", json!("text"), "claims", "type"),
            ("/claims", json!({"a": [{"b": "\u{0}"}]}), "claims.a[0].b", "control_character"),
            ("/claims", json!({"a": "x".repeat(65_536)}), "claims", "too_long"),
            ("/claims", nested(62), "claims", "too_deep"),
            ("/valid_from", json!("31 January 2026"), "valid_from", "format"),
            ("/valid_from", json!(1_769_860_800), "valid_from", "type"),
            ("/valid_until", json!("2026-01-31T12:00:00+00:00"), "valid_until", "order"),
            ("/valid_until", json!("2026-01-31T13:00:00+02:00"), "valid_until", "order"),
            ("/colour", json!("red"), "colour", "unknown"),
        ] {
            assert_eq!(refusals(with(pointer, value.clone())), [(field.to_owned(), code)], "{pointer} {value}");
        }
    }

    #[test]
    fn all_broken_rules_are_told_together() {
        let told = refusals(json!({"subject": {"name": "", "email": "x"}, "claims": 1, "valid_until": "x", "more": 1}));
        let fields: Vec<&str> = told.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["type", "subject.name", "subject.email", "claims", "valid_until", "more"]);
    }

    #[test]
    fn what_stands_at_a_bound_is_taken() {
        for (pointer, value) in [
            ("/type", json!("x".repeat(100))),
            ("/subject/name", json!("👩".repeat(255))),
            ("/subject/name", json!(format!("  {}  ", "é".repeat(255)))),
            ("/claims", json!({"a": "x".repeat(65_536 - 8)})),
            ("/claims", nested(61)),
            ("/claims", json!({"text": "a\tb\r\nc", "": null})),
            ("/claims", json!(null)),
            ("/valid_until", json!("2026-01-31T12:00:00.000001Z")),
            ("/valid_from", json!(null)),
            ("/subject/id", json!("https://example.org/~ada?x=1#me")),
        ] {
            assert_eq!(refusals(with(pointer, value.clone())), [], "{pointer}");
        }
    }

    #[test]
    fn text_that_looks_like_code_is_text() {
        for text in
            ["Robert'); DROP TABLE events;--", "<script>alert(1)</script>", "\"'`\\", "مريم الأسطرلابي", "👩‍🚀 ½ ﬁ", "null", "../../etc/passwd"]
        {
            let read = Fields::read(with("/subject/name", json!(text)), read_issue).unwrap();
            let Content::Subject(about) = read.command.content else { panic!("about a subject") };
            assert_eq!(about.name, text);
        }
    }

    #[test]
    fn a_secret_stands_alone_and_is_taken_as_it_is() {
        let secret = |secret: Value| refusals(json!({"type": "code", "secret": secret}));
        assert_eq!(secret(json!("  s p a c e s  ")), []);
        assert_eq!(secret(json!("é".repeat(2048))), []);
        for (value, code) in [
            (json!("é".repeat(2049)), "too_long"),
            (json!(""), "blank"),
            (json!(" "), "blank"),
            (json!(1), "type"),
            (json!("a\tb"), "control_character"),
        ] {
            assert_eq!(secret(value), [("secret".to_owned(), code)]);
        }
        let both = refusals(json!({"type": "code", "secret": "x", "subject": {}, "valid_from": "x"}));
        assert_eq!(both, [("subject".to_owned(), "unknown"), ("valid_from".to_owned(), "unknown")]);
    }

    #[test]
    fn a_reason_is_optional_and_bounded() {
        let read = |body: Value| read_change(Uuid::nil(), Change::Revoke, body).map(|read| read.command.reason);
        assert_eq!(read(json!(null)).unwrap(), None);
        assert_eq!(read(json!({})).unwrap(), None);
        assert_eq!(read(json!({"reason": null})).unwrap(), None);
        assert_eq!(read(json!({"reason": " two\nlines\t"})).unwrap().as_deref(), Some("two\nlines"));
        for (reason, code) in
            [(json!("x".repeat(1001)), "too_long"), (json!("\n"), "blank"), (json!("a\u{0}"), "control_character"), (json!([]), "type")]
        {
            assert_eq!(read(json!({"reason": reason})).unwrap_err().errors[0].code, code);
        }
        assert_eq!(read(json!([])).unwrap_err().errors[0].field, "");
    }

    #[test]
    fn structural_errors_are_told_with_their_place() {
        for (text, field, code) in [
            (r#"{"subject":{"name":"a","name":"b"}}"#, "subject.name", "duplicate"),
            (r#"{"claims":{"n":9007199254740992}}"#, "claims.n", "range"),
            (r#"{"claims":{"n":1e999}}"#, "claims.n", "range"),
        ] {
            let problem = parse(text.as_bytes()).unwrap_err();
            assert_eq!((problem.errors[0].field.as_str(), problem.errors[0].code), (field, code), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        assert_eq!(parse(deep.as_bytes()).unwrap_err().errors[0].code, "too_deep");
        for malformed in ["", "{", "\"\\ud800\"", "{} x", "\u{feff}{}", "nul"] {
            assert_eq!(parse(malformed.as_bytes()).unwrap_err().kind, crate::http::problem::Kind::MALFORMED_JSON, "{malformed:?}");
        }
    }
}
