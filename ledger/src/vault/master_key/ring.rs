//! The master keys that a process has at hand, and which of them wraps.
//!
//! While the master key is being rotated there are two, and every process must change from one to the other without losing what others
//! wrap meanwhile. What holds is written in the vault ([`Standing`]); a ring believes what it read there for [`BELIEVED`], and an engine
//! reads it again before it wraps or opens anything after that ([`Ring::is_current`]). So a change that was written down is
//! followed by every process, whichever it is, once that time is over.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::{Fingerprint, MasterKey, MasterKeys, Secret, Source};
use crate::sealing::DoesNotOpen;
use crate::{Random, causes, store};

/// For how long what was read in the vault is believed. Servers read it more often, when they say that they live.
pub const BELIEVED: Duration = Duration::from_secs(6);

/// How long what was wrapped may be on its way to the vault: for a session that is free, or begun, or begun again. Then it is given up,
/// and never sent. What has arrived by then is waited for by who rotates.
pub const SENT_WITHIN: Duration = Duration::from_secs(10);

/// How far a rotation has come. It goes through these in order and never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The old key wraps. Every process gets the new one, too.
    Announced,
    /// The new key wraps, and what the old one wrapped is wrapped anew.
    Wrapping,
    /// The old key opens nothing any more.
    Done,
}

impl Stage {
    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Announced => "announced",
            Stage::Wrapping => "wrapping",
            Stage::Done => "done",
        }
    }

    /// As it was stored.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Stage> {
        [Stage::Announced, Stage::Wrapping, Stage::Done].into_iter().find(|stage| stage.as_str() == text)
    }
}

/// What a vault remembers of the last rotation of its master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The key that was.
    pub from: Fingerprint,
    /// The key that takes its place.
    pub to: Fingerprint,
    /// How far it has come.
    pub stage: Stage,
}

/// What a vault says of its master key, read at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The wrapped look-up keys: what opens them opened this vault when it was made.
    pub lookup_keys: Vec<u8>,
    /// `None` if its master key was never rotated.
    pub rotation: Option<Rotation>,
}

impl Standing {
    /// As an engine stores it.
    ///
    /// # Errors
    /// [`store::Error::Corrupt`].
    pub fn from_columns(lookup_keys: Vec<u8>, from: Option<&str>, to: Option<&str>, stage: Option<&str>) -> Result<Standing, store::Error> {
        let rotation = match (from, to, stage) {
            (None, None, None) => None,
            (Some(from), Some(to), Some(stage)) => {
                let rotation = || Some(Rotation { from: from.parse().ok()?, to: to.parse().ok()?, stage: Stage::from_text(stage)? });
                Some(
                    rotation()
                        .ok_or_else(|| store::Error::Corrupt("what is remembered of a rotation of the master key is none".to_owned()))?,
                )
            }
            _ => return Err(store::Error::Corrupt("half a rotation of the master key".to_owned())),
        };
        Ok(Standing { lookup_keys, rotation })
    }
}

/// The vault is wrapped by a master key that this process does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAtHand {
    /// By this one.
    #[error("the vault's master key is {0} by now, which this process was not given")]
    Named(Fingerprint),
    /// None of its keys opens the vault.
    #[error("the master key does not open this vault")]
    Unknown,
}

/// A master key that a process lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lacking {
    /// The one that wraps.
    #[error(transparent)]
    Wrapping(NotAtHand),
    /// The one that wrapped before a rotation that is not over: what it wrapped may not have been wrapped anew yet.
    #[error("part of the vault may still be wrapped by the master key {0}, which this process was not given")]
    Wrapped(Fingerprint),
    /// The one that is to wrap once every process has it.
    #[error("the master key {0} is to take the place of the vault's, and this process was not given it: the rotation waits")]
    Announced(Fingerprint),
}

impl Lacking {
    /// Whether secrets of the vault cannot be opened without it.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        !matches!(self, Lacking::Announced(_))
    }
}

