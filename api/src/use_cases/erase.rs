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
use credence_ledger::log::{Append, Expected, Idempotency, Outcome, Query, Refusal, StreamAppend};
use credence_ledger::sealing::KeyId;
use credence_ledger::stream::category;
use credence_ledger::vault::erasures::Noted;
use credence_ledger::vault::{Issuer, Role};
use credence_ledger::{Position, Stream};
use credence_projections::projection::Projection;
use credence_projections::verification::OfSubject;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Error, audit, idempotency, issuers};
use crate::caller::Caller;
use crate::services::Services;

/// How long a note is kept whose erasure the ledger does not know: longer than anybody is between the two.
const NOTE_KEPT: Duration = Duration::from_secs(3600);
/// Credentials read at a time.
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
    let ledger = services.ledger()?;
    let issuers = organisations(services, caller, command.issuer.as_deref()).await?;
    let idempotency = key.filter(|_| !command.dry_run).map(|key| idempotency::remember(services, caller, key, &command.to_value()));
    let metadata = || caller.origination(&services.worker).metadata(&services.random);
    if let Some(position) = idempotency::done_before(services, idempotency.clone(), &metadata()).await? {
        return repeated(services, position).await;
    }
    // All that was issued until now is counted and told.
    let head = ledger.log.head().await?.last();
    services.wait_for(Projection::Verification, head).await?;
    let found = find(services, &issuers, &command.email, command.name.as_deref()).await?;
    let mut credentials = credentials_of(services, &ids(&found)).await?;
    if command.dry_run {
        return Ok(Erasure { subjects: tell(&found, &credentials, None), is_purged: false, repeated: false });
    }
    let (returned, mut found) = without_erased(services, found).await?;
    let mut subjects = tell_returned(&returned, &credentials);
    if !returned.is_empty() {
        // The ledger has said it of these long ago: their keys go once more.
        services.vault.forget_subjects(&returned.iter().map(|(known, _)| known.id).collect::<Vec<_>>()).await?;
    }
    if found.is_empty() {
        return nobody_else(services, subjects, idempotency, &metadata()).await;
    }

    let order = order(services, caller, &found, &command.reason).await?;
    // From here on a crash leaves an order on record that was not carried out: its caller was told nothing.
    services.vault.note_erasures(&ids(&found), services.clock.now()).await?;
    // From here on a crash leaves a note of what the ledger does not know, which is dropped.
    let (first, count) = loop {
        let append = append(&found, &credentials, order, idempotency.clone(), metadata)?;
        match ledger.append(append).await? {
            Outcome::Appended(events) => {
                let first = events.first().ok_or_else(|| Error::corrupt("an append without an event"))?;
                break (first.position, events.len() as u64);
            }
            Outcome::Repeated(position) => return repeated(services, position).await,
            Outcome::Refused(Refusal::IdempotencyKeyReused) => return Err(Error::IdempotencyKeyReused),
            Outcome::Refused(Refusal::StaleVersion { stream, .. }) => {
                // Another order was quicker with this one, and sees to the rest of it.
                found.retain(|subject| subject.id != stream.id());
                services.vault.forget_subjects(&[stream.id()]).await?;
            }
            Outcome::Refused(Refusal::KeyTaken { .. }) => return Err(Error::corrupt("a key taken that was not claimed")),
        }
        if found.is_empty() {
            return nobody_else(services, subjects, idempotency, &metadata()).await;
        }
    };
    // From here on the subjects are erased: no crash takes that back.
    services.vault.forget_subjects(&ids(&found)).await?;
    // From here on nobody can open what was sealed for them.
    let last = Position(first.0 + count - 1);
    let is_purged = match see_through(services, &ids(&found), last).await {
        Ok(seen) => {
            credentials = seen;
            true
        }
        // Whoever issues goes on with it until it is done.
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "an erasure has not been seen through yet");
            false
        }
    };
    subjects.extend(tell(&found, &credentials, Some(first)));
    Ok(Erasure { subjects, is_purged, repeated: false })
}

