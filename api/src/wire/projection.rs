//! Where a read model stands, and how its rebuild is getting on, in JSON.

use std::time::Duration;

use credence_ledger::Timestamp;
use credence_projections::projection::{Error, Projection};
use credence_projections::read_store;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Where a read model stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Standing {
    /// Its name.
    #[schema(example = "verification")]
    pub name: &'static str,
    /// The version of its fold and tables; of the serving generation if there is one.
    pub version: u32,
    /// The last position applied; null while the log is empty.
    #[schema(example = "ledger@57")]
    pub cursor: Option<String>,
    /// The log's last position when its head was last read.
    #[schema(example = "ledger@57")]
    pub head_seen: Option<String>,
    /// How many events are known to be missing.
    pub lag_events: u64,
    /// How long ago it was known that nothing newer existed; null if it never was.
    pub lag_s: Option<u64>,
    /// Whether it gives answers, and if not why.
    pub health: Health,
    /// What stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The generation that serves; null while there is none.
    pub generation: Option<u64>,
    /// The serving generation's digest when it was last rebuilt, in hex.
    pub digest: Option<String>,
    /// The position at which that digest was taken.
    pub digest_at: Option<String>,
}

/// Whether a read model gives answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It answers.
    Healthy,
    /// It stopped rather than skip an event.
    Unhealthy,
    /// It was last confirmed too long ago.
    Stale,
    /// It is not there: it is being, or must be, built.
    Missing,
}

impl Standing {
    /// A model that is there.
    #[must_use]
    pub fn new(standing: &read_store::Standing, now: Timestamp, staleness_max: Duration) -> Standing {
        let cursor = &standing.cursor;
        let log = cursor.projection.log();
        let (health, reason) = match cursor.check(now, staleness_max) {
            Ok(()) => (Health::Healthy, None),
            Err(Error::Unhealthy { reason, .. }) => (Health::Unhealthy, Some(reason)),
            Err(_) => (Health::Stale, None),
        };
        Standing {
            name: cursor.projection.as_str(),
            version: standing.version,
            cursor: cursor.as_of().map(|position| position.to_string()),
            head_seen: cursor.head_seen.map(|position| log.at(position).to_string()),
            lag_events: cursor.lag_events(),
            lag_s: (cursor.confirmed_at > Timestamp::EPOCH).then(|| now.since(cursor.confirmed_at).as_secs()),
            health,
            reason,
            generation: Some(cursor.generation),
            digest: standing.digest.map(|(digest, _)| hex::encode(digest)),
            digest_at: standing.digest.and_then(|(_, position)| position).map(|position| log.at(position).to_string()),
        }
    }

    /// A model that is not there.
    #[must_use]
    pub fn missing(projection: Projection) -> Standing {
        Standing {
            name: projection.as_str(),
            version: projection.version(),
            cursor: None,
            head_seen: None,
            lag_events: 0,
            lag_s: None,
            health: Health::Missing,
            reason: None,
            generation: None,
            digest: None,
            digest_at: None,
        }
    }
}

/// How a rebuild is getting on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rebuild {
    /// Its id.
    pub id: Uuid,
    /// What is rebuilt.
    #[schema(example = "verification")]
    pub projection: &'static str,
    /// `building`, `catching_up`, `comparing`, `done` or `failed`.
    #[schema(example = "building")]
    pub phase: &'static str,
    /// Events applied.
    pub done: u64,
    /// Events there are to apply, as last seen.
    pub total: u64,
    /// Applied in a second, lately.
    pub events_per_second: u64,
    /// Seconds until it will be done at this speed; null if that cannot be told.
    pub eta_s: Option<u64>,
    /// Whether the new generation equals the one it replaces; null when not, or not yet, compared.
    pub equal: Option<bool>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl From<&read_store::Rebuild> for Rebuild {
    fn from(rebuild: &read_store::Rebuild) -> Rebuild {
        Rebuild {
            id: rebuild.id,
            projection: rebuild.projection.as_str(),
            phase: rebuild.phase.as_str(),
            done: rebuild.done,
            total: rebuild.total,
            events_per_second: rebuild.events_per_second,
            eta_s: rebuild.eta_s(),
            equal: rebuild.equal,
            failure: rebuild.failure.clone(),
        }
    }
}
