//! The master key: it wraps every secret of the vault and lives outside of it, in a file of 64 hex digits.
//!
//! The file is written once, whole or not at all, readable by its owner only, and never overwritten: a vault does not open
//! without the key it was made with. The contexts in which secrets are wrapped are **permanent**.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use uuid::Uuid;
use zeroize::Zeroizing;

use crate::Random;
use crate::sealing::{DoesNotOpen, SealingKey};

/// The key that wraps the vault's secrets. Wiped when dropped, never shown.
#[derive(Debug, Clone)]
pub struct MasterKey(SealingKey);

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

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("the master key file is missing")]
    Missing,
    /// The file holds something else.
    #[error("the master key file does not hold 64 hex digits")]
    Malformed,
    /// The file can be neither read nor written.
    #[error("the master key file cannot be read or written")]
    Io(#[source] io::Error),
}

impl MasterKey {
    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> MasterKey {
        MasterKey(SealingKey::from_bytes(bytes))
    }

    /// Reads the file. A file that others than its owner can read is taken, with a warning.
    ///
    /// # Errors
    /// There is none, or it holds something else.
    pub fn load(path: &Path) -> Result<MasterKey, Error> {
        let text = match fs::read(path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Err(Error::Missing),
            Err(other) => return Err(Error::Io(other)),
        };
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_ascii_end(), key.as_mut_slice()).map_err(|_| Error::Malformed)?;
        warn_if_others_can_read(path);
        Ok(MasterKey::from_bytes(*key))
    }

    /// Makes a fresh key and its file, unless the file is there: then that one is loaded. Racing processes agree on one key.
    ///
    /// To be called only where there is no vault yet: no fresh key opens one that exists.
    ///
    /// # Errors
    /// The file cannot be written, or is there and holds something else.
    pub fn load_or_generate(path: &Path, random: &(impl Random + ?Sized)) -> Result<MasterKey, Error> {
        match MasterKey::load(path) {
            Err(Error::Missing) => {}
            loaded => return loaded,
        }
        let key = Zeroizing::new(crate::random::bytes::<32>(random));
        write_new(path, &key, random).map_err(Error::Io)?;
        MasterKey::load(path)
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

/// The file appears under its name when it is whole and durable: a crash before leaves a temporary file, never half a key.
/// A hard link, unlike a renaming, does not replace what another process was quicker to write.
fn write_new(path: &Path, key: &[u8; 32], random: &(impl Random + ?Sized)) -> io::Result<()> {
    let suffix = hex::encode(crate::random::bytes::<8>(random));
    let temporary = path.with_extension(format!("{suffix}.tmp"));
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(key))));
    let mut file = create_private(&temporary)?;
    let linked = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| match fs::hard_link(&temporary, path) {
        Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&temporary)?;
    linked?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(folder)
}

/// Makes a file that must not be there yet, for its owner only.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Without it a power cut could take the file's name away again.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(unix)]
fn warn_if_others_can_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format_args!("{:03o}", mode & 0o777), "others than its owner may read the master key file");
    }
}

#[cfg(not(unix))]
fn warn_if_others_can_read(_: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRandom;

    fn wrapped_by(key: &MasterKey) -> impl Fn(&MasterKey) -> bool {
        let wrapped = key.wrap(Secret::LookupKeys, b"secret", &SeededRandom::new(9));
        move |other| other.unwrap(Secret::LookupKeys, &wrapped).is_ok()
    }

    #[test]
    fn a_generated_key_is_the_one_that_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let key = MasterKey::load_or_generate(&path, &SeededRandom::new(1)).unwrap();
        let again = MasterKey::load_or_generate(&path, &SeededRandom::new(2)).unwrap();
        assert!(wrapped_by(&key)(&again) && wrapped_by(&key)(&MasterKey::load(&path).unwrap()));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() == 65 && text.ends_with('\n') && text.trim().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        MasterKey::load_or_generate(&path, &SeededRandom::new(1)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn racing_processes_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let keys: Vec<MasterKey> = std::thread::scope(|scope| {
            let path = &path;
            let racing: Vec<_> =
                (0..8).map(|seed| scope.spawn(move || MasterKey::load_or_generate(path, &SeededRandom::new(seed)).unwrap())).collect();
            racing.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(wrapped_by(&keys[0])));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_holds_something_else_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        assert!(matches!(MasterKey::load(&path), Err(Error::Missing)));
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &format!(" {}", "0".repeat(64))] {
            fs::write(&path, text).unwrap();
            assert!(matches!(MasterKey::load_or_generate(&path, &SeededRandom::new(1)), Err(Error::Malformed)), "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, format!("{}\r\n", "aB".repeat(32))).unwrap();
        assert!(wrapped_by(&MasterKey::from_bytes([0xab; 32]))(&MasterKey::load(&path).unwrap()));
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
