//! The master key: it wraps every secret of the vault and lives outside of it, as 64 hex digits that a [`source`] holds.
//!
//! A source has one key, or two while the master key is being rotated: then a [`ring`] knows which of them wraps. A
//! [`Fingerprint`] names a key without telling anything of it. The contexts in which secrets are wrapped are **permanent**.

pub mod ring;
pub mod source;

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;
use zeroize::Zeroizing;

pub use self::ring::Ring;
pub use self::source::{Error, Source};
use crate::Random;
use crate::sealing::{DoesNotOpen, SealingKey};

/// The key that wraps the vault's secrets. Wiped when dropped, never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterKey(SealingKey);

/// A key's name: 16 hex digits that follow from it, and from which nothing follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a master key's fingerprint")]
pub struct MalformedFingerprint;

impl FromStr for Fingerprint {
    type Err = MalformedFingerprint;

    fn from_str(text: &str) -> Result<Fingerprint, MalformedFingerprint> {
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| MalformedFingerprint)?;
        Ok(Fingerprint(bytes))
    }
}

/// What a source holds: the master key, or two, of which one is to take the other's place.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    first: MasterKey,
    second: Option<MasterKey>,
}

/// A text that holds no master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a key of 64 hex digits, or two different ones on two lines")]
pub struct Malformed;

impl MasterKeys {
    /// From a source's bytes: a key, or two, with a line break or other white space between. White space around them does not matter.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(text: &[u8]) -> Result<MasterKeys, Malformed> {
        let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let first = MasterKey::parse(words.next().unwrap_or_default())?;
        let second = words.next().map(MasterKey::parse).transpose()?;
        // One that cannot tell which is which must not choose.
        let is_whole = words.next().is_none() && second.as_ref() != Some(&first);
        if is_whole { Ok(MasterKeys { first, second }) } else { Err(Malformed) }
    }

    /// This key and another, which is to take its place.
    #[must_use]
    pub fn and(first: MasterKey, second: MasterKey) -> MasterKeys {
        MasterKeys { first, second: Some(second) }
    }

    /// All of them, in the order in which they stand.
    pub fn iter(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

impl From<MasterKey> for MasterKeys {
    fn from(first: MasterKey) -> MasterKeys {
        MasterKeys { first, second: None }
    }
}

/// What is wrapped. Each has a context of its own, so that no secret can be put into another one's place.
#[derive(Debug, Clone, Copy)]
pub enum Secret<'a> {
    /// The [`LookupKeys`](super::LookupKeys).
    LookupKeys,
    /// A subject's sealing key.
    SubjectKey(Uuid),
    /// An issuer's sealing key.
    IssuerSealingKey(Uuid),
    /// An issuer's Ed25519 signing key.
    IssuerSigningKey(Uuid),
    /// A month's sealing key.
    MonthKey(&'a str),
    /// A log's Ed25519 signing key, by its public key.
    LogSigningKey(&'a str, &'a [u8; 32]),
    /// What an account tells of its owner.
    AccountProfile(Uuid),
    /// The hash of an account's password.
    AccountPassword(Uuid),
    /// With which program a session was begun.
    SessionAgent(Uuid),
    /// An Ed25519 key that signs access tokens, by its public key.
    TokenSigningKey(&'a [u8; 32]),
}

/// The context, permanent.
impl fmt::Display for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::LookupKeys => f.write_str("vault/lookup-keys"),
            Secret::SubjectKey(id) => write!(f, "vault/subject/{id}"),
            Secret::IssuerSealingKey(id) => write!(f, "vault/issuer/{id}/sealing"),
            Secret::IssuerSigningKey(id) => write!(f, "vault/issuer/{id}/signing"),
            Secret::MonthKey(month) => write!(f, "vault/month/{month}"),
            Secret::LogSigningKey(log, public) => write!(f, "vault/log/{log}/signing/{}", hex::encode(public)),
            Secret::AccountProfile(id) => write!(f, "vault/account/{id}/profile"),
            Secret::AccountPassword(id) => write!(f, "vault/account/{id}/password"),
            Secret::SessionAgent(id) => write!(f, "vault/session/{id}/agent"),
            Secret::TokenSigningKey(public) => write!(f, "vault/token/signing/{}", hex::encode(public)),
        }
    }
}

