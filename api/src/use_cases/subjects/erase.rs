//! Erase a person: what was sealed about them is never opened again, and every proof stays.
//!
//! The order is what makes it safe. Who ordered it is recorded; the vault notes whom it concerns; the ledger says that the subjects are
//! erased; then the vault forgets their rows with their keys; then what repeats are compared by. The read models follow the ledger by
//! themselves. A crash anywhere is finished by whoever issues ([`finish`]): an erasure that the ledger knows goes on from there, one that it does not
//! know was never begun.
//!
//! What would bring an erased subject's credential into the ledger, or change one, has the precondition that the subject's stream is empty.

use std::collections::BTreeSet;
use std::time::Duration;

use credence_ledger::decision::subject::{self as decision, State};
use credence_ledger::event::audit::ErasureOrdered;
use credence_ledger::event::subject::SubjectErased;
use credence_ledger::event::{Metadata, Payload as _, Place, Recorded, new_id};
use credence_ledger::log::{Append, Expected, Idempotency, Outcome, Query, Refusal, StreamAppend, Walk};
use credence_ledger::sealing::KeyId;
use credence_ledger::stream::category;
use credence_ledger::vault::erasures::Noted;
use credence_ledger::{Position, Stream, causes};
use credence_projections::projection::Projection;
use credence_projections::verification::OfSubject;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Known, Person, ids};
use crate::caller::Caller;
use crate::services::Services;
use crate::use_cases::{Error, audit, idempotency, subjects};

/// How long a note is kept whose erasure the ledger does not know: longer than anybody is between the two.
const NOTE_KEPT: Duration = Duration::from_secs(3600);
/// Events read at a time.
const PAGE: usize = 1000;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseSubjects {
    /// The person's e-mail address, in normal form.
    pub email: String,
    /// Its name, in normal form: of several persons with one address this one alone.
    pub name: Option<String>,
    /// The name of the organisation whose subject it is; else the caller's own, or of whoever runs all of them, all.
    pub issuer: Option<String>,
    /// Why, in the words of whoever orders it.
    pub reason: String,
    /// Whether it is only told what would be erased.
    pub dry_run: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Who was found, one for each organisation and name.
    pub subjects: Vec<Subject>,
    /// Whether the read models know of it already; false also where nothing was erased.
    pub is_purged: bool,
    /// Whether this answers a repeat, for which nothing was erased.
    pub repeated: bool,
}

/// A subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its id.
    pub id: Uuid,
    /// The name of its organisation.
    pub issuer: String,
    /// The ids of its credentials, oldest first.
    pub credentials: Vec<Uuid>,
    /// The position of its `SubjectErased`; `None` as long as it is only told.
    pub position: Option<Position>,
}

impl EraseSubjects {
    /// For the comparison of repeats.
    fn to_value(&self) -> Value {
        json!({"email": self.email, "name": self.name, "issuer": self.issuer, "reason": self.reason})
    }
}

