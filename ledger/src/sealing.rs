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

    /// Takes exactly what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, MalformedKeyId> {
        let (kind, name) = text.split_once('/').ok_or(MalformedKeyId)?;
        let id = || name.parse().map_err(|_| MalformedKeyId);
        let key = match kind {
            "subject" => KeyId::Subject(id()?),
            "issuer" => KeyId::Issuer(id()?),
            "month" if is_month(name) => KeyId::Month(name.to_owned()),
            _ => return Err(MalformedKeyId),
        };
        if key.to_string() == text { Ok(key) } else { Err(MalformedKeyId) }
    }
}

fn is_month(text: &str) -> bool {
    let digit_or_dash = |(at, byte): (usize, u8)| if at == 4 { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 7 && text.bytes().enumerate().all(digit_or_dash)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Origin;
    use crate::random::SystemRandom;
    use crate::{LogName, Stream};

    /// Gives the same bytes always: the nonce of a golden vector.
    struct Fixed(Vec<u8>);

    impl Random for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.copy_from_slice(&self.0);
        }
    }

    fn unhex(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    fn key() -> SealingKey {
        SealingKey::from_bytes(std::array::from_fn(|at| 0x80 + u8::try_from(at).unwrap()))
    }

    fn nonce() -> Fixed {
        Fixed((0x40..0x58).collect())
    }

    fn id() -> KeyId {
        KeyId::Subject(Uuid::from_u128(0x0198_c5a2_0000_7000_8000_0000_0000_0002))
    }

    fn origin() -> Origin {
        Origin::new("ledger.example", &LogName::LEDGER)
    }

    fn stream() -> Stream {
        Stream::credential(Uuid::from_u128(0x0198_c5a2_0000_7000_8000_0000_0000_0001))
    }

    fn with_place<T>(then: impl FnOnce(&Place<'_>) -> T) -> T {
        then(&Place { origin: &origin(), stream: &stream(), kind: "CredentialIssued", schema: 1, field: "document" })
    }

    /// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn the_cipher_is_the_published_one() {
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let (used, ciphertext) = key().encrypt(&unhex("50515253c0c1c2c3c4c5c6c7"), plain, &nonce());
        let published = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216\
                         cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13\
                         b52ec0875924c1c7987947deafd8780acf49";
        assert_eq!((used.as_slice(), hex::encode(ciphertext)), (nonce().0.as_slice(), published.to_owned()));
    }

    /// Permanent: what is sealed in a log must open for as long as its key is kept.
    #[test]
    fn sealed_bytes_have_the_golden_form() {
        let sealed = with_place(|place| key().seal(&id(), place, br#"{"a":1}"#, &nonce()));
        let associated = with_place(|place| associated_data(place, &sealed.key));
        let golden_associated = [
            unhex("86"),
            [unhex("781d").as_slice(), b"ledger.example/v1/logs/ledger"].concat(),
            [unhex("782f").as_slice(), b"credential/0198c5a2-0000-7000-8000-000000000001"].concat(),
            [unhex("70").as_slice(), b"CredentialIssued"].concat(),
            unhex("01"),
            [unhex("68").as_slice(), b"document"].concat(),
            [unhex("782c").as_slice(), b"subject/0198c5a2-0000-7000-8000-000000000002"].concat(),
        ];
        assert_eq!(hex::encode(associated), hex::encode(golden_associated.concat()));
        let golden = [
            unhex("a3"),
            [unhex("63").as_slice(), b"box", &unhex("57"), &unhex("8a2e12d661c189de07371d55167659125b38e1c3f7de61")].concat(),
            [unhex("63").as_slice(), b"key", &unhex("782c"), b"subject/0198c5a2-0000-7000-8000-000000000002"].concat(),
            [unhex("65").as_slice(), b"nonce", &unhex("5818"), &nonce().0].concat(),
        ];
        assert_eq!(hex::encode(codec::encode(&sealed)), hex::encode(golden.concat()));
        assert!(codec::check(&codec::encode(&sealed)).is_ok());
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_only() {
        let sealed = with_place(|place| key().seal(&id(), place, b"personal", &SystemRandom));
        assert_eq!(with_place(|place| key().open(place, &sealed)), Ok(b"personal".to_vec()));
        let (other_origin, other_stream) = (Origin::new("other.example", &LogName::LEDGER), Stream::credential(Uuid::nil()));
        with_place(|place| {
            for elsewhere in [
                Place { origin: &other_origin, ..*place },
                Place { stream: &other_stream, ..*place },
                Place { kind: "CredentialRevoked", ..*place },
                Place { schema: 2, ..*place },
                Place { field: "reason", ..*place },
            ] {
                assert_eq!(key().open(&elsewhere, &sealed), Err(DoesNotOpen));
            }
        });
    }

    #[test]
    fn another_key_or_another_key_id_does_not_open_it() {
        let sealed = with_place(|place| key().seal(&id(), place, b"personal", &SystemRandom));
        let other = SealingKey::generate(&SystemRandom);
        assert_eq!(with_place(|place| other.open(place, &sealed)), Err(DoesNotOpen));
        let renamed = Sealed { key: KeyId::Subject(Uuid::nil()).to_string(), ..sealed };
        assert_eq!(with_place(|place| key().open(place, &renamed)), Err(DoesNotOpen));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let sealed = with_place(|place| key().seal(&id(), place, b"personal", &SystemRandom));
        for bit in 0..sealed.ciphertext.len() * 8 {
            let mut altered = sealed.clone();
            altered.ciphertext[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(with_place(|place| key().open(place, &altered)), Err(DoesNotOpen), "bit {bit}");
        }
        for bit in 0..24 * 8 {
            let mut altered = sealed.clone();
            altered.nonce[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(with_place(|place| key().open(place, &altered)), Err(DoesNotOpen), "nonce, bit {bit}");
        }
        for kept in 0..sealed.ciphertext.len() {
            let cut = Sealed { ciphertext: ByteBuf::from(&sealed.ciphertext[..kept]), ..sealed.clone() };
            assert_eq!(with_place(|place| key().open(place, &cut)), Err(DoesNotOpen), "cut to {kept}");
        }
    }

    #[test]
    fn two_seals_of_one_text_are_alike_in_nothing_but_their_length() {
        let seal = || with_place(|place| key().seal(&id(), place, b"personal", &SystemRandom));
        let (one, other) = (seal(), seal());
        assert!(one.nonce != other.nonce && one.ciphertext != other.ciphertext);
        assert_eq!(one.ciphertext.len(), "personal".len() + 16);
    }

    #[test]
    fn what_was_wrapped_unwraps_in_its_context_only() {
        let wrapped = key().wrap("one", b"secret", &SystemRandom);
        assert_eq!(key().unwrap("one", &wrapped), Ok(b"secret".to_vec()));
        assert_eq!(key().unwrap("other", &wrapped), Err(DoesNotOpen));
        assert_eq!(SealingKey::generate(&SystemRandom).unwrap("one", &wrapped), Err(DoesNotOpen));
        for kept in 0..wrapped.len() {
            assert_eq!(key().unwrap("one", &wrapped[..kept]), Err(DoesNotOpen), "cut to {kept}");
        }
    }

    #[test]
    fn a_key_id_is_read_as_it_is_written() {
        for id in [id(), KeyId::Issuer(Uuid::nil()), KeyId::Month("2026-11".to_owned())] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in [
            "",
            "subject",
            "subject/",
            "subject/1",
            "Subject/0198c5a2-0000-7000-8000-000000000002",
            "subject/0198C5A2-0000-7000-8000-000000000002",
            "subject/0198c5a2000070008000000000000002",
            "month/",
            "month/2026",
            "month/2026-1",
            "month/2026-111",
            "other/0198c5a2-0000-7000-8000-000000000002",
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(MalformedKeyId), "{text}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", key()), "SealingKey(…)");
    }
}
