//! A verdict, as it is asked for and answered.

use credence_ledger::{LogName, LogPosition, Timestamp};
use credence_projections::verification::{AtIssuer, Credential, Status};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::credential::{EMAIL, NAME, Object, secret};
use crate::http::body::{Fields, Text};
use crate::http::headers::parse_uuid;
use crate::stores::DEFAULT_ISSUER;
use crate::use_cases::verify::{AsOf, Finding, Presented, Verdict, VerifyCredential};
use crate::wire::proof::ProofBody;

/// An issuer's name is taken as it is: it is only compared.
const ISSUER: Text = Text { length_max: 255, normal: str::to_owned, lines: false };

/// What is to be verified: exactly one of `id`, `digest`, `document` and `secret`.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_question` reads it")]
pub struct VerificationRequest {
    /// The credential's id.
    id: Option<Uuid>,
    /// With an id: what is known of the holder. Each detail given must match, compared in normal form.
    subject: Option<HolderDetails>,
    /// `blake3:` or `hmac-sha256:` and 64 hex digits, as in the credential.
    #[schema(example = "blake3:0f3c…")]
    digest: Option<String>,
    /// The document, with or without its `proof`; one that is there must hold.
    document: Option<Object<'static>>,
    /// The secret.
    secret: Option<String>,
    /// With a secret or a digest: the issuer's name. Of a secret `default` when absent.
    issuer: Option<String>,
    /// The verdict as it was, or would have been, at this time.
    #[schema(example = "2026-01-31T12:00:00Z")]
    as_of: Option<String>,
    /// The verdict from what stood in the ledger up to this position, judged by today's date.
    #[schema(example = "ledger@42")]
    as_of_position: Option<String>,
    /// Prove the event that decided the verdict: waits for a checkpoint that covers it.
    proof: Option<bool>,
}

/// What is known of a holder.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_question` reads it")]
pub struct HolderDetails {
    /// The holder's name.
    name: Option<String>,
    /// The holder's e-mail address.
    email: Option<String>,
}

/// What a verdict says: a credential's status, or why none is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictStatus {
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
    /// There is no such credential, or a detail is wrong.
    NotFound,
    /// The document names a credential but is not its document, or is, with a proof that does not hold.
    Tampered,
    /// It matches a credential whose subject's data has been erased.
    Erased,
}

impl From<Finding> for VerdictStatus {
    fn from(finding: Finding) -> VerdictStatus {
        match finding {
            Finding::Found(Status::Active) => VerdictStatus::Active,
            Finding::Found(Status::Suspended) => VerdictStatus::Suspended,
            Finding::Found(Status::Revoked) => VerdictStatus::Revoked,
            Finding::Found(Status::Expired) => VerdictStatus::Expired,
            Finding::Found(Status::NotYetValid) => VerdictStatus::NotYetValid,
            Finding::NotFound => VerdictStatus::NotFound,
            Finding::Tampered => VerdictStatus::Tampered,
            Finding::Erased => VerdictStatus::Erased,
        }
    }
}

/// A verdict.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Verdict)]
pub struct VerdictBody {
    /// Whether the credential counts: true for `active` only.
    pub valid: bool,
    /// What was found.
    pub status: VerdictStatus,
    /// The credential; null for `not_found`, `tampered` and `erased`.
    #[schema(required)]
    pub credential: Option<VerifiedCredential>,
    /// When this was recorded in the audit log.
    pub verified_at: String,
    /// The worker that verified.
    pub verified_by: String,
    /// The time judged; without a requested one, when the read model was last known to be complete.
    pub as_of: String,
    /// The last position of the ledger that was judged; null while it is empty.
    #[schema(required, example = "ledger@57")]
    pub as_of_position: Option<String>,
    /// Where this is recorded.
    #[schema(example = "audit@7")]
    pub audit_position: String,
    /// That the event which decided the verdict is in a signed checkpoint, where that was asked for; null when no credential is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProofBody>)]
    pub proof: Option<Option<ProofBody>>,
    /// What was done, for people.
    #[schema(example = "credential verified by worker-1")]
    pub message: String,
}

/// A credential, as anybody who holds it may know it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VerifiedCredential {
    /// Its id.
    pub id: Uuid,
    /// What kind of credential.
    #[serde(rename = "type")]
    pub credential_type: String,
    /// The issuer's name.
    pub issuer: String,
    /// When it was issued, by the ledger's clock.
    pub issued_at: String,
    /// The worker that issued it.
    pub issued_by: String,
    /// Not valid before.
    #[schema(required)]
    pub valid_from: Option<String>,
    /// Not valid from then on.
    #[schema(required)]
    pub valid_until: Option<String>,
    /// When it had last been suspended, reinstated or revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_changed_at: Option<String>,
}

