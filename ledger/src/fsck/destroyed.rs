//! Keys that are there, although the log says that they were destroyed: a vault that was restored from an older backup has them.

use super::{Finding, Kind};
use crate::event::Payload as _;
use crate::event::audit::AuditDetailsShredded;
use crate::log::{Log, Query};
use crate::store::Error;
use crate::vault::Vault;
use crate::{LogName, Stream};

/// Names every key of `vault` that must not be there any more, by what `log` tells.
///
/// # Errors
/// The log or the vault failed. What of the log cannot be read at all is found by [`check`](super::check).
pub async fn keys_destroyed(log: &dyn Log, vault: &dyn Vault) -> Result<Vec<Finding>, Error> {
    if *log.name() != LogName::AUDIT {
        return Ok(Vec::new());
    }
    let events = match log.read(&Query::stream(&Stream::retention())).await {
        Ok(events) => events,
        Err(Error::Corrupt(_)) => return Ok(Vec::new()),
        Err(failed) => return Err(failed),
    };
    let there = vault.months().await?;
    let mut found = Vec::new();
    for event in events.iter().filter(|event| event.kind == AuditDetailsShredded::TYPE) {
        let mut add = |kind, detail| found.push(Finding { log: LogName::AUDIT, position: Some(event.position), kind, detail });
        match event.payload::<AuditDetailsShredded>() {
            Ok(shredded) => shredded
                .months
                .iter()
                .filter(|month| there.contains(month))
                .for_each(|month| add(Kind::Destroyed, format!("the key month/{month} exists, though it was destroyed"))),
            Err(error) => add(Kind::Encoding, error.to_string()),
        }
    }
    Ok(found)
}
