//! What must not be there once a subject was erased: its key, and events of its credentials that were appended since.
//!
//! Memory grows with the number of erasures, not with the log.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Finding, Kind, PAGE};
use crate::event::credential::CredentialIssued;
use crate::event::subject::SubjectErased;
use crate::log::{Log, Query, Walk};
use crate::store::Error;
use crate::vault::Vault;
use crate::{LogName, Position, Stream};

/// Names what `log` holds, and every key that `vault` has if it is given, although the log says that their subject was erased.
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
                Some(vault) => vault.subject_refs(&subjects).await?,
                None => Vec::new(),
            };
            let there = there.into_iter().zip(&page).filter(|(refs, _)| refs.is_some());
            for (_, event) in there {
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
