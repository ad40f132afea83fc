//! `credence fsck` with what is kept outside the stores: keys, checkpoints, and how far an earlier check has come.

#![cfg(test)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use credence_ledger::LogName;
use credence_ledger::checkpoint::{Checkpoint, LogKey, TreeHead};
use credence_ledger::clock::SystemClock;
use credence_ledger::fsck::{Against, Keep, State, check_from};
use credence_ledger::log::Log as _;
use credence_ledger::log::sqlite::Sqlite;
use credence_ledger::tiles::{self, Published, Tiles as _, contract, grow, root};
use credence_ledger::tree::TreeSize;
use support::command;

/// A ledger log of a hundred events with a checkpoint of all of them, without a service.
struct Signed {
    folder: tempfile::TempDir,
    log: Sqlite,
    tiles: tiles::sqlite::Sqlite,
    key: LogKey,
}

impl Signed {
    async fn new() -> Signed {
        let folder = tempfile::TempDir::new().unwrap();
        let log = Sqlite::open(folder.path(), LogName::LEDGER, "fsck.example", Arc::new(SystemClock)).await.unwrap();
        let tiles = tiles::sqlite::Sqlite::new(folder.path(), LogName::LEDGER, log.origin().clone());
        contract::append(&log, 100).await;
        let size = grow(&tiles, &mut None).await.unwrap();
        let made = Signed { key: LogKey::from_seed(log.origin().clone(), &[1; 32]), folder, log, tiles };
        let note = made.sign(size).await.note().to_owned();
        assert!(made.tiles.publish(&Published { number: 0, size, note }).await.unwrap());
        made
    }

    async fn sign(&self, size: TreeSize) -> Checkpoint {
        let root = root(&self.tiles, size).await.unwrap();
        Checkpoint::sign(TreeHead { origin: self.log.origin().clone(), size, root }, &self.key)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Status, standard output, standard error.
    fn fsck(&self, arguments: &[&str]) -> (i32, String, String) {
        let store = format!("sqlite:{}", self.folder.path().display());
        let output = command(&["fsck", "--log", "ledger", "--store", &store]).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[tokio::test]
async fn a_checkpoint_is_held_against_the_keys_and_checkpoints_that_are_given() {
    let signed = Signed::new().await;
    let key = signed.file("keys", format!("{}\n\n", signed.key.verifier()));
    let other = signed.file("other", LogKey::from_seed(signed.log.origin().clone(), &[2; 32]).verifier().to_string());
    let kept = signed.file("kept", signed.sign(TreeSize(50)).await.note());
    let (status, out, _) = signed.fsck(&["--key", &key, "--key", &other, "--checkpoint", &kept]);
    let root = root(&signed.tiles, TreeSize(100)).await.unwrap();
    assert!(status == 0 && out.ends_with(&format!(", tree 100 {root}, 1 checkpoints, ok\n")), "{out}");
    let (status, out, _) = signed.fsck(&["--key", &other]);
    assert!(status == 1 && out.starts_with("ledger checkpoint: number 0: no known key has signed the checkpoint\n"), "{out}");

    let larger = TreeHead { size: TreeSize(900), ..signed.sign(TreeSize(100)).await.head().clone() };
    let larger = signed.file("larger", Checkpoint::sign(larger, &signed.key).note());
    let (status, out, _) = signed.fsck(&["--key", &key, "--checkpoint", &larger]);
    let told = format!(
        "ledger checkpoint: the log was cut, or is an older one restored: one of size 900 is kept at {larger}, the log has 100 events\n"
    );
    assert!(status == 1 && out.starts_with(&told), "{out}");
}

#[tokio::test]
async fn what_is_no_key_no_checkpoint_or_of_another_log_is_a_usage_error() {
    let signed = Signed::new().await;
    let nothing = signed.file("nothing", "nothing");
    let elsewhere = signed.sign(TreeSize(50)).await.note().replace("/v1/logs/ledger", "/v1/logs/audit");
    let elsewhere = signed.file("elsewhere", elsewhere);
    for (arguments, named) in [
        (["--key", &nothing], "nothing: expected a verifier key"),
        (["--key", "/no/such/file"], "--key /no/such/file"),
        (["--checkpoint", &nothing], "nothing: this is no checkpoint"),
        (["--checkpoint", &elsewhere], "elsewhere: it is of fsck.example/v1/logs/audit, which is not checked"),
        (["--state", &nothing], "nothing: it is damaged, or no state of a check: remove it"),
    ] {
        let (status, out, err) = signed.fsck(&arguments);
        assert!(status == 2 && out.is_empty() && err.contains(named), "{arguments:?}: {status} {err}");
    }
    let output = command(&["fsck", "--state", &nothing]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "which log it is of must be said");
}

/// Keeps the last state.
#[derive(Default)]
struct Last(Option<String>);

impl Keep for Last {
    fn is_due(&mut self) -> bool {
        true
    }

    fn keep(&mut self, state: &State) {
        self.0 = Some(state.to_text());
    }
}

#[tokio::test]
async fn a_check_is_gone_on_with_and_its_state_is_gone_when_it_has_come_to_its_end() {
    let signed = Signed::new().await;
    let against = Against { tiles: &signed.tiles, known: &[], held: &[] };
    let mut last = Last::default();
    check_from(&signed.log, &against, None, &mut last, &mut |finding| panic!("{finding}"), &mut |_, _| ()).await.unwrap();
    let state = signed.file("state", last.0.unwrap());
    let (status, out, err) = signed.fsck(&["--state", &state]);
    assert!(status == 0 && err.contains("goes on after 100 events, which are not read again"), "{err}");
    assert!(!signed.path("state").exists());
    let (_, anew, err) = signed.fsck(&["--state", &state]);
    assert!(out == anew && !err.contains("goes on"), "{err}");
}
