//! May this credential be issued, suspended, reinstated, revoked?

use crate::event::credential::{CredentialEvent, CredentialIssued, CredentialReinstated, CredentialRevoked, CredentialSuspended};
use crate::sealing::Sealed;

/// A rule said no. The name is the broken rule's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such credential.
    #[error("the credential was never issued")]
    NotIssued,
    /// A credential is issued once.
    #[error("the credential has been issued already")]
    AlreadyIssued,
    /// Revoked is final.
    #[error("the credential has been revoked already")]
    AlreadyRevoked,
    /// Only an active credential can be suspended.
    #[error("the credential is suspended already")]
    AlreadySuspended,
    /// Only a suspended credential can be reinstated.
    #[error("the credential is not suspended")]
    NotSuspended,
}

/// What the events say of a credential. Expiry is no event: it follows from the dates and the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// No event yet.
    #[default]
    Unissued,
    /// It counts.
    Active,
    /// It does not count for the time being.
    Suspended,
    /// It does not count any more.
    Revoked,
}

/// A change of a credential that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Active → suspended.
    Suspend,
    /// Suspended → active.
    Reinstate,
    /// Active or suspended → revoked.
    Revoke,
}

impl State {
    /// The state after `event`. Events of a log never contradict the rules, so none is refused here.
    #[must_use]
    pub fn apply(self, event: &CredentialEvent) -> State {
        match event {
            CredentialEvent::Issued(_) | CredentialEvent::Reinstated(_) => State::Active,
            CredentialEvent::Suspended(_) => State::Suspended,
            CredentialEvent::Revoked(_) => State::Revoked,
        }
    }

    /// The state after all of `events`.
    #[must_use]
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a CredentialEvent>) -> State {
        events.into_iter().fold(State::default(), State::apply)
    }
}

/// Issues a credential.
///
/// # Errors
/// [`Rejection::AlreadyIssued`]. That its natural key is free is a matter of the log's unique keys.
pub fn issue(state: State, issued: CredentialIssued) -> Result<CredentialEvent, Rejection> {
    match state {
        State::Unissued => Ok(CredentialEvent::Issued(issued)),
        State::Active | State::Suspended | State::Revoked => Err(Rejection::AlreadyIssued),
    }
}

/// Changes a credential's status.
///
/// # Errors
/// Names the rule that forbids it.
pub fn change(state: State, change: Change, reason: Option<Sealed>) -> Result<CredentialEvent, Rejection> {
    match (state, change) {
        (State::Unissued, _) => Err(Rejection::NotIssued),
        (State::Revoked, _) => Err(Rejection::AlreadyRevoked),
        (State::Active | State::Suspended, Change::Revoke) => Ok(CredentialEvent::Revoked(CredentialRevoked { reason })),
        (State::Active, Change::Suspend) => Ok(CredentialEvent::Suspended(CredentialSuspended { reason })),
        (State::Suspended, Change::Suspend) => Err(Rejection::AlreadySuspended),
        (State::Suspended, Change::Reinstate) => Ok(CredentialEvent::Reinstated(CredentialReinstated { reason })),
        (State::Active, Change::Reinstate) => Err(Rejection::NotSuspended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_bytes::ByteArray;

    fn issued() -> CredentialIssued {
        CredentialIssued {
            credential_type: "badge".to_owned(),
            digest: ByteArray::new([7; 32]),
            issuer: uuid::Uuid::nil(),
            document: None,
            subject_id: None,
            valid_from: None,
            valid_until: None,
        }
    }

    /// Given the changes that went through since it was issued, when `next` is asked for, then …
    fn after(given: &[Change], next: Change) -> Result<State, Rejection> {
        let mut state = State::fold(&[issue(State::Unissued, issued()).expect("nothing stands against it")]);
        for step in given {
            state = state.apply(&change(state, *step, None).expect("given changes are allowed"));
        }
        change(state, next, None).map(|event| state.apply(&event))
    }

    #[test]
    fn a_credential_is_issued_once() {
        for state in [State::Active, State::Suspended, State::Revoked] {
            assert_eq!(issue(state, issued()), Err(Rejection::AlreadyIssued));
        }
    }

    #[test]
    fn an_active_credential_can_be_suspended_and_reinstated() {
        assert_eq!(after(&[], Change::Suspend), Ok(State::Suspended));
        assert_eq!(after(&[Change::Suspend], Change::Reinstate), Ok(State::Active));
        assert_eq!(after(&[Change::Suspend], Change::Suspend), Err(Rejection::AlreadySuspended));
        assert_eq!(after(&[], Change::Reinstate), Err(Rejection::NotSuspended));
    }

    #[test]
    fn revoked_is_final() {
        assert_eq!(after(&[], Change::Revoke), Ok(State::Revoked));
        assert_eq!(after(&[Change::Suspend], Change::Revoke), Ok(State::Revoked));
        for next in [Change::Suspend, Change::Reinstate, Change::Revoke] {
            assert_eq!(after(&[Change::Revoke], next), Err(Rejection::AlreadyRevoked));
        }
    }

    #[test]
    fn what_was_never_issued_cannot_be_changed() {
        for next in [Change::Suspend, Change::Reinstate, Change::Revoke] {
            assert_eq!(change(State::Unissued, next, None), Err(Rejection::NotIssued));
        }
    }
}
