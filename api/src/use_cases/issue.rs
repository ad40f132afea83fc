//! Issue a credential.
//!
//! The order is what makes it safe: the subject's row with its sealing key is durable no later than the event (a crash in between
//! leaves an unused row, which harms nobody); the unique key is claimed in the same commit as the event, so that of
//! equal issuances exactly one wins, however many processes race; and nothing is issued for a subject that has been erased.

use credence_ledger::decision::credential::{self as decision, State};
use credence_ledger::document::{Contents, Unsecured};
use credence_ledger::event::credential::CredentialIssued;
use credence_ledger::event::{Origination, Payload as _, new_id};
use credence_ledger::log::{Append, Expected, KeyOwner, Outcome, Refusal, UniqueKey};
use credence_ledger::sealing::KeyId;
use credence_ledger::stream::category;
use credence_ledger::vault::Issuer;
#[cfg(not(feature = "bench-unsealed"))]
use credence_ledger::vault::{Subject, SubjectRefs};
use credence_ledger::{Stream, Timestamp, random};
use serde_bytes::ByteArray;
use serde_json::{Value, json};
use uuid::Uuid;

#[cfg(not(feature = "bench-unsealed"))]
use super::credential::seal;
use super::credential::{self, Credential, Done, Opened, Unsigned};
#[cfg(feature = "bench-unsealed")]
use super::unsealed::{seal, subject};
use super::{Error, idempotency};
use crate::caller::{Caller, Principal};
use crate::services::Services;
use crate::stores;

/// How often it is begun anew because the person is erased again and again.
const TRIES_MAX: usize = 5;

/// A command. Every text in normal form, every rule kept.
#[derive(Debug, Clone, PartialEq)]
pub struct IssueCredential {
    /// What kind of credential.
    pub credential_type: String,
    /// About whom, or over what.
    pub content: Content,
}

/// What a credential certifies.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Something about a subject.
    Subject(Box<About>),
    /// That an opaque string was issued.
    Secret(String),
}

/// A credential with a subject.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// The subject's name.
    pub name: String,
    /// The subject's e-mail address.
    pub email: String,
    /// The subject's own URI.
    pub uri: Option<String>,
    /// An object.
    pub claims: Option<Value>,
    /// First instant.
    pub valid_from: Option<Timestamp>,
    /// First instant after the last.
    pub valid_until: Option<Timestamp>,
}

impl IssueCredential {
    /// Whether the credential that a repeat is about to be answered with is of this command: a row that was altered must open nobody else's.
    fn made(&self, services: &Services, opened: &Opened) -> bool {
        let issued = &opened.credential.issued;
        let is_its_content = match (&self.content, &opened.document) {
            (Content::Subject(about), Some(document)) => {
                let subject = &document["credentialSubject"];
                subject["name"] == about.name.as_str() && subject["email"] == about.email.as_str()
            }
            (Content::Secret(secret), None) => *issued.digest == services.vault.lookup().secret(secret.as_bytes()),
            _ => false,
        };
        issued.credential_type == self.credential_type && is_its_content
    }

    /// For the comparison of repeats. Claims of nothing are none.
    fn to_value(&self) -> Value {
        match &self.content {
            Content::Secret(secret) => json!({"type": self.credential_type, "secret": secret}),
            Content::Subject(about) => json!({
                "type": self.credential_type, "name": about.name, "email": about.email, "id": about.uri,
                "claims": about.claims.as_ref().filter(|claims| **claims != json!({})),
                "valid_from": about.valid_from.map(|time| time.to_string()), "valid_until": about.valid_until.map(|time| time.to_string()),
            }),
        }
    }
}

/// Issues a credential in the name of `issuer`.
///
/// # Errors
/// [`Error::Forbidden`], [`Error::AlreadyIssued`], [`Error::IdempotencyKeyReused`], [`Error::Erased`] and [`Error::KeyLost`] of a repeat, or the world's.
pub async fn issue(
    services: &Services,
    caller: &Caller,
    issuer: Uuid,
    command: &IssueCredential,
    key: Option<&idempotency::Key>,
) -> Result<Done, Error> {
    may_issue(caller.principal.as_ref(), &command.credential_type)?;
    let issuer =
        services.issuers.issuing(issuer).await?.ok_or_else(|| Error::corrupt("a key of an issuer that the vault does not know"))?;
    if !services.issuers.is_registered(issuer.id) {
        // No event of an issuer that the ledger does not know: the read models could not apply it.
        stores::register(services.ledger()?, &issuer, &Origination::system(&services.worker), &services.random).await?;
        services.issuers.note_registered(issuer.id);
    }
    for _ in 0..TRIES_MAX {
        let stream = Stream::credential(new_id(&services.clock, &services.random));
        let draft = draft(services, &issuer, &stream, command).await?;
        let subject = draft.issued.subject_id;
        let event = decision::issue(State::Unissued, draft.issued).map_err(Error::Rejected)?;
        let metadata = caller.origination(&services.worker).metadata(&services.random);
        let append = Append {
            claims: vec![(draft.unique_key, stream.clone())],
            idempotency: key.map(|key| idempotency::remember(services, caller, key, &command.to_value())),
            relies_on: draft.relies_on,
            ..Append::to(stream, Expected::None, vec![event.encode(&metadata)])
        };
        let append = match subject {
            Some(subject) => append.while_empty(Stream::subject(subject)),
            None => append,
        };
        match services.ledger()?.append(append).await? {
            Outcome::Appended(events) => {
                let recorded = events.first().ok_or_else(|| Error::corrupt("an append without an event"))?;
                let credential = Credential::after(None, event, recorded, metadata.worker)?;
                let opened = Opened::new(credential, issuer.name, draft.document, recorded.recorded_at);
                return Ok(Done { opened, position: recorded.position, repeated: false });
            }
            Outcome::Repeated(position) => {
                let done = credential::repeated(services, position).await?;
                if done.opened.document.is_none() && done.opened.credential.issued.document.is_some() {
                    return Err(Error::KeyLost);
                }
                return if command.made(services, &done.opened) { Ok(done) } else { Err(credential::remembered_wrongly()) };
            }
            Outcome::Refused(Refusal::KeyTaken { owner, .. }) => return Err(already_issued(services, &owner).await?),
            Outcome::Refused(Refusal::IdempotencyKeyReused) => return Err(Error::IdempotencyKeyReused),
            // The subject was erased, before or meanwhile. Once its row is gone the same person is another subject.
            Outcome::Refused(Refusal::StaleVersion { stream, .. }) if stream.category() == category::SUBJECT => {
                services.vault.forget_subjects(&[stream.id()]).await?;
            }
            Outcome::Refused(Refusal::StaleVersion { .. }) => return Err(Error::Contended),
            // It was lost with the server that had just made it: another is made.
            Outcome::Refused(Refusal::SubjectGone { .. }) => {}
        }
    }
    Err(Error::Contended)
}

