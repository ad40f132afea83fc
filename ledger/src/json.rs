//! JSON from outside: parsed strictly, spelled canonically.
//!
//! Two different texts must never share a canonical form by accident, because a document's digest is made over it. Duplicate
//! members, integers beyond ±(2^53−1), numbers that overflow a double and nesting over 64 are therefore refused before the
//! canonical form (RFC 8785) is made. What was let through has one spelling of each number: `1.0` and `-0` are 1 and 0 from
//! here on, and [`parse`] takes every [`canonical`] form of what it let through and answers the same value.
//!
//! No refusal repeats what the text says, but for the names of members on the way to the place.

#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::io;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Objects and arrays may nest so deep.
pub const DEPTH_MAX: usize = 64;

/// The largest integer that a double tells from its neighbours: 2^53−1.
const INTEGER_MAX: u64 = (1 << 53) - 1;
const INTEGER_MAX_AS_DOUBLE: f64 = 9_007_199_254_740_991.0;

/// From here on the canonical form spells doubles with an exponent (RFC 8785, section 3.2.2.3); below it, as an integer.
const EXPONENT_FROM: f64 = 1e21;

/// Why a text was refused. `field` is dotted from the root: `claims.a[0]`; the root is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not JSON, not UTF-8, a lone surrogate, nothing at all, or something after the value.
    #[error("not JSON: {detail}")]
    Malformed {
        /// What and where, without the text itself.
        detail: String,
    },
    /// An object has a member twice.
    #[error("a member stands twice")]
    Duplicate {
        /// Which member.
        field: String,
    },
    /// An integer beyond ±(2^53−1), or a number that overflows a double.
    #[error("a number is out of range")]
    Range {
        /// Which value.
        field: String,
    },
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested too deeply")]
    TooDeep {
        /// Where.
        field: String,
    },
}

/// Parses a text.
///
/// An integer is out of range however it is spelled: `9007199254740992`, `9007199254740992.0` and `1e20` all are, since their
/// canonical form is an integer that would be refused. From 1e21 on a double has an exponent in its canonical form, and is
/// refused only when the text spells it as an integer.
///
/// # Errors
/// The first thing found that is not allowed.
pub fn parse(text: &[u8]) -> Result<Value, Refused> {
    let mut walk = Walk { path: String::new(), depth: 0, numbers: Numbers { rest: text }, refused: None };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let parsed = Node(&mut walk).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| walk.refused.take().unwrap_or_else(|| refused_by_parser(&error, walk.path)))
}

/// The canonical form (RFC 8785) of what [`parse`] let through, or of what we made ourselves.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut written = Vec::with_capacity(128);
    write_canonical(value, &mut written);
    written
}

/// How many bytes the [`canonical`] form has, which is not made for that.
#[must_use]
pub fn canonical_length(value: &Value) -> usize {
    let mut counted = Counted(0);
    write_canonical(value, &mut counted);
    counted.0
}

#[expect(clippy::expect_used, reason = "a Value has text keys and finite numbers only, and what is written to takes every byte")]
fn write_canonical(value: &Value, to: &mut impl io::Write) {
    let written =
        if is_written_canonically(value) { serde_json::to_writer(to, value) } else { serde_json_canonicalizer::to_writer(value, to) };
    written.expect("every value has a canonical form");
}

/// Takes bytes and keeps their number only.
struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether serde_json's own text of a value is its canonical form, which is made in a fifth of the time so. The two spell texts, literals
/// and small integers alike; doubles they do not, and serde_json keeps members in the order of their names' bytes, which is not that
/// of their UTF-16 code units where a name goes beyond U+D7FF (lead byte 0xEE and above).
fn is_written_canonically(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|number| number.unsigned_abs() <= INTEGER_MAX),
        Value::Array(items) => items.iter().all(is_written_canonically),
        Value::Object(members) => {
            members.iter().all(|(name, member)| name.bytes().all(|byte| byte < 0xee) && is_written_canonically(member))
        }
    }
}

