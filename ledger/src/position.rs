//! Where an event stands: its log's name, its position in that log, its version in its stream.
//!
//! Positions and versions are counted from 0 and are dense. Outside this crate a position always travels with its log's
//! name, as `ledger@42`, because there may be more than one ledger log one day.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// An event's place in its log, from 0, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The place of a log's first event.
    pub const FIRST: Position = Position(0);

    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Position {
        Position(self.0 + 1)
    }
}

/// An event's place in its stream, from 0, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The place of a stream's first event.
    pub const FIRST: Version = Version(0);

    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Version {
        Version(self.0 + 1)
    }
}

/// A log's name: lower-case ASCII letters, digits and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName(Cow<'static, str>);

impl LogName {
    /// What was issued, suspended, revoked, registered.
    pub const LEDGER: LogName = LogName(Cow::Borrowed("ledger"));
    /// Who looked, what was verified, what was refused.
    pub const AUDIT: LogName = LogName(Cow::Borrowed("audit"));

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This log's place `position`, to be shown outside.
    #[must_use]
    pub fn at(&self, position: Position) -> LogPosition {
        LogPosition { log: self.clone(), position }
    }
}

/// A position with its log's name, shown as `ledger@42`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogPosition {
    /// The log that counts.
    pub log: LogName,
    /// The place in it.
    pub position: Position,
}

/// A text that names no log or no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a log's name, '@' and a whole number, such as ledger@42")]
pub struct Malformed;

/// A text that names no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected ledger or audit")]
pub struct UnknownLog;

impl FromStr for LogName {
    type Err = UnknownLog;

    fn from_str(text: &str) -> Result<Self, UnknownLog> {
        match text {
            "ledger" => Ok(LogName::LEDGER),
            "audit" => Ok(LogName::AUDIT),
            _ => Err(UnknownLog),
        }
    }
}

impl FromStr for LogPosition {
    type Err = Malformed;

    /// Takes exactly what [`fmt::Display`] writes: no sign, no leading zero, no space; at most `i64::MAX`, which is the
    /// largest position that every engine can hold.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (log, digits) = text.split_once('@').ok_or(Malformed)?;
        let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        let position: i64 = digits.parse().map_err(|_| Malformed)?;
        match (canonical, u64::try_from(position)) {
            (true, Ok(position)) => Ok(LogPosition { log: log.parse().map_err(|_| Malformed)?, position: Position(position) }),
            _ => Err(Malformed),
        }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.log, self.position.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let position = LogName::LEDGER.at(Position(42));
        assert_eq!(position.to_string(), "ledger@42");
        assert_eq!("ledger@42".parse(), Ok(position));
        assert_eq!("audit@0".parse(), Ok(LogName::AUDIT.at(Position(0))));
    }

    #[test]
    fn a_position_in_another_spelling_is_refused() {
        for text in [
            "",
            "42",
            "@42",
            "ledger@",
            "ledger@-1",
            "ledger@+1",
            "ledger@042",
            "ledger@4 2",
            "Ledger@42",
            "other@1",
            "ledger@9223372036854775808",
        ] {
            assert_eq!(text.parse::<LogPosition>(), Err(Malformed), "{text}");
        }
    }
}
