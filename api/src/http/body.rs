//! JSON bodies: from bytes to a command's fields, every broken rule told.
//!
//! [`Json`] and [`OptionalJson`] extract a body: its media type, its bytes, [`ledger::json`](credence_ledger::json)'s strictness.
//! [`Fields`] then takes the members of an object one by one and collects what is wrong with them, up to a bound; what nobody took is
//! unknown.
//! Absent and null are the same. Nothing here knows what a command means.

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use credence_ledger::json::{self, Refused};
use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;
use serde_json::{Map, Value};

use super::problem::{ERRORS_MAX, FieldError, Kind, Problem};

/// A body that must be there and must be JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub Value);

/// A body that may be left out, together with its media type; then it is null.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionalJson(pub Value);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Json, Problem> {
        let json = is_json(request.headers());
        refuse_coded(request.headers())?;
        let bytes = Whole::of(request);
        if !json {
            return Err(Problem::new(Kind::UNSUPPORTED_MEDIA_TYPE).detail("expected the media type application/json"));
        }
        parse(&bytes).map(Json)
    }
}

impl<S: Send + Sync> FromRequest<S> for OptionalJson {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<OptionalJson, Problem> {
        let named = request.headers().contains_key(CONTENT_TYPE);
        let json = is_json(request.headers());
        refuse_coded(request.headers())?;
        let bytes = Whole::of(request);
        match (bytes.is_empty(), named, json) {
            (true, false, _) | (true, true, true) => Ok(OptionalJson(Value::Null)),
            (false, _, true) => parse(&bytes).map(OptionalJson),
            (_, _, false) => Err(Problem::new(Kind::UNSUPPORTED_MEDIA_TYPE).detail("expected the media type application/json")),
        }
    }
}

/// What is coded is not taken for what it would be uncoded (RFC 9110, section 8.4).
fn refuse_coded(headers: &HeaderMap) -> Result<(), Problem> {
    let is_coded = headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let refused = || Problem::new(Kind::UNSUPPORTED_MEDIA_TYPE).detail("bodies are taken without a Content-Encoding");
    if is_coded { Err(refused()) } else { Ok(()) }
}

impl OptionalJson {
    /// For what takes no members: nothing, or an empty object.
    ///
    /// # Errors
    /// 422 for anything else.
    pub fn without_members(self) -> Result<(), Problem> {
        if self.0.is_null() { Ok(()) } else { Fields::read(self.0, |_| Some(())) }
    }
}

/// A body that is not empty, among its request's extensions: admission has bounded it and read it to its end. The request has no other.
#[derive(Debug, Clone)]
pub struct Whole(pub Bytes);

impl Whole {
    fn of(mut request: Request) -> Bytes {
        request.extensions_mut().remove().map(|Whole(bytes)| bytes).unwrap_or_default()
    }
}

/// `application/json` or `application/*+json`, with any parameters but another charset than UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let (Some(Ok(media_type)), None) = (given.next().map(|value| value.to_str()), given.next()) else { return false };
    let mut parts = media_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let suffixed = essence.strip_prefix("application/").and_then(|subtype| subtype.strip_suffix("+json"));
    let named = essence == "application/json" || suffixed.is_some_and(|name| !name.is_empty() && name.bytes().all(is_token));
    let utf8 = |part: &str| part.strip_prefix("charset=").is_none_or(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8"));
    named && parts.all(|part| utf8(&part))
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Parses a body that is needed.
///
/// # Errors
/// 400 when it is not JSON, 422 when it is JSON that is not taken.
pub fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    json::parse(bytes).map_err(|refused| match refused {
        Refused::Malformed { .. } if bytes.is_empty() => Problem::new(Kind::MALFORMED_JSON).detail("a body is needed"),
        Refused::Malformed { detail } => Problem::new(Kind::MALFORMED_JSON).detail(detail),
        Refused::Duplicate { field } => Problem::field(field, "duplicate", "the member stands twice"),
        Refused::Range { field } => Problem::field(
            field,
            "range",
            "expected a whole number within ±(2^53−1), one from 1e21 on with an exponent, or a fraction, none beyond what a double can hold",
        ),
        Refused::TooDeep { field } => Problem::field(field, "too_deep", format!("nested over {} levels", json::DEPTH_MAX)),
    })
}

