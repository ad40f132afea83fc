//! Rotate signing keys: an issuer's, a log's, or those of access tokens.
//!
//! Of an issuer the order is what makes it safe. The key is made and waits; the ledger says that it is the issuer's; who ordered it is recorded; then
//! it is used. No document names a did that the ledger does not know, and a crash anywhere in between leaves a rotation that was begun:
//! rotating again finishes that one. The keys before stay in the vault, for what was issued under their dids.

use credence_ledger::checkpoint::VerifierKey;
use credence_ledger::decision::issuer::{self as decision, Rejection, State};
use credence_ledger::event::audit::{LogKeyRotated, SigningKeyRotated, TokenKeysReplaced};
use credence_ledger::event::issuer::IssuerEvent;
use credence_ledger::event::{DecodeError, Origination};
use credence_ledger::log::{Append, Expected, Outcome, Query, Refusal};
use credence_ledger::stream::category;
use credence_ledger::vault::Issuer;
use credence_ledger::{LogName, Stream};

use super::{Error, audit};
use crate::caller::Caller;
use crate::services::Services;
use crate::stores;

/// How often it is decided anew because others did something to the same issuer meanwhile.
const TRIES_MAX: usize = 5;

/// Rotates the key of `issuer`, or finishes a rotation that was begun; answers the did under which it issues from now on.
///
/// # Errors
/// [`Error::Contended`], [`Error::Audit`], or the world's. What was begun is finished by rotating again.
pub async fn rotate(services: &Services, caller: &Caller, issuer: &Issuer) -> Result<String, Error> {
    let ledger = services.ledger()?;
    // The ledger may be older than the vault, restored from a backup.
    stores::register(ledger, issuer, &Origination::system(&services.worker), &services.random).await?;
    let stream = Stream::issuer(issuer.id);
    for _ in 0..TRIES_MAX {
        let did = services.vault.next_issuer_key(issuer.id).await?;
        let did = did.ok_or_else(|| Error::corrupt("an issuer that the vault does not know"))?;
        // A crash before the append leaves a key that waits.
        let events = ledger.log.read(&Query::stream(&stream)).await?;
        let last = events.last().ok_or_else(|| Error::corrupt("an issuer that was just registered has no event"))?.version;
        let events = events.iter().map(IssuerEvent::decode).collect::<Result<Vec<IssuerEvent>, DecodeError>>()?;
        match decision::rotate(&State::fold(&events), &did) {
            Ok(event) => {
                let metadata = caller.origination(&services.worker).metadata(&services.random);
                let append = Append::to(stream.clone(), Expected::Exact(last), vec![event.encode(&metadata)]);
                match ledger.append(append).await? {
                    Outcome::Appended(_) => {}
                    Outcome::Refused(Refusal::StaleVersion { .. }) => continue,
                    outcome => return Err(Error::corrupt(format!("a rotation was answered {outcome:?}"))),
                }
            }
            // Begun before, by whoever crashed, or by another who is not through with it.
            Err(Rejection::AlreadyCurrent) => {}
            // The vault is older than the ledger, restored from a backup: it catches up.
            Err(Rejection::AlreadyRetired) => {
                services.vault.use_issuer_key(issuer.id, &did).await?;
                continue;
            }
            Err(Rejection::NotRegistered) => return Err(Error::corrupt("an issuer's stream does not begin with its registration")),
        }
        // From here on a crash leaves a key that the ledger knows and that nobody uses yet.
        record(services, caller, &stream, &did).await?;
        services.vault.use_issuer_key(issuer.id, &did).await?;
        return Ok(did);
    }
    Err(Error::Contended)
}

/// Gives a log another key to sign its checkpoints with, and answers how others check what it signs. That it was ordered is recorded
/// first; a crash after that leaves the old key, and rotating again makes another.
///
/// # Errors
/// [`Error::Audit`], or the vault's.
pub async fn rotate_log(services: &Services, caller: &Caller, log: &LogName) -> Result<VerifierKey, Error> {
    audit::record(services, caller, category::KEY, &LogKeyRotated { log: log.to_string() }).await?;
    Ok(services.vault.rotate_log_key(log, services.clock.now()).await?.verifier())
}

/// Signs access tokens with another key, and takes none any longer that was signed until now.
///
/// # Errors
/// The vault's; [`Error::Unrecorded`], and it is done.
pub async fn rotate_tokens(services: &Services, caller: &Caller) -> Result<(), Error> {
    services.vault.replace_token_keys(services.clock.now()).await?;
    audit::record(services, caller, category::KEY, &TokenKeysReplaced {}).await.map(|_| ()).map_err(Error::after_the_fact)
}

/// Once a did, as what was begun may have been recorded; two who finish it at the same moment may both say so.
async fn record(services: &Services, caller: &Caller, stream: &Stream, did: &str) -> Result<(), Error> {
    let rotated = SigningKeyRotated { did: did.to_owned() };
    let query = Query::stream(stream).of::<SigningKeyRotated>();
    for event in services.audit.log.read(&query).await.map_err(|error| Error::Audit(error.into()))? {
        if event.payload::<SigningKeyRotated>()? == rotated {
            return Ok(());
        }
    }
    audit::record_on(services, caller, stream.clone(), Expected::Any, &rotated).await.map(|_| ())
}
