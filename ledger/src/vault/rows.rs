//! What every engine writes and reads of secrets: fresh rows, made from randomness and wrapped by the master key, and stored
//! rows, unwrapped. An engine holds a [`Keyring`] and never sees a cipher.

use std::sync::Arc;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::accounts::Profile;
use super::master_key::{MasterKey, Secret};
use super::{Issuer, LookupKeys, OpenError, Subject};
use crate::chain::Origin;
use crate::checkpoint::LogKey;
use crate::sealing::{KeyId, SealingKey};
use crate::signing::SigningKey;
use crate::store::Error;
use crate::{LogName, Random, Timestamp};

/// The vault's only row of settings: written when the vault is made, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Host and optional path, the base of both logs' origins.
    pub origin_base: String,
    /// The look-up keys, wrapped. That they open shows that the master key is the right one.
    pub lookup_keys: Vec<u8>,
}

/// A subject that waits to be stored.
#[derive(Debug)]
pub struct NewSubject {
    /// What is answered.
    pub subject: Subject,
    /// The subject's key, wrapped.
    pub wrapped_key: Vec<u8>,
}

/// An issuer that waits to be stored.
#[derive(Debug)]
pub struct NewIssuer {
    /// What is answered.
    pub issuer: Issuer,
    /// The Ed25519 signing key, wrapped.
    pub wrapped_signing_key: Vec<u8>,
    /// The sealing key, wrapped.
    pub wrapped_sealing_key: Vec<u8>,
}

/// A log's key that waits to be stored.
#[derive(Debug)]
pub struct NewLogKey {
    /// What is answered.
    pub key: LogKey,
    /// Its secret bytes, wrapped.
    pub wrapped: Vec<u8>,
}

/// An issuer's further signing key that waits to be stored.
#[derive(Debug)]
pub struct NewSigningKey {
    /// Its `did:key`.
    pub did: String,
    /// The key, wrapped.
    pub wrapped: Vec<u8>,
}

/// A key for access tokens that waits to be stored.
#[derive(Debug)]
pub struct NewTokenKey {
    /// Its name.
    pub kid: String,
    /// The Ed25519 key.
    pub public: [u8; 32],
    /// Its secret, wrapped.
    pub wrapped: Vec<u8>,
}

/// The master key and a source of randomness: makes secrets, wraps and unwraps them.
#[derive(Clone)]
pub struct Keyring {
    master_key: MasterKey,
    random: Arc<dyn Random>,
}

impl Keyring {
    /// Both are handed in.
    #[must_use]
    pub fn new(master_key: MasterKey, random: Arc<dyn Random>) -> Keyring {
        Keyring { master_key, random }
    }

    /// Where its randomness comes from.
    #[must_use]
    pub fn random(&self) -> &dyn Random {
        &*self.random
    }

    /// The settings of a vault that is being made. Without `origin_base` a random one is drawn.
    #[must_use]
    pub fn new_settings(&self, origin_base: Option<&str>) -> Settings {
        let drawn = || format!("localhost-{}", hex::encode(crate::random::bytes::<8>(self.random())));
        let lookup_keys = Zeroizing::new(crate::random::bytes::<96>(self.random()));
        Settings {
            origin_base: origin_base.map_or_else(drawn, str::to_owned),
            lookup_keys: self.master_key.wrap(Secret::LookupKeys, lookup_keys.as_slice(), self.random()),
        }
    }

    /// The look-up keys of a vault that exists.
    ///
    /// # Errors
    /// [`OpenError::WrongMasterKey`].
    pub fn lookup_keys(&self, settings: &Settings) -> Result<LookupKeys, OpenError> {
        let bytes = self.master_key.unwrap(Secret::LookupKeys, &settings.lookup_keys).map_err(|_| OpenError::WrongMasterKey)?;
        let bytes: &[u8; 96] =
            bytes.as_slice().try_into().map_err(|_| Error::Corrupt("the look-up keys have another length".to_owned()))?;
        Ok(LookupKeys::from_bytes(bytes))
    }

    /// A fresh subject.
    #[must_use]
    pub fn new_subject(&self, now: Timestamp) -> NewSubject {
        let (id, key) = (crate::random::uuid_v7(now, self.random()), SealingKey::generate(self.random()));
        let subject = Subject { id, key, is_durable: true };
        let wrapped_key = self.wrap(Secret::SubjectKey(subject.id), &subject.key);
        NewSubject { subject, wrapped_key }
    }

    /// A stored subject.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: the stored key does not open.
    pub fn subject(&self, id: Uuid, wrapped_key: &[u8]) -> Result<Subject, Error> {
        Ok(Subject { id, key: self.open(&KeyId::Subject(id), wrapped_key)?, is_durable: true })
    }

