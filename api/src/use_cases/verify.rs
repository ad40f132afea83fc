//! Give a verdict and record it.
//!
//! Only the read model is asked, and of the vault only what holder details are compared by: whether the ledger can be reached
//! does not matter. The verdict is answered after its `CredentialVerified` is committed to the audit log; if it cannot be
//! recorded there is none. An unknown credential and a wrong detail take the same steps and give the same answer; the audit log
//! alone knows which it was.

use credence_ledger::document::proof::{self, check_by_issuer};
use credence_ledger::event::audit::{Cause, CredentialVerified, PresentedBy};
use credence_ledger::stream::category;
use credence_ledger::{Position, Timestamp, document};
use credence_projections::projection::{Cursor, Projection};
use credence_projections::verification::{At, AtIssuer, Credential, Found, Lookup, Status};
use serde_json::Value;
use uuid::Uuid;

use super::{Error, audit};
use crate::caller::Caller;
use crate::proofs::Proof;
use crate::services::Services;

/// A question.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyCredential {
    /// What was presented.
    pub presented: Presented,
    /// The moment it is about, if not now.
    pub as_of: Option<AsOf>,
    /// The read model must have passed this position.
    pub passed: Option<Position>,
    /// Whether the verdict shall be proved.
    pub proof: bool,
}

/// What was presented.
#[derive(Debug, Clone, PartialEq)]
pub enum Presented {
    /// An id, with the holder's details as far as they are known, in normal form.
    Id {
        /// The credential's.
        id: Uuid,
        /// The holder's name.
        name: Option<String>,
        /// The holder's e-mail address.
        email: Option<String>,
    },
    /// A document's digest, perhaps with the name of the issuer that it must be from.
    DocumentDigest {
        /// BLAKE3.
        digest: [u8; 32],
        /// The issuer's name.
        issuer: Option<String>,
    },
    /// A document.
    Document {
        /// An object.
        document: Value,
        /// The credential that it names.
        id: Option<Uuid>,
    },
    /// A secret's keyed digest, with its issuer.
    SecretDigest {
        /// HMAC-SHA256.
        digest: [u8; 32],
        /// Whose.
        issuer: AtIssuer,
    },
    /// A secret, with its issuer.
    Secret {
        /// The opaque string.
        secret: String,
        /// Whose.
        issuer: AtIssuer,
    },
}

/// A moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// What was known then and valid then.
    Time(Timestamp),
    /// What was known there, judged by today's date.
    Position(Position),
}

/// What a verdict says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It was found, with this status.
    Found(Status),
    /// There is no such credential, or a detail is wrong.
    NotFound,
    /// A document names a credential but is not its document, or is, with a proof that does not hold.
    Tampered,
    /// A document or digest matches, but its subject's data has been erased.
    Erased,
}

impl Finding {
    /// As in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::Found(status) => status.as_str(),
            Finding::NotFound => "not_found",
            Finding::Tampered => "tampered",
            Finding::Erased => "erased",
        }
    }

    /// Whether the credential counts.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self == Finding::Found(Status::Active)
    }
}

/// A verdict, recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it says.
    pub finding: Finding,
    /// The credential, if it was found and may be shown.
    pub credential: Option<Credential>,
    /// The time judged: asked for it, the verdict is the same again.
    pub as_of: Timestamp,
    /// The last position of the ledger that was judged; `None` while it is empty.
    pub as_of_position: Option<Position>,
    /// When it was recorded, by the audit log's clock.
    pub verified_at: Timestamp,
    /// Where it was recorded.
    pub audit_position: Position,
    /// How far the read model has come.
    pub cursor: Cursor,
    /// That the event which decided it is in a signed checkpoint, where that was asked for and a credential is shown.
    pub proof: Option<Proof>,
}