impl MasterKey {
    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> MasterKey {
        MasterKey(SealingKey::from_bytes(bytes))
    }

    /// A fresh one.
    #[must_use]
    pub fn generate(random: &(impl Random + ?Sized)) -> MasterKey {
        MasterKey(SealingKey::generate(random))
    }

    fn parse(digits: &[u8]) -> Result<MasterKey, Malformed> {
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, key.as_mut_slice()).map_err(|_| Malformed)?;
        Ok(MasterKey::from_bytes(*key))
    }

    /// As a source holds it, without a line break.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.expose()))
    }

    /// Its name.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let hash = Zeroizing::new(self.derive("credence 2026-11 master key fingerprint", &[]));
        Fingerprint(std::array::from_fn(|at| hash[at]))
    }

    /// A key for something else than wrapping: it follows from this one, from what it is for, and from `salt`.
    #[must_use]
    pub fn derive(&self, purpose: &str, salt: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(self.0.expose()).update(salt);
        hasher.finalize().into()
    }

    /// Wraps a secret.
    #[must_use]
    pub fn wrap(&self, what: Secret<'_>, secret: &[u8], random: &(impl Random + ?Sized)) -> Vec<u8> {
        self.0.wrap(&what.to_string(), secret, random)
    }

    /// Unwraps a secret.
    ///
    /// # Errors
    /// It was wrapped by another master key or as something else, or was altered.
    pub fn unwrap(&self, what: Secret<'_>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        self.0.unwrap(&what.to_string(), wrapped).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRandom;

    #[test]
    fn a_text_holds_one_key_or_two_different_ones() {
        let (one, two) = ("aB".repeat(32), "0".repeat(64));
        for text in [one.clone(), format!("{one}\n"), format!("{one}\r\n"), format!(" {one}"), format!("\n\t {one} \n\n")] {
            let keys = MasterKeys::parse(text.as_bytes()).unwrap();
            assert_eq!(keys.iter().collect::<Vec<_>>(), [&MasterKey::from_bytes([0xab; 32])]);
        }
        let around = format!(" \n{one}  \n\n {two}\t");
        for text in [format!("{one}\n{two}\n"), format!("{one}\r\n{two}\r\n"), format!("{one} {two}"), around] {
            let keys = MasterKeys::parse(text.as_bytes()).unwrap();
            assert_eq!(keys.iter().collect::<Vec<_>>(), [&MasterKey::from_bytes([0xab; 32]), &MasterKey::from_bytes([0; 32])]);
        }
        let halves = format!("{} {}", &two[..32], &two[32..]);
        for text in ["", " \n", "00", &two[1..], &format!("{two}0"), &"g".repeat(64), &halves, &format!("{two}\n{two}")] {
            assert!(MasterKeys::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(MasterKeys::parse(format!("{one}\n{two}\n{}", "1".repeat(64)).as_bytes()).is_err());
    }

    /// Permanent while a vault remembers them.
    #[test]
    fn a_fingerprint_is_always_the_same_and_tells_keys_apart() {
        let fingerprint = MasterKey::from_bytes([1; 32]).fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_ne!(fingerprint, MasterKey::from_bytes([2; 32]).fingerprint());
        assert_eq!("0".repeat(15).parse::<Fingerprint>(), Err(MalformedFingerprint));
        assert_eq!(fingerprint.to_string(), "88251c3a893aa72c");
    }

    #[test]
    fn a_secret_does_not_open_in_another_ones_place() {
        let (key, random) = (MasterKey::from_bytes([1; 32]), SeededRandom::new(1));
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let wrapped = key.wrap(Secret::SubjectKey(one), b"secret", &random);
        assert_eq!(key.unwrap(Secret::SubjectKey(one), &wrapped).unwrap().as_slice(), b"secret");
        for place in [
            Secret::SubjectKey(other),
            Secret::IssuerSealingKey(one),
            Secret::IssuerSigningKey(one),
            Secret::LookupKeys,
            Secret::MonthKey("2026-11"),
        ] {
            assert_eq!(key.unwrap(place, &wrapped).err(), Some(DoesNotOpen), "{place}");
        }
        assert_eq!(MasterKey::from_bytes([2; 32]).unwrap(Secret::SubjectKey(one), &wrapped).err(), Some(DoesNotOpen));
    }
}