/// How deep objects and arrays nest in a value: 0 for a scalar, 1 for `[]`. A value that is to be put into another one must
/// leave room for it below [`DEPTH_MAX`].
#[must_use]
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn refused_by_parser(error: &serde_json::Error, path: String) -> Refused {
    let text = error.to_string();
    if text.starts_with("number out of range") {
        return Refused::Range { field: path };
    }
    let what = if error.is_eof() { "the text ends too early" } else { "the text breaks JSON's rules" };
    Refused::Malformed { detail: format!("{what} at line {}, column {}", error.line(), error.column()) }
}

/// Where the parser stands.
struct Walk<'t> {
    /// The place as it is told in a refusal. Left as it is when parsing fails.
    path: String,
    /// How many objects and arrays are open.
    depth: usize,
    /// The spellings of the numbers that are still to come.
    numbers: Numbers<'t>,
    /// Why we stopped, if we did and not the parser.
    refused: Option<Refused>,
}

impl Walk<'_> {
    fn refuse<E: serde::de::Error>(&mut self, refused: fn(String) -> Refused) -> E {
        self.refused = Some(refused(std::mem::take(&mut self.path)));
        E::custom("refused")
    }

    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.refuse(|field| Refused::TooDeep { field })) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }
}

/// One value, wherever it stands.
struct Node<'w, 't>(&'w mut Walk<'t>);

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.0.numbers.next();
        if value > INTEGER_MAX { Err(self.0.refuse(|field| Refused::Range { field })) } else { Ok(value.into()) }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.0.numbers.next();
        if value.unsigned_abs() > INTEGER_MAX { Err(self.0.refuse(|field| Refused::Range { field })) } else { Ok(value.into()) }
    }

    /// Also given integers that no 64 bits can hold, and `-0`.
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let spelling = self.0.numbers.next();
        let spelled_as_integer = !spelling.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        let size = value.abs();
        if size > INTEGER_MAX_AS_DOUBLE && (spelled_as_integer || size < EXPONENT_FROM) {
            return Err(self.0.refuse(|field| Refused::Range { field }));
        }
        if value.fract() == 0.0 && size <= INTEGER_MAX_AS_DOUBLE {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most 53 bits")]
            return Ok(Value::from(value as i64));
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not finite"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let walk = self.0;
        walk.enter()?;
        let mark = walk.path.len();
        let mut array = Vec::new();
        loop {
            write!(walk.path, "[{}]", array.len()).map_err(A::Error::custom)?;
            match items.next_element_seed(Node(&mut *walk))? {
                Some(item) => array.push(item),
                None => break,
            }
            walk.path.truncate(mark);
        }
        walk.path.truncate(mark);
        walk.leave();
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let walk = self.0;
        walk.enter()?;
        let mark = walk.path.len();
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if mark > 0 {
                walk.path.push('.');
            }
            walk.path.push_str(&name);
            if object.contains_key(&name) {
                return Err(walk.refuse(|field| Refused::Duplicate { field }));
            }
            object.insert(name, members.next_value_seed(Node(&mut *walk))?);
            walk.path.truncate(mark);
        }
        walk.leave();
        Ok(Value::Object(object))
    }
}

/// The number literals of a JSON text in their order, as they are spelled: the parser tells an integer of many digits and a
/// double of the same size apart no more. Read in step with the parser, so that what was read is known to be JSON.
struct Numbers<'t> {
    rest: &'t [u8],
}

impl<'t> Numbers<'t> {
    fn next(&mut self) -> &'t [u8] {
        while let [first, rest @ ..] = self.rest {
            match first {
                b'"' => self.rest = after_string(rest),
                b'-' | b'0'..=b'9' => {
                    let end = self.rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
                    let (literal, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                    self.rest = rest;
                    return literal;
                }
                _ => self.rest = rest,
            }
        }
        &[]
    }
}

/// What follows a string whose opening quote has been read.
fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        match rest {
            [b'\\', _, after @ ..] => rest = after,
            [b'"', after @ ..] => return after,
            [_, after @ ..] => rest = after,
            [] => return rest,
        }
    }
}
