//! May this issuer issue under another key from now on?

use crate::event::issuer::{IssuerEvent, IssuerKeyRotated};

/// A rule said no. The name is the broken rule's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such issuer.
    #[error("the issuer was never registered")]
    NotRegistered,
    /// It issues under this key already.
    #[error("the key is the issuer's current one already")]
    AlreadyCurrent,
    /// A key that was given up never comes back.
    #[error("the issuer gave up this key")]
    AlreadyRetired,
}

/// What the events say of an issuer: the dids under which it has issued, the current one last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    dids: Vec<String>,
}

impl State {
    /// The state after `event`. Events of a log never contradict the rules, so none is refused here.
    #[must_use]
    pub fn apply(mut self, event: &IssuerEvent) -> State {
        self.dids.push(event.did().to_owned());
        self
    }

    /// The state after all of `events`.
    #[must_use]
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a IssuerEvent>) -> State {
        events.into_iter().fold(State::default(), State::apply)
    }
}

/// Rotates the issuer's key to the one of `did`.
///
/// # Errors
/// Names the rule that forbids it.
pub fn rotate(state: &State, did: &str) -> Result<IssuerEvent, Rejection> {
    match state.dids.split_last() {
        None => Err(Rejection::NotRegistered),
        Some((current, _)) if current == did => Err(Rejection::AlreadyCurrent),
        Some((_, retired)) if retired.iter().any(|retired| retired == did) => Err(Rejection::AlreadyRetired),
        Some(_) => Ok(IssuerEvent::KeyRotated(IssuerKeyRotated { did: did.to_owned() })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::issuer::IssuerRegistered;

    /// Given an issuer that was registered with the first of `dids` and rotated to the others, when a rotation to `next` is asked
    /// for, then …
    fn after(dids: &[&str], next: &str) -> Result<State, Rejection> {
        let mut state = State::default();
        for (at, did) in dids.iter().enumerate() {
            let registered = || IssuerEvent::Registered(IssuerRegistered { did: (*did).to_owned(), name: "default".to_owned() });
            let event = if at == 0 { registered() } else { rotate(&state, did).expect("given rotations are allowed") };
            state = state.apply(&event);
        }
        rotate(&state, next).map(|event| state.apply(&event))
    }

    #[test]
    fn a_registered_issuer_can_rotate_to_another_key() {
        assert_eq!(after(&["a"], "b").unwrap().dids, ["a", "b"]);
        assert_eq!(after(&["a", "b"], "c").unwrap().dids, ["a", "b", "c"]);
    }

    #[test]
    fn what_was_never_registered_has_no_key_to_rotate() {
        assert_eq!(after(&[], "a"), Err(Rejection::NotRegistered));
    }

    #[test]
    fn the_current_key_is_not_rotated_to_itself() {
        assert_eq!(after(&["a"], "a"), Err(Rejection::AlreadyCurrent));
        assert_eq!(after(&["a", "b"], "b"), Err(Rejection::AlreadyCurrent));
    }

    #[test]
    fn a_key_given_up_never_comes_back() {
        assert_eq!(after(&["a", "b"], "a"), Err(Rejection::AlreadyRetired));
        assert_eq!(after(&["a", "b", "c"], "b"), Err(Rejection::AlreadyRetired));
    }
}
