//! Query strings, as strict as bodies: an unknown or repeated parameter is refused rather than ignored. They are never logged.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::problem::{FieldError, Problem};

/// The parameters that nobody has taken yet, and what is wrong with those that were.
#[derive(Debug)]
pub struct Parameters {
    given: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Parameters, Problem> {
        let Query(given) = Query::try_from_uri(&parts.uri).map_err(|_| Problem::field("", "format", "the query is malformed"))?;
        Ok(Parameters { given, errors: Vec::new() })
    }
}

impl Parameters {
    /// The parameter, as it is.
    pub fn string(&mut self, name: &str) -> Option<String> {
        let at = self.given.iter().position(|(held, _)| held == name)?;
        let (_, value) = self.given.remove(at);
        let before = self.given.len();
        self.given.retain(|(held, _)| held != name);
        if self.given.len() < before {
            self.refuse(name, "duplicate", "stands more than once");
            return None;
        }
        Some(value)
    }

    /// A parameter that spells a `T`: a time, a stream, a position.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.string(name)?;
        text.parse().map_err(|error: T::Err| self.refuse(name, "format", error.to_string())).ok()
    }

    /// A parameter that stands for what `find` makes of it.
    pub fn one_of<T>(&mut self, name: &str, expected: &str, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.string(name)?;
        let found = find(&text);
        if found.is_none() {
            self.refuse(name, "format", format!("expected {expected}"));
        }
        found
    }

    /// `true` or `false`; absent is `false`.
    pub fn flag(&mut self, name: &str) -> bool {
        self.one_of(name, "true or false", |text| text.parse().ok()).unwrap_or(false)
    }

    /// A whole number within bounds.
    pub fn integer(&mut self, name: &str, min: u64, max: u64) -> Option<u64> {
        let text = self.string(name)?;
        let digits = text.strip_prefix('-').unwrap_or(&text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            self.refuse(name, "format", "expected a whole number");
            return None;
        }
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                self.refuse(name, "range", format!("expected {min} to {max}"));
                None
            }
        }
    }

    /// Tells a broken rule of the parameter `name`.
    pub fn refuse(&mut self, name: &str, code: &'static str, message: impl Into<String>) {
        self.errors.push(FieldError::new(name, code, message));
    }

    /// Ends the reading: parameters that nobody took are unknown.
    ///
    /// # Errors
    /// 422 with every broken rule.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.given) {
            if !self.errors.iter().any(|error| error.field == name && error.code == "unknown") {
                self.refuse(&name, "unknown", "no such parameter");
            }
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Parameters {
        let uri = format!("/x?{query}").parse().unwrap();
        Parameters { given: Query::try_from_uri(&uri).unwrap().0, errors: Vec::new() }
    }

    fn codes(parameters: Parameters) -> Vec<(String, String)> {
        let Err(problem) = parameters.finish() else { return Vec::new() };
        problem.errors.iter().map(|error| (error.field.clone(), error.code.to_owned())).collect()
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        let mut parameters = of("limit=5&type=a&type=a&other=1&other=2");
        assert_eq!(parameters.integer("limit", 1, 100), Some(5));
        assert_eq!(parameters.string("type"), None);
        let expected = [("type", "duplicate"), ("other", "unknown")];
        assert_eq!(codes(parameters), expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
    }

    #[test]
    fn a_number_must_be_whole_and_within_its_bounds() {
        for (text, code) in
            [("0", "range"), ("101", "range"), ("-1", "range"), ("99999999999999999999", "range"), ("x", "format"), ("", "format")]
        {
            let mut parameters = of(&format!("limit={text}"));
            assert_eq!(parameters.integer("limit", 1, 100), None);
            assert_eq!(codes(parameters), [("limit".to_owned(), code.to_owned())], "{text}");
        }
    }
}