/// Gives a verdict.
///
/// # Errors
/// [`Error::Projection`], [`Error::Audit`], or the vault's.
pub async fn verify(services: &Services, caller: &Caller, question: &VerifyCredential) -> Result<Verdict, Error> {
    let at = wait(services, question).await?;
    let (matched, cursor, now) = loop {
        let (matched, cursor) = find(services, &question.presented, at).await?;
        let now = services.clock.now();
        cursor.check(now, services.settings.staleness_max)?;
        match date_between(&matched, matched.known_at(&cursor), now).filter(|_| at == At::Newest) {
            None => break (matched, cursor, now),
            // Judged by now it is another than it was at the moment that would be told.
            Some(date) => services.wait_until(Projection::Verification, date).await?,
        };
    };
    let (as_of, as_of_position) = match at {
        At::Newest => (matched.known_at(&cursor), cursor.position),
        At::Time(time) => (time, services.read.position_at(time).await?.0),
        At::Position(position) => (now, Some(position)),
    };
    // By the log's time where that is ahead of this process's clock: asked for it again, the verdict is the same.
    let judged_at = if let At::Time(time) = at { time } else { now.max(as_of) };
    let finding = match (matched.shown(), matched.cause) {
        (Some(found), _) => Finding::Found(Status::of(found.state, found.valid_from, found.valid_until, judged_at)),
        (None, Cause::Tampered) => Finding::Tampered,
        (None, Cause::Erased) if matched.is_presented => Finding::Erased,
        (None, _) => Finding::NotFound,
    };
    // Before it is recorded: who wants a proof and cannot have one gets no verdict.
    let proof = match matched.shown().filter(|_| question.proof) {
        Some(shown) => Some(prove(services, shown, at, cursor.position).await?),
        None => None,
    };
    let verified = CredentialVerified {
        as_of,
        cause: matched.cause,
        status: finding.as_str().to_owned(),
        position: as_of_position.map(|position| position.0),
        credential: matched.found.as_ref().map(Found::id),
        presented_by: question.presented.by(),
    };
    let recorded = audit::record(services, caller, category::VERIFICATION, &verified).await?;
    Ok(Verdict {
        finding,
        credential: matched.shown().cloned(),
        as_of,
        as_of_position,
        verified_at: recorded.recorded_at,
        audit_position: recorded.position,
        cursor,
        proof,
    })
}

/// Proves the event that made the credential's status what it was at the moment asked for: the last that changed it, or the one
/// by which it was issued.
async fn prove(services: &Services, credential: &Credential, at: At, applied: Option<Position>) -> Result<Proof, Error> {
    // The model may have moved on since the verdict was made.
    let at = match (at, applied) {
        (At::Newest, Some(applied)) => At::Position(applied),
        (at, _) => at,
    };
    let (changed, _) = services.read.decided_by(credential.id, at).await?;
    let position = changed.unwrap_or(credential.position);
    services.proofs.ledger.prove(position, services.settings.wait_max).await?.ok_or(Error::NotProved)
}

/// The date, after the one moment and not after the other, that makes what is shown another.
fn date_between(matched: &Match, earlier: Timestamp, later: Timestamp) -> Option<Timestamp> {
    let shown = matched.shown()?;
    let status = |at| Status::of(shown.state, shown.valid_from, shown.valid_until, at);
    let dates = [shown.valid_from, shown.valid_until].into_iter().flatten();
    dates.filter(|date| earlier < *date && *date <= later).max().filter(|_| status(earlier) != status(later))
}

/// Waits for what the question needs the read model to have applied.
async fn wait(services: &Services, question: &VerifyCredential) -> Result<At, Error> {
    let (at, needed) = match question.as_of {
        None => (At::Newest, None),
        Some(AsOf::Position(position)) => (At::Position(position), Some(position)),
        Some(AsOf::Time(time)) => (At::Time(time), None),
    };
    if let Some(position) = needed.max(question.passed) {
        services.wait_for(Projection::Verification, Some(position)).await?;
    }
    if let At::Time(time) = at {
        services.wait_until(Projection::Verification, time).await?;
    }
    Ok(at)
}

/// What the read model knows of what was presented.
struct Match {
    /// What was found, even if the answer does not say so.
    found: Option<Found>,
    cause: Cause,
    /// Whether what was presented is its document or its digest: whoever has only an id is not told that it was erased.
    is_presented: bool,
}

impl Match {
    /// Found by less than its document or its digest.
    fn by_name(found: Option<Found>) -> Match {
        let cause = match found {
            None => Cause::Unknown,
            Some(Found::Credential(_)) => Cause::Found,
            Some(Found::Erased(_)) => Cause::Erased,
        };
        Match { found, cause, is_presented: false }
    }

    /// Found by its document or its digest.
    fn by_content(found: Option<Found>) -> Match {
        Match { is_presented: true, ..Match::by_name(found) }
    }

    /// Up to when all is known that made this answer: what it tells of may have come to be, while others append, after the read model
    /// was last known to be complete. Of a credential that is not told of, that would tell that it is there.
    fn known_at(&self, cursor: &Cursor) -> Timestamp {
        let told = match &self.found {
            Some(Found::Credential(credential)) if matches!(self.cause, Cause::Found | Cause::Tampered) => credential,
            _ => return cursor.confirmed_at,
        };
        cursor.confirmed_at.max(told.status_changed_at.unwrap_or(told.issued_at))
    }

