//! Where the master key comes from: a file, a value that the process was given, or a command that asks a key management service.
//!
//! The file is written whole or not at all, and is readable by its owner only. It is replaced by a rotation alone, which keeps in it the
//! key that still opens what the new one does not: a vault does not open without a key it was wrapped with.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::AsyncReadExt as _;
use tokio::process;
use zeroize::Zeroizing;

use super::{Malformed, MasterKey, MasterKeys};
use crate::Random;

/// How long a command may take.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// A command that prints more than two keys does not print keys.
const OUTPUT_BYTES_MAX: u64 = 1024;

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("the master key file is missing")]
    Missing,
    /// What is there is something else.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The file can be neither read nor written.
    #[error("the master key file cannot be read or written")]
    Io(#[source] io::Error),
    /// The command cannot be run.
    #[error("the command cannot be run")]
    Command(#[source] io::Error),
    /// The command says that it did not succeed.
    #[error("the command failed: {0}")]
    Failed(ExitStatus),
    /// The command took too long, and was killed.
    #[error("the command did not answer within {} s", COMMAND_TIMEOUT.as_secs())]
    Late,
}

/// Where the master key comes from. It is asked at the start, and again while the master key is being rotated.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync {
    /// What whoever runs this process knows it by; no secret.
    fn name(&self) -> String;

    /// The key that it holds, or two.
    ///
    /// # Errors
    /// See [`Error`].
    async fn load(&self) -> Result<MasterKeys, Error>;

    /// Puts these keys, durably, in the place of those it holds; false where that is somebody else's to do.
    ///
    /// # Errors
    /// It cannot be written, and is as it was.
    fn replace(&self, keys: &MasterKeys) -> Result<bool, Error> {
        let _ = keys;
        Ok(false)
    }
}

/// A file.
#[derive(Debug, Clone)]
pub struct File {
    name: String,
    path: PathBuf,
}

#[async_trait]
impl Source for File {
    fn name(&self) -> String {
        self.name.clone()
    }

    /// A file that others than its owner can read is taken, with a warning.
    async fn load(&self) -> Result<MasterKeys, Error> {
        self.read()
    }

    fn replace(&self, keys: &MasterKeys) -> Result<bool, Error> {
        // The file itself where its name is a link to it.
        let replace = fs::canonicalize(&self.path).and_then(|path| {
            let old = fs::metadata(&path)?;
            write(&path, keys, &crate::random::SystemRandom, |temporary| {
                // Whoever could read it can do so still, though it was another user who called for the rotation.
                take_after(temporary, &old)?;
                fs::rename(temporary, &path)
            })
        });
        replace.map(|()| true).map_err(Error::Io)
    }
}

impl File {
    /// `name` tells the variable in which its path stands, and the path.
    #[must_use]
    pub fn new(name: String, path: PathBuf) -> File {
        File { name, path }
    }

    /// One that is known by its path.
    #[must_use]
    pub fn at(path: PathBuf) -> File {
        File { name: path.display().to_string(), path }
    }

