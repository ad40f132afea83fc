//! A ledger's history of any length, made at once: without a vault, so that nothing in it is sealed.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot make its log fails here and now")]

use std::ops::Range;

use serde_bytes::ByteArray;
use uuid::Uuid;

use crate::event::credential::{CredentialEvent, CredentialIssued, CredentialRevoked, CredentialSuspended};
use crate::event::issuer::IssuerRegistered;
use crate::event::subject::{SubjectErased, SubjectEvent};
use crate::event::{New, Origination};
use crate::log::{Append, Expected, Log, Outcome, UniqueKey};
use crate::random::SystemRandom;
use crate::{Stream, Version};

/// How many appends are committed together.
const BATCH: usize = 1000;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0198_c5a2_0000_7000_8000_0000_0000_0000 | n)
}

fn issuer() -> Uuid {
    id(1 << 60)
}

/// The stream of the `n`th credential, which has the natural key of the one before where that was revoked.
#[must_use]
pub fn credential(n: u128) -> Stream {
    Stream::credential(id(n))
}

fn is_revoked(n: u128) -> bool {
    n % 4 == 2
}

/// Whom the `n`th credential is about: somebody who is erased. The others are secrets.
fn subject(n: u128) -> Option<Uuid> {
    (n % 8 == 4).then(|| id(1 << 59 | n))
}

fn kind(n: u128) -> &'static str {
    if subject(n).is_some() { "badge" } else { "secret" }
}

/// The natural key of the `n`th credential.
#[must_use]
pub fn key(n: u128) -> UniqueKey {
    match subject(n) {
        Some(subject) => UniqueKey::natural(issuer(), subject, kind(n)),
        None => UniqueKey::secret(issuer(), &digest(n)),
    }
}

fn digest(n: u128) -> [u8; 32] {
    let shared = if n > 0 && is_revoked(n - 1) { n - 1 } else { n };
    blake3::hash(&shared.to_be_bytes()).into()
}

fn new(event: &CredentialEvent) -> New {
    event.encode(&Origination::system("history").metadata(&SystemRandom))
}

/// Registers an issuer, unless that has been done, and issues these credentials, by number: every fourth is suspended, every fourth
/// revoked and issued anew, and of every eighth the subject is erased.
///
/// # Panics
/// The log does not take it.
pub async fn issue(log: &dyn Log, numbers: Range<u128>) {
    let mut appends = Vec::new();
    let registered = IssuerRegistered { did: "did:key:z6Mk".to_owned(), name: "default".to_owned() };
    let registration = New::of(&registered, &Origination::system("history").metadata(&SystemRandom));
    let (key_of_issuer, stream) = (UniqueKey::issuer_name("default"), Stream::issuer(issuer()));
    if log.key_owner(&key_of_issuer).await.expect("the log answers").is_none() {
        let append = Append::to(stream.clone(), Expected::None, vec![registration]);
        appends.push(Append { claims: vec![(key_of_issuer, stream)], ..append });
    }
    for n in numbers {
        let stream = credential(n);
        let issued = CredentialEvent::Issued(CredentialIssued {
            credential_type: kind(n).to_owned(),
            digest: ByteArray::new(digest(n)),
            issuer: issuer(),
            document: None,
            subject_id: subject(n),
            valid_from: None,
            valid_until: None,
        });
        let append = Append::to(stream.clone(), Expected::None, vec![new(&issued)]);
        appends.push(Append { claims: vec![(key(n), stream.clone())], ..append });
        let changed = |event| Append::to(stream.clone(), Expected::Exact(Version::FIRST), vec![new(&event)]);
        if let Some(subject) = subject(n) {
            let (stream, keys) = (Stream::subject(subject), vec![format!("subject/{subject}")]);
            let erased = SubjectEvent::Erased(SubjectErased { keys, order: Uuid::nil(), issuer: issuer(), credentials: 1 });
            let event = erased.encode(&Origination::system("history").metadata(&SystemRandom));
            appends.push(Append::to(stream, Expected::None, vec![event]));
        }
        match n % 4 {
            1 => appends.push(changed(CredentialEvent::Suspended(CredentialSuspended { reason: None }))),
            2 => {
                let revoked = changed(CredentialEvent::Revoked(CredentialRevoked { reason: None }));
                appends.push(Append { releases: vec![key(n)], ..revoked });
            }
            _ => {}
        }
        if appends.len() >= BATCH {
            commit(log, std::mem::take(&mut appends)).await;
        }
    }
    commit(log, appends).await;
}

async fn commit(log: &dyn Log, appends: Vec<Append>) {
    for outcome in log.commit(appends).await.expect("the log takes it") {
        if !matches!(outcome, Outcome::Appended(_)) {
            panic!("refused: {outcome:?}");
        }
    }
}
