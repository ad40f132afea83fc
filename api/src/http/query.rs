//! Query strings, as strict as bodies: an unknown or repeated parameter is refused rather than ignored. They are never logged.

use std::fmt::{self, Display};
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use credence_ledger::Position;
use uuid::Uuid;

use super::body::Text;
use super::problem::{ERRORS_MAX, FieldError, Problem};

/// How many items a page has when the caller does not say.
pub const LIMIT_DEFAULT: usize = 20;
/// How many items a page has at most.
pub const LIMIT_MAX: u64 = 100;

/// Where a page begins, as it is handed out and taken back. What it spells is nobody's business but ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub Position);

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a next_cursor as it was answered")]
pub struct MalformedCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{:x}", self.0.0)
    }
}

impl FromStr for Cursor {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Cursor, MalformedCursor> {
        let digits = text.strip_prefix('c').ok_or(MalformedCursor)?;
        let position = u64::from_str_radix(digits, 16).map_err(|_| MalformedCursor)?;
        let cursor = Cursor(Position(position));
        // Only what was handed out: no sign, no leading zero, no capital; and no position that the engines cannot hold.
        if i64::try_from(position).is_ok() && cursor.to_string() == text { Ok(cursor) } else { Err(MalformedCursor) }
    }
}

/// Where a page begins of things that are listed by their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdCursor(pub Uuid);

impl fmt::Display for IdCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.0.as_simple())
    }
}

impl FromStr for IdCursor {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<IdCursor, MalformedCursor> {
        let id = text.strip_prefix('i').and_then(|digits| digits.parse().ok()).map(IdCursor).ok_or(MalformedCursor)?;
        if id.to_string() == text { Ok(id) } else { Err(MalformedCursor) }
    }
}

/// What is asked for, so that it shows whether there is another page.
#[must_use]
pub fn one_more(limit: usize) -> u32 {
    u32::try_from(limit + 1).unwrap_or(u32::MAX)
}

/// Takes from a page what is [one more](one_more), and answers where the next one begins, if there is one.
pub fn end_page<T>(found: &mut Vec<T>, limit: usize, id: impl Fn(&T) -> Uuid) -> Option<String> {
    let more = found.len() > limit;
    found.truncate(limit);
    found.last().filter(|_| more).map(|last| IdCursor(id(last)).to_string())
}

/// The parameters that nobody has taken yet, and what is wrong with those that were.
#[derive(Debug)]
pub struct Parameters {
    given: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Parameters, Problem> {
        let Query(given): Query<Vec<(String, String)>> =
            Query::try_from_uri(&parts.uri).map_err(|_| Problem::field("", "format", "the query is malformed"))?;
        // What is no UTF-8 comes as this character, which stands in nothing that is meant.
        if given.iter().any(|(name, value)| name.contains('\u{fffd}') || value.contains('\u{fffd}')) {
            return Err(Problem::field("", "format", "the query is not UTF-8"));
        }
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

    /// A text in its normal form.
    pub fn text(&mut self, name: &str, rule: &Text) -> Option<String> {
        let given = self.string(name)?;
        rule.read(&given).map_err(|(code, message)| self.refuse(name, code, message)).ok()
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

    /// `cursor`: where the page begins.
    pub fn cursor(&mut self) -> Option<Position> {
        self.parsed("cursor").map(|Cursor(position)| position)
    }

    /// `cursor`: where a page begins of things that are listed by their ids.
    pub fn id_cursor(&mut self) -> Option<Uuid> {
        self.parsed("cursor").map(|IdCursor(id)| id)
    }

    /// `limit`: how many items the page has at most.
    pub fn limit(&mut self, max: u64) -> usize {
        self.integer("limit", 1, max).and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LIMIT_DEFAULT)
    }

    /// Tells that a parameter is missing, unless something else was wrong with it.
    pub fn require(&mut self, name: &str) {
        if !self.errors.iter().any(|error| error.field == name) {
            self.refuse(name, "required", "is required");
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
            if self.errors.len() < ERRORS_MAX && !self.errors.iter().any(|error| error.field == name && error.code == "unknown") {
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
    fn no_more_than_a_hundred_unknown_parameters_are_told() {
        let query: Vec<String> = (0..2000).map(|number| format!("p{number}")).collect();
        assert_eq!(codes(of(&query.join("&"))).len(), ERRORS_MAX);
    }

    #[test]
    fn a_cursor_is_taken_only_as_it_was_handed_out() {
        let cursor = Cursor(Position(42));
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "c", "2a", "c02a", "c2A", "c+2a", "cg", "cffffffffffffffff", "c10000000000000000"] {
            assert_eq!(text.parse::<Cursor>(), Err(MalformedCursor), "{text}");
        }
        let cursor = IdCursor(Uuid::from_u128(42));
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "i", "i2a", "00000000-0000-0000-0000-00000000002a", "i00000000-0000-0000-0000-00000000002a", "c2a"] {
            assert_eq!(text.parse::<IdCursor>(), Err(MalformedCursor), "{text}");
        }
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
