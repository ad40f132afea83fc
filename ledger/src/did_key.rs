//! `did:key` of an Ed25519 public key: multibase base58btc over the multicodec 0xed (a varint, hence two bytes) and the key
//! (the did:key method, W3C Credentials Community Group).

use ed25519_dalek::VerifyingKey;

/// Multicodec `ed25519-pub`, as an unsigned varint.
const ED25519_PUB: [u8; 2] = [0xed, 0x01];
const PREFIX: &str = "did:key:z";

/// The identifier of a public key.
#[must_use]
pub fn of(public_key: &[u8; 32]) -> String {
    let multikey = [ED25519_PUB.as_slice(), public_key].concat();
    format!("{PREFIX}{}", bs58::encode(multikey).into_string())
}

/// The public key of an identifier; `None` for anything but the did:key of an Ed25519 key, spelled as [`of`] does.
#[must_use]
pub fn public_key(did: &str) -> Option<VerifyingKey> {
    // As large as it may be: more is refused before it is decoded to the end.
    let mut multikey = [0; 34];
    let length = bs58::decode(did.strip_prefix(PREFIX)?).onto(&mut multikey).ok()?;
    let key: &[u8; 32] = multikey[..length].strip_prefix(&ED25519_PUB)?.try_into().ok()?;
    VerifyingKey::from_bytes(key).ok()
}

/// Names the one key of a `did:key` as the method that verifies: `did:key:z…#z…`.
#[must_use]
pub fn verification_method(did: &str) -> String {
    format!("{did}#{}", did.strip_prefix("did:key:").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    /// The did:key method's published test vectors (ed25519-x25519.json), by the seed of the key.
    const PUBLISHED: [(&str, &str); 2] = [
        ("0000000000000000000000000000000000000000000000000000000000000000", "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
        ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw"),
    ];

    #[test]
    fn a_key_has_the_published_identifier() {
        for (seed, did) in PUBLISHED {
            let seed: [u8; 32] = hex::decode(seed).unwrap().try_into().unwrap();
            let key = SigningKey::from_bytes(&seed).verifying_key();
            assert_eq!(super::of(&key.to_bytes()), did);
            assert_eq!(super::public_key(did), Some(key));
        }
    }

    #[test]
    fn a_key_is_read_from_the_identifier_of_an_ed25519_key_only() {
        let did = PUBLISHED[0].1;
        let secp256k1 = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme";
        let x25519 = "did:key:z6LShs9GGnqk85isEBzzshkuVWrVKsRp24GnDuHk8QWkARMW";
        let longer = format!("{did}1");
        let endless = format!("did:key:z{}", "z".repeat(1_000_000));
        for other in ["", "did:key:", "did:key:z", "did:web:example.org", &did[1..], &did[..55], secp256k1, x25519, &longer, &endless] {
            assert_eq!(super::public_key(other), None, "{other:.80}");
        }
    }

    #[test]
    fn a_verification_method_repeats_the_key() {
        let method = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp#z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
        assert_eq!(super::verification_method(PUBLISHED[0].1), method);
    }
}
