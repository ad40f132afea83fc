//! Whether bytes are the one deterministic encoding of a payload or of metadata (RFC 8949, section 4.2.1).
//!
//! Import and fsck refuse other bytes: two encodings of one fact would be two hashes of one fact. A whole log is checked so: the
//! bytes are looked at where they lie, and no value is made of them.

/// Bytes that another program may read as CBOR, but that we would never have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not deterministic CBOR: {0}")]
pub struct NotDeterministic(&'static str);

const UNDECODABLE: NotDeterministic = NotDeterministic("it does not decode");

/// What is looked at goes on after the bytes that are there.
const CUT_OFF: NotDeterministic = NotDeterministic("it is cut off");

/// How deep arrays and maps may lie in each other: as deep as what decodes them takes them.
const DEPTH_MAX: usize = 256;

/// The major types (RFC 8949, section 3.1) that have a head alone, or a head and content.
mod major {
    pub(super) const NEGATIVE: u8 = 1;
    pub(super) const BYTES: u8 = 2;
    pub(super) const TEXT: u8 = 3;
    pub(super) const ARRAY: u8 = 4;
    pub(super) const MAP: u8 = 5;
    pub(super) const TAG: u8 = 6;
}

/// Checks that `bytes` are one map, deterministically encoded, of the kinds that events use.
///
/// # Errors
/// Names the first rule that does not hold.
pub fn check(bytes: &[u8]) -> Result<(), NotDeterministic> {
    match first(bytes)? {
        Some(length) if length == bytes.len() => Ok(()),
        Some(_) => Err(NotDeterministic("bytes follow the map")),
        None => Err(UNDECODABLE),
    }
}

/// How long the map is that `bytes` begin with, or `None` if it goes on after them: so the items of a sequence are told apart while
/// they are read.
///
/// # Errors
/// As [`check`], as far as can be told.
pub fn first(bytes: &[u8]) -> Result<Option<usize>, NotDeterministic> {
    let mut rest = Rest(bytes);
    if bytes.first().is_some_and(|first| first >> 5 != major::MAP) {
        return Err(NotDeterministic("it is no map"));
    }
    match rest.item(DEPTH_MAX) {
        Ok(()) => Ok(Some(bytes.len() - rest.0.len())),
        Err(CUT_OFF) => Ok(None),
        Err(wrong) => Err(wrong),
    }
}

/// What has not been looked at.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], NotDeterministic> {
        let taken = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (taken, rest) = taken.ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }

    /// An item's major type and its argument, which stands in the shortest form (section 4.2.1).
    fn head(&mut self) -> Result<(u8, u64), NotDeterministic> {
        let first = self.take(1)?[0];
        let (major, short) = (first >> 5, first & 0x1f);
        let (argument, least) = match (major, short) {
            (7, 20 | 21) | (0..=6, ..24) => (u64::from(short), 0),
            (7, 25..=27) => return Err(NotDeterministic("it holds a float")),
            (7, ..=24) => return Err(NotDeterministic("it holds null or an unknown simple value")),
            (_, 24) => (self.number(1)?, 24),
            (_, 25) => (self.number(2)?, 1 << 8),
            (_, 26) => (self.number(4)?, 1 << 16),
            (_, 27) => (self.number(8)?, 1 << 32),
            (major::BYTES..=major::MAP, 31) => (0, 1),
            _ => return Err(UNDECODABLE),
        };
        if argument < least {
            return Err(NotDeterministic("a head is not the shortest, or a length is indefinite"));
        }
        Ok((major, argument))
    }

    fn number(&mut self, length: u64) -> Result<u64, NotDeterministic> {
        Ok(self.take(length)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn item(&mut self, depth: usize) -> Result<(), NotDeterministic> {
        let (major, argument) = self.head()?;
        match major {
            major::BYTES => self.take(argument).map(|_| ()),
            major::TEXT => self.text(argument).map(|_| ()),
            major::ARRAY => {
                let depth = depth.checked_sub(1).ok_or(UNDECODABLE)?;
                (0..argument).try_for_each(|_| self.item(depth))
            }
            major::MAP => self.map(argument, depth.checked_sub(1).ok_or(UNDECODABLE)?),
            major::TAG => Err(NotDeterministic("it holds a tag")),
            ..=major::NEGATIVE | 7.. => Ok(()),
        }
    }

    fn text(&mut self, length: u64) -> Result<&'a [u8], NotDeterministic> {
        let text = self.take(length)?;
        std::str::from_utf8(text).map(str::as_bytes).map_err(|_| UNDECODABLE)
    }

    fn map(&mut self, entries: u64, depth: usize) -> Result<(), NotDeterministic> {
        let mut before: Option<&[u8]> = None;
        for _ in 0..entries {
            let (major::TEXT, length) = self.head()? else { return Err(NotDeterministic("a key is no text")) };
            let key = self.text(length)?;
            // With shortest heads the order of encoded texts is that of their lengths, then of their bytes.
            if let Some(before) = before {
                match (before.len(), before).cmp(&(key.len(), key)) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => return Err(NotDeterministic("a key stands twice")),
                    std::cmp::Ordering::Greater => return Err(NotDeterministic("keys are out of order")),
                }
            }
            before = Some(key);
            self.item(depth)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ciborium::Value;
    use proptest::prelude::*;

    use super::*;

    /// The same rules over decoded values: encoding them again writes shortest heads and definite lengths, in the order found.
    fn by_values(bytes: &[u8]) -> bool {
        fn allowed(value: &Value) -> bool {
            match value {
                Value::Map(entries) => {
                    entries.iter().all(|(key, value)| key.is_text() && allowed(value))
                        && entries.windows(2).all(|pair| {
                            let [before, after] = [&pair[0].0, &pair[1].0].map(|key| key.as_text().unwrap_or_default());
                            (before.len(), before) < (after.len(), after)
                        })
                }
                Value::Array(items) => items.iter().all(allowed),
                Value::Integer(_) | Value::Bytes(_) | Value::Text(_) | Value::Bool(_) => true,
                _ => false,
            }
        }
        let mut rest = bytes;
        ciborium::from_reader(&mut rest)
            .is_ok_and(|value: Value| rest.is_empty() && value.is_map() && allowed(&value) && crate::codec::encode(&value) == bytes)
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (0..300u32).prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::from),
            "\\PC{0,30}".prop_map(Value::from),
        ];
        let map = |inner: BoxedStrategy<Value>| {
            prop::collection::btree_map("[a-c]{0,3}".prop_map(|key| (key.len(), key)), inner, 0..5)
                .prop_map(|map| Value::Map(map.into_iter().map(|((_, key), value)| (Value::Text(key), value)).collect()))
        };
        let nested = leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![prop::collection::vec(inner.clone(), 0..30).prop_map(Value::Array), map(inner.boxed())]
        });
        map(nested.boxed())
    }

    proptest! {
        #[test]
        fn what_we_would_write_is_deterministic_and_a_changed_byte_is_judged_as_by_its_value(
            value in value(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = crate::codec::encode(&value);
            prop_assert_eq!(check(&bytes), Ok(()));
            prop_assert!(by_values(&bytes));
            let cut = cut.index(bytes.len());
            prop_assert!(check(&bytes[..cut]).is_err());
            prop_assert_eq!(first(&bytes[..cut]), Ok(None));
            prop_assert_eq!(first(&[&bytes[..], &bytes[..cut]].concat()), Ok(Some(bytes.len())));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            prop_assert_eq!(check(&bytes).is_ok(), by_values(&bytes), "{}", hex::encode(&bytes));
        }

        #[test]
        fn any_bytes_are_judged_as_by_their_value(mut bytes in prop::collection::vec(any::<u8>(), 0..40), entries in 0xa0..0xa4u8) {
            bytes.insert(0, entries);
            prop_assert_eq!(check(&bytes).is_ok(), by_values(&bytes), "{}", hex::encode(&bytes));
        }
    }

    #[test]
    fn it_goes_as_deep_as_decoding_does() {
        for depth in 0..300 {
            for opening in [&[0x81][..], &[0xa1, 0x60]] {
                let bytes = [&[0xa1, 0x60], &opening.repeat(depth)[..], &[0x00]].concat();
                assert_eq!(check(&bytes).is_ok(), by_values(&bytes), "{depth}");
            }
        }
    }
}