impl From<&Credential> for VerifiedCredential {
    fn from(credential: &Credential) -> VerifiedCredential {
        VerifiedCredential {
            id: credential.id,
            credential_type: credential.credential_type.clone(),
            issuer: credential.issuer_name.clone(),
            issued_at: credential.issued_at.to_string(),
            issued_by: credential.issued_by.clone(),
            valid_from: credential.valid_from.map(|time| time.to_string()),
            valid_until: credential.valid_until.map(|time| time.to_string()),
            status_changed_at: credential.status_changed_at.map(|time| time.to_string()),
        }
    }
}

impl VerdictBody {
    /// A verdict of this worker.
    #[must_use]
    pub fn new(verdict: &Verdict, proof: bool, worker: &str) -> VerdictBody {
        VerdictBody {
            valid: verdict.finding.is_valid(),
            status: verdict.finding.into(),
            credential: verdict.credential.as_ref().map(VerifiedCredential::from),
            verified_at: verdict.verified_at.to_string(),
            verified_by: worker.to_owned(),
            as_of: verdict.as_of.to_string(),
            as_of_position: verdict.as_of_position.map(|position| LogName::LEDGER.at(position).to_string()),
            audit_position: LogName::AUDIT.at(verdict.audit_position).to_string(),
            proof: proof.then(|| verdict.proof.as_ref().map(ProofBody::from)),
            message: format!("credential verified by {worker}"),
        }
    }
}

const WAYS: [&str; 4] = ["id", "digest", "document", "secret"];

/// Reads a question; `now` is the process's clock.
pub fn read_question(fields: &mut Fields, now: Timestamp) -> Option<VerifyCredential> {
    let proof = fields.flag("proof");
    let as_of = as_of(fields, now);
    let given: Vec<&str> = WAYS.into_iter().filter(|way| fields.has(way)).collect();
    let [way] = given.as_slice() else {
        let (field, code) = given.get(1).map_or(("", "required"), |second| (*second, "unknown"));
        fields.refuse(field, code, "expected exactly one of id, digest, document and secret");
        fields.ignore_the_rest();
        return None;
    };
    let presented = match *way {
        "id" => id(fields),
        "digest" => digest(fields),
        "document" => document(fields),
        _ => secret(fields, "secret")
            .map(|secret| (secret, AtIssuer::Name(issuer(fields))))
            .map(|(secret, issuer)| Presented::Secret { secret, issuer }),
    };
    fields.refuse_the_rest(&format!("no such member beside {way}"));
    Some(VerifyCredential { presented: presented?, as_of, passed: None, proof })
}

fn as_of(fields: &mut Fields, now: Timestamp) -> Option<AsOf> {
    let time: Option<Timestamp> = fields.parsed("as_of");
    let position: Option<LogPosition> = fields.parsed("as_of_position");
    match (time, position) {
        (Some(_), Some(_)) => fields.refuse("as_of_position", "unknown", "no such member beside as_of"),
        (Some(time), None) if time > now => fields.refuse("as_of", "range", "expected a time that is not in the future"),
        (None, Some(position)) if position.log != LogName::LEDGER => {
            fields.refuse("as_of_position", "format", "expected a position of the ledger, such as ledger@42");
        }
        (Some(time), None) => return Some(AsOf::Time(time)),
        (None, Some(position)) => return Some(AsOf::Position(position.position)),
        (None, None) => {}
    }
    None
}

fn id(fields: &mut Fields) -> Option<Presented> {
    let id = fields.one_of("id", "a UUID", parse_uuid);
    let details = fields.nested("subject", |subject| Some((subject.text("name", &NAME), subject.text("email", &EMAIL))));
    let (name, email) = details.unwrap_or_default();
    Some(Presented::Id { id: id?, name, email })
}

fn digest(fields: &mut Fields) -> Option<Presented> {
    let found = fields.one_of("digest", "blake3: or hmac-sha256: and 64 hex digits", parse_digest);
    let issuer = fields.text("issuer", &ISSUER);
    Some(match found? {
        (true, digest) => Presented::DocumentDigest { digest, issuer },
        (false, digest) => Presented::SecretDigest { digest, issuer: AtIssuer::Name(issuer.unwrap_or_else(|| DEFAULT_ISSUER.to_owned())) },
    })
}

/// Whether it is a document's, and the digest.
fn parse_digest(text: &str) -> Option<(bool, [u8; 32])> {
    let (algorithm, hex) = text.split_once(':')?;
    let of_document = match algorithm {
        "blake3" => true,
        "hmac-sha256" => false,
        _ => return None,
    };
    let mut digest = [0; 32];
    hex::decode_to_slice(hex, &mut digest).ok()?;
    Some((of_document, digest))
}

