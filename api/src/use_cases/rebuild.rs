//! Build a read model anew. The act is recorded before it begins; that it is done is recorded when its result serves.

use credence_ledger::Stream;
use credence_ledger::causes;
use credence_ledger::event::audit::{RebuildFinished, RebuildStarted};
use credence_ledger::log::Expected;
use credence_ledger::stream::category;
use credence_projections::projector::Projector;
use credence_projections::read_store::Rebuild;
use credence_projections::rebuild::{self, Job, Options};

use super::{Error, audit};
use crate::caller::Caller;
use crate::services::Services;

/// Begins a rebuild and records it: nobody else rebuilds this projection from here on. It goes on with [`run`].
///
/// # Errors
/// [`Error::RebuildRunning`]; [`Error::Audit`], and then nothing is rebuilt; or a store's.
pub async fn begin(services: &Services, caller: &Caller, projector: Projector, options: Options) -> Result<Job, Error> {
    let projection = projector.projection;
    let stream = Stream::new(category::REBUILD, options.id);
    let job = rebuild::start(projector, options).await.map_err(|error| match error {
        rebuild::Error::Running(projection) => Error::RebuildRunning(projection),
        rebuild::Error::Log(error) => Error::Store(error),
        rebuild::Error::Store(error) => Error::Projection(error),
        error => Error::corrupt(error.to_string()),
    })?;
    let started = RebuildStarted { generation: job.generation(), projection: projection.to_string() };
    if let Err(error) = audit::record_on(services, caller, stream, Expected::None, &started).await {
        // What it left is taken up by the next one.
        if let Err(unwritten) = job.give_up("its beginning could not be recorded").await {
            tracing::warn!(reason = causes(&unwritten), "a rebuild that was given up is still told as running");
        }
        return Err(error);
    }
    Ok(job)
}

/// Runs a rebuild to its end and records that its result serves.
///
/// # Errors
/// It failed, and what served still does. That its end could not be recorded is logged: it cannot be undone.
pub async fn run(services: &Services, caller: &Caller, job: Job) -> Result<Rebuild, rebuild::Error> {
    let generation = job.generation();
    let rebuilt = job.run().await?;
    let finished = RebuildFinished { equal: rebuilt.equal, generation, projection: rebuilt.projection.to_string() };
    let stream = Stream::new(category::REBUILD, rebuilt.id);
    if let Err(error) = audit::record_on(services, caller, stream, Expected::Any, &finished).await {
        tracing::error!(reason = causes(&error), rebuild = %rebuilt.id, "a rebuild's end could not be recorded");
    }
    Ok(rebuilt)
}