/// What a text must be like. The length is that of the normal form, in Unicode scalars; what shows nothing is blank.
pub struct Text {
    /// At most so long.
    pub length_max: usize,
    /// Makes the normal form.
    pub normal: fn(&str) -> String,
    /// Whether tab and line breaks are text, and so are characters that turn the direction of what follows: on one line they make a text
    /// look like another one. Other control characters (C0, DEL, C1) never are.
    pub lines: bool,
}

impl Text {
    /// The normal form of what was given.
    ///
    /// # Errors
    /// The code and the message of the rule that is broken.
    pub fn read(&self, given: &str) -> Result<String, (&'static str, String)> {
        if given.chars().any(|character| is_refused_control(character, self.lines)) {
            return Err(("control_character", "control characters are not taken".to_owned()));
        }
        if !self.lines && given.chars().any(turns_direction) {
            return Err(("control_character", "characters that turn the direction of text are not taken".to_owned()));
        }
        let normal = (self.normal)(given);
        if is_blank(&normal) {
            return Err(("blank", "is blank".to_owned()));
        }
        if normal.chars().count() > self.length_max {
            return Err(("too_long", format!("longer than {} characters", self.length_max)));
        }
        Ok(normal)
    }
}

/// What is left of an object's members, and what is wrong with those that were taken.
pub struct Fields {
    members: Map<String, Value>,
    /// The object's own place, with a dot behind it; empty for the body.
    prefix: String,
    errors: Rc<RefCell<Vec<FieldError>>>,
}

impl Fields {
    /// Reads a whole body with `read` and answers what it made, if no rule was broken. Members that it did not take are unknown.
    ///
    /// # Errors
    /// 422 with every broken rule.
    pub fn read<T>(body: Value, read: impl FnOnce(&mut Fields) -> Option<T>) -> Result<T, Problem> {
        let (made, errors) = Fields::run(body, true, read);
        match made {
            Some(made) if errors.is_empty() => Ok(made),
            _ => Err(Problem::invalid(errors)),
        }
    }

    /// As [`Fields::read`], but members that `read` did not take are ignored.
    ///
    /// # Errors
    /// Every broken rule.
    pub fn read_leniently<T>(body: Value, read: impl FnOnce(&mut Fields) -> Option<T>) -> Result<T, Vec<FieldError>> {
        let (made, errors) = Fields::run(body, false, read);
        match made {
            Some(made) if errors.is_empty() => Ok(made),
            _ => Err(errors),
        }
    }

    fn run<T>(body: Value, strict: bool, read: impl FnOnce(&mut Fields) -> Option<T>) -> (Option<T>, Vec<FieldError>) {
        let Value::Object(members) = body else {
            return (None, vec![FieldError::new("", "type", "expected an object")]);
        };
        let errors = Rc::default();
        let mut fields = Fields { members, prefix: String::new(), errors: Rc::clone(&errors) };
        let made = read(&mut fields);
        if strict {
            fields.refuse_the_rest("no such member");
        }
        (made, errors.take())
    }

    /// Tells a broken rule of the member `name`.
    pub fn refuse(&self, name: &str, code: &'static str, message: impl Into<String>) {
        self.tell(|prefix| format!("{prefix}{name}"), code, message);
    }

    /// Tells a broken rule of the object itself.
    pub fn refuse_whole(&self, code: &'static str, message: impl Into<String>) {
        self.tell(|prefix| prefix.trim_end_matches('.').to_owned(), code, message);
    }