    /// A fresh issuer.
    #[must_use]
    pub fn new_issuer(&self, name: &str, now: Timestamp) -> NewIssuer {
        let id = crate::random::uuid_v7(now, self.random());
        let signing_key = SigningKey::generate(self.random());
        let sealing_key = SealingKey::generate(self.random());
        NewIssuer {
            issuer: Issuer { id, name: name.to_owned(), did: signing_key.did().to_owned(), is_active: true },
            wrapped_signing_key: self.wrap_signing_key(id, &signing_key),
            wrapped_sealing_key: self.wrap(Secret::IssuerSealingKey(id), &sealing_key),
        }
    }

    /// A fresh key of a log.
    #[must_use]
    pub fn new_log_key(&self, log: &LogName, origin: Origin) -> NewLogKey {
        let seed = Zeroizing::new(crate::random::bytes::<32>(self.random()));
        let key = LogKey::from_seed(origin, &seed);
        let public = key.verifier().public();
        let wrapped = self.master_key.wrap(Secret::LogSigningKey(log.as_str(), &public), seed.as_slice(), self.random());
        NewLogKey { key, wrapped }
    }

    /// A log's stored key.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: it does not open, or is not the secret of that public key.
    pub fn log_key(&self, log: &LogName, origin: Origin, public: &[u8; 32], wrapped: &[u8]) -> Result<LogKey, Error> {
        let corrupt = || Error::Corrupt(format!("the signing key of {log} does not open"));
        let seed = self.master_key.unwrap(Secret::LogSigningKey(log.as_str(), public), wrapped).map_err(|_| corrupt())?;
        let key = LogKey::from_seed(origin, seed.as_slice().try_into().map_err(|_| corrupt())?);
        if key.verifier().public() == *public { Ok(key) } else { Err(corrupt()) }
    }

    /// A further signing key of an issuer.
    #[must_use]
    pub fn new_signing_key(&self, issuer: Uuid) -> NewSigningKey {
        let key = SigningKey::generate(self.random());
        NewSigningKey { did: key.did().to_owned(), wrapped: self.wrap_signing_key(issuer, &key) }
    }

    /// A stored signing key.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: the stored key does not open, or is not the one that the did names.
    pub fn signing_key(&self, issuer: Uuid, did: &str, wrapped: &[u8]) -> Result<SigningKey, Error> {
        let corrupt = || Error::Corrupt(format!("the signing key of {did} does not open"));
        let seed = self.master_key.unwrap(Secret::IssuerSigningKey(issuer), wrapped).map_err(|_| corrupt())?;
        let key = SigningKey::from_bytes(seed.as_slice().try_into().map_err(|_| corrupt())?);
        // All keys of an issuer are wrapped in one context: one must not stand in another's place.
        if key.did() == did { Ok(key) } else { Err(corrupt()) }
    }

    /// A fresh month's key, and the same wrapped.
    #[must_use]
    pub fn new_month_key(&self, month: &str) -> (SealingKey, Vec<u8>) {
        let key = SealingKey::generate(self.random());
        let wrapped = self.wrap(Secret::MonthKey(month), &key);
        (key, wrapped)
    }

    /// A stored sealing key.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: the stored key does not open.
    pub fn open(&self, id: &KeyId, wrapped: &[u8]) -> Result<SealingKey, Error> {
        let what = match id {
            KeyId::Subject(id) => Secret::SubjectKey(*id),
            KeyId::Issuer(id) => Secret::IssuerSealingKey(*id),
            KeyId::Month(month) => Secret::MonthKey(month),
        };
        let corrupt = || Error::Corrupt(format!("the sealing key {id} does not open"));
        let bytes = self.master_key.unwrap(what, wrapped).map_err(|_| corrupt())?;
        bytes.as_slice().try_into().map(SealingKey::from_bytes).map_err(|_| corrupt())
    }

    /// A text that belongs to a row, wrapped.
    #[must_use]
    pub fn wrap_text(&self, what: Secret<'_>, text: &str) -> Vec<u8> {
        self.master_key.wrap(what, text.as_bytes(), self.random())
    }

    /// A stored text.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: it does not open.
    pub fn text(&self, what: Secret<'_>, wrapped: &[u8]) -> Result<Zeroizing<String>, Error> {
        let corrupt = || Error::Corrupt(format!("{what} does not open"));
        let bytes = self.master_key.unwrap(what, wrapped).map_err(|_| corrupt())?;
        String::from_utf8(bytes.to_vec()).map(Zeroizing::new).map_err(|_| corrupt())
    }

    /// What an account tells of its owner, wrapped.
    #[must_use]
    pub fn wrap_profile(&self, id: Uuid, profile: &Profile) -> Vec<u8> {
        let text = Zeroizing::new(serde_json::json!(profile).to_string());
        self.wrap_text(Secret::AccountProfile(id), &text)
    }