/// The keys at hand.
pub struct Ring {
    source: Option<Arc<dyn Source>>,
    held: RwLock<Held>,
}

struct Held {
    /// The one that wraps comes first.
    keys: Vec<MasterKey>,
    /// What was read last, and when.
    seen: Option<(Standing, Instant)>,
}

impl Ring {
    /// The keys of `source`, as they were loaded, which may be asked for others later.
    #[must_use]
    pub fn new(keys: &MasterKeys, source: Option<Arc<dyn Source>>) -> Ring {
        let held = Held { keys: keys.iter().cloned().collect(), seen: None };
        Ring { source, held: RwLock::new(held) }
    }

    /// Wraps a secret by the key that wraps now.
    #[must_use]
    pub fn wrap(&self, what: Secret<'_>, secret: &[u8], random: &(impl Random + ?Sized)) -> Vec<u8> {
        self.held().wrapping().wrap(what, secret, random)
    }

    /// Unwraps a secret.
    ///
    /// # Errors
    /// No key at hand wrapped it as this, or it was altered.
    pub fn unwrap(&self, what: Secret<'_>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        self.held().keys.iter().find_map(|key| key.unwrap(what, wrapped).ok()).ok_or(DoesNotOpen)
    }

    /// The same secret wrapped by the key that wraps now; `None` if it is.
    ///
    /// # Errors
    /// As [`Ring::unwrap`].
    pub fn rewrap(&self, what: Secret<'_>, wrapped: &[u8], random: &(impl Random + ?Sized)) -> Result<Option<Vec<u8>>, DoesNotOpen> {
        if self.held().wrapping().unwrap(what, wrapped).is_ok() {
            return Ok(None);
        }
        let secret = self.unwrap(what, wrapped)?;
        Ok(Some(self.wrap(what, &secret, random)))
    }

    /// The key that wraps now.
    #[must_use]
    pub fn wrapping(&self) -> MasterKey {
        self.held().wrapping().clone()
    }

    /// The key of that name, if it is at hand.
    #[must_use]
    pub fn find(&self, fingerprint: Fingerprint) -> Option<MasterKey> {
        self.held().keys.iter().find(|key| key.fingerprint() == fingerprint).cloned()
    }

