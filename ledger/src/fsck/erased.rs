//! What must not be there once a subject was erased: its key, and events of its credentials that were appended since.
//!
//! Memory grows with the number of erasures, not with the log.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use super::{Finding, Kind, PAGE};
use crate::event::credential::CredentialIssued;
use crate::event::subject::SubjectErased;
use crate::log::{Log, Query, Walk};
use crate::store::Error;
use crate::vault::Vault;
use crate::{LogName, Position, Stream, Timestamp};

/// What is under way for longer is not seen to by anybody.
const UNDER_WAY_MAX: Duration = Duration::from_secs(3600);

/// Names what `log` holds, and every key that `vault` has if it is given, although the log says that their subject was erased. An erasure that
/// is under way has not come to its key yet: whoever issues sees it through.
///
/// # Errors
/// The log or the vault failed. What of the log cannot be read at all is found by [`check`](super::check).
pub async fn erased(log: &dyn Log, vault: Option<&dyn Vault>) -> Result<Vec<Finding>, Error> {
    if *log.name() != LogName::LEDGER {
        return Ok(Vec::new());
    }
    let mut findings = Findings::default();
    match findings.look(log, vault).await {
        Ok(()) | Err(Error::Corrupt(_)) => Ok(findings.0),
        Err(failed) => Err(failed),
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, position: Position, kind: Kind, detail: String) {
        self.0.push(Finding { log: LogName::LEDGER, position: Some(position), kind, detail });
    }

    async fn look(&mut self, log: &dyn Log, vault: Option<&dyn Vault>) -> Result<(), Error> {
        let mut erased: HashMap<Uuid, Position> = HashMap::new();
        let mut erasures = Walk::over(log, Query::from(Position::FIRST, PAGE).of::<SubjectErased>());
        while let Some(page) = erasures.page().await? {
            let subjects: Vec<Uuid> = page.iter().map(|event| event.stream.id()).collect();
            let there = match vault {
                Some(vault) => still_there(vault, &subjects, log.head().await?.now).await?,
                None => HashSet::new(),
            };
            for event in page.iter().filter(|event| there.contains(&event.stream.id())) {
                self.add(event.position, Kind::Destroyed, format!("the key {} exists, though it was destroyed", event.stream));
            }
            for event in &page {
                if let Err(error) = event.payload::<SubjectErased>() {
                    self.add(event.position, Kind::Encoding, error.to_string());
                }
                erased.entry(event.stream.id()).or_insert(event.position);
            }
        }
        let mut issuances = Walk::over(log, Query::from(Position::FIRST, PAGE).of::<CredentialIssued>());
        while !erased.is_empty()
            && let Some(page) = issuances.page().await?
        {
            for event in page {
                // One that cannot be read has been found.
                let subject = event.payload::<CredentialIssued>().ok().and_then(|issued| issued.subject_id);
                let Some((subject, at)) = subject.and_then(|subject| Some((subject, *erased.get(&subject)?))) else { continue };
                for since in log.read(&Query { from: at, ..Query::stream(&event.stream) }).await? {
                    let detail = format!("{} was erased at {}", Stream::subject(subject), LogName::LEDGER.at(at));
                    self.add(since.position, Kind::Erased, detail);
                }
            }
        }
        Ok(())
    }
}

/// Those of erased subjects that have a key and are to keep it.
async fn still_there(vault: &dyn Vault, erased: &[Uuid], now: Timestamp) -> Result<HashSet<Uuid>, Error> {
    // Taken before the keys and after the events: of whom it does not note the key is gone, unless it came back.
    let noted = vault.noted_erasures().await?.into_iter().filter(|noted| noted.noted_at.plus(UNDER_WAY_MAX) > now);
    let under_way: HashSet<Uuid> = noted.map(|noted| noted.subject).collect();
    let refs = vault.subject_refs(erased).await?;
    let there = erased.iter().zip(refs).filter(|(subject, refs)| refs.is_some() && !under_way.contains(subject));
    Ok(there.map(|(subject, _)| *subject).collect())
}
