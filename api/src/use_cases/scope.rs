//! Which events of the logs an organisation meets: its own.
//!
//! An event is at most one organisation's: of what names a thing, the one that the thing belongs to, whoever did it; of what names none, the
//! one that the actor belongs to. So a verdict about a credential is its issuer's, whoever asked, and tells nobody else that there is such a
//! credential. What belongs to nobody (the installation's own affairs, what cannot be understood, whoever cannot be found) is for those who see everything.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use credence_ledger::event::audit::AuditEvent;
use credence_ledger::event::credential::CredentialIssued;
use credence_ledger::event::subject::SubjectErased;
use credence_ledger::event::{Payload as _, Recorded};
use credence_ledger::log::Log;
use credence_ledger::store::Error;
use credence_ledger::stream::category;
use credence_ledger::vault::{Reference, Vault};
use credence_ledger::{LogName, Stream};
use uuid::Uuid;

use crate::services::Services;

/// One organisation's part of the logs.
#[derive(Clone)]
pub struct Scope {
    issuer: Uuid,
    vault: Arc<dyn Vault>,
    ledger: Arc<dyn Log>,
}

impl Scope {
    /// Of the organisation `issuer`.
    ///
    /// # Errors
    /// This process has no ledger, which tells whose a credential is.
    pub fn new(services: &Services, issuer: Uuid) -> Result<Scope, Error> {
        Ok(Scope { issuer, vault: services.vault.clone(), ledger: services.ledger()?.log.clone() })
    }

    /// Those of a log's events that are the organisation's, in their order.
    ///
    /// # Errors
    /// The vault's or the ledger's.
    pub async fn keep(&self, log: &LogName, events: Vec<Recorded>) -> Result<Vec<Recorded>, Error> {
        let owned: Vec<Of> = events.iter().map(|event| Of::event(log, event)).collect();
        let found = Found::look_up(&*self.vault, &*self.ledger, &owned).await?;
        let own = events.into_iter().zip(&owned).filter(|(_, of)| found.owner(of) == Some(self.issuer));
        Ok(own.map(|(event, _)| event).collect())
    }

    /// Whether what happened to a thing begins with an event of the organisation's.
    ///
    /// # Errors
    /// The vault's or a log's.
    pub async fn owns(&self, log: &dyn Log, stream: &Stream) -> Result<bool, Error> {
        let first = log.read_first(std::slice::from_ref(stream)).await?;
        Ok(!self.keep(log.name(), first).await?.is_empty())
    }
}

/// What an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Issuer(Uuid),
    Credential(Uuid),
    Subject(Uuid),
    /// An API key or an account.
    Holder(Uuid),
    /// Whatever account is found by what was typed.
    Login(Reference),
    Nobody,
}

impl Of {
    fn event(log: &LogName, event: &Recorded) -> Of {
        if *log != LogName::AUDIT {
            return Of::says_itself(event).or_else(|| Of::stream(&event.stream)).unwrap_or(Of::Nobody);
        }
        match AuditEvent::decode(event) {
            Ok(AuditEvent::CredentialVerified(verified)) => verified.credential.map_or_else(|| Of::actor(event), Of::Credential),
            Ok(AuditEvent::PersonalDataRead(read)) => {
                let what = read.what.and_then(|what| what.parse().ok());
                what.and_then(|stream| Of::stream(&stream)).unwrap_or_else(|| Of::actor(event))
            }
            Ok(AuditEvent::AccessRefused(_)) => Of::actor(event),
            Ok(AuditEvent::KeyCreated(created)) => Of::Issuer(created.issuer),
            Ok(AuditEvent::ErasureOrdered(ordered)) => Of::Issuer(ordered.issuer),
            Ok(AuditEvent::AccountRegistered(registered)) => Of::Issuer(registered.issuer),
            Ok(
                AuditEvent::KeyRevoked(_)
                | AuditEvent::KeyLimited(_)
                | AuditEvent::KeyReplaced(_)
                | AuditEvent::ProfileChanged(_)
                | AuditEvent::PasswordChanged(_)
                | AuditEvent::RolesChanged(_)
                | AuditEvent::AccountDeactivated(_)
                | AuditEvent::AccountActivated(_),
            ) => Of::Holder(event.stream.id()),
            Ok(AuditEvent::SessionStarted(started)) => Of::Holder(started.account),
            Ok(AuditEvent::SessionEnded(ended)) => Of::Holder(ended.account),
            Ok(AuditEvent::LoginFailed(failed)) => Of::Login(*failed.identifier),
            Ok(AuditEvent::IssuerChanged(_) | AuditEvent::SigningKeyRotated(_)) => Of::Issuer(event.stream.id()),
            // The installation's own affairs, whoever ordered them; and what is not understood.
            Ok(
                AuditEvent::LogKeyRotated(_)
                | AuditEvent::TokenKeysReplaced(_)
                | AuditEvent::RebuildStarted(_)
                | AuditEvent::RebuildFinished(_)
                | AuditEvent::AuditDetailsShredded(_),
            )
            | Err(_) => Of::Nobody,
        }
    }

