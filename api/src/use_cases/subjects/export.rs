//! Tell everything that is held about a person: what it may ask for.
//!
//! It comes part by part, a credential or a page of events at a time, so that it passes through bounded memory however much it is: besides a
//! part no more is held than the ids of one subject's credentials. Nothing of it is kept anywhere.
//!
//! Whoever is erased while it is told is told as erased, and nothing more of it: each part is read first, and then the ledger is asked.
//!
//! The read is recorded before anything is opened. Audit events are told as they are stored: the addresses that are sealed in them are those of whoever
//! verified, and not the person's to know.

use std::collections::HashMap;

use credence_ledger::event::Recorded;
use credence_ledger::log::Query;
use credence_ledger::sealing::{KeyId, SealingKey};
use credence_ledger::vault::Account;
use credence_ledger::{Position, Stream};
use credence_projections::projection::Projection;
use futures::stream::{Stream as Parts, StreamExt as _};
use uuid::Uuid;

use super::{Known, Person, ids};
use crate::caller::Caller;
use crate::services::{App, Services};
use crate::use_cases::credential::{self, Opened};
use crate::use_cases::replay::keys_of;
use crate::use_cases::{Error, audit, sessions, subjects};

/// So many events are held at a time.
const PAGE: usize = 256;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSubject {
    /// The person's e-mail address, in normal form.
    pub email: String,
    /// Its name, in normal form: of several persons with one address this one alone.
    pub name: Option<String>,
    /// The name of the organisation whose subject it is; else the caller's own, or of whoever runs all of them, all.
    pub issuer: Option<String>,
}

/// Whom it is about, found and recorded; nothing has been opened yet.
pub struct Export {
    /// The account with the address, with its organisation's name.
    pub account: Option<(Account, String)>,
    subjects: Vec<Known>,
    command: ExportSubject,
}

/// A part, in the order in which it is told: each subject, its credentials, their events, their verifications; or that it is erased.
pub enum Part {
    /// A subject begins.
    Subject(About),
    /// One of its credentials.
    Credential(Box<Opened>),
    /// Some events of one of its credentials, with the keys that open them.
    Events(Vec<Recorded>, HashMap<KeyId, SealingKey>),
    /// Some verifications of one of its credentials, with those of the keys under which details are sealed that still exist.
    Verifications(Vec<Recorded>, HashMap<KeyId, SealingKey>),
    /// Instead of the rest of a subject, or of all of it: it was erased since [`begin`].
    Erased(Erased),
}

/// A subject that was erased while it was to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// Its id.
    pub id: Uuid,
    /// The name of its organisation.
    pub issuer: String,
    /// The position of its `SubjectErased`.
    pub position: Position,
}

/// A subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its id.
    pub id: Uuid,
    /// The name of its organisation.
    pub issuer: String,
    /// As its credentials have it; where it has none, as it was asked for.
    pub name: Option<String>,
    /// In normal form.
    pub email: String,
}

/// Finds everybody with this address, and name if it is given, at the organisations that the caller may ask for, and records that it is
/// told to the caller. That there is nobody is an answer.
///
/// # Errors
/// [`Error::Forbidden`], [`Error::NoSuchIssuer`]; [`Error::Projection`] where a read model, which tells what there is, has not caught up with
/// its log; [`Error::Audit`], or the world's.
pub async fn begin(services: &Services, caller: &Caller, command: ExportSubject) -> Result<Export, Error> {
    let issuers = subjects::answered_for(services, caller, command.issuer.as_deref()).await?;
    // All that was recorded until now is told.
    let (issued, verified) = futures::try_join!(services.ledger()?.log.head(), services.audit.log.head())?;
    services.wait_for(Projection::Verification, issued.last()).await?;
    services.wait_for(Projection::History, verified.last()).await?;
    let mut found = subjects::find(services, &issuers, Person { email: Some(&command.email), name: command.name.as_deref() }).await?;
    // Of whom is erased nothing is held, though the vault may still be about to forget it.
    let erased = subjects::erasures(services, ids(&found)).await?;
    found.retain(|subject| erased.iter().all(|event| event.stream.id() != subject.id));
    let account = services.vault.find_login(sessions::reference(services, &command.email)).await?.map(|login| login.account);
    let account = account.and_then(|account| {
        let issuer = issuers.iter().find(|issuer| issuer.id == account.issuer)?;
        Some((account, issuer.name.clone()))
    });
    let one = match found.as_slice() {
        [one] => Some(Stream::subject(one.id)),
        _ => None,
    };
    audit::personal_data_read(services, caller, one.as_ref()).await?;
    Ok(Export { account, subjects: found, command })
}

/// What is held about them.
pub fn parts(app: App, export: Export) -> impl Parts<Item = Result<Part, Error>> + Send {
    async_stream::try_stream! {
        let Export { subjects: found, command, .. } = export;
        for Known { id, issuer } in found {
            let about = About { id, issuer: issuer.name.clone(), name: command.name.clone(), email: command.email.clone() };
            let held = held(&app, about);
            futures::pin_mut!(held);
            while let Some(part) = held.next().await {
                // After it was read: what an erasure had taken away by then is not told as if nothing else were held.
                let erasure = match part {
                    Ok(_) | Err(Error::Erased) => subjects::erasures(&app, [id]).await?.pop(),
                    Err(_) => None,
                };
                if let Some(event) = erasure {
                    yield Part::Erased(Erased { id, issuer: issuer.name, position: event.position });
                    break;
                }
                yield part?;
            }
        }
    }
}

/// What is held about a subject, as long as it is not erased.
fn held(app: &App, about: About) -> impl Parts<Item = Result<Part, Error>> + Send {
    async_stream::try_stream! {
        let credentials = subjects::credentials_of(app, &[about.id]).await?;
        let credentials: Vec<Uuid> = credentials.iter().map(|credential| credential.id).collect();
        let mut about = Some(about);
        for id in &credentials {
            let opened = open(app, *id).await?;
            if let Some(about) = about.take() {
                yield Part::Subject(About { name: name(&opened).or(about.name), ..about });
            }
            yield Part::Credential(Box::new(opened));
        }
        if let Some(about) = about {
            yield Part::Subject(about);
        }
        for id in &credentials {
            let mut from = Some(Position::FIRST);
            while let Some(start) = from {
                let query = Query { from: start, limit: PAGE, ..Query::stream(&Stream::credential(*id)) };
                let events = app.ledger()?.log.read(&query).await?;
                from = events.get(PAGE - 1).map(|last| last.position.next());
                let keys = keys_of(&*app.vault, &*app.ledger()?.log, &events).await?;
                yield Part::Events(events, keys);
            }
        }
        for id in &credentials {
            let mut from = Some(Position::FIRST);
            while let Some(start) = from {
                let (positions, _) = app.read.verifications(*id, start, PAGE).await?;
                from = positions.get(PAGE - 1).map(|last| last.next());
                let events = app.audit.log.read_at(&positions).await?;
                let keys = keys_of(&*app.vault, &*app.audit.log, &events).await?;
                yield Part::Verifications(events, keys);
            }
        }
    }
}

/// A credential as its stream tells it, with its document.
async fn open(services: &Services, id: Uuid) -> Result<Opened, Error> {
    let credential = credential::load(services, id, None).await?.ok_or(Error::NotFound)?;
    let document = credential::document(services, &credential).await?;
    credential::opened(services, credential, document, services.clock.now()).await
}

fn name(opened: &Opened) -> Option<String> {
    Some(opened.document.as_ref()?["credentialSubject"]["name"].as_str()?.to_owned())
}