    /// The names of the keys at hand; the one that wraps comes first.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.held().keys.iter().map(MasterKey::fingerprint).collect()
    }

    /// Whether what was read in the vault is still believed.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.held().seen.as_ref().is_some_and(|(_, read_at)| read_at.elapsed() < BELIEVED)
    }

    /// Does as the vault says, which was asked at `read_at`. The source is asked for a key that is not at hand; one that is announced, and
    /// which the source does not have yet, is done without.
    ///
    /// # Errors
    /// [`NotAtHand`].
    pub async fn follow(&self, standing: Standing, read_at: Instant) -> Result<(), NotAtHand> {
        let lacks_one = standing.rotation.is_some_and(|rotation| rotation.stage == Stage::Announced && self.find(rotation.to).is_none());
        let refused = match self.take(&standing, read_at) {
            Ok(()) if !lacks_one => return Ok(()),
            taken => taken.err(),
        };
        match &self.source {
            None => {}
            Some(source) => match source.load().await {
                Ok(loaded) => self.add(&loaded),
                Err(error) => {
                    let reason = causes(&error);
                    tracing::warn!(source = source.name(), reason, "the master key is being rotated, but cannot be read again");
                }
            },
        }
        match refused {
            Some(_) => self.take(&standing, read_at),
            None => Ok(()),
        }
    }

    /// Which key is wanted by what the vault says, and not at hand. The source is not asked for it.
    #[must_use]
    pub fn lacking(&self, standing: &Standing) -> Option<Lacking> {
        if let Err(missing) = self.held().wrapping_by(standing) {
            return Some(Lacking::Wrapping(missing));
        }
        let Rotation { from, to, stage } = standing.rotation?;
        let lacks = |name| self.find(name).is_none();
        match stage {
            Stage::Announced => lacks(to).then_some(Lacking::Announced(to)),
            Stage::Wrapping => lacks(from).then_some(Lacking::Wrapped(from)),
            Stage::Done => None,
        }
    }

    /// Keys from elsewhere: those that are at hand stay.
    pub fn add(&self, loaded: &MasterKeys) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        for key in loaded.iter() {
            if !held.keys.contains(key) {
                tracing::info!(master_key = %key.fingerprint(), "another master key is at hand");
                held.keys.push(key.clone());
            }
        }
    }

    fn take(&self, standing: &Standing, read_at: Instant) -> Result<(), NotAtHand> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        // Another caller may have read it later, and been quicker.
        if held.seen.as_ref().is_some_and(|(_, seen_at)| *seen_at > read_at) {
            return Ok(());
        }
        if held.seen.as_ref().is_none_or(|(seen, _)| seen != standing) {
            let at = held.wrapping_by(standing)?;
            held.keys.swap(0, at);
            if let Some(Rotation { from, stage: Stage::Done, .. }) = standing.rotation {
                held.keys.retain(|key| key.fingerprint() != from);
            }
            tracing::debug!(master_key = %held.wrapping().fingerprint(), "wraps");
        }
        held.seen = Some((standing.clone(), read_at));
        Ok(())
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// A source holds at least one key, and the one that wraps is never taken away.
    fn wrapping(&self) -> &MasterKey {
        &self.keys[0]
    }

    /// Where the key stands that wraps by what the vault says.
    fn wrapping_by(&self, standing: &Standing) -> Result<usize, NotAtHand> {
        let opens = |key: &MasterKey| key.unwrap(Secret::LookupKeys, &standing.lookup_keys).is_ok();
        match standing.rotation {
            None => self.keys.iter().position(opens).ok_or(NotAtHand::Unknown),
            Some(Rotation { from, to, stage }) => {
                let wraps = if stage == Stage::Announced { from } else { to };
                self.keys.iter().position(|key| key.fingerprint() == wraps).ok_or(NotAtHand::Named(wraps))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::File;
    use super::*;
    use crate::random::SystemRandom;

    fn key(digit: u8) -> MasterKey {
        MasterKey::from_bytes([digit; 32])
    }

    fn name(digit: u8) -> Fingerprint {
        key(digit).fingerprint()
    }

    fn standing(stage: Option<Stage>) -> Standing {
        let rotation = stage.map(|stage| Rotation { from: name(1), to: name(2), stage });
        Standing { lookup_keys: key(1).wrap(Secret::LookupKeys, &[9; 96], &SystemRandom), rotation }
    }

    #[tokio::test]
    async fn the_vault_says_which_key_wraps() {
        let ring = Ring::new(&MasterKeys::and(key(2), key(1)), None);
        assert!(!ring.is_current());
        for (stage, expected) in [
            (None, vec![name(1), name(2)]),
            (Some(Stage::Announced), vec![name(1), name(2)]),
            (Some(Stage::Wrapping), vec![name(2), name(1)]),
            (Some(Stage::Done), vec![name(2)]),
        ] {
            ring.follow(standing(stage), Instant::now()).await.unwrap();
            assert_eq!(ring.fingerprints(), expected, "{stage:?}");
            assert!(ring.is_current());
        }
        let wrapped = key(1).wrap(Secret::LookupKeys, b"secret", &SystemRandom);
        assert!(ring.unwrap(Secret::LookupKeys, &wrapped).is_err(), "the old key is forgotten");
    }

    #[tokio::test]
    async fn what_was_read_before_does_not_undo_what_was_read_after() {
        let ring = Ring::new(&MasterKeys::and(key(1), key(2)), None);
        let before = Instant::now();
        ring.follow(standing(Some(Stage::Wrapping)), before + Duration::from_millis(1)).await.unwrap();
        ring.follow(standing(None), before).await.unwrap();
        assert_eq!(ring.wrapping(), key(2));
    }

    #[tokio::test]
    async fn the_source_is_asked_for_a_key_that_is_not_at_hand() {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(File::at(folder.path().join("master.key")));
        let path = folder.path().join("master.key");
        let write = |text: String| std::fs::write(&path, text).unwrap();
        write(key(1).to_hex().to_string());
        let ring = Ring::new(&file.load().await.unwrap(), Some(file.clone()));
        // Announced, it is done without; wrapping by it, it is not.
        ring.follow(standing(Some(Stage::Announced)), Instant::now()).await.unwrap();
        let late = ring.follow(standing(Some(Stage::Wrapping)), Instant::now()).await;
        assert_eq!(late, Err(NotAtHand::Named(name(2))));
        assert_eq!(ring.fingerprints(), [name(1)]);
        write(format!("{}\n{}\n", *key(1).to_hex(), *key(2).to_hex()));
        ring.follow(standing(Some(Stage::Announced)), Instant::now()).await.unwrap();
        assert_eq!(ring.fingerprints(), [name(1), name(2)]);
        ring.follow(standing(Some(Stage::Wrapping)), Instant::now()).await.unwrap();
        // A file that is gone takes nothing away from who runs.
        std::fs::remove_file(&path).unwrap();
        ring.follow(standing(Some(Stage::Done)), Instant::now()).await.unwrap();
        assert_eq!(ring.fingerprints(), [name(2)]);
    }

    #[test]
    fn a_key_that_is_wanted_and_not_at_hand_is_named() {
        let lacking = |digit, stage| Ring::new(&key(digit).into(), None).lacking(&standing(stage));
        for (stage, with_old, with_new) in [
            (None, None, Some(Lacking::Wrapping(NotAtHand::Unknown))),
            (Some(Stage::Announced), Some(Lacking::Announced(name(2))), Some(Lacking::Wrapping(NotAtHand::Named(name(1))))),
            (Some(Stage::Wrapping), Some(Lacking::Wrapping(NotAtHand::Named(name(2)))), Some(Lacking::Wrapped(name(1)))),
            (Some(Stage::Done), Some(Lacking::Wrapping(NotAtHand::Named(name(2)))), None),
        ] {
            assert_eq!((lacking(1, stage), lacking(2, stage)), (with_old, with_new), "{stage:?}");
            let both = Ring::new(&MasterKeys::and(key(1), key(2)), None);
            assert_eq!(both.lacking(&standing(stage)), None, "{stage:?}");
        }
        assert!(Lacking::Wrapped(name(1)).is_needed() && !Lacking::Announced(name(2)).is_needed());
    }

    #[tokio::test]
    async fn keys_that_do_not_open_the_vault_are_refused() {
        let ring = Ring::new(&key(3).into(), None);
        assert_eq!(ring.follow(standing(None), Instant::now()).await, Err(NotAtHand::Unknown));
        assert!(!ring.is_current());
    }

    #[test]
    fn what_is_wrapped_by_the_key_that_wraps_is_not_wrapped_anew() {
        let ring = Ring::new(&MasterKeys::and(key(2), key(1)), None);
        let old = key(1).wrap(Secret::LookupKeys, b"secret", &SystemRandom);
        let new = ring.rewrap(Secret::LookupKeys, &old, &SystemRandom).unwrap().unwrap();
        assert_eq!(key(2).unwrap(Secret::LookupKeys, &new).unwrap().as_slice(), b"secret");
        assert_eq!(ring.rewrap(Secret::LookupKeys, &new, &SystemRandom), Ok(None));
        let foreign = key(3).wrap(Secret::LookupKeys, b"secret", &SystemRandom);
        assert_eq!(ring.rewrap(Secret::LookupKeys, &foreign, &SystemRandom), Err(DoesNotOpen));
    }
}
