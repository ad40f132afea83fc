//! A policy file: who witnesses, and which of their cosignatures are wanted (C2SP tlog-policy).
//!
//! A policy that is read has exactly one quorum, whose members are all known. Names are octets, compared as they are. Logs are
//! checked as the specification wants them and passed over: a log knows itself, and the same file may be handed to those who verify it.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use super::witness::Quorum;
use crate::checkpoint::VerifierKey;

/// How many logs, witnesses and groups there may be, of each.
pub const COUNT_MAX: usize = 256;
/// The name of the quorum that wants nobody.
const NONE: &[u8] = b"none";

/// Who witnesses, and which of them are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// All witnesses, in the file's order.
    pub witnesses: Vec<Known>,
    /// Whose cosignatures are wanted.
    pub quorum: Quorum,
}

/// A witness that a policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name in the policy, which means nothing outside of it.
    pub name: Vec<u8>,
    /// The key by which its cosignatures are known.
    pub key: VerifierKey,
    /// Where it is asked, if the policy says so: its submission prefix.
    pub url: Option<String>,
}

/// A file that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct Error {
    /// Which line, from 1; the one after the last for what the file as a whole lacks.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It holds a control character.
    #[error("control characters other than tab and newline are not allowed")]
    ControlCharacter,
    /// The file ends within it.
    #[error("the last line must end with a newline, too")]
    Unended,
    /// It begins with none of the keywords.
    #[error("expected log, witness, group or quorum")]
    Keyword,
    /// It has too few items, or too many.
    #[error("expected: {0}")]
    Items(&'static str),
    /// Its key cannot be read, or is of another kind.
    #[error("expected a verifier key, name+id+key, of an Ed25519 {0}")]
    Key(&'static str),
    /// Its key was given before, whatever its name and id.
    #[error("an earlier {0} has the same public key")]
    SameKey(&'static str),
    /// Its address is no text.
    #[error("the URL is not UTF-8")]
    Url,
    /// What it defines was defined before, or is `none`.
    #[error("{0} is defined already")]
    Defined(String),
    /// What it names is not defined before it.
    #[error("{0} is not defined before this line")]
    Undefined(String),
    /// What it names is a group's member already.
    #[error("{0} is a member of a group already")]
    MemberTwice(String),
    /// Its threshold is no number of its members.
    #[error("expected all, any, or a number from 1 to that of the members")]
    Threshold,
    /// There was a quorum before.
    #[error("there is a quorum already")]
    SecondQuorum,
    /// There is no quorum.
    #[error("there is no quorum")]
    NoQuorum,
    /// There are more than [`COUNT_MAX`] of a kind.
    #[error("there are more than {COUNT_MAX} of them")]
    TooMany,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`Error`]: the first line that breaks a rule.
    pub fn read(file: &[u8]) -> Result<Policy, Error> {
        let mut reader = Reader::default();
        let mut lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
        // What stands after the last newline.
        let rest = lines.pop().unwrap_or_default();
        let count = lines.len();
        for (line, text) in (1..).zip(lines) {
            reader.line(text).map_err(|fault| Error { line, fault })?;
        }
        let at_end = |fault| Error { line: count + 1, fault };
        if !rest.is_empty() {
            return Err(at_end(Fault::Unended));
        }
        let quorum = reader.quorum.ok_or_else(|| at_end(Fault::NoQuorum))?;
        Ok(Policy { witnesses: reader.witnesses, quorum })
    }

    /// The witness with this name.
    #[must_use]
    pub fn witness(&self, name: &[u8]) -> Option<&Known> {
        self.witnesses.iter().find(|witness| witness.name == name)
    }
}

/// What the lines up to now have defined.
#[derive(Default)]
struct Reader {
    logs: Vec<[u8; 32]>,
    witnesses: Vec<Known>,
    groups: usize,
    /// What each name stands for.
    names: HashMap<Vec<u8>, Quorum>,
    members: HashSet<Vec<u8>>,
    quorum: Option<Quorum>,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Fault::ControlCharacter);
        }
        let items: Vec<&[u8]> = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|item| !item.is_empty()).collect();
        let Some((keyword, items)) = items.split_first() else { return Ok(()) };
        if keyword.starts_with(b"#") {
            return Ok(());
        }
        match (*keyword, items) {
            (b"log", [key] | [key, _]) => self.log(key),
            (b"log", _) => Err(Fault::Items("log KEY [URL]")),
            (b"witness", [name, key]) => self.witness(name, key, None),
            (b"witness", [name, key, url]) => self.witness(name, key, Some(url)),
            (b"witness", _) => Err(Fault::Items("witness NAME KEY [URL]")),
            (b"group", [name, threshold, members @ ..]) if !members.is_empty() => self.group(name, threshold, members),
            (b"group", _) => Err(Fault::Items("group NAME all|any|NUMBER NAME...")),
            (b"quorum", [name]) => self.quorum(name),
            (b"quorum", _) => Err(Fault::Items("quorum NAME")),
            _ => Err(Fault::Keyword),
        }
    }

    fn log(&mut self, key: &[u8]) -> Result<(), Fault> {
        let key = read_key(key).filter(|key| !key.is_witness()).ok_or(Fault::Key("log"))?;
        if self.logs.contains(&key.public()) {
            return Err(Fault::SameKey("log"));
        }
        self.logs.push(key.public());
        limited(self.logs.len())
    }

    fn witness(&mut self, name: &[u8], key: &[u8], url: Option<&[u8]>) -> Result<(), Fault> {
        let key = read_key(key).filter(VerifierKey::is_witness).ok_or(Fault::Key("witness"))?;
        if self.witnesses.iter().any(|known| known.key.public() == key.public()) {
            return Err(Fault::SameKey("witness"));
        }
        let url = url.map(|url| String::from_utf8(url.to_vec())).transpose().map_err(|_| Fault::Url)?;
        self.define(name, Quorum::Witness(key.clone()))?;
        self.witnesses.push(Known { name: name.to_vec(), key, url });
        limited(self.witnesses.len())
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], members: &[&[u8]]) -> Result<(), Fault> {
        let wanted = match threshold {
            b"all" => members.len(),
            b"any" => 1,
            number => decimal(number).filter(|wanted| (1..=members.len()).contains(wanted)).ok_or(Fault::Threshold)?,
        };
        let mut of = Vec::new();
        for member in members {
            of.push(self.defined(member)?);
            if !self.members.insert(member.to_vec()) {
                return Err(Fault::MemberTwice(shown(member)));
            }
        }
        self.define(name, Quorum::Some(wanted, of))?;
        self.groups += 1;
        limited(self.groups)
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), Fault> {
        let quorum = if name == NONE { Quorum::None } else { self.defined(name)? };
        match self.quorum.replace(quorum) {
            None => Ok(()),
            Some(_) => Err(Fault::SecondQuorum),
        }
    }

    fn define(&mut self, name: &[u8], as_what: Quorum) -> Result<(), Fault> {
        if name == NONE || self.names.insert(name.to_vec(), as_what).is_some() {
            return Err(Fault::Defined(shown(name)));
        }
        Ok(())
    }

    fn defined(&self, name: &[u8]) -> Result<Quorum, Fault> {
        self.names.get(name).cloned().ok_or_else(|| Fault::Undefined(shown(name)))
    }
}

fn read_key(text: &[u8]) -> Option<VerifierKey> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Digits and nothing else.
fn decimal(text: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

fn limited(count: usize) -> Result<(), Fault> {
    if count > COUNT_MAX { Err(Fault::TooMany) } else { Ok(()) }
}

/// A name as it is told: what is no UTF-8 of it is replaced.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