    fn tell(&self, field: impl FnOnce(&str) -> String, code: &'static str, message: impl Into<String>) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < ERRORS_MAX {
            errors.push(FieldError::new(field(&self.prefix), code, message));
        }
    }

    /// Refuses every member that was not taken yet, as unknown.
    pub fn refuse_the_rest(&mut self, message: &str) {
        for (name, value) in std::mem::take(&mut self.members) {
            if !value.is_null() {
                self.refuse(&name, "unknown", message);
            }
        }
    }

    /// Lets members pass that were not taken: what they would be is decided by one that is wrong.
    pub fn ignore_the_rest(&mut self) {
        self.members.clear();
    }

    /// Whether the member is there and not null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    /// The member, whatever it is; `None` when absent or null.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Tells that `name` is required, if `taken` is nothing although nothing was wrong with it.
    fn required<T>(&mut self, name: &str, take: impl FnOnce(&mut Fields) -> Option<T>) -> Option<T> {
        if !self.has(name) {
            self.members.remove(name);
            self.refuse(name, "required", "is required");
            return None;
        }
        take(self)
    }

    /// A string, as it is.
    pub fn string(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => {
                self.refuse(name, "type", "expected a string");
                None
            }
        }
    }

    /// A string that must be there, as it is.
    pub fn required_string(&mut self, name: &str) -> Option<String> {
        self.required(name, |fields| fields.string(name))
    }

    /// A text in its normal form.
    pub fn text(&mut self, name: &str, rule: &Text) -> Option<String> {
        let given = self.string(name)?;
        rule.read(&given).map_err(|(code, message)| self.refuse(name, code, message)).ok()
    }

    /// A text that must be there, in its normal form.
    pub fn required_text(&mut self, name: &str, rule: &Text) -> Option<String> {
        self.required(name, |fields| fields.text(name, rule))
    }

    /// A string that spells a `T`: a time, an id, a position.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.string(name)?;
        text.parse().map_err(|error: T::Err| self.refuse(name, "format", error.to_string())).ok()
    }

    /// A string that one of `names` is and that stands for what `find` makes of it.
    pub fn one_of<T>(&mut self, name: &str, expected: &str, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.string(name)?;
        let found = find(&text);
        if found.is_none() {
            self.refuse(name, "format", format!("expected {expected}"));
        }
        found
    }

    /// A whole number within bounds.
    pub fn integer(&mut self, name: &str, min: u64, max: u64) -> Option<u64> {
        let value = self.take(name)?;
        let Value::Number(number) = &value else {
            self.refuse(name, "type", "expected a whole number");
            return None;
        };
        match number.as_u64() {
            Some(number) if (min..=max).contains(&number) => Some(number),
            None if number.is_f64() => {
                self.refuse(name, "type", "expected a whole number");
                None
            }
            _ => {
                self.refuse(name, "range", format!("expected {min} to {max}"));
                None
            }
        }
    }

    /// `true` or `false`; absent is `false`.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.refuse(name, "type", "expected true or false");
                false
            }
        }
    }

    /// A list of strings, of at least one and at most `count_max`, each of which stands for what `read` makes of it.
    pub fn list<T>(&mut self, name: &str, count_max: usize, read: impl Fn(&str) -> Result<T, (&'static str, String)>) -> Option<Vec<T>> {
        let Value::Array(given) = self.take(name)? else {
            self.refuse(name, "type", "expected a list of strings");
            return None;
        };
        if given.is_empty() {
            self.refuse(name, "blank", "expected at least one");
        }
        if given.len() > count_max {
            self.refuse(name, "range", format!("expected at most {count_max}"));
            return None;
        }
        let each = given.iter().enumerate().map(|(at, value)| {
            let read = value.as_str().ok_or(("type", "expected a string".to_owned())).and_then(&read);
            read.map_err(|(code, message)| self.refuse(&format!("{name}[{at}]"), code, message)).ok()
        });
        // Every one that is wrong is told.
        each.collect::<Vec<Option<T>>>().into_iter().collect()
    }

    /// An object, as it is.
    pub fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(object) => Some(object),
            _ => {
                self.refuse(name, "type", "expected an object");
                None
            }
        }
    }

    /// An object with members of its own, read like the body.
    pub fn nested<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields) -> Option<T>) -> Option<T> {
        let members = self.object(name)?;
        let mut inner = Fields { members, prefix: format!("{}{name}.", self.prefix), errors: Rc::clone(&self.errors) };
        let made = read(&mut inner);
        inner.refuse_the_rest("no such member");
        made
    }

    /// An object with members of its own that must be there, read like the body.
    pub fn required_nested<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields) -> Option<T>) -> Option<T> {
        self.required(name, |fields| fields.nested(name, read))
    }
}

