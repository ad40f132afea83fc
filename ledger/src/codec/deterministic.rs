//! Whether bytes are the one deterministic encoding of a payload or of metadata (RFC 8949, section 4.2.1).
//!
//! Import and fsck refuse other bytes: two encodings of one fact would be two hashes of one fact.

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
    let mut value: Value = ciborium::from_reader(&mut rest).map_err(|_| NotDeterministic("it does not decode"))?;
    if !rest.is_empty() {
        return Err(NotDeterministic("bytes follow the map"));
    }
    if !value.is_map() {
        return Err(NotDeterministic("it is no map"));
    }
    sort(&mut value)?;
    if super::encode(&value) == bytes {
        Ok(())
    } else {
        Err(NotDeterministic("keys are out of order, repeated, or a head is not the shortest"))
    }
}

fn sort(value: &mut Value) -> Result<(), NotDeterministic> {
    match value {
        Value::Map(entries) => {
            for (key, value) in entries.iter_mut() {
                if !key.is_text() {
                    return Err(NotDeterministic("a key is no text"));
                }
                sort(value)?;
            }
            entries.sort_by_cached_key(|(key, _)| super::encode(key));
            if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(NotDeterministic("a key stands twice"));
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(sort),
        Value::Integer(_) | Value::Bytes(_) | Value::Text(_) | Value::Bool(_) => Ok(()),
        Value::Float(_) => Err(NotDeterministic("it holds a float")),
        Value::Tag(..) => Err(NotDeterministic("it holds a tag")),
        _ => Err(NotDeterministic("it holds null or an unknown simple value")),
    }
}