/// Erases everybody with this address, and name if it is given, at the organisations that the caller erases for. That there is nobody is an
/// answer: to erase twice harms nobody.
///
/// # Errors
/// [`Error::Forbidden`], [`Error::NoSuchIssuer`], [`Error::IdempotencyKeyReused`]; [`Error::Projection`] where the read model, which tells what
/// would be erased, has not caught up with the ledger; [`Error::Audit`], or the world's.
pub async fn erase(
    services: &Services,
    caller: &Caller,
    command: &EraseSubjects,
    key: Option<&idempotency::Key>,
) -> Result<Erasure, Error> {
    let issuers = subjects::answered_for(services, caller, command.issuer.as_deref()).await?;
    let order = Order::new(services, caller, command, key);
    if let Some(position) = order.done_before().await? {
        return repeated(services, position).await;
    }
    // All that was issued until now is counted and told.
    let head = services.ledger()?.log.head().await?.last();
    services.wait_for(Projection::Verification, head).await?;
    let found = subjects::find(services, &issuers, Person { email: Some(&command.email), name: command.name.as_deref() }).await?;
    let counted = subjects::credentials_of(services, &ids(&found)).await?;
    if command.dry_run {
        return Ok(Erasure { subjects: tell(&found, &counted, None), is_purged: false, repeated: false });
    }
    let (returned, found) = without_erased(services, found).await?;
    let returned = forget_again(services, &returned, &counted).await?;
    if found.is_empty() {
        return order.nobody_else(returned).await;
    }

    let id = order.record(&found).await?;
    // From here on a crash leaves an order on record that was not carried out: its caller was told nothing.
    services.vault.note_erasures(&ids(&found), services.clock.now()).await?;
    // From here on a crash leaves a note of what the ledger does not know, which is dropped.
    let (found, first) = match order.append(id, found, &counted).await? {
        Appended::Now(found, first) => (found, first),
        Appended::Before(position) => return repeated(services, position).await,
        Appended::Nobody => return order.nobody_else(returned).await,
    };
    // From here on the subjects are erased: no crash takes that back.
    services.vault.forget_subjects(&ids(&found)).await?;
    // From here on nobody can open what was sealed for them.
    let last = Position(first.0 + found.len() as u64 - 1);
    let (credentials, is_purged) = match see_through(services, &ids(&found), last).await {
        Ok(credentials) => (credentials, true),
        // Whoever issues goes on with it until it is done.
        Err(error) => {
            tracing::warn!(reason = causes(&error), "an erasure has not been seen through yet");
            (counted, false)
        }
    };
    let subjects = [returned, tell(&found, &credentials, Some(first))].concat();
    Ok(Erasure { subjects, is_purged, repeated: false })
}

/// Those whose keys came back though the ledger says that they are erased, with the position of that: an older vault was put in the place of a
/// newer; and those who are to be erased. Left out is whom another order is just erasing, which the vault's note tells.
async fn without_erased(services: &Services, found: Vec<Known>) -> Result<(Vec<(Known, Position)>, Vec<Known>), Error> {
    let erased = subjects::erasures(services, ids(&found)).await?;
    if erased.is_empty() {
        return Ok((Vec::new(), found));
    }
    let noted: Vec<Uuid> = services.vault.noted_erasures().await?.iter().map(|noted| noted.subject).collect();
    // Whom another order has finished with meanwhile is noted no more, and not there any more.
    let there = services.vault.subject_refs(&ids(&found)).await?;
    let (mut returned, mut others) = (Vec::new(), Vec::new());
    for (known, refs) in found.into_iter().zip(there) {
        match erased.iter().find(|event| event.stream.id() == known.id) {
            None => others.push(known),
            Some(event) if !noted.contains(&known.id) && refs.is_some() => returned.push((known, event.position)),
            Some(_) => {}
        }
    }
    Ok((returned, others))
}

/// The ledger has said it of these long ago: their keys go once more.
async fn forget_again(services: &Services, returned: &[(Known, Position)], credentials: &[OfSubject]) -> Result<Vec<Subject>, Error> {
    if returned.is_empty() {
        return Ok(Vec::new());
    }
    services.vault.forget_subjects(&returned.iter().map(|(known, _)| known.id).collect::<Vec<_>>()).await?;
    Ok(returned.iter().flat_map(|(known, position)| tell(std::slice::from_ref(known), credentials, Some(*position))).collect())
}

/// Who wants persons erased, and why.
struct Order<'a> {
    services: &'a Services,
    caller: &'a Caller,
    reason: &'a str,
    idempotency: Option<Idempotency>,
}

/// What came of telling the ledger.
enum Appended {
    /// These are erased, from this position on, one after the other.
    Now(Vec<Known>, Position),
    /// The same order had been carried out already, from this position on.
    Before(Position),
    /// Other orders were quicker with each of them.
    Nobody,
}

