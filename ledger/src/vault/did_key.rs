//! `did:key` of an Ed25519 public key: multibase base58btc over the multicodec 0xed (a varint, hence two bytes) and the key
//! (the did:key method, W3C Credentials Community Group).

/// Multicodec `ed25519-pub`, as an unsigned varint.
const ED25519_PUB: [u8; 2] = [0xed, 0x01];

/// The identifier of a public key.
#[must_use]
pub fn of(public_key: &[u8; 32]) -> String {
    let multikey = [ED25519_PUB.as_slice(), public_key].concat();
    format!("did:key:z{}", bs58::encode(multikey).into_string())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    /// The did:key method's published test vectors (ed25519-x25519.json), by the seed of the key.
    #[test]
    fn a_key_has_the_published_identifier() {
        for (seed, did) in [
            (
                "0000000000000000000000000000000000000000000000000000000000000000",
                "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
            ),
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw",
            ),
        ] {
            let seed: [u8; 32] = hex::decode(seed).unwrap().try_into().unwrap();
            assert_eq!(super::of(&SigningKey::from_bytes(&seed).verifying_key().to_bytes()), did);
        }
    }
}