    fn read(&self) -> Result<MasterKeys, Error> {
        let text = match fs::read(&self.path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(missing) if matches!(missing.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Err(Error::Missing),
            Err(other) => return Err(Error::Io(other)),
        };
        let keys = MasterKeys::parse(&text)?;
        warn_if_others_can_read(&self.path);
        Ok(keys)
    }

    /// Makes a fresh key and its file, unless the file is there: then that one is loaded. Racing processes agree on one key.
    ///
    /// To be called only where there is no vault yet: no fresh key opens one that exists.
    ///
    /// # Errors
    /// The file cannot be written, or is there and holds something else.
    pub fn load_or_generate(&self, random: &(impl Random + ?Sized)) -> Result<MasterKeys, Error> {
        match self.read() {
            Err(Error::Missing) => {}
            loaded => return loaded,
        }
        let link = |temporary: &Path| {
            // A hard link, unlike a renaming, does not replace what another process was quicker to write.
            let linked = match fs::hard_link(temporary, &self.path) {
                Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            };
            fs::remove_file(temporary).and(linked)
        };
        write(&self.path, &MasterKey::generate(random).into(), random, link).map_err(Error::Io)?;
        self.read()
    }
}

/// A value that the process was given when it started, and which stays as it was.
#[derive(Debug, Clone)]
pub struct Given {
    name: String,
    text: SecretString,
}

impl Given {
    /// `name` is the variable's.
    #[must_use]
    pub fn new(name: String, text: SecretString) -> Given {
        Given { name, text }
    }
}

#[async_trait]
impl Source for Given {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn load(&self) -> Result<MasterKeys, Error> {
        Ok(MasterKeys::parse(self.text.expose_secret().as_bytes())?)
    }
}

/// A command, given to `/bin/sh -c`, that prints the key on its standard output. Its standard error is this process's.
#[derive(Debug, Clone)]
pub struct Command {
    name: String,
    /// Some give it a password.
    command: SecretString,
    timeout: Duration,
}

impl Command {
    /// `name` is the variable that it stands in. It may take [`COMMAND_TIMEOUT`].
    #[must_use]
    pub fn new(name: String, command: SecretString) -> Command {
        Command { name, command, timeout: COMMAND_TIMEOUT }
    }

    async fn answer(&self, shell: &mut process::Child) -> Result<MasterKeys, Error> {
        let mut printed = Zeroizing::new(Vec::with_capacity(1024));
        if let Some(output) = shell.stdout.take() {
            // Whoever prints more is left to find nobody reading.
            output.take(OUTPUT_BYTES_MAX).read_to_end(&mut printed).await.map_err(Error::Command)?;
        }
        let status = shell.wait().await.map_err(Error::Command)?;
        if !status.success() {
            return Err(Error::Failed(status));
        }
        Ok(MasterKeys::parse(&printed)?)
    }
}

#[async_trait]
impl Source for Command {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn load(&self) -> Result<MasterKeys, Error> {
        let mut shell = process::Command::new("/bin/sh");
        shell.arg("-c").arg(self.command.expose_secret()).stdin(Stdio::null()).stdout(Stdio::piped());
        // A group of its own: what the shell started ends with it.
        let mut shell = shell.process_group(0).kill_on_drop(true).spawn().map_err(Error::Command)?;
        let group = shell.id();
        match tokio::time::timeout(self.timeout, self.answer(&mut shell)).await {
            Ok(answered) => answered,
            Err(_) => {
                let group = group.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
                if let Some(group) = group {
                    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                }
                Err(Error::Late)
            }
        }
    }
}

/// A file of these keys appears as `place` puts it when it is whole and durable: a crash before leaves a temporary file, never half a key.
fn write(path: &Path, keys: &MasterKeys, random: &(impl Random + ?Sized), place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let suffix = hex::encode(crate::random::bytes::<8>(random));
    let temporary = path.with_extension(format!("{suffix}.tmp"));
    let mut text = Zeroizing::new(String::with_capacity(256));
    for key in keys.iter() {
        text.push_str(&key.to_hex());
        text.push('\n');
    }
    let mut file = create_private(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| place(&temporary));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(folder)
}

/// Makes a file that must not be there yet, for its owner only.
pub(in crate::vault) fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Gives a file the owner, the group and the rights of another.
fn take_after(path: &Path, old: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let new = fs::metadata(path)?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        std::os::unix::fs::chown(path, Some(old.uid()), Some(old.gid()))?;
    }
    fs::set_permissions(path, old.permissions())
}

