//! The read models, against the logs that they are derived from.

use std::sync::Arc;

use credence_ledger::causes;
use credence_ledger::clock::SystemClock;
use credence_ledger::log::Log;
use credence_ledger::random::SystemRandom;
use credence_ledger::store;
use credence_projections::projection::{self, Projection};
use credence_projections::projector::Projector;
use credence_projections::rebuild::Error;
use tokio_util::sync::CancellationToken;

use super::super::{output, rebuild};
use crate::config::StoreConfig;
use crate::stores;

/// Compares each with its log, if that is one of these. Answers whether none differs: what cannot be compared is told, and is no
/// difference.
pub(super) async fn compare(config: &StoreConfig, whole: &[Arc<dyn Log>]) -> anyhow::Result<bool> {
    let store = match stores::read(config).await {
        Ok(store) => Ok(store),
        Err(stores::Error::Store { source, .. }) => Err(source.to_string()),
        Err(failed) => return Err(failed.into()),
    };
    let cancel = CancellationToken::new();
    let interruption = tokio::spawn(rebuild::cancel_when_interrupted(cancel.clone()));
    let mut is_ok = true;
    for projection in Projection::ALL {
        let log = whole.iter().find(|log| *log.name() == projection.log());
        let compared = match (log, &store) {
            (None, _) => Err(format!("the {} log does not hold", projection.log())),
            (_, Err(unreached)) => Err(unreached.clone()),
            (Some(log), Ok(store)) => {
                let (log, store) = (Arc::clone(log), Arc::clone(store));
                one(Projector { projection, log, store, clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) }, &cancel).await?
            }
        };
        match compared {
            Ok(same) => is_ok &= same,
            Err(why) => output::write(format!("{projection}: not compared: {why}\n")).or_else(output::unless_closed)?,
        }
    }
    interruption.abort();
    Ok(is_ok)
}

/// Whether it is the same; or why that cannot be told.
async fn one(projector: Projector, cancel: &CancellationToken) -> anyhow::Result<Result<bool, String>> {
    match projector.store.pointer(projector.projection).await {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(Err("it has not been built".to_owned())),
        Err(projection::Error::Store(failed)) => return Ok(Err(causes(&failed))),
        Err(failed) => return Err(failed.into()),
    }
    match rebuild::compare(projector, cancel).await {
        Ok(same) => Ok(Ok(same)),
        Err(failed) => match failed.downcast_ref::<Error>() {
            Some(running @ Error::Running(_)) => Ok(Err(running.to_string())),
            Some(gone @ Error::Store(projection::Error::Vanished(_))) => Ok(Err(gone.to_string())),
            Some(Error::Store(projection::Error::Store(denied))) if matches!(**denied, store::Error::Denied(_)) => {
                Ok(Err(denied.to_string()))
            }
            // Away, held by others, or without room for the generation that would be compared with: that is told by what lies beneath.
            Some(Error::Store(projection::Error::Store(failed))) if failed.is_transient() => Ok(Err(causes(&**failed))),
            _ => Err(failed),
        },
    }
}
