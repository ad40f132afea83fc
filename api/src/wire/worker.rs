//! A running process, in JSON.

use std::collections::BTreeMap;

use credence_ledger::vault;
use serde::Serialize;
use utoipa::ToSchema;

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Worker {
    /// Its name: `CREDENCE_WORKER_ID` or the host's. Several processes may share one.
    pub worker: String,
    /// What it serves.
    #[schema(example = "all")]
    pub role: String,
    /// The program's version.
    pub version: String,
    /// When it started.
    #[schema(example = "2026-01-31T12:00:00Z")]
    pub started_at: String,
    /// When it last said that it lives.
    #[schema(example = "2026-01-31T12:00:00Z")]
    pub last_seen_at: String,
    /// How far its read models have come, by name.
    pub cursors: BTreeMap<String, Option<String>>,
}

impl From<vault::Worker> for Worker {
    fn from(worker: vault::Worker) -> Worker {
        Worker {
            worker: worker.name,
            role: worker.role,
            version: worker.version,
            started_at: worker.started_at.to_string(),
            last_seen_at: worker.last_seen_at.to_string(),
            // Another version of this program may have written something else; then it tells of no cursors.
            cursors: serde_json::from_str(&worker.cursors).unwrap_or_default(),
        }
    }
}