    /// The credential that the answer is about.
    fn shown(&self) -> Option<&Credential> {
        match &self.found {
            Some(Found::Credential(credential)) if self.cause == Cause::Found => Some(credential),
            _ => None,
        }
    }
}

async fn find(services: &Services, presented: &Presented, at: At) -> Result<(Match, Cursor), Error> {
    let read = &services.read;
    match presented {
        Presented::Id { id, name, email } => {
            let (found, cursor) = match at {
                At::Newest => services.lookups.by_id(*id).await?,
                At::Time(_) | At::Position(_) => read.find(&Lookup::Id(*id), at).await?,
            };
            let mut matched = Match::by_name(found);
            let matches = name.is_none() && email.is_none()
                || details_match(services, matched.shown(), *id, name.as_deref(), email.as_deref()).await?;
            if !matches && matched.cause == Cause::Found {
                matched.cause = Cause::Mismatch;
            }
            Ok((matched, cursor))
        }
        Presented::DocumentDigest { digest, issuer } => {
            let (found, cursor) = read.find(&Lookup::Document(*digest), at).await?;
            let of_issuer = |found: &Found| issuer.as_ref().is_none_or(|issuer| issuer == found.issuer_name());
            Ok((Match::by_content(found.filter(of_issuer)), cursor))
        }
        Presented::Document { document, id } => {
            let digest = document::digest(document);
            let (found, cursor) = read.find(&Lookup::Document(digest), at).await?;
            let (Some(id), None) = (id, &found) else { return Ok((with_proof(services, Match::by_content(found), document), cursor)) };
            let (named, cursor) = read.find(&Lookup::Id(*id), at).await?;
            // It may have been applied between the two look-ups, and then this one is the first that finds it.
            let is_its_document = match &named {
                Some(Found::Credential(named)) => named.subject_id.is_some() && named.digest == digest,
                Some(Found::Erased(named)) => named.digest == digest,
                None => false,
            };
            if is_its_document {
                return Ok((with_proof(services, Match::by_content(named), document), cursor));
            }
            let mut matched = Match::by_name(named);
            if matched.cause == Cause::Found {
                matched.cause = Cause::Tampered;
            }
            Ok((matched, cursor))
        }
        Presented::SecretDigest { digest, issuer } => {
            let (found, cursor) = read.find(&Lookup::Secret { digest: *digest, issuer: issuer.clone() }, at).await?;
            Ok((Match::by_content(found), cursor))
        }
        Presented::Secret { secret, issuer } => {
            let digest = services.vault.lookup().secret(secret.as_bytes());
            let (found, cursor) = read.find(&Lookup::Secret { digest, issuer: issuer.clone() }, at).await?;
            Ok((Match::by_content(found), cursor))
        }
    }
}

/// Whether the given details are those of the credential's subject. The vault is asked even when there is nothing to compare
/// with, so that an unknown credential takes as long as a wrong detail.
async fn details_match(
    services: &Services,
    credential: Option<&Credential>,
    id: Uuid,
    name: Option<&str>,
    email: Option<&str>,
) -> Result<bool, Error> {
    let subject = credential.and_then(|credential| credential.subject_id);
    let known = services.subjects.refs(subject.unwrap_or(id)).await?.filter(|_| subject.is_some());
    let issuer = credential.map_or(id, |credential| credential.issuer);
    let lookup = services.vault.lookup();
    let name = name.map(|name| lookup.name(issuer, name));
    let email = email.map(|email| lookup.email(issuer, email));
    Ok(known.is_some_and(|known| name.is_none_or(|name| name == known.name) && email.is_none_or(|email| email == known.email)))
}

/// Judges a document that matches: one with a proof of ours that does not hold is not the one that was answered, though it says the
/// same.
fn with_proof(services: &Services, mut matched: Match, document: &Value) -> Match {
    if matched.found.is_some() && !matches!(check_by_issuer(document, services.clock.now()), Ok(_) | Err(proof::Error::Missing)) {
        matched.cause = Cause::Tampered;
    }
    matched
}

impl Presented {
    fn by(&self) -> PresentedBy {
        match self {
            Presented::Id { .. } => PresentedBy::Id,
            Presented::DocumentDigest { .. } | Presented::SecretDigest { .. } => PresentedBy::Digest,
            Presented::Document { .. } => PresentedBy::Document,
            Presented::Secret { .. } => PresentedBy::Secret,
        }
    }
}
