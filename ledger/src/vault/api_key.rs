//! API keys: their text, what is kept of it, and the row.
//!
//! A key is `credence_` and 64 hex digits, 256 random bits. It is told once; the vault keeps its BLAKE3 hash, which needs no
//! salt and no slowness, since nobody guesses 256 bits. The prefix and 8 digits stay visible, for people to tell keys apart.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Role, Roles};
use crate::{Random, Timestamp};

/// What every key begins with, so that a leaked one is recognised as one of ours.
pub const PREFIX: &str = "credence_";

/// How many characters of a key stay visible.
pub const PREFIX_LENGTH: usize = PREFIX.len() + DIGITS_SHOWN;

const DIGITS: usize = 64;
const DIGITS_SHOWN: usize = 8;

/// What a key is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What its holder may do.
    pub roles: Roles,
    /// The organisation it acts for.
    pub issuer: Uuid,
    /// The only types of credentials that it issues and changes; `None` is all.
    pub types: Option<Arc<[String]>>,
    /// For people to tell keys apart.
    pub name: Option<String>,
    /// From when on it holds no longer.
    pub expires_at: Option<Timestamp>,
}

impl Terms {
    /// A key with one role, for all types, without a name, for ever.
    #[must_use]
    pub fn of(role: Role, issuer: Uuid) -> Terms {
        Terms { roles: role.into(), issuer, types: None, name: None, expires_at: None }
    }

    /// With a name.
    #[must_use]
    pub fn named(self, name: &str) -> Terms {
        Terms { name: Some(name.to_owned()), ..self }
    }
}

/// Which keys are wanted. The conditions hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Of this organisation.
    pub issuer: Option<Uuid>,
    /// Their visible prefix begins so.
    pub prefix: Option<String>,
    /// Made before this one.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: u32,
}

/// An API key's row. The key itself is known to its holder alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, a UUID of version 7; also its stream in the audit log.
    pub id: Uuid,
    /// What it was made with.
    pub terms: Terms,
    /// Whether the organisation it acts for is active.
    pub of_active: bool,
    /// The first characters of the key, to find it by.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key that waits to be stored.
#[derive(Debug)]
pub struct NewApiKey {
    /// Its row.
    pub row: ApiKey,
    /// To be stored beside the row, unique.
    pub hash: [u8; 32],
    /// To be told once.
    pub text: Zeroizing<String>,
}

impl ApiKey {
    /// Whether it holds at `now`, and if not, why.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn check(&self, now: Timestamp) -> Result<(), &'static str> {
        if self.revoked_at.is_some() {
            return Err("the key is revoked");
        }
        if self.terms.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err("the key has expired");
        }
        if self.of_active { Ok(()) } else { Err("the organisation is deactivated") }
    }
}

impl NewApiKey {
    /// A fresh key.
    #[must_use]
    pub fn generate(terms: &Terms, now: Timestamp, random: &(impl Random + ?Sized)) -> NewApiKey {
        let secret = Zeroizing::new(crate::random::bytes::<{ DIGITS / 2 }>(random));
        let text = Zeroizing::new(format!("{PREFIX}{}", *Zeroizing::new(hex::encode(*secret))));
        let row = ApiKey {
            id: crate::random::uuid_v7(now, random),
            terms: terms.clone(),
            of_active: true,
            prefix: text[..PREFIX_LENGTH].to_owned(),
            created_at: now,
            last_used_at: None,
            revoked_at: None,
        };
        NewApiKey { row, hash: blake3::hash(text.as_bytes()).into(), text }
    }
}

/// What a presented text is looked up by; `None` when it cannot be a key of ours, which needs no look-up.
#[must_use]
pub fn hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix(PREFIX)?;
    let shaped = digits.len() == DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    shaped.then(|| blake3::hash(text.as_bytes()).into())
}

/// Types, as they are stored: a JSON array.
pub(super) fn types_to_text(types: Option<&[String]>) -> Option<String> {
    types.map(|types| serde_json::Value::from(types).to_string())
}

/// Types, as they were stored.
pub(super) fn types_from_text(text: Option<String>) -> Result<Option<Arc<[String]>>, serde_json::Error> {
    text.map(|text| serde_json::from_str::<Vec<String>>(&text).map(Arc::from)).transpose()
}

/// When a key was last used, as coarsely as it is kept: who used it when is the audit log's to know.
#[must_use]
pub fn to_the_minute(used: Timestamp) -> Timestamp {
    let minute = u64::try_from(Duration::from_secs(60).as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(used.as_micros() / minute * minute)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRandom;

    #[test]
    fn a_key_is_found_by_its_text_and_tells_little_in_its_row() {
        let random = SeededRandom::new(1);
        let terms = Terms::of(Role::Auditor, Uuid::from_u128(7)).named("audit");
        let key = NewApiKey::generate(&terms, Timestamp::EPOCH, &random);
        assert_eq!(hash(&key.text), Some(key.hash));
        assert_eq!(key.row.prefix.len(), "credence_".len() + 8);
        assert!(key.text.starts_with(&key.row.prefix));
        let other = NewApiKey::generate(&terms, Timestamp::EPOCH, &random);
        assert_ne!((key.hash, key.row.id), (other.hash, other.row.id));
    }

    #[test]
    fn a_text_of_another_shape_is_no_key() {
        let digits = "0123456789abcdef".repeat(4);
        assert!(hash(&format!("credence_{digits}")).is_some());
        for text in [
            "",
            "credence_",
            &digits,
            &format!("credence_{}", &digits[1..]),
            &format!("credence_{digits}0"),
            &format!("Credence_{digits}"),
            &format!("credence_{}", digits.to_uppercase()),
            &format!(" credence_{digits}"),
            &format!("credence_{}é", &digits[2..]),
        ] {
            assert_eq!(hash(text), None, "{text}");
        }
    }

    #[test]
    fn the_last_use_is_kept_to_the_minute() {
        let used: Timestamp = "2026-01-31T12:34:56.789Z".parse().unwrap();
        assert_eq!(to_the_minute(used).to_string(), "2026-01-31T12:34:00Z");
    }
}
