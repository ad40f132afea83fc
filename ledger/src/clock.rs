//! Time, as it comes in from outside.
//!
//! A [`Timestamp`] counts whole microseconds since 1970-01-01T00:00:00Z; that is what events hold. Nothing in the ledger asks
//! the machine for the time: it is handed a [`Clock`], so that tests and simulations own it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::DateTime;

/// Where counting begins. Civil time, in which all is UTC here: jiff's own timestamps end a day before the year 9999 does.
const EPOCH: DateTime = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);

/// Microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp(0);
    /// 9999-12-31T23:59:59.999999Z, the last instant that RFC 3339 can spell.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999_999);

    /// From whole microseconds; what lies after the year 9999 becomes [`Timestamp::MAX`].
    #[must_use]
    pub fn from_micros(micros: u64) -> Timestamp {
        Timestamp(micros).min(Timestamp::MAX)
    }

    /// Whole microseconds since the epoch.
    #[must_use]
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// The same, as engines without unsigned integers store it. Never negative.
    #[must_use]
    pub fn as_micros_i64(self) -> i64 {
        self.0.cast_signed()
    }

    /// Whole milliseconds since the epoch, rounded down.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// This instant moved into the future, at most to [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Timestamp {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Timestamp::from_micros(self.0.saturating_add(micros))
    }

    /// So much earlier, at the earliest the epoch.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Timestamp {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_sub(micros))
    }

    /// How long ago `earlier` was; zero if it was not.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The calendar month in UTC, as `2026-11`.
    #[must_use]
    pub fn month(self) -> String {
        self.to_string()[..7].to_owned()
    }
}

/// RFC 3339 in UTC with `Z`, with as many fractional digits as are needed: none, three or six.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = EPOCH.checked_add(SignedDuration::from_micros(self.as_micros_i64())).map_err(|_| fmt::Error)?;
        let precision = match self.0 % 1_000_000 {
            0 => 0,
            micros if micros % 1000 == 0 => 3,
            _ => 6,
        };
        write!(f, "{instant:.precision$}Z")
    }
}

/// A text that is no RFC 3339 time between 1970 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z")]
pub struct Malformed;

impl FromStr for Timestamp {
    type Err = Malformed;

    /// Takes any offset; digits beyond the microsecond are cut off.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        // jiff takes more than RFC 3339 allows: other separators, short offsets, annotations.
        let shaped = bytes.len() >= 20
            && bytes[..19].iter().enumerate().all(|(at, byte)| match at {
                4 | 7 => *byte == b'-',
                10 => matches!(byte, b'T' | b't'),
                13 | 16 => *byte == b':',
                _ => byte.is_ascii_digit(),
            });
        if !shaped {
            return Err(Malformed);
        }
        let fraction = fraction_length(&bytes[19..]).ok_or(Malformed)?;
        let (local, offset) = (&text[..19 + fraction.min(10)], &bytes[19 + fraction..]);
        let local: DateTime = local.parse().map_err(|_| Malformed)?;
        let instant = local.checked_sub(offset_of(offset).ok_or(Malformed)?).map_err(|_| Malformed)?;
        let micros = instant.duration_since(EPOCH).as_nanos().div_euclid(1000);
        Ok(Timestamp(u64::try_from(micros).map_err(|_| Malformed)?))
    }
}

/// How long the fraction of a second at the start of `rest` is, its point included; `None` for a point without digits.
fn fraction_length(rest: &[u8]) -> Option<usize> {
    let Some(fraction) = rest.strip_prefix(b".") else { return Some(0) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then_some(digits + 1)
}

/// How far ahead of UTC an RFC 3339 offset is.
fn offset_of(text: &[u8]) -> Option<SignedDuration> {
    match text {
        b"Z" | b"z" => Some(SignedDuration::ZERO),
        [sign @ (b'+' | b'-'), h1 @ b'0'..=b'2', h0 @ b'0'..=b'9', b':', m1 @ b'0'..=b'5', m0 @ b'0'..=b'9'] => {
            let digit = |byte: &u8| i64::from(byte - b'0');
            let (hours, minutes) = (10 * digit(h1) + digit(h0), 10 * digit(m1) + digit(m0));
            let ahead = SignedDuration::from_mins(60 * hours + minutes);
            (hours < 24).then_some(if *sign == b'+' { ahead } else { -ahead })
        }
        _ => None,
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.plus(since_epoch)
    }
}

#[cfg(any(test, feature = "testing"))]
pub use crate::testing::ManualClock;

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_answered_in_utc_with_the_digits_it_needs() {
        for (given, shown) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31t12:00:00.5z", "2026-01-31T12:00:00.500Z"),
            ("2026-01-31T12:00:00.1234567+02:00", "2026-01-31T10:00:00.123456Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("1970-01-01T00:00:00.000000999Z", "1970-01-01T00:00:00Z"),
            ("2026-01-31T12:00:00.12345678901234-23:59", "2026-02-01T11:59:00.123456Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(given.parse::<Timestamp>().map(|t| t.to_string()).as_deref(), Ok(shown), "{given}");
        }
    }

    #[test]
    fn a_text_that_is_no_rfc_3339_time_is_refused() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00+0200",
            "2026-01-31T12:00:00+24:00",
            "9999-12-31T23:59:59-00:01",
            "1969-12-31T23:59:59Z",
            "2026-01-31T12:00:00Z[UTC]",
            "９999-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(Malformed), "{text}");
        }
    }
}