    /// What an account tells of its owner, as it was stored.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: it does not open, or is something else.
    pub fn profile(&self, id: Uuid, wrapped: &[u8]) -> Result<Profile, Error> {
        let text = self.text(Secret::AccountProfile(id), wrapped)?;
        serde_json::from_str(&text).map_err(|_| Error::Corrupt(format!("the profile of account {id} is none")))
    }

    /// A fresh key that signs access tokens.
    #[must_use]
    pub fn new_token_key(&self) -> NewTokenKey {
        let key = SigningKey::generate(self.random());
        let public = key.public();
        let wrapped = self.master_key.wrap(Secret::TokenSigningKey(&public), key.expose(), self.random());
        // Eight bytes tell a handful of keys apart.
        NewTokenKey { kid: hex::encode(&blake3::hash(&public).as_bytes()[..8]), public, wrapped }
    }

    /// A stored key that signs access tokens.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: it does not open, or is not the secret of that public key.
    pub fn token_key(&self, public: &[u8; 32], wrapped: &[u8]) -> Result<SigningKey, Error> {
        let corrupt = || Error::Corrupt("a key that signs access tokens does not open".to_owned());
        let seed = self.master_key.unwrap(Secret::TokenSigningKey(public), wrapped).map_err(|_| corrupt())?;
        let key = SigningKey::from_bytes(seed.as_slice().try_into().map_err(|_| corrupt())?);
        if key.public() == *public { Ok(key) } else { Err(corrupt()) }
    }

    fn wrap_signing_key(&self, issuer: Uuid, key: &SigningKey) -> Vec<u8> {
        self.master_key.wrap(Secret::IssuerSigningKey(issuer), key.expose(), self.random())
    }

    fn wrap(&self, what: Secret<'_>, key: &SealingKey) -> Vec<u8> {
        self.master_key.wrap(what, key.expose(), self.random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRandom;

    fn keyring(key: u8) -> Keyring {
        Keyring::new(MasterKey::from_bytes([key; 32]), Arc::new(SeededRandom::new(u64::from(key))))
    }

    #[test]
    fn what_was_wrapped_opens_again_with_the_same_master_key_only() {
        let ring = keyring(1);
        let new = ring.new_subject(Timestamp::EPOCH);
        assert_eq!(ring.subject(new.subject.id, &new.wrapped_key).unwrap().key, new.subject.key);
        let (month, wrapped) = ring.new_month_key("2026-11");
        assert_eq!(ring.open(&KeyId::Month("2026-11".to_owned()), &wrapped).unwrap(), month);
        assert!(matches!(ring.open(&KeyId::Month("2026-12".to_owned()), &wrapped), Err(Error::Corrupt(_))));
        assert!(matches!(keyring(2).subject(new.subject.id, &new.wrapped_key), Err(Error::Corrupt(_))));
    }

    #[test]
    fn settings_open_with_their_own_master_key_only() {
        let settings = keyring(1).new_settings(Some("ledger.example"));
        assert_eq!(settings.origin_base, "ledger.example");
        assert!(keyring(1).lookup_keys(&settings).is_ok());
        assert!(matches!(keyring(2).lookup_keys(&settings), Err(OpenError::WrongMasterKey)));
    }

    #[test]
    fn an_origin_that_is_not_given_is_drawn() {
        let drawn = keyring(1).new_settings(None).origin_base;
        let digits = drawn.strip_prefix("localhost-").unwrap();
        assert!(digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{drawn}");
        assert_ne!(drawn, keyring(2).new_settings(None).origin_base);
    }

    #[test]
    fn an_issuers_did_is_that_of_its_signing_key() {
        let ring = keyring(1);
        let new = ring.new_issuer("default", Timestamp::EPOCH);
        let key = ring.signing_key(new.issuer.id, &new.issuer.did, &new.wrapped_signing_key).unwrap();
        assert_eq!(new.issuer.did, key.did());
        assert!(ring.open(&KeyId::Issuer(new.issuer.id), &new.wrapped_sealing_key).is_ok());
    }

    #[test]
    fn a_signing_key_opens_under_its_own_did_and_issuer_only() {
        let ring = keyring(1);
        let (issuer, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (one, two) = (ring.new_signing_key(issuer), ring.new_signing_key(issuer));
        assert_eq!(ring.signing_key(issuer, &one.did, &one.wrapped).unwrap().did(), one.did);
        for (issuer, did, wrapped) in [(issuer, &one.did, &two.wrapped), (other, &one.did, &one.wrapped), (issuer, &one.did, &Vec::new())] {
            assert!(matches!(ring.signing_key(issuer, did, wrapped), Err(Error::Corrupt(_))));
        }
        assert!(matches!(keyring(2).signing_key(issuer, &one.did, &one.wrapped), Err(Error::Corrupt(_))));
    }
}