/// The answer where nobody is left to be erased: unless the same order, under the same key, was what erased them meanwhile.
async fn nobody_else(
    services: &Services,
    subjects: Vec<Subject>,
    idempotency: Option<Idempotency>,
    metadata: &Metadata,
) -> Result<Erasure, Error> {
    match idempotency::done_before(services, idempotency, metadata).await? {
        Some(position) => repeated(services, position).await,
        None => Ok(Erasure { is_purged: !subjects.is_empty(), subjects, repeated: false }),
    }
}

/// Those whose keys came back though the ledger says that they are erased, with the position of that: an older vault was put in the place of a
/// newer; and those who are to be erased. Left out is whom another order is just erasing, which the vault's note tells.
async fn without_erased(services: &Services, found: Vec<Known>) -> Result<(Vec<(Known, Position)>, Vec<Known>), Error> {
    let streams: Vec<Stream> = found.iter().map(|known| Stream::subject(known.id)).collect();
    let erased = services.ledger()?.log.read_first(&streams).await?;
    if erased.is_empty() {
        return Ok((Vec::new(), found));
    }
    let noted: Vec<Uuid> = services.vault.noted_erasures().await?.iter().map(|noted| noted.subject).collect();
    let (mut returned, mut others) = (Vec::new(), Vec::new());
    for known in found {
        match erased.iter().find(|event| event.stream.id() == known.id) {
            None => others.push(known),
            Some(event) if !noted.contains(&known.id) => returned.push((known, event.position)),
            Some(_) => {}
        }
    }
    Ok((returned, others))
}

/// Somebody who was found.
pub(super) struct Known {
    pub(super) id: Uuid,
    pub(super) issuer: Issuer,
}

fn ids(subjects: &[Known]) -> Vec<Uuid> {
    subjects.iter().map(|subject| subject.id).collect()
}

/// The organisations whose subjects the caller may erase, or be told about.
pub(super) async fn organisations(services: &Services, caller: &Caller, name: Option<&str>) -> Result<Vec<Issuer>, Error> {
    let all = services.vault.issuers().await?;
    let find = |name: &str| all.iter().find(|issuer| issuer.name == name).map(|issuer| issuer.id).ok_or(Error::NoSuchIssuer);
    let named = match &caller.principal {
        // Whoever runs this service, at the command line.
        None => name.map(find).transpose()?,
        Some(principal) if principal.types.is_some() => {
            return Err(Error::Forbidden("whole persons are no affair of a key that is limited to types of credentials"));
        }
        Some(principal) if name.is_none() && principal.roles.contains(Role::Operator) => None,
        Some(principal) => Some(issuers::named(services, principal, name, "only an operator names another organisation").await?),
    };
    Ok(all.into_iter().filter(|issuer| named.is_none_or(|named| issuer.id == named)).collect())
}

/// A subject is one organisation's, and so is what it is looked up by.
pub(super) async fn find(services: &Services, issuers: &[Issuer], email: &str, name: Option<&str>) -> Result<Vec<Known>, Error> {
    let lookup = services.vault.lookup();
    let mut found = Vec::new();
    for issuer in issuers {
        let name = name.map(|name| lookup.name(issuer.id, name));
        let email = Some(lookup.email(issuer.id, email));
        let mut ids = services.vault.find_subjects(name, email).await?;
        ids.sort_unstable();
        found.extend(ids.into_iter().map(|id| Known { id, issuer: issuer.clone() }));
    }
    Ok(found)
}

/// The credentials of these subjects, oldest first, as far as the read model has come.
pub(super) async fn credentials_of(services: &Services, subjects: &[Uuid]) -> Result<Vec<OfSubject>, Error> {
    let (mut credentials, mut from) = (Vec::new(), Position::FIRST);
    if subjects.is_empty() {
        return Ok(credentials);
    }
    loop {
        let (page, _) = services.read.credentials_of(subjects, from, PAGE).await?;
        let is_last = page.len() < PAGE;
        from = page.last().map_or(from, |last| last.position.next());
        credentials.extend(page);
        if is_last {
            return Ok(credentials);
        }
    }
}