impl<'a> Order<'a> {
    fn new(services: &'a Services, caller: &'a Caller, command: &'a EraseSubjects, key: Option<&idempotency::Key>) -> Order<'a> {
        let key = key.filter(|_| !command.dry_run);
        let idempotency = key.map(|key| idempotency::remember(services, caller, key, &command.to_value()));
        Order { services, caller, reason: &command.reason, idempotency }
    }

    fn metadata(&self) -> Metadata {
        self.caller.origination(&self.services.worker).metadata(&self.services.random)
    }

    async fn done_before(&self) -> Result<Option<Position>, Error> {
        idempotency::done_before(self.services, self.idempotency.clone(), &self.metadata()).await
    }

    /// The answer where nobody is left to be erased but who is told already: unless the same order, under the same key, was what erased them meanwhile.
    async fn nobody_else(&self, subjects: Vec<Subject>) -> Result<Erasure, Error> {
        match self.done_before().await? {
            Some(position) => repeated(self.services, position).await,
            None => Ok(Erasure { is_purged: !subjects.is_empty(), subjects, repeated: false }),
        }
    }

    /// Records who ordered it and why, for each organisation an event of its own, and answers the order's id. The reason is sealed with the
    /// month's key.
    async fn record(&self, found: &[Known]) -> Result<Uuid, Error> {
        let Order { services, .. } = *self;
        let stream = Stream::new(category::ERASURE, new_id(&services.clock, &services.random));
        for issuer in found.iter().map(|subject| subject.issuer.id).collect::<BTreeSet<Uuid>>() {
            let place = Place {
                origin: services.audit.log.origin(),
                stream: &stream,
                kind: ErasureOrdered::TYPE,
                schema: ErasureOrdered::SCHEMA,
                field: "reason",
            };
            let (id, key) = services.month_key().await.map_err(|error| Error::Audit(error.into()))?;
            let reason = key.seal(&id, &place, self.reason.as_bytes(), &services.random);
            let subjects = found.iter().filter(|subject| subject.issuer.id == issuer).map(|subject| subject.id).collect();
            let ordered = ErasureOrdered { issuer, reason, subjects };
            audit::record_on(services, self.caller, stream.clone(), Expected::Any, &ordered).await?;
        }
        Ok(stream.id())
    }

    /// All in one append: either all of them are erased or none is. Whom another order erases meanwhile is left to it.
    async fn append(&self, id: Uuid, mut found: Vec<Known>, credentials: &[OfSubject]) -> Result<Appended, Error> {
        while !found.is_empty() {
            let streams =
                found.iter().map(|subject| self.erased(id, subject, credentials)).collect::<Result<Vec<StreamAppend>, Error>>()?;
            let idempotency = self.idempotency.clone();
            let append = Append { streams, claims: Vec::new(), releases: Vec::new(), idempotency, relies_on: Vec::new() };
            match self.services.ledger()?.append(append).await? {
                Outcome::Appended(events) => {
                    let first = events.first().ok_or_else(|| Error::corrupt("an append without an event"))?;
                    return Ok(Appended::Now(found, first.position));
                }
                Outcome::Repeated(position) => return Ok(Appended::Before(position)),
                Outcome::Refused(Refusal::IdempotencyKeyReused) => return Err(Error::IdempotencyKeyReused),
                Outcome::Refused(Refusal::StaleVersion { stream, .. }) => {
                    // Another order was quicker with this one, and sees to the rest of it.
                    found.retain(|subject| subject.id != stream.id());
                    self.services.vault.forget_subjects(&[stream.id()]).await?;
                }
                Outcome::Refused(Refusal::KeyTaken { .. }) => return Err(Error::corrupt("a key taken that was not claimed")),
                Outcome::Refused(Refusal::SubjectGone { .. }) => return Err(Error::corrupt("a subject gone that was not relied on")),
            }
        }
        Ok(Appended::Nobody)
    }

    /// A subject's part of the append.
    fn erased(&self, order: Uuid, subject: &Known, credentials: &[OfSubject]) -> Result<StreamAppend, Error> {
        let erased = SubjectErased {
            keys: vec![KeyId::Subject(subject.id).to_string()],
            order,
            issuer: subject.issuer.id,
            credentials: credentials.iter().filter(|credential| credential.subject_id == subject.id).count() as u64,
        };
        // The append goes through only where that is what the subject's stream says.
        let event = decision::erase(State::Known, erased).map_err(|rejection| Error::corrupt(rejection.to_string()))?;
        Ok(StreamAppend { stream: Stream::subject(subject.id), expected: Expected::None, events: vec![event.encode(&self.metadata())] })
    }
}

/// Does what is left once the vault has forgotten subjects whose last erasure stands at `last`: waits for the read model, which then knows all
/// of their credentials, those included that were issued just before; and forgets what repeats of what was done to them are compared by.
async fn see_through(services: &Services, subjects: &[Uuid], last: Position) -> Result<Vec<OfSubject>, Error> {
    services.wait_for(Projection::Verification, Some(last)).await?;
    let credentials = subjects::credentials_of(services, subjects).await?;
    let log = &services.ledger()?.log;
    let mut positions = Vec::new();
    for credential in &credentials {
        let events = log.read(&Query::stream(&Stream::credential(credential.id))).await?;
        positions.extend(events.iter().map(|event| event.position));
    }
    log.forget_commands(&positions).await?;
    // From here on all is done; a crash leaves a note, and doing it again changes nothing.
    services.vault.settle_erasures(subjects).await?;
    Ok(credentials)
}

/// Goes on with erasures that were interrupted, and drops notes of those that were never begun. Answers how many are done now.
///
/// # Errors
/// The read model has not caught up yet, or a store failed. A later try goes on from there.
pub async fn finish(services: &Services) -> Result<usize, Error> {
    let noted = services.vault.noted_erasures().await?;
    if noted.is_empty() {
        return Ok(0);
    }
    let erased = subjects::erasures(services, noted.iter().map(|noted| noted.subject)).await?;
    let ids: Vec<Uuid> = erased.iter().map(|event| event.stream.id()).collect();
    let now = services.clock.now();
    let never_begun = |noted: &&Noted| !ids.contains(&noted.subject) && now.since(noted.noted_at) >= NOTE_KEPT;
    let dropped: Vec<Uuid> = noted.iter().filter(never_begun).map(|noted| noted.subject).collect();
    services.vault.settle_erasures(&dropped).await?;
    if let Some(last) = erased.last() {
        services.vault.forget_subjects(&ids).await?;
        see_through(services, &ids, last.position).await?;
    }
    Ok(ids.len())
}

/// The answer to a repeat: what stands in the ledger from `first` on.
async fn repeated(services: &Services, first: Position) -> Result<Erasure, Error> {
    let events = of_one_append(services, first).await?;
    let ids: Vec<Uuid> = events.iter().map(|event| event.stream.id()).collect();
    let mut found = Vec::with_capacity(events.len());
    for event in &events {
        let issuer = services.issuers.by_id(event.payload::<SubjectErased>()?.issuer).await?;
        let issuer = issuer.ok_or_else(|| Error::corrupt("a subject of an organisation that the vault does not know"))?;
        found.push(Known { id: event.stream.id(), issuer });
    }
    let last = events.last().ok_or_else(|| Error::corrupt("an idempotency row of an erasure that stands elsewhere"))?;
    let last = Some(last.position);
    let is_purged = services.wait_for(Projection::Verification, last).await.is_ok();
    let credentials = subjects::credentials_of(services, &ids).await?;
    Ok(Erasure { subjects: tell(&found, &credentials, Some(first)), is_purged, repeated: true })
}

/// The erasures that were appended together: they stand one after the other, and name one order.
async fn of_one_append(services: &Services, first: Position) -> Result<Vec<Recorded>, Error> {
    let mut walk = Walk::over(&*services.ledger()?.log, Query::from(first, PAGE));
    let (mut together, mut order) = (Vec::new(), None);
    while let Some(page) = walk.page().await? {
        for event in page {
            let same = event.kind == SubjectErased::TYPE && {
                let its = event.payload::<SubjectErased>()?.order;
                *order.get_or_insert(its) == its
            };
            if !same {
                return Ok(together);
            }
            together.push(event);
        }
    }
    Ok(together)
}

/// As it is answered; with `first`, erased from that position on, one after the other.
fn tell(found: &[Known], credentials: &[OfSubject], first: Option<Position>) -> Vec<Subject> {
    let subject = |(at, known): (u64, &Known)| Subject {
        id: known.id,
        issuer: known.issuer.name.clone(),
        credentials: credentials.iter().filter(|credential| credential.subject_id == known.id).map(|credential| credential.id).collect(),
        position: first.map(|first| Position(first.0 + at)),
    };
    (0..).zip(found).map(subject).collect()
}