/// Whether a caller may issue and change credentials of that type: some keys are limited to certain ones.
///
/// # Errors
/// [`Error::Forbidden`].
pub(super) fn may_issue(principal: Option<&Principal>, kind: &str) -> Result<(), Error> {
    if principal.is_none_or(|principal| principal.may_issue(kind)) {
        return Ok(());
    }
    Err(Error::Forbidden("the key is limited to other types of credentials"))
}

/// What is to be appended, sealed, with what is answered of it.
struct Draft {
    issued: CredentialIssued,
    unique_key: UniqueKey,
    document: Option<Unsigned>,
    relies_on: Vec<Uuid>,
}

async fn draft(services: &Services, issuer: &Issuer, stream: &Stream, command: &IssueCredential) -> Result<Draft, Error> {
    match &command.content {
        Content::Subject(about) => about_subject(services, issuer, stream, &command.credential_type, about).await,
        Content::Secret(secret) => {
            let digest = services.vault.lookup().secret(secret.as_bytes());
            let issued = CredentialIssued {
                credential_type: command.credential_type.clone(),
                digest: ByteArray::new(digest),
                issuer: issuer.id,
                document: None,
                subject_id: None,
                valid_from: None,
                valid_until: None,
            };
            Ok(Draft { issued, unique_key: UniqueKey::secret(issuer.id, &digest), document: None, relies_on: Vec::new() })
        }
    }
}

/// Who a credential is about, with the key that seals it: made if nobody has been issued anything under this name and address.
#[cfg(not(feature = "bench-unsealed"))]
async fn subject(services: &Services, issuer: &Issuer, about: &About) -> Result<Subject, Error> {
    let lookup = services.vault.lookup();
    let refs = SubjectRefs { issuer: issuer.id, name: lookup.name(issuer.id, &about.name), email: lookup.email(issuer.id, &about.email) };
    Ok(services.subjects.get(refs, services.clock.now()).await?)
}

async fn about_subject(
    services: &Services,
    issuer: &Issuer,
    stream: &Stream,
    credential_type: &str,
    about: &About,
) -> Result<Draft, Error> {
    let subject = subject(services, issuer, about).await?;
    // From here on a crash leaves a subject without a credential, which harms nobody.
    let document = Unsecured::of(&Contents {
        id: stream.id(),
        credential_type,
        issuer_did: &issuer.did,
        valid_from: about.valid_from,
        valid_until: about.valid_until,
        subject_uri: about.uri.as_deref(),
        name: &about.name,
        email: &about.email,
        claims: about.claims.as_ref(),
        salt: random::bytes(&services.random),
    });
    let place = (CredentialIssued::TYPE, CredentialIssued::SCHEMA, "document");
    let relies_on = if subject.is_durable { Vec::new() } else { vec![subject.id] };
    let sealing_key = (KeyId::Subject(subject.id), subject.key);
    let sealed = seal(services, &sealing_key, stream, place, document.canonical())?;
    let issued = CredentialIssued {
        credential_type: credential_type.to_owned(),
        digest: ByteArray::new(document.digest()),
        issuer: issuer.id,
        document: Some(sealed),
        subject_id: Some(subject.id),
        valid_from: about.valid_from,
        valid_until: about.valid_until,
    };
    let unique_key = UniqueKey::natural(issuer.id, subject.id, credential_type);
    let document = Some(Unsigned::new(services, document).await?);
    Ok(Draft { issued, unique_key, document, relies_on })
}

async fn already_issued(services: &Services, owner: &KeyOwner) -> Result<Error, Error> {
    let owner = credential::load(services, owner.stream.id(), None).await?;
    let owner = owner.ok_or_else(|| Error::corrupt("a unique key of a credential that was never issued"))?;
    Ok(Error::AlreadyIssued(owner.existing(services.clock.now())))
}
