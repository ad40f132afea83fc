//! Sealing: what is personal is encrypted before it is appended, and the hashes are over the sealed bytes. Destroying the key
//! then erases the content without touching the log. The shape of [`Sealed`] is **permanent** (docs/FORMAT.md).
//!
//! XChaCha20-Poly1305 with a random 24-byte nonce. The associated data is the deterministic CBOR array
//! `[origin, stream, type, schema, field, key id]`, so that nothing sealed for one place opens in another.

use std::fmt;
use std::str::FromStr;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::event::Place;
use crate::{Random, codec};

/// Encrypted bytes, as they stand in an event. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Ciphertext and tag.
    #[serde(rename = "box")]
    pub ciphertext: ByteBuf,
    /// A [`KeyId`] as text.
    pub key: String,
    /// Random.
    pub nonce: ByteArray<24>,
}

/// Which of the vault's keys seals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyId {
    /// A subject's key: documents and reasons. `subject/<uuid>`.
    Subject(Uuid),
    /// An issuer's key: reasons of secret credentials. `issuer/<uuid>`.
    Issuer(Uuid),
    /// A month's key: the audit log's details. `month/2026-11`.
    Month(String),
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyId::Subject(id) => write!(f, "subject/{id}"),
            KeyId::Issuer(id) => write!(f, "issuer/{id}"),
            KeyId::Month(month) => write!(f, "month/{month}"),
        }
    }
}

/// A text that names no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sealing key's id")]
pub struct MalformedKeyId;

impl FromStr for KeyId {
    type Err = MalformedKeyId;

    fn from_str(text: &str) -> Result<Self, MalformedKeyId> {
        match text.split_once('/').ok_or(MalformedKeyId)? {
            ("subject", id) => Ok(KeyId::Subject(id.parse().map_err(|_| MalformedKeyId)?)),
            ("issuer", id) => Ok(KeyId::Issuer(id.parse().map_err(|_| MalformedKeyId)?)),
            ("month", month) => Ok(KeyId::Month(month.to_owned())),
            _ => Err(MalformedKeyId),
        }
    }
}

/// A symmetric key. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SealingKey([u8; 32]);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

/// The key is another one, or the bytes or their place were altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open with this key in this place")]
pub struct DoesNotOpen;

impl SealingKey {
    /// From the vault's bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> SealingKey {
        SealingKey(bytes)
    }

    /// A fresh one.
    pub fn generate(random: &(impl Random + ?Sized)) -> SealingKey {
        SealingKey(crate::random::bytes(random))
    }

    /// The bytes, to be wrapped or derived from; never to be stored as they are.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals `plain` for `place`.
    pub fn seal(&self, id: &KeyId, place: &Place<'_>, plain: &[u8], random: &(impl Random + ?Sized)) -> Sealed {
        let key = id.to_string();
        let (nonce, ciphertext) = self.encrypt(&associated_data(place, &key), plain, random);
        Sealed { ciphertext: ByteBuf::from(ciphertext), key, nonce: ByteArray::new(nonce) }
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// It was sealed with another key or for another place, or was altered.
    pub fn open(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Vec<u8>, DoesNotOpen> {
        self.decrypt(&associated_data(place, &sealed.key), &sealed.nonce, &sealed.ciphertext)
    }

    /// Wraps another key or secret of the vault: nonce, then ciphertext and tag. `context` says what it is.
    pub fn wrap(&self, context: &str, secret: &[u8], random: &(impl Random + ?Sized)) -> Vec<u8> {
        let (nonce, ciphertext) = self.encrypt(context.as_bytes(), secret, random);
        [nonce.as_slice(), &ciphertext].concat()
    }

    /// Unwraps what [`SealingKey::wrap`] wrapped in the same context.
    ///
    /// # Errors
    /// It was wrapped with another key or as something else, or was altered.
    pub fn unwrap(&self, context: &str, wrapped: &[u8]) -> Result<Vec<u8>, DoesNotOpen> {
        let (nonce, ciphertext) = wrapped.split_first_chunk::<24>().ok_or(DoesNotOpen)?;
        self.decrypt(context.as_bytes(), nonce, ciphertext)
    }

    #[expect(clippy::expect_used, reason = "the cipher refuses only messages beyond 256 GiB")]
    fn encrypt(&self, aad: &[u8], plain: &[u8], random: &(impl Random + ?Sized)) -> ([u8; 24], Vec<u8>) {
        let nonce: [u8; 24] = crate::random::bytes(random);
        let cipher = XChaCha20Poly1305::new(&Key::from(self.0));
        let ciphertext = cipher.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad }).expect("a message of moderate length");
        (nonce, ciphertext)
    }

    fn decrypt(&self, aad: &[u8], nonce: &[u8; 24], ciphertext: &[u8]) -> Result<Vec<u8>, DoesNotOpen> {
        let cipher = XChaCha20Poly1305::new(&Key::from(self.0));
        cipher.decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad }).map_err(|_| DoesNotOpen)
    }
}

fn associated_data(place: &Place<'_>, key: &str) -> Vec<u8> {
    codec::encode(&(place.origin.as_str(), place.stream.as_str(), place.kind, place.schema, place.field, key))
}