    /// An issuance says itself whose it is, and so does an erasure.
    fn says_itself(event: &Recorded) -> Option<Of> {
        let issuer = match event.kind.as_str() {
            CredentialIssued::TYPE => event.payload::<CredentialIssued>().ok()?.issuer,
            SubjectErased::TYPE => event.payload::<SubjectErased>().ok()?.issuer,
            _ => return None,
        };
        Some(Of::Issuer(issuer))
    }

    /// `None` of a stream that is no thing that belongs to anybody.
    fn stream(stream: &Stream) -> Option<Of> {
        match stream.category() {
            category::ISSUER => Some(Of::Issuer(stream.id())),
            category::CREDENTIAL => Some(Of::Credential(stream.id())),
            category::SUBJECT => Some(Of::Subject(stream.id())),
            category::KEY | category::ACCOUNT => Some(Of::Holder(stream.id())),
            _ => None,
        }
    }

    fn actor(event: &Recorded) -> Of {
        let actor = event.metadata().ok().and_then(|metadata| metadata.actor.parse().ok());
        actor.and_then(|actor| Of::stream(&actor)).unwrap_or(Of::Nobody)
    }
}

/// Whose things are, as far as it had to be asked.
#[derive(Debug, Default)]
struct Found {
    credentials: HashMap<Uuid, Uuid>,
    subjects: HashMap<Uuid, Uuid>,
    holders: HashMap<Uuid, Uuid>,
    logins: HashMap<Reference, Uuid>,
}

impl Found {
    /// One question a kind of thing, however many there are.
    async fn look_up(vault: &dyn Vault, ledger: &dyn Log, owned: &[Of]) -> Result<Found, Error> {
        let (mut credentials, mut subjects) = (BTreeSet::new(), BTreeSet::new());
        let (mut holders, mut logins) = (BTreeSet::new(), BTreeSet::new());
        for of in owned {
            match of {
                Of::Credential(id) => drop(credentials.insert(Stream::credential(*id))),
                Of::Subject(id) => drop(subjects.insert(*id)),
                Of::Holder(id) => drop(holders.insert(*id)),
                Of::Login(identifier) => drop(logins.insert(*identifier)),
                Of::Issuer(_) | Of::Nobody => {}
            }
        }
        let mut found = Found::default();
        if !credentials.is_empty() {
            // The ledger itself: a read model may be behind, and what it does not know yet would be left out for good.
            let first = ledger.read_first(&credentials.into_iter().collect::<Vec<_>>()).await?;
            let issuer = |event: &Recorded| Some((event.stream.id(), event.payload::<CredentialIssued>().ok()?.issuer));
            found.credentials = first.iter().filter_map(issuer).collect();
        }
        if !subjects.is_empty() {
            // The vault knows those that have not been erased, the ledger those that have.
            let ids: Vec<Uuid> = subjects.into_iter().collect();
            let known = ids.iter().zip(vault.subject_refs(&ids).await?);
            found.subjects = known.filter_map(|(id, refs)| Some((*id, refs?.issuer))).collect();
            let erased = ledger.read_first(&ids.iter().map(|id| Stream::subject(*id)).collect::<Vec<_>>()).await?;
            let issuer = |event: &Recorded| Some((event.stream.id(), event.payload::<SubjectErased>().ok()?.issuer));
            found.subjects.extend(erased.iter().filter_map(issuer));
        }
        if !holders.is_empty() {
            found.holders = vault.owners(&holders.into_iter().collect::<Vec<_>>()).await?;
        }
        if !logins.is_empty() {
            found.logins = vault.owners_of_logins(&logins.into_iter().collect::<Vec<_>>()).await?;
        }
        Ok(found)
    }

    fn owner(&self, of: &Of) -> Option<Uuid> {
        match of {
            Of::Issuer(id) => Some(*id),
            Of::Credential(id) => self.credentials.get(id).copied(),
            Of::Subject(id) => self.subjects.get(id).copied(),
            Of::Holder(id) => self.holders.get(id).copied(),
            Of::Login(identifier) => self.logins.get(identifier).copied(),
            Of::Nobody => None,
        }
    }
}
