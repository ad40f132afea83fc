//! What a process remembers of issuers and their signing keys, so that it does not ask the vault for each request.
//!
//! An issuer's id and name never change, and neither does the key that a did names; only which key is the current one does. That is
//! asked for anew so often that every process issues under a new key within a second.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use credence_ledger::signing::SigningKey;
use credence_ledger::store::Error;
use credence_ledger::vault::{Issuer, Vault};
use tokio::time::Instant;
use uuid::Uuid;

/// How old what is known of an issuer's current key may be.
const CURRENT_MAX: Duration = Duration::from_millis(800);
/// How many signing keys are remembered.
const SIGNING_KEYS_MAX: usize = 1024;

/// See the module.
pub struct Issuers {
    vault: Arc<dyn Vault>,
    known: Mutex<Known>,
    /// Those whose registration was seen in the ledger, where it stays.
    registered: RwLock<HashSet<Uuid>>,
}

#[derive(Default)]
struct Known {
    issuers: Vec<Issuer>,
    /// When the vault was asked; `None` before it was.
    at: Option<Instant>,
    /// Somebody is asking it again; what is known serves the others meanwhile.
    asked_again: bool,
}

impl Issuers {
    /// Over a vault.
    #[must_use]
    pub fn new(vault: Arc<dyn Vault>) -> Issuers {
        Issuers { vault, known: Mutex::default(), registered: RwLock::default() }
    }

    /// Whether the issuer is known to be registered in the ledger.
    #[must_use]
    pub fn is_registered(&self, id: Uuid) -> bool {
        self.registered.read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// Remembers that the issuer is registered in the ledger.
    pub fn note_registered(&self, id: Uuid) {
        self.registered.write().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// The issuer of that name. Its did may be one that it no longer issues under.
    ///
    /// # Errors
    /// The vault's.
    pub async fn by_name(&self, name: &str) -> Result<Option<Issuer>, Error> {
        self.find(|issuer| issuer.name == name).await
    }

    /// The issuer with that id. Its did may be one that it no longer issues under.
    ///
    /// # Errors
    /// The vault's.
    pub async fn by_id(&self, id: Uuid) -> Result<Option<Issuer>, Error> {
        self.find(|issuer| issuer.id == id).await
    }

    /// The issuer with that id, to issue in its name: its did was the current one less than a second ago.
    ///
    /// # Errors
    /// The vault's.
    pub async fn issuing(&self, id: Uuid) -> Result<Option<Issuer>, Error> {
        if let Some(issuer) = self.known_now(id) {
            return Ok(Some(issuer));
        }
        Ok(self.ask().await?.into_iter().find(|issuer| issuer.id == id))
    }

    async fn find(&self, wanted: impl Fn(&Issuer) -> bool + Send + Sync) -> Result<Option<Issuer>, Error> {
        let known = self.known().issuers.iter().find(|issuer| wanted(issuer)).cloned();
        match known {
            Some(issuer) => Ok(Some(issuer)),
            None => Ok(self.ask().await?.into_iter().find(wanted)),
        }
    }

    /// What is known and new enough; `None` when the caller has to ask.
    fn known_now(&self, id: Uuid) -> Option<Issuer> {
        let mut known = self.known();
        let age = known.at?.elapsed();
        if age >= CURRENT_MAX || (age >= CURRENT_MAX / 2 && !known.asked_again) {
            known.asked_again = true;
            return None;
        }
        known.issuers.iter().find(|issuer| issuer.id == id).cloned()
    }

    async fn ask(&self) -> Result<Vec<Issuer>, Error> {
        // As old as the question: a key may change while the vault answers.
        let at = Instant::now();
        let issuers = self.vault.issuers().await?;
        let mut known = self.known();
        if known.at.is_none_or(|newer| newer < at) {
            *known = Known { issuers: issuers.clone(), at: Some(at), asked_again: false };
        }
        Ok(issuers)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signing keys, unwrapped, each read from the vault once. They are wiped when they are forgotten.
pub struct SigningKeys {
    vault: Arc<dyn Vault>,
    known: RwLock<HashMap<String, Arc<SigningKey>>>,
}

impl SigningKeys {
    /// Over a vault.
    #[must_use]
    pub fn new(vault: Arc<dyn Vault>) -> SigningKeys {
        SigningKeys { vault, known: RwLock::default() }
    }

    /// The key that a document's issuer names.
    ///
    /// # Errors
    /// The vault's; [`Error::Corrupt`] if it has no such key, for no signing key is ever given up.
    pub async fn get(&self, did: &str) -> Result<Arc<SigningKey>, Error> {
        if let Some(key) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(did) {
            return Ok(key.clone());
        }
        let key = self.vault.signing_key(did).await?;
        let key = Arc::new(key.ok_or_else(|| Error::Corrupt(format!("the vault has no signing key of {did}")))?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SIGNING_KEYS_MAX {
            known.clear();
        }
        known.insert(did.to_owned(), key.clone());
        Ok(key)
    }
}
