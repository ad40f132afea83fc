//! Keys that are there, although the log says that they were destroyed: a vault that was restored from an older backup has them.

use std::time::Duration;

use tokio::time::Instant;

use super::{Finding, Kind};
use crate::event::Payload as _;
use crate::event::audit::AuditDetailsShredded;
use crate::log::{Log, Query};
use crate::store::Error;
use crate::vault::Vault;
use crate::{LogName, Position, Stream};

/// For so long a key on record is waited for to go: whoever records it destroys it next, and notes nothing else.
const DESTROYED_WITHIN: Duration = Duration::from_secs(5);

/// Names every key of `vault` that must not be there any more, by what `log` tells. Whoever is about to destroy one is waited for.
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
    let finding = |position, kind, detail| Finding { log: LogName::AUDIT, position: Some(position), kind, detail };
    let (mut found, mut gone) = (Vec::new(), Vec::new());
    for event in events.iter().filter(|event| event.kind == AuditDetailsShredded::TYPE) {
        match event.payload::<AuditDetailsShredded>() {
            Ok(shredded) => gone.extend(shredded.months.into_iter().map(|month| (event.position, month))),
            Err(error) => found.push(finding(event.position, Kind::Encoding, error.to_string())),
        }
    }
    for (position, month) in still_there(vault, gone).await? {
        found.push(finding(position, Kind::Destroyed, format!("the key month/{month} exists, though it was destroyed")));
    }
    Ok(found)
}

/// Those of the months on record that keep their keys.
async fn still_there(vault: &dyn Vault, mut gone: Vec<(Position, String)>) -> Result<Vec<(Position, String)>, Error> {
    let deadline = Instant::now() + DESTROYED_WITHIN;
    loop {
        let there = vault.months().await?;
        gone.retain(|(_, month)| there.contains(month));
        if gone.is_empty() || Instant::now() >= deadline {
            return Ok(gone);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
