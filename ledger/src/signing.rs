//! An issuer's signing key: Ed25519, wiped when dropped, never shown. It is known by its `did:key`.
//!
//! AWS-LC signs: a document is signed each time it is answered, and it takes half the time of the code that checks (`did_key`).

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use crate::{Random, did_key};

/// See the module.
pub struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
    public: [u8; 32],
    did: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.did)
    }
}

impl SigningKey {
    /// From the vault's bytes: the secret seed (RFC 8032, section 5.1.5).
    #[must_use]
    #[expect(clippy::expect_used, reason = "any 32 bytes are a seed, and a public key has 32 bytes (RFC 8032, section 5.1.5)")]
    pub fn from_bytes(seed: &[u8; 32]) -> SigningKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        let public: [u8; 32] = pair.public_key().as_ref().try_into().expect("a public key has 32 bytes");
        SigningKey { seed: Zeroizing::new(*seed), did: did_key::of(&public), pair, public }
    }

    /// A fresh one.
    pub fn generate(random: &(impl Random + ?Sized)) -> SigningKey {
        SigningKey::from_bytes(&Zeroizing::new(crate::random::bytes(random)))
    }

    /// The seed, to be wrapped; never to be stored as it is.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.seed
    }

    /// Its public half, as whoever verifies knows it.
    #[must_use]
    pub fn did(&self) -> &str {
        &self.did
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The signature of a message: always the same.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a signature has 64 bytes (RFC 8032, section 5.1.6)")]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).as_ref().try_into().expect("a signature has 64 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn the_signature_is_the_published_one() {
        let seed: [u8; 32] = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap().try_into().unwrap();
        let published = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(hex::encode(SigningKey::from_bytes(&seed).sign(&[0x72])), published);
    }

    #[test]
    fn a_key_is_never_shown() {
        let shown = format!("{:?}", SigningKey::from_bytes(&[0; 32]));
        assert_eq!(shown, "SigningKey(of did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp)");
    }
}
