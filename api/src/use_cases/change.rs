//! Revoke, suspend, reinstate a credential.
//!
//! Load, decide, append at the exact version: of two revocations at once one goes through, and the other, which loads again,
//! finds it revoked. Revoking gives the credential's unique key back in the same commit, so that another one may be issued.
//!
//! The answer shows the credential's personal data to whoever changed it. That is no read of its own: the event in the ledger
//! names who it was, and it does not wait for the audit log.

use credence_ledger::decision::credential::{self as decision, Change};
use credence_ledger::event::Payload;
use credence_ledger::event::credential::{CredentialReinstated, CredentialRevoked, CredentialSuspended};
use credence_ledger::log::{Append, Expected, Outcome, Refusal};
use credence_ledger::sealing::{KeyId, Sealed, SealingKey};
use credence_ledger::stream::category;
use credence_ledger::{Position, Stream};
use serde_json::{Value, json};
use uuid::Uuid;

use super::credential::{self, Credential, Done};
use super::{Error, idempotency, issue};
use crate::caller::{Caller, Principal};
use crate::services::Services;

/// How often a credential is changed at most, revoking apart: who acts on it reads all that happened to it.
pub const CHANGES_MAX: u64 = 1000;

/// How often a change is decided anew because others changed the same credential meanwhile.
const TRIES_MAX: usize = 5;

/// A command.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeStatus {
    /// Which credential.
    pub id: Uuid,
    /// What is to become of it.
    pub change: Change,
    /// Why, in the words of whoever asks.
    pub reason: Option<String>,
}

impl ChangeStatus {
    /// For the comparison of repeats; the route tells the change.
    fn to_value(&self) -> Value {
        json!({"id": self.id, "reason": self.reason})
    }
}

/// Changes a credential's status.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Rejected`], [`Error::ChangedTooOften`], [`Error::Erased`], [`Error::IdempotencyKeyReused`], [`Error::Contended`], or the
/// world's.
pub async fn change(
    services: &Services,
    caller: &Caller,
    principal: &Principal,
    command: &ChangeStatus,
    key: Option<&idempotency::Key>,
) -> Result<Done, Error> {
    for _ in 0..TRIES_MAX {
        let credential = credential::load(services, command.id, None).await?.ok_or(Error::NotFound)?;
        if !principal.may_know_of(credential.issued.issuer) {
            return Err(Error::NotFound);
        }
        if !principal.acts_for(credential.issued.issuer) {
            return Err(Error::Forbidden("it is another organisation's credential"));
        }
        issue::may_issue(Some(principal), &credential.issued.credential_type)?;
        // Opened before anything is changed: what has been erased cannot be answered. A key that is lost keeps nobody from revoking.
        let (sealing_key, document) = match credential::sealing_key(services, &credential).await? {
            Some(key) => {
                let document = credential::open_document(services, &credential, &key).await?;
                (key, document)
            }
            None => (credential::issuers_key(services, credential.issued.issuer).await?, None),
        };
        let reason = seal_reason(services, &credential, command, &sealing_key)?;
        let metadata = caller.origination(&services.worker).metadata(&services.random);
        let idempotency = key.map(|key| idempotency::remember(services, caller, key, &command.to_value()));
        let is_spent = credential.last.version.0 >= CHANGES_MAX && command.change != Change::Revoke;
        let decided = decision::change(credential.state, command.change, reason).map_err(Error::Rejected);
        let decided = decided.and_then(|event| if is_spent { Err(Error::ChangedTooOften) } else { Ok(event) });
        let event = match decided {
            Ok(event) => event,
            Err(refused) => {
                let before = idempotency::done_before(services, idempotency, &metadata).await?;
                return repeated(services, command, before.ok_or(refused)?).await;
            }
        };
        let append = Append {
            releases: if command.change == Change::Revoke { vec![credential.unique_key()] } else { Vec::new() },
            idempotency,
            ..Append::to(credential.stream(), Expected::Exact(credential.last.version), vec![event.encode(&metadata)])
        };
        // Nothing happens any more to what is an erased subject's.
        let append = match credential.issued.subject_id {
            Some(subject_id) => append.while_empty(Stream::subject(subject_id)),
            None => append,
        };
        match services.ledger()?.append(append).await? {
            Outcome::Appended(events) => {
                let recorded = events.first().ok_or_else(|| Error::corrupt("an append without an event"))?;
                let credential = Credential::after(Some(credential), event, recorded, metadata.worker)?;
                let opened = credential::opened(services, credential, document, recorded.recorded_at).await?;
                return Ok(Done { opened, position: recorded.position, repeated: false });
            }
            Outcome::Repeated(position) => return repeated(services, command, position).await,
            Outcome::Refused(Refusal::StaleVersion { stream, .. }) if stream.category() == category::SUBJECT => return Err(Error::Erased),
            Outcome::Refused(Refusal::StaleVersion { .. }) => {}
            Outcome::Refused(Refusal::IdempotencyKeyReused) => return Err(Error::IdempotencyKeyReused),
            Outcome::Refused(Refusal::KeyTaken { .. }) => return Err(Error::corrupt("a key taken that was not claimed")),
            Outcome::Refused(Refusal::SubjectGone { .. }) => return Err(Error::corrupt("a subject gone that was not relied on")),
        }
    }
    Err(Error::Contended)
}

/// What is answered to a repeat, if it is of this credential: a row that was altered must open no other.
async fn repeated(services: &Services, command: &ChangeStatus, position: Position) -> Result<Done, Error> {
    let done = credential::repeated(services, position).await?;
    if done.opened.credential.id == command.id { Ok(done) } else { Err(credential::remembered_wrongly()) }
}

fn seal_reason(
    services: &Services,
    credential: &Credential,
    command: &ChangeStatus,
    sealing_key: &(KeyId, SealingKey),
) -> Result<Option<Sealed>, Error> {
    let Some(reason) = &command.reason else { return Ok(None) };
    let (kind, schema) = match command.change {
        Change::Suspend => (CredentialSuspended::TYPE, CredentialSuspended::SCHEMA),
        Change::Reinstate => (CredentialReinstated::TYPE, CredentialReinstated::SCHEMA),
        Change::Revoke => (CredentialRevoked::TYPE, CredentialRevoked::SCHEMA),
    };
    credential::seal(services, sealing_key, &credential.stream(), (kind, schema, "reason"), reason.as_bytes()).map(Some)
}
