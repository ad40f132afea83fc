//! A credential as its stream tells it: always current, and as it was at any of its events.

use std::sync::Arc;

use credence_ledger::decision::credential::State;
use credence_ledger::document::{Unsecured, proof};
use credence_ledger::event::credential::{CredentialEvent, CredentialIssued};
use credence_ledger::event::{DecodeError, Payload as _, Place, Recorded};
use credence_ledger::log::{Query, UniqueKey};
use credence_ledger::sealing::{KeyId, Sealed, SealingKey};
use credence_ledger::signing::SigningKey;
use credence_ledger::stream::category;
use credence_ledger::{Position, Stream, Timestamp, Version, json};
use credence_projections::verification::{self, Status};
use serde_json::Value;
use uuid::Uuid;

use super::{Error, Existing};
use crate::services::Services;

/// What the events say, personal data sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: Uuid,
    /// What was issued.
    pub issued: CredentialIssued,
    /// When, by the ledger's clock.
    pub issued_at: Timestamp,
    /// The worker that issued it.
    pub issued_by: String,
    /// The position of its `CredentialIssued`.
    pub position: Position,
    /// The hash of its `CredentialIssued`, in hex.
    pub event_hash: String,
    /// What later events made of it.
    pub state: State,
    /// When they last did.
    pub status_changed_at: Option<Timestamp>,
    /// Its stream's last event.
    pub last: Last,
}

/// The last event that a [`Credential`] was folded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// Its place in the stream.
    pub version: Version,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The worker that did it.
    pub worker: String,
}

impl Credential {
    /// From its stream's events, the first one first; `None` when there are none.
    ///
    /// # Errors
    /// An event of the stream is not understood.
    pub fn fold(events: &[Recorded]) -> Result<Option<Credential>, DecodeError> {
        let mut credential = None;
        for event in events {
            credential = Some(Credential::apply(credential, event)?);
        }
        Ok(credential)
    }

    /// What `recorded`, the next event of its stream, makes of it.
    ///
    /// # Errors
    /// The event is not understood.
    pub fn apply(before: Option<Credential>, recorded: &Recorded) -> Result<Credential, DecodeError> {
        Credential::after(before, CredentialEvent::decode(recorded)?, recorded, recorded.metadata()?.worker)
    }

    /// What `event`, which was recorded so and done by `worker`, makes of it: for who has just appended it, and needs not decode it.
    ///
    /// # Errors
    /// The event is not the next one of a credential's stream.
    pub fn after(
        before: Option<Credential>,
        event: CredentialEvent,
        recorded: &Recorded,
        worker: String,
    ) -> Result<Credential, DecodeError> {
        let last = Last { version: recorded.version, recorded_at: recorded.recorded_at, worker };
        match (before, event) {
            (None, CredentialEvent::Issued(issued)) => Ok(Credential {
                id: recorded.stream.id(),
                state: State::Active,
                issued_at: recorded.recorded_at,
                issued_by: last.worker.clone(),
                position: recorded.position,
                event_hash: recorded.event_hash.to_string(),
                status_changed_at: None,
                issued,
                last,
            }),
            (Some(before), change) => {
                Ok(Credential { state: before.state.apply(&change), status_changed_at: Some(recorded.recorded_at), last, ..before })
            }
            // The log takes no change of what was never issued.
            (None, _) => Err(recorded.unknown_type()),
        }
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream::credential(self.id)
    }

    /// The status at a time, or at that of its last event if the log's clock was ahead.
    #[must_use]
    pub fn status(&self, at: Timestamp) -> Status {
        let at = at.max(self.last.recorded_at);
        let state = match self.state {
            State::Unissued | State::Active => verification::State::Active,
            State::Suspended => verification::State::Suspended,
            State::Revoked => verification::State::Revoked,
        };
        Status::of(state, self.issued.valid_from, self.issued.valid_until, at)
    }

    /// What no other unrevoked credential may own beside it.
    #[must_use]
    pub fn unique_key(&self) -> UniqueKey {
        match self.issued.subject_id {
            Some(subject_id) => UniqueKey::natural(self.issued.issuer, subject_id, &self.issued.credential_type),
            None => UniqueKey::secret(self.issued.issuer, &self.issued.digest),
        }
    }

    /// As it stands in the way of another one.
    #[must_use]
    pub fn existing(&self, now: Timestamp) -> Existing {
        Existing { id: self.id, issued_at: self.issued_at, issued_by: self.issued_by.clone(), status: self.status(now) }
    }
}

/// A credential with its personal data opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// What the events say.
    pub credential: Credential,
    /// The issuer's name.
    pub issuer: String,
    /// The holder's document with its proof; `None` for a secret.
    pub document: Option<Value>,
    /// The status.
    pub status: Status,
}

impl Opened {
    /// The credential of the issuer of that name, judged at `at`. Its document is signed here.
    pub(super) fn new(credential: Credential, issuer: String, document: Option<Unsigned>, at: Timestamp) -> Opened {
        let status = credential.status(at);
        let document = document.map(|unsigned| proof::sign(unsigned.document, credential.issued_at, &unsigned.key));
        Opened { credential, issuer, document, status }
    }
}

/// The answer of an act: the credential as the act left it.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The credential, with the status at the time of the act.
    pub opened: Opened,
    /// The position of the act's event.
    pub position: Position,
    /// Whether this answers a repeat, for which nothing was appended.
    pub repeated: bool,
}