/// Records who ordered it and why, for each organisation an event of its own, and answers the order's id. The reason is sealed with the
/// month's key.
async fn order(services: &Services, caller: &Caller, found: &[Known], reason: &str) -> Result<Uuid, Error> {
    let stream = Stream::new(category::ERASURE, new_id(&services.clock, &services.random));
    for issuer in found.iter().map(|subject| subject.issuer.id).collect::<BTreeSet<Uuid>>() {
        let place = Place {
            origin: services.audit.log.origin(),
            stream: &stream,
            kind: ErasureOrdered::TYPE,
            schema: ErasureOrdered::SCHEMA,
            field: "reason",
        };
        let (id, key) = services.months.key(services.clock.now()).await.map_err(|error| Error::Audit(error.into()))?;
        let reason = key.seal(&id, &place, reason.as_bytes(), &services.random);
        let subjects = found.iter().filter(|subject| subject.issuer.id == issuer).map(|subject| subject.id).collect();
        audit::record_on(services, caller, stream.clone(), Expected::Any, &ErasureOrdered { issuer, reason, subjects }).await?;
    }
    Ok(stream.id())
}

/// All in one append: either all of them are erased or none is.
fn append(
    found: &[Known],
    credentials: &[OfSubject],
    order: Uuid,
    idempotency: Option<Idempotency>,
    metadata: impl Fn() -> Metadata,
) -> Result<Append, Error> {
    let part = |subject: &Known| {
        let erased = SubjectErased {
            keys: vec![KeyId::Subject(subject.id).to_string()],
            order,
            issuer: subject.issuer.id,
            credentials: credentials.iter().filter(|credential| credential.subject_id == subject.id).count() as u64,
        };
        // The append goes through only where that is what the subject's stream says.
        let event = decision::erase(State::Known, erased).map_err(|rejection| Error::corrupt(rejection.to_string()))?;
        Ok(StreamAppend { stream: Stream::subject(subject.id), expected: Expected::None, events: vec![event.encode(&metadata())] })
    };
    let streams = found.iter().map(part).collect::<Result<Vec<StreamAppend>, Error>>()?;
    Ok(Append { streams, claims: Vec::new(), releases: Vec::new(), idempotency, relies_on: Vec::new() })
}

/// Does what is left once the vault has forgotten subjects whose last erasure stands at `last`: waits for the read model, which then knows all
/// of their credentials, those included that were issued just before; and forgets what repeats of what was done to them are compared by.
async fn see_through(services: &Services, subjects: &[Uuid], last: Position) -> Result<Vec<OfSubject>, Error> {
    services.wait_for(Projection::Verification, Some(last)).await?;
    let credentials = credentials_of(services, subjects).await?;
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
    let streams: Vec<Stream> = noted.iter().map(|noted| Stream::subject(noted.subject)).collect();
    let erased = services.ledger()?.log.read_first(&streams).await?;
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
    let credentials = credentials_of(services, &ids).await?;
    Ok(Erasure { subjects: tell(&found, &credentials, Some(first)), is_purged, repeated: true })
}

/// The erasures that were appended together: they stand one after the other, and name one order.
async fn of_one_append(services: &Services, first: Position) -> Result<Vec<Recorded>, Error> {
    let log = &services.ledger()?.log;
    let (mut together, mut from, mut order) = (Vec::new(), first, None);
    loop {
        let page = log.read(&Query::from(from, PAGE)).await?;
        let is_last = page.len() < PAGE;
        for event in page {
            let same = event.kind == SubjectErased::TYPE && {
                let its = event.payload::<SubjectErased>()?.order;
                *order.get_or_insert(its) == its
            };
            if !same {
                return Ok(together);
            }
            from = event.position.next();
            together.push(event);
        }
        if is_last {
            return Ok(together);
        }
    }
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

fn tell_returned(returned: &[(Known, Position)], credentials: &[OfSubject]) -> Vec<Subject> {
    returned.iter().flat_map(|(known, position)| tell(std::slice::from_ref(known), credentials, Some(*position))).collect()
}
