//! May this subject be erased?

use crate::event::subject::{SubjectErased, SubjectEvent};

/// A rule said no. The name is the broken rule's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A subject is erased once, for good.
    #[error("the subject has been erased already")]
    AlreadyErased,
}

/// What the events say of a subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// No event: credentials may be issued for it.
    #[default]
    Known,
    /// Nothing happens to it or to its credentials any more.
    Erased,
}

impl State {
    /// The state after `event`. Events of a log never contradict the rules, so none is refused here.
    #[must_use]
    pub fn apply(self, event: &SubjectEvent) -> State {
        match event {
            SubjectEvent::Erased(_) => State::Erased,
        }
    }

    /// The state after all of `events`.
    #[must_use]
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a SubjectEvent>) -> State {
        events.into_iter().fold(State::default(), State::apply)
    }
}

/// Erases a subject.
///
/// # Errors
/// [`Rejection::AlreadyErased`].
pub fn erase(state: State, erased: SubjectErased) -> Result<SubjectEvent, Rejection> {
    match state {
        State::Known => Ok(SubjectEvent::Erased(erased)),
        State::Erased => Err(Rejection::AlreadyErased),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_subject_is_erased_once() {
        let erased =
            || SubjectErased { keys: vec![format!("subject/{}", Uuid::nil())], order: Uuid::nil(), issuer: Uuid::nil(), credentials: 1 };
        let event = erase(State::fold([]), erased()).expect("nothing stands against it");
        assert_eq!(erase(State::fold([&event]), erased()), Err(Rejection::AlreadyErased));
    }
}
