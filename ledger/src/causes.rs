//! Errors as they are told: with what lies beneath them, in one line.

/// An error and its sources, the first cause last: `the store cannot be reached: Connection refused (os error 111)`.
///
/// A log line has it in the field `reason`. An error that is given to it as it is would lose its sources where lines are JSON.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let links: Vec<String> = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    links.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn the_whole_chain_is_told() {
        let beneath = std::io::Error::other(store::Error::Failed("no room".into()));
        assert_eq!(causes(&store::Error::Unavailable(beneath.into())), "the store cannot be reached: the store failed: no room");
        assert_eq!(causes(&store::Error::Busy), "the store is busy");
    }
}