fn document(fields: &mut Fields) -> Option<Presented> {
    let document = fields.object("document")?;
    let id = match document.get("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => {
            let id = text.strip_prefix("urn:uuid:").and_then(parse_uuid);
            if id.is_none() {
                fields.refuse("document.id", "format", "expected urn:uuid: and a UUID");
                return None;
            }
            id
        }
        Some(_) => {
            fields.refuse("document.id", "type", "expected a string");
            return None;
        }
    };
    Some(Presented::Document { document: Value::Object(document), id })
}

fn issuer(fields: &mut Fields) -> String {
    fields.text("issuer", &ISSUER).unwrap_or_else(|| DEFAULT_ISSUER.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0198c5a2-0000-7000-8000-000000000001";

    fn read(body: Value) -> Result<VerifyCredential, Vec<(String, &'static str)>> {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        Fields::read(body, |fields| read_question(fields, now))
            .map_err(|problem| problem.errors.into_iter().map(|error| (error.field, error.code)).collect())
    }

    #[test]
    fn each_way_to_present_a_credential_is_read() {
        let presented = |body| read(body).unwrap().presented;
        let id = ID.parse().unwrap();
        let details = json!({"id": ID, "subject": {"name": " Ada  Lovelace ", "email": "ADA@example.org"}});
        let named = Presented::Id { id, name: Some("Ada Lovelace".into()), email: Some("ada@example.org".into()) };
        assert_eq!(presented(details), named);
        assert_eq!(presented(json!({"id": ID.to_uppercase(), "subject": {}})), Presented::Id { id, name: None, email: None });
        let hex = "ab".repeat(32);
        let digest = [0xab; 32];
        assert_eq!(presented(json!({"digest": format!("blake3:{hex}")})), Presented::DocumentDigest { digest, issuer: None });
        assert_eq!(
            presented(json!({"digest": format!("hmac-sha256:{hex}")})),
            Presented::SecretDigest { digest, issuer: AtIssuer::Name("default".into()) }
        );
        let acme = json!({"secret": " s ", "issuer": "acme"});
        assert_eq!(presented(acme), Presented::Secret { secret: " s ".into(), issuer: AtIssuer::Name("acme".into()) });
        let document = json!({"id": format!("urn:uuid:{ID}"), "x": 1});
        assert_eq!(presented(json!({"document": document})), Presented::Document { document, id: Some(id) });
        assert_eq!(presented(json!({"document": {}})), Presented::Document { document: json!({}), id: None });
    }

    #[test]
    fn each_rule_of_verifying_is_told_with_its_field_and_code() {
        let hex = "ab".repeat(32);
        for (body, field, code) in [
            (json!({}), "", "required"),
            (json!([]), "", "type"),
            (json!({"id": ID, "secret": "x"}), "secret", "unknown"),
            (json!({"id": "1"}), "id", "format"),
            (json!({"id": ID.replace('-', "")}), "id", "format"),
            (json!({"id": 1}), "id", "type"),
            (json!({"id": ID, "issuer": "default"}), "issuer", "unknown"),
            (json!({"id": ID, "subject": "Ada"}), "subject", "type"),
            (json!({"id": ID, "subject": {"name": 1}}), "subject.name", "type"),
            (json!({"id": ID, "subject": {"phone": "1"}}), "subject.phone", "unknown"),
            (json!({"digest": hex}), "digest", "format"),
            (json!({"digest": format!("sha256:{hex}")}), "digest", "format"),
            (json!({"digest": "blake3:abcd"}), "digest", "format"),
            (json!({"digest": format!("blake3:{hex}"), "subject": {}}), "subject", "unknown"),
            (json!({"document": "x"}), "document", "type"),
            (json!({"document": {"id": "urn:uuid:x"}}), "document.id", "format"),
            (json!({"document": {"id": ID}}), "document.id", "format"),
            (json!({"document": {"id": 1}}), "document.id", "type"),
            (json!({"document": {}, "issuer": "x"}), "issuer", "unknown"),
            (json!({"secret": ""}), "secret", "blank"),
            (json!({"id": ID, "as_of": "2026-06-01T00:00:01Z"}), "as_of", "range"),
            (json!({"id": ID, "as_of": "yesterday"}), "as_of", "format"),
            (json!({"id": ID, "as_of_position": "audit@1"}), "as_of_position", "format"),
            (json!({"id": ID, "as_of_position": "42"}), "as_of_position", "format"),
            (json!({"id": ID, "as_of_position": 42}), "as_of_position", "type"),
            (json!({"id": ID, "as_of": "2026-01-01T00:00:00Z", "as_of_position": "ledger@1"}), "as_of_position", "unknown"),
            (json!({"id": ID, "more": 1}), "more", "unknown"),
        ] {
            assert_eq!(read(body.clone()), Err(vec![(field.to_owned(), code)]), "{body}");
        }
    }
}
