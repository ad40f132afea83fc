//! Unique keys: what at most one stream may own at a time. Their bytes are **permanent**: fsck rebuilds them from the log.
//!
//! ```text
//! natural key      0x01 || issuer (16 bytes) || subject_id (16 bytes) || type (UTF-8)
//! secret           0x02 || issuer (16 bytes) || keyed digest (32 bytes)
//! issuer's name    0x03 || name (UTF-8)
//! ```
//!
//! Ids are UUIDs of version 7, so that within an issuer the index grows at its end.

use uuid::Uuid;

/// What at most one stream may own at a time. Made by the constructors below only, one for each kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UniqueKey(pub Vec<u8>);

const NATURAL: u8 = 1;
const SECRET: u8 = 2;
const ISSUER_NAME: u8 = 3;

impl UniqueKey {
    /// One credential of a type for a subject that is not revoked. A subject belongs to one issuer.
    #[must_use]
    pub fn natural(issuer: Uuid, subject_id: Uuid, credential_type: &str) -> UniqueKey {
        UniqueKey([&[NATURAL], issuer.as_bytes().as_slice(), subject_id.as_bytes(), credential_type.as_bytes()].concat())
    }

    /// One credential for a secret, known by its keyed digest, that is not revoked at an issuer.
    #[must_use]
    pub fn secret(issuer: Uuid, digest: &[u8; 32]) -> UniqueKey {
        UniqueKey([&[SECRET], issuer.as_bytes().as_slice(), digest].concat())
    }

    /// One issuer of a name.
    #[must_use]
    pub fn issuer_name(name: &str) -> UniqueKey {
        UniqueKey([&[ISSUER_NAME], name.as_bytes()].concat())
    }
}

/// The least bytes that come after a key's; without a key the least of all, which are none: no key of ours, but a row may hold them.
pub(super) fn least_after(after: Option<&UniqueKey>) -> Vec<u8> {
    after.map_or_else(Vec::new, |key| [&key.0[..], &[0]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_every_kind_of_key_are_as_documented() {
        let (issuer, subject) = (Uuid::from_bytes([0xaa; 16]), Uuid::from_bytes([0xbb; 16]));
        let (a, b, c) = ("aa".repeat(16), "bb".repeat(16), "cc".repeat(32));
        assert_eq!(hex::encode(UniqueKey::natural(issuer, subject, "é").0), format!("01{a}{b}c3a9"));
        assert_eq!(hex::encode(UniqueKey::secret(issuer, &[0xcc; 32]).0), format!("02{a}{c}"));
        assert_eq!(hex::encode(UniqueKey::issuer_name("acme").0), "0361636d65");
    }
}
