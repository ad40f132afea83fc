//! Let go of the audit log's older details: addresses and user agents, sealed month by month. A month is let go by destroying its key; the
//! events stay as they are, and so does every hash.
//!
//! What goes is recorded before it is gone. So the log alone tells which months there must be no key of, and every run brings the vault
//! to that: after a crash in between, and after the vault was restored from a backup that still had them.

use std::collections::BTreeSet;

use credence_ledger::Stream;
use credence_ledger::event::audit::AuditDetailsShredded;
use credence_ledger::event::{Payload as _, Recorded};
use credence_ledger::log::{Append, Expected, Outcome, Query, Refusal};

use super::{Error, audit};
use crate::caller::Caller;
use crate::services::Services;

/// How often it is tried again when other processes record the same.
const TRIES_MAX: usize = 5;

/// Records and destroys the keys of the months whose last day is older than the configuration keeps details, by the audit log's clock, and
/// destroys those that were recorded before. Answers the months recorded now.
///
/// # Errors
/// [`Error::Audit`], and no key is destroyed that is not on record; the vault's, and the next run destroys what is.
pub async fn shred(services: &Services) -> Result<Vec<String>, Error> {
    let caller = Caller::operator("retention");
    for _ in 0..TRIES_MAX {
        let before = services.audit.log.read(&Query::stream(&Stream::retention())).await?;
        let gone = months_of(&before)?;
        let old: Vec<String> = old_months(services).await?.into_iter().filter(|month| !gone.contains(month)).collect();
        if !old.is_empty() {
            let expected = before.last().map_or(Expected::None, |last| Expected::Exact(last.version));
            let shredded = AuditDetailsShredded { months: old.clone() };
            let event = audit::event(services, &caller, &Stream::retention(), &shredded).await?;
            match services.audit.append(Append::to(Stream::retention(), expected, vec![event])).await.map_err(Error::Audit)? {
                Outcome::Appended(_) => {}
                // Another process recorded some.
                Outcome::Refused(Refusal::StaleVersion { .. }) => continue,
                outcome => return Err(Error::corrupt(format!("details that are let go were answered {outcome:?}"))),
            }
        }
        // On record from here on: whoever runs next destroys what a crash leaves.
        let all: Vec<String> = gone.into_iter().chain(old.iter().cloned()).collect();
        if !all.is_empty() {
            services.vault.forget_months(&all).await?;
        }
        return Ok(old);
    }
    Err(Error::Contended)
}

/// Months that have a key and ended longer ago than details are kept.
async fn old_months(services: &Services) -> Result<Vec<String>, Error> {
    let Some(kept) = services.settings.audit_details_kept else { return Ok(Vec::new()) };
    // What was recorded at that moment is kept, and with it the rest of its month.
    let first_kept = services.audit.log.head().await?.now.minus(kept).month();
    Ok(services.vault.months().await?.into_iter().filter(|month| *month < first_kept).collect())
}

fn months_of(events: &[Recorded]) -> Result<BTreeSet<String>, Error> {
    let mut months = BTreeSet::new();
    for event in events {
        if event.kind != AuditDetailsShredded::TYPE {
            return Err(event.unknown_type().into());
        }
        months.extend(event.payload::<AuditDetailsShredded>()?.months);
    }
    Ok(months)
}
