//! Give receipts: of any event of a credential, once a signed checkpoint covers it.

use credence_ledger::log::Query;
use credence_ledger::receipt::Receipt;
use credence_ledger::{Position, Stream, Version, causes, store};
use uuid::Uuid;

use super::{Error, read};
use crate::caller::Principal;
use crate::services::Services;

/// The receipt of the event of this version of a credential's stream; what is sealed in it stays so.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::NotProved`] when no checkpoint covers it in time; the world's.
pub async fn of_version(services: &Services, principal: &Principal, id: Uuid, version: Version) -> Result<Receipt, Error> {
    read::known(services, principal, id).await?;
    // Versions are dense: what stands behind the one wanted need not be read.
    let limit = usize::try_from(version.0).unwrap_or(usize::MAX).saturating_add(1);
    let events = services.ledger()?.log.read(&Query { limit, ..Query::stream(&Stream::credential(id)) }).await?;
    let event = events.last().filter(|event| event.version == version).ok_or(Error::NotFound)?;
    let content = event.content();
    let receipt = services.proofs.ledger.receipt(event.position, content, services.settings.wait_max).await?;
    receipt.ok_or(Error::NotProved)
}

/// The receipt of the event at this position, which was just appended; `None` when there is none in time. That it was appended
/// stays true whatever becomes of this, and its receipt can be asked for later.
pub async fn of_act(services: &Services, position: Position) -> Option<Receipt> {
    let receipt = async {
        let events = services.ledger()?.log.read_at(&[position]).await?;
        let event = events.first().ok_or_else(|| store::Error::Corrupt("an event just appended is not there".to_owned()))?;
        services.proofs.ledger.receipt(position, event.content(), services.settings.wait_max).await
    };
    receipt.await.unwrap_or_else(|error: store::Error| {
        tracing::warn!(reason = causes(&error), "no receipt could be given");
        None
    })
}