/// Whether a text may not hold this character: C0, DEL and C1, but for tab and line breaks where `lines` are text.
#[must_use]
pub fn is_refused_control(character: char, lines: bool) -> bool {
    character.is_control() && !(lines && matches!(character, '\t' | '\n' | '\r'))
}

/// The embeddings, overrides and isolates of Unicode's bidirectional algorithm (UAX #9, section 2). Marks, which turn nothing, are none.
fn turns_direction(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether nothing is to be seen of a text: white space, and what Unicode has ignored where it cannot be shown.
fn is_blank(text: &str) -> bool {
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    text.chars().all(|character| character.is_whitespace() || ignorable.contains(character))
}

/// The place of the first text within `value`, member names included, that holds a control character other than tab and line
/// breaks; `field` is where `value` stands.
#[must_use]
pub fn find_control(field: &str, value: &Value) -> Option<String> {
    control_within(value).map(|within| format!("{field}{within}"))
}

/// The place as seen from `value`. It is put together on the way back from what was found: on the way there, a long name above many values
/// would be copied for each of them.
fn control_within(value: &Value) -> Option<String> {
    let refused = |text: &str| text.chars().any(|character| is_refused_control(character, true));
    match value {
        Value::String(text) => refused(text).then(String::new),
        Value::Array(items) => items.iter().enumerate().find_map(|(at, item)| control_within(item).map(|within| format!("[{at}]{within}"))),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            if refused(name) { Some(String::new()) } else { control_within(member).map(|within| format!(".{name}{within}")) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use credence_ledger::Timestamp;
    use credence_ledger::subject;
    use serde_json::json;

    use super::*;

    const NAME: Text = Text { length_max: 5, normal: subject::normal_name, lines: false };

    fn errors(body: Value, read: impl FnOnce(&mut Fields) -> Option<()>) -> Vec<(String, String)> {
        let Err(problem) = Fields::read(body, read) else { return Vec::new() };
        problem.errors.iter().map(|error| (error.field.clone(), error.code.to_owned())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(field, code)| ((*field).to_owned(), (*code).to_owned())).collect()
    }

    #[test]
    fn every_broken_rule_is_told_at_once_with_its_dotted_place() {
        let body = json!({"a": 1, "b": "  ", "c": "abcdef", "d": "a\u{7f}", "t": "yesterday", "inner": {"e": [], "more": 1}, "x": null});
        let found = errors(body, |fields| {
            for name in ["a", "b", "c", "d", "absent"] {
                fields.required_text(name, &NAME);
            }
            fields.parsed::<Timestamp>("t");
            fields.nested("inner", |inner| inner.text("e", &NAME));
            Some(())
        });
        let expected = [
            ("a", "type"),
            ("b", "blank"),
            ("c", "too_long"),
            ("d", "control_character"),
            ("absent", "required"),
            ("t", "format"),
            ("inner.e", "type"),
            ("inner.more", "unknown"),
        ];
        assert_eq!(found, pairs(&expected));
    }

    #[test]
    fn no_more_than_a_hundred_broken_rules_are_told() {
        let members = |count: usize| (0..count).map(|number| (format!("m{number}"), json!(1))).collect::<Map<String, Value>>();
        let refused = |body: Value| Fields::read(body, |fields| fields.nested("inner", |_| Some(()))).unwrap_err();
        for (count, told, detail) in [(99, 99, "99 rules are broken"), (100_000, 100, "100 rules are broken, or more")] {
            let problem = refused(json!({ "inner": members(count) }));
            assert_eq!((problem.errors.len(), problem.detail.as_deref()), (told, Some(detail)));
        }
    }

    #[test]
    fn null_is_the_same_as_absent() {
        let take = |fields: &mut Fields| {
            assert_eq!(fields.text("optional", &NAME), None);
            fields.required_text("needed", &NAME);
            Some(())
        };
        assert_eq!(errors(json!({"optional": null, "needed": null, "unheard": null}), take), pairs(&[("needed", "required")]));
        assert_eq!(errors(json!({}), take), pairs(&[("needed", "required")]));
    }

    #[test]
    fn a_body_that_is_no_object_is_told_of_the_root() {
        for body in [json!(null), json!([]), json!("text"), json!(1)] {
            assert_eq!(errors(body, |_| Some(())), pairs(&[("", "type")]));
        }
    }

    #[test]
    fn a_length_is_counted_in_scalars_of_the_normal_form() {
        let body = json!({"a": "  e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}  ", "b": "👩‍🚀👩‍🚀"});
        let found = errors(body, |fields| {
            assert_eq!(fields.text("a", &NAME).as_deref(), Some("ééééé"));
            fields.text("b", &NAME);
            Some(())
        });
        assert_eq!(found, pairs(&[("b", "too_long")]));
    }

    #[test]
    fn a_text_that_shows_nothing_is_blank() {
        for shown in ["👩\u{200d}🚀", "می\u{200c}خواهم", "A\u{ad}da", "\u{200f}ש"] {
            assert!(NAME.read(shown).is_ok() || shown.chars().count() > NAME.length_max, "{shown:?}");
        }
        for blank in
            ["\u{200b}", "\u{feff}", "\u{2060}\u{200d}", " \u{ad} ", "\u{3164}", "\u{200e}", "\u{e0041}", "\u{fe0f}", "\u{180e}", "\u{a0}"]
        {
            assert_eq!(NAME.read(blank).map_err(|(code, _)| code), Err("blank"), "{blank:?}");
        }
    }

    #[test]
    fn what_turns_the_direction_of_text_is_taken_in_lines_only() {
        let lines = Text { lines: true, ..NAME };
        for turned in ["\u{202a}", "\u{202b}", "\u{202c}", "\u{202d}", "\u{202e}", "\u{2066}", "\u{2067}", "\u{2068}", "\u{2069}"] {
            let name = format!("a{turned}b");
            assert_eq!(NAME.read(&name).map_err(|(code, _)| code), Err("control_character"), "{name:?}");
            assert_eq!(lines.read(&name), Ok(name));
        }
    }

    #[test]
    fn a_media_type_is_json_or_has_its_suffix() {
        let is = |value: &str| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]));
        for taken in ["application/json", "Application/JSON; charset=UTF-8", "application/ld+json", "application/vc+json;charset=\"utf-8\""]
        {
            assert!(is(taken), "{taken}");
        }
        for refused in [
            "text/json",
            "application/+json",
            "application/jsonp",
            "text/plain",
            "application/json; charset=utf-16",
            "application/a b+json",
        ] {
            assert!(!is(refused), "{refused}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn a_control_character_in_claims_is_told_with_its_place() {
        assert_eq!(find_control("claims", &json!({"a": ["x", {"b": "\u{0}"}]})).as_deref(), Some("claims.a[1].b"));
        assert_eq!(find_control("claims", &json!({"a\u{0}": 1})).as_deref(), Some("claims"));
        assert_eq!(find_control("claims", &json!({"a": "tab\tand\r\nlines", "b": "🚀 مرحبا <b>'--"})), None);
    }

    #[test]
    fn a_long_name_above_many_values_is_copied_for_none_of_them() {
        let value = json!({ "n".repeat(512 << 10): vec![0; 250_000] });
        let started = std::time::Instant::now();
        assert_eq!(find_control("claims", &value), None);
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
