//! Texts on the command line: what stands in requests is held by the same rules here.

use crate::http::body::Text;

/// Reads an argument into its normal form, or says what is wrong with it.
pub(super) fn text(rule: &'static Text) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync + 'static {
    move |given| rule.read(given).map_err(|(_, problem)| problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::key::ISSUER;

    #[test]
    fn an_argument_is_brought_into_normal_form_or_refused_with_the_rule_that_it_breaks() {
        let read = text(&ISSUER);
        assert_eq!(read("  Example   University "), Ok("Example University".to_owned()));
        assert_eq!(read(&"x".repeat(100)), Ok("x".repeat(100)));
        for (given, problem) in
            [(" ", "is blank"), (&"x".repeat(101), "longer than 100 characters"), ("a\u{7}b", "control characters are not taken")]
        {
            assert_eq!(read(given), Err(problem.to_owned()));
        }
    }
}
