//! An erasure, as it is asked for and answered.

use credence_ledger::LogName;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::body::Fields;
use crate::use_cases::subjects::erase::{EraseSubjects, Erasure, Subject};
use crate::wire::credential::{NAME, REASON, email};
use crate::wire::key::ISSUER;

/// Who is to be erased. Name and address are compared whole, in normal form.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_erasure` reads it")]
pub struct ErasureRequest {
    /// The person's e-mail address.
    #[schema(example = "ada@example.org")]
    email: String,
    /// Its name; absent: everybody with the address.
    #[schema(example = "Ada Lovelace")]
    name: Option<String>,
    /// The organisation whose subject it is, by its name; absent: the caller's own, for an operator all. Only an operator may name another.
    issuer: Option<String>,
    /// Why, 1 to 1000 characters. It is kept sealed in the audit log, as long as its details are.
    #[schema(example = "requested by the person, 2026-01-31")]
    reason: String,
    /// Only tell what would be erased.
    dry_run: Option<bool>,
}

/// What was erased, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Erasure)]
pub struct ErasureBody {
    /// Whether it is only told.
    pub dry_run: bool,
    /// Who was found, one for each organisation and name. Nobody, where there is nobody any more.
    pub subjects: Vec<ErasedBody>,
    /// Whether the read models have followed; null where nothing was erased.
    #[schema(required)]
    pub read_models: Option<Purge>,
    /// What was done, for people.
    #[schema(example = "1 subject with 2 credentials erased by worker-1")]
    pub message: String,
}

/// Whether the read models have followed an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    /// They hold nothing of the subjects any more but what their documents are known by.
    Purged,
    /// They will, once they have caught up with the ledger.
    Pending,
}

/// A subject that was erased, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ErasedSubject)]
pub struct ErasedBody {
    /// Its id.
    pub id: Uuid,
    /// The name of its organisation.
    #[schema(example = "default")]
    pub issuer: String,
    /// The ids of its credentials, oldest first.
    pub credentials: Vec<Uuid>,
    /// The position of its `SubjectErased`; null where it is only told.
    #[schema(required, example = "ledger@42")]
    pub position: Option<String>,
}

impl ErasureBody {
    /// By the process called `worker`.
    #[must_use]
    pub fn new(erasure: &Erasure, dry_run: bool, worker: &str) -> ErasureBody {
        let was_erased = erasure.subjects.iter().any(|subject| subject.position.is_some());
        let purge = if erasure.is_purged { Purge::Purged } else { Purge::Pending };
        ErasureBody {
            dry_run,
            subjects: erasure.subjects.iter().map(ErasedBody::from).collect(),
            read_models: was_erased.then_some(purge),
            message: message(&erasure.subjects, was_erased, worker),
        }
    }
}

impl From<&Subject> for ErasedBody {
    fn from(subject: &Subject) -> ErasedBody {
        ErasedBody {
            id: subject.id,
            issuer: subject.issuer.clone(),
            credentials: subject.credentials.clone(),
            position: subject.position.map(|position| LogName::LEDGER.at(position).to_string()),
        }
    }
}

fn message(subjects: &[Subject], was_erased: bool, worker: &str) -> String {
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let credentials = subjects.iter().map(|subject| subject.credentials.len()).sum();
    let found = format!("{} with {}", count(subjects.len(), "subject"), count(credentials, "credential"));
    match (subjects.is_empty(), was_erased) {
        (true, _) => "there is nobody to erase".to_owned(),
        (false, true) => format!("{found} erased by {worker}"),
        (false, false) => format!("{found} would be erased"),
    }
}

/// Reads who is to be erased.
pub fn read_erasure(fields: &mut Fields) -> Option<EraseSubjects> {
    let dry_run = fields.flag("dry_run");
    let (email, name) = (email(fields, "email", true), fields.text("name", &NAME));
    let (issuer, reason) = (fields.text("issuer", &ISSUER), fields.required_text("reason", &REASON));
    Some(EraseSubjects { email: email?, name, issuer, reason: reason?, dry_run })
}