/// Without it a power cut could take the file's name away again.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(folder)?.sync_all() } else { Ok(()) }
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
    use std::time::Instant;

    use super::*;
    use crate::testing::SeededRandom;

    fn keys(keys: &MasterKeys) -> Vec<MasterKey> {
        keys.iter().cloned().collect()
    }

    fn key(digit: u8) -> MasterKey {
        MasterKey::from_bytes([digit; 32])
    }

    #[test]
    fn a_generated_key_is_the_one_that_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::at(folder.path().join("master.key"));
        let key = keys(&file.load_or_generate(&SeededRandom::new(1)).unwrap());
        assert_eq!(keys(&file.load_or_generate(&SeededRandom::new(2)).unwrap()), key);
        assert_eq!(keys(&file.read().unwrap()), key);
        let text = fs::read_to_string(&file.path).unwrap();
        assert!(text.len() == 65 && text.ends_with('\n') && text.trim().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_its_owner_only_and_keeps_its_rights_when_it_is_replaced() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = File::at(folder.path().join("master.key"));
        let mode = || fs::metadata(&file.path).unwrap().permissions().mode() & 0o777;
        file.load_or_generate(&SeededRandom::new(1)).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(file.replace(&MasterKeys::and(key(1), key(2))).unwrap());
        assert_eq!((keys(&file.read().unwrap()), mode()), (vec![key(1), key(2)], 0o640));
        // Through a link, as secrets are mounted.
        let link = File::at(folder.path().join("link"));
        std::os::unix::fs::symlink(&file.path, &link.path).unwrap();
        assert!(link.replace(&key(2).into()).unwrap());
        assert_eq!(keys(&file.read().unwrap()), [key(2)]);
        assert!(fs::symlink_metadata(&link.path).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn racing_processes_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::at(folder.path().join("master.key"));
        let found: Vec<_> = std::thread::scope(|scope| {
            let file = &file;
            let racing: Vec<_> =
                (0..8).map(|seed| scope.spawn(move || keys(&file.load_or_generate(&SeededRandom::new(seed)).unwrap()))).collect();
            racing.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(found.iter().all(|other| *other == found[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_holds_something_else_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::at(folder.path().join("master.key"));
        assert!(matches!(file.read(), Err(Error::Missing)));
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64)] {
            fs::write(&file.path, text).unwrap();
            assert!(matches!(file.load_or_generate(&SeededRandom::new(1)), Err(Error::Malformed(_))), "{text:?}");
            assert_eq!(fs::read_to_string(&file.path).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn a_given_value_is_a_key_and_never_shown() {
        let given = Given::new("CREDENCE_MASTER_KEY".to_owned(), "ab".repeat(32).into());
        assert_eq!(keys(&given.load().await.unwrap()), [key(0xab)]);
        assert!(!format!("{given:?}").contains("abab"));
        assert!(!given.replace(&key(1).into()).unwrap(), "it is not this process's to replace");
    }

    fn command(text: &str) -> Command {
        Command { timeout: Duration::from_millis(500), ..Command::new("CREDENCE_MASTER_KEY_COMMAND".to_owned(), text.into()) }
    }

    #[tokio::test]
    async fn a_commands_output_is_the_key() {
        let asked = command("printf 'ab%.0s' $(seq 32) | cat");
        assert_eq!(keys(&asked.load().await.unwrap()), [key(0xab)]);
        assert!(matches!(command("exit 3").load().await, Err(Error::Failed(status)) if status.code() == Some(3)));
        assert!(matches!(command("printf 'ab%.0s' $(seq 32); exit 1").load().await, Err(Error::Failed(_))));
        assert!(matches!(command("no-such-command-anywhere 2>/dev/null").load().await, Err(Error::Failed(_))));
        assert!(matches!(command("echo nonsense").load().await, Err(Error::Malformed(_))));
        assert!(matches!(command("true").load().await, Err(Error::Malformed(_))));
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_killed_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let (started, survived) = (folder.path().join("started"), folder.path().join("survived"));
        let asked = command(&format!("(touch {}; sleep 2; touch {}) & wait", started.display(), survived.display()));
        let begun = Instant::now();
        assert!(matches!(asked.load().await, Err(Error::Late)));
        assert!(begun.elapsed() < Duration::from_secs(2) && started.exists());
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(!survived.exists());
        // One that prints without end is not read without end.
        assert!(command("yes").load().await.is_err());
    }
}