/// Reads a credential's stream, up to `to` if given.
pub(super) async fn load(services: &Services, id: Uuid, to: Option<Position>) -> Result<Option<Credential>, Error> {
    let query = Query { to, ..Query::stream(&Stream::credential(id)) };
    let events = services.ledger()?.log.read(&query).await?;
    Ok(Credential::fold(&events)?)
}

/// The key that seals a credential's document and reasons: its subject's, or of a secret its issuer's. `None` for a subject of whom the vault
/// knows nothing though it was not erased: it was restored from before that.
///
/// # Errors
/// [`Error::Erased`], or the world's.
pub(super) async fn sealing_key(services: &Services, credential: &Credential) -> Result<Option<(KeyId, SealingKey)>, Error> {
    match credential.issued.subject_id {
        Some(subject_id) => {
            let (id, stream) = (KeyId::Subject(subject_id), [Stream::subject(subject_id)]);
            let keys = services.vault.open_keys(std::slice::from_ref(&id));
            let (mut keys, erased) = futures::try_join!(keys, services.ledger()?.log.read_first(&stream))?;
            // What the ledger says holds, though the key may be about to be destroyed.
            if !erased.is_empty() {
                return Err(Error::Erased);
            }
            let key = keys.remove(&id).map(|key| (id, key));
            // It may have been erased between the two, and is lost only if the ledger still knows nothing of that.
            if key.is_none() && !services.ledger()?.log.read_first(&stream).await?.is_empty() {
                return Err(Error::Erased);
            }
            Ok(key)
        }
        None => issuers_key(services, credential.issued.issuer).await.map(Some),
    }
}

/// The key that seals what concerns no subject whose key there is.
pub(super) async fn issuers_key(services: &Services, issuer: Uuid) -> Result<(KeyId, SealingKey), Error> {
    let key = services.vault.issuer_key(issuer).await?;
    key.map(|key| (KeyId::Issuer(issuer), key)).ok_or_else(|| Error::corrupt("an issuer without a sealing key"))
}

/// Seals a field of an event that is to be appended to the ledger.
pub(super) fn seal(
    services: &Services,
    (id, key): &(KeyId, SealingKey),
    stream: &Stream,
    (kind, schema, field): (&str, u16, &str),
    plain: &[u8],
) -> Result<Sealed, Error> {
    let place = Place { origin: services.ledger()?.log.origin(), stream, kind, schema, field };
    Ok(key.seal(id, &place, plain, &services.random))
}

/// A document as it was issued, with the key that signs it when it is answered.
pub(super) struct Unsigned {
    document: Unsecured,
    key: Arc<SigningKey>,
}

impl Unsigned {
    /// The key is that of the did that stands in the document, whichever the issuer uses now. It is got before anything is appended, so
    /// that nothing is left that could keep what was appended from being answered.
    pub(super) async fn new(services: &Services, document: Unsecured) -> Result<Unsigned, Error> {
        let key = services.signing_keys.get(document.document()["issuer"].as_str().unwrap_or_default()).await?;
        Ok(Unsigned { document, key })
    }
}

/// A credential's document; `None` for a secret.
///
/// # Errors
/// [`Error::Erased`]; [`Error::KeyLost`]; or the world's.
pub(super) async fn document(services: &Services, credential: &Credential) -> Result<Option<Unsigned>, Error> {
    if credential.issued.document.is_none() {
        return Ok(None);
    }
    let key = sealing_key(services, credential).await?.ok_or(Error::KeyLost)?;
    open_document(services, credential, &key).await
}

/// A credential's document, opened with its [`sealing_key`]; `None` for a secret.
pub(super) async fn open_document(
    services: &Services,
    credential: &Credential,
    (_, key): &(KeyId, SealingKey),
) -> Result<Option<Unsigned>, Error> {
    let Some(sealed) = &credential.issued.document else { return Ok(None) };
    let place = Place {
        origin: services.ledger()?.log.origin(),
        stream: &credential.stream(),
        kind: CredentialIssued::TYPE,
        schema: CredentialIssued::SCHEMA,
        field: "document",
    };
    let plain = key.open(&place, sealed).map_err(|_| Error::corrupt("a document that its subject's key does not open"))?;
    let document = json::parse(&plain).map_err(|_| Error::corrupt("a document that is not JSON"))?;
    Unsigned::new(services, Unsecured::new(document)).await.map(Some)
}

/// As [`Opened::new`], by who does not know the issuer's name.
pub(super) async fn opened(
    services: &Services,
    credential: Credential,
    document: Option<Unsigned>,
    at: Timestamp,
) -> Result<Opened, Error> {
    let issuer = services.issuers.by_id(credential.issued.issuer).await?;
    let issuer = issuer.ok_or_else(|| Error::corrupt("a credential of an issuer that the vault does not know"))?;
    Ok(Opened::new(credential, issuer.name, document, at))
}

/// The answer to a repeated act: the credential as the event at `position` left it.
pub(super) async fn repeated(services: &Services, position: Position) -> Result<Done, Error> {
    let events = services.ledger()?.log.read_at(&[position]).await?;
    let event = events.first().filter(|event| event.stream.category() == category::CREDENTIAL).ok_or_else(remembered_wrongly)?;
    let credential = load(services, event.stream.id(), Some(position)).await?.ok_or_else(remembered_wrongly)?;
    let document = match sealing_key(services, &credential).await? {
        Some(key) => open_document(services, &credential, &key).await?,
        None => None,
    };
    let opened = opened(services, credential, document, event.recorded_at).await?;
    Ok(Done { opened, position, repeated: true })
}

/// The log remembers another act for a command's key than that command's.
pub(super) fn remembered_wrongly() -> Error {
    Error::corrupt("an idempotency row that does not lead to what its command did")
}
