//! A log in memory, events to put into it, and a read store to fold it into: real files or a real server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use credence_ledger::chain::Origin;
use credence_ledger::clock::ManualClock;
use credence_ledger::event::audit::{Cause, CredentialVerified, PresentedBy};
use credence_ledger::event::credential::{CredentialEvent, CredentialIssued, CredentialReinstated, CredentialRevoked, CredentialSuspended};
use credence_ledger::event::issuer::IssuerRegistered;
use credence_ledger::event::{New, Origination};
use credence_ledger::log::memory::Memory;
use credence_ledger::log::{Append, Expected, Log, Outcome};
use credence_ledger::random::SystemRandom;
use credence_ledger::store::Url;
use credence_ledger::stream::category;
use credence_ledger::{LogName, Position, Stream, Timestamp};
use credence_projections::generation::Store;
use credence_projections::projection::Projection;
use credence_projections::projector::Projector;
use credence_projections::read_store;
use credence_projections::runner::{self, Runner};
use serde_bytes::ByteArray;
use uuid::Uuid;

/// A read store in a folder.
pub(crate) async fn open_sqlite(folder: &Path) -> Arc<dyn Store> {
    read_store::open(&Url::Sqlite(folder.to_owned())).await.unwrap()
}

/// The time at which every test begins.
pub(crate) fn start_time() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// Two logs and a clock.
pub(crate) struct Logs {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ledger: Arc<Memory>,
    pub(crate) audit: Arc<Memory>,
}

impl Logs {
    pub(crate) fn new() -> Logs {
        let clock = Arc::new(ManualClock::at(start_time()));
        let log = |name: LogName| {
            let origin = Origin::new("test.example", &name);
            Arc::new(Memory::new(name, origin, clock.clone()))
        };
        Logs { ledger: log(LogName::LEDGER), audit: log(LogName::AUDIT), clock }
    }

    pub(crate) fn of(&self, projection: Projection) -> Arc<dyn Log> {
        match projection {
            Projection::Verification => self.ledger.clone(),
            Projection::History => self.audit.clone(),
        }
    }

    pub(crate) fn projector(&self, projection: Projection, store: &Arc<dyn Store>) -> Projector {
        Projector { projection, log: self.of(projection), store: store.clone(), clock: self.clock.clone(), random: Arc::new(SystemRandom) }
    }

    pub(crate) fn run(&self, projection: Projection, store: &Arc<dyn Store>) -> Runner {
        let options = runner::Options { poll: Duration::from_millis(10), ..runner::Options::default() };
        Runner::start(self.projector(projection, store), options)
    }

    /// Appends one event; a millisecond passes.
    pub(crate) async fn append(&self, log: &Memory, stream: Stream, event: New) -> Position {
        self.clock.advance(Duration::from_millis(1));
        let outcomes = log.commit(vec![Append::to(stream, Expected::Any, vec![event])]).await.unwrap();
        match &outcomes[..] {
            [Outcome::Appended(recorded)] => recorded[0].position,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn register(&self, id: Uuid, name: &str) -> Position {
        let payload = IssuerRegistered { did: format!("did:key:{name}"), name: name.to_owned() };
        let event = New::of(&payload, &Origination::system("w").metadata(&SystemRandom));
        self.append(&self.ledger, Stream::issuer(id), event).await
    }

    pub(crate) async fn issue(&self, id: Uuid, issuer: Uuid, with: impl FnOnce(&mut CredentialIssued)) -> Position {
        let mut issued = CredentialIssued {
            credential_type: "badge".to_owned(),
            digest: ByteArray::new(digest_of(id)),
            issuer,
            document: None,
            subject_id: Some(id),
            valid_from: None,
            valid_until: None,
        };
        with(&mut issued);
        self.credential(id, CredentialEvent::Issued(issued)).await
    }

    pub(crate) async fn suspend(&self, id: Uuid) -> Position {
        self.credential(id, CredentialEvent::Suspended(CredentialSuspended { reason: None })).await
    }

    pub(crate) async fn reinstate(&self, id: Uuid) -> Position {
        self.credential(id, CredentialEvent::Reinstated(CredentialReinstated { reason: None })).await
    }

    pub(crate) async fn revoke(&self, id: Uuid) -> Position {
        self.credential(id, CredentialEvent::Revoked(CredentialRevoked { reason: None })).await
    }

    pub(crate) async fn credential(&self, id: Uuid, event: CredentialEvent) -> Position {
        let event = event.encode(&Origination::system("w").metadata(&SystemRandom));
        self.append(&self.ledger, Stream::credential(id), event).await
    }

    pub(crate) async fn verified(&self, verdict: Uuid, credential: Option<Uuid>) -> Position {
        let payload = CredentialVerified {
            as_of: start_time(),
            cause: Cause::Found,
            status: "active".to_owned(),
            position: None,
            credential,
            presented_by: PresentedBy::Id,
        };
        let event = New::of(&payload, &Origination::system("w").metadata(&SystemRandom));
        self.append(&self.audit, Stream::new(category::VERIFICATION, verdict), event).await
    }
}

/// The `n`-th id.
pub(crate) fn id(n: u64) -> Uuid {
    Uuid::from_u64_pair(0x0198_c5a2_0000_7000, 0x8000_0000_0000_0000 | n)
}

pub(crate) fn digest_of(id: Uuid) -> [u8; 32] {
    blake3::hash(id.as_bytes()).into()
}

/// Polls until it holds, or fails after ten seconds.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut holds: impl FnMut() -> F) -> T {
    for _ in 0..1000 {
        if let Some(value) = holds().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}
