//! Whether bytes are the one deterministic encoding of a payload or of metadata (RFC 8949, section 4.2.1).
//!
//! Import and fsck refuse other bytes: two encodings of one fact would be two hashes of one fact.

use std::cmp::Ordering;

use ciborium::Value;

/// Bytes that another program may read as CBOR, but that we would never have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not deterministic CBOR: {0}")]
pub struct NotDeterministic(&'static str);

/// Checks that `bytes` are one map, deterministically encoded, of the kinds that events use.
///
/// # Errors
/// Names the first rule that does not hold.
pub fn check(bytes: &[u8]) -> Result<(), NotDeterministic> {
    let mut rest = bytes;
    let value: Value = ciborium::from_reader(&mut rest).map_err(|_| NotDeterministic("it does not decode"))?;
    if !rest.is_empty() {
        return Err(NotDeterministic("bytes follow the map"));
    }
    if !value.is_map() {
        return Err(NotDeterministic("it is no map"));
    }
    check_value(&value)?;
    // Encoding writes the shortest heads and definite lengths, and leaves the order as it is.
    if super::encode(&value) == bytes { Ok(()) } else { Err(NotDeterministic("a head is not the shortest, or a length is indefinite")) }
}

fn check_value(value: &Value) -> Result<(), NotDeterministic> {
    match value {
        Value::Map(entries) => {
            let mut before: Option<&str> = None;
            for (key, value) in entries {
                let Value::Text(key) = key else { return Err(NotDeterministic("a key is no text")) };
                // With shortest heads the order of encoded texts is that of their lengths, then of their bytes.
                match before.map(|before| (before.len(), before).cmp(&(key.len(), key.as_str()))) {
                    None | Some(Ordering::Less) => before = Some(key),
                    Some(Ordering::Equal) => return Err(NotDeterministic("a key stands twice")),
                    Some(Ordering::Greater) => return Err(NotDeterministic("keys are out of order")),
                }
                check_value(value)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(check_value),
        Value::Integer(_) | Value::Bytes(_) | Value::Text(_) | Value::Bool(_) => Ok(()),
        Value::Float(_) => Err(NotDeterministic("it holds a float")),
        Value::Tag(..) => Err(NotDeterministic("it holds a tag")),
        _ => Err(NotDeterministic("it holds null or an unknown simple value")),
    }
}
