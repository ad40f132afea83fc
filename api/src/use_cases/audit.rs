//! What is recorded of a request in the audit log.

use credence_ledger::event::audit::PersonalDataRead;
use credence_ledger::event::{New, Payload, Recorded, new_id};
use credence_ledger::log::{Append, Expected, Outcome};
use credence_ledger::stream::category;
use credence_ledger::{Stream, store};

use super::Error;
use crate::caller::Caller;
use crate::services::Services;

/// Records a fact on a fresh stream of `category`, and answers it after the commit. The caller's address and user agent go with
/// it, sealed.
///
/// # Errors
/// [`Error::Audit`]: what was to be recorded must not happen.
pub async fn record<P: Payload>(services: &Services, caller: &Caller, category: &'static str, payload: &P) -> Result<Recorded, Error> {
    let stream = Stream::new(category, new_id(&services.clock, &services.random));
    record_on(services, caller, stream, Expected::None, payload).await
}

/// As [`record`], on the stream of the thing that it is about.
///
/// # Errors
/// [`Error::Audit`].
pub async fn record_on<P: Payload>(
    services: &Services,
    caller: &Caller,
    stream: Stream,
    expected: Expected,
    payload: &P,
) -> Result<Recorded, Error> {
    let event = event(services, caller, &stream, payload).await?;
    let append = Append::to(stream, expected, vec![event]);
    match services.audit.append(append).await.map_err(Error::Audit)? {
        Outcome::Appended(events) => {
            events.into_iter().next().ok_or_else(|| unwritable(store::Error::Corrupt("an append without an event".to_owned())))
        }
        outcome => Err(unwritable(store::Error::Corrupt(format!("the audit log answered {outcome:?}")))),
    }
}

/// An event of `stream` that waits to be recorded, with the caller's address and user agent, sealed.
///
/// # Errors
/// [`Error::Audit`].
pub async fn event<P: Payload>(services: &Services, caller: &Caller, stream: &Stream, payload: &P) -> Result<New, Error> {
    let metadata = services.audit_metadata::<P>(caller, stream).await.map_err(unwritable)?;
    Ok(New::of(payload, &metadata))
}

fn unwritable(error: store::Error) -> Error {
    Error::Audit(error.into())
}

/// Records that what is personal is about to be told to a caller: sealed fields, or other people's accounts; `what` is the one stream
/// read, if it is one.
///
/// # Errors
/// [`Error::Audit`]: it must not be told.
pub async fn personal_data_read(services: &Services, caller: &Caller, what: Option<&Stream>) -> Result<(), Error> {
    let payload = PersonalDataRead { via: caller.via.to_string(), what: what.map(Stream::to_string) };
    record(services, caller, category::ACCESS, &payload).await.map(|_| ())
}
