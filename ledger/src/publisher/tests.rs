use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::witness::{Quorum, Refusal, Witness};
use super::*;
use crate::chain::Origin;
use crate::checkpoint::{VerifierKey, WitnessKey};
use crate::clock::ManualClock;
use crate::log::{Log, memory};
use crate::random::SystemRandom;
use crate::tiles::contract::append;
use crate::vault::rows::Keyring;
use crate::vault::{MasterKey, sqlite};
use crate::{LogName, Timestamp};
use async_trait::async_trait;

/// A log in memory, its tiles, and a vault in a folder.
struct Store {
    folder: tempfile::TempDir,
    log: Arc<dyn Log>,
    tiles: Arc<dyn Tiles>,
}

impl Store {
    fn new() -> Store {
        Store::beside(tempfile::TempDir::new().unwrap())
    }

    /// An empty log beside the vault that is in the folder: as if it had been lost.
    fn beside(folder: tempfile::TempDir) -> Store {
        let origin = Origin::new("ledger.example", &LogName::LEDGER);
        let log: Arc<dyn Log> = Arc::new(memory::Memory::new(LogName::LEDGER, origin, clock()));
        Store { folder, tiles: Arc::new(tiles::memory::Memory::new(log.clone())), log }
    }

    async fn vault(&self) -> Arc<dyn Vault> {
        let keyring = Keyring::new(MasterKey::from_bytes([7; 32]), Arc::new(SystemRandom));
        Arc::new(sqlite::Sqlite::open(self.folder.path(), keyring, Some("ledger.example")).await.unwrap())
    }

    fn anchor(&self) -> Anchor {
        Anchor::File(self.folder.path().join("anchor"))
    }

    async fn rounds(&self, anchor: Option<Anchor>, cosigners: Cosigners) -> Rounds {
        let (published, status) = (watch::Sender::new(None), watch::Sender::new(Status::Good));
        let shared = Arc::new(Shared { tiles: self.tiles.clone(), demand: Notify::new(), published, status });
        let settings = Settings { interval: Duration::from_secs(3600), anchor, cosigners, clock: clock() };
        Rounds::new(shared, self.vault().await, settings)
    }

    async fn publishes(&self) -> Vec<u64> {
        let published = self.tiles.checkpoints(0, 100).await.unwrap();
        let known = [self.vault().await.log_key(&LogName::LEDGER, Timestamp::EPOCH).await.unwrap().verifier()];
        for (number, one) in (0..).zip(&published) {
            let checkpoint = Checkpoint::parse(&one.note).unwrap();
            assert_eq!((one.number, one.size), (number, checkpoint.head().size));
            assert_eq!(checkpoint.head().root, tiles::root(&*self.tiles, one.size).await.unwrap());
            checkpoint.verify(&known).unwrap();
        }
        published.iter().map(|one| one.size.0).collect()
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_micros(1)))
}

fn refused(round: Result<(), Failure>) -> String {
    match round {
        Err(Failure::Contradiction(contradiction)) => contradiction.what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_round_publishes_what_was_appended_and_the_next_has_nothing_to_do() {
    let store = Store::new();
    let mut rounds = store.rounds(None, Cosigners::none()).await;
    rounds.round().await.unwrap();
    assert_eq!(store.publishes().await, [0; 0]);
    append(&*store.log, 3).await;
    rounds.round().await.unwrap();
    rounds.round().await.unwrap();
    append(&*store.log, 2).await;
    rounds.round().await.unwrap();
    assert_eq!(store.publishes().await, [3, 5]);
}

#[tokio::test]
async fn a_note_that_was_guarded_and_not_published_is_published_by_the_next_round() {
    let store = Store::new();
    append(&*store.log, 3).await;
    tiles::grow(&*store.tiles, &mut None).await.unwrap();
    let vault = store.vault().await;
    let head =
        TreeHead { origin: store.log.origin().clone(), size: TreeSize(3), root: tiles::root(&*store.tiles, TreeSize(3)).await.unwrap() };
    let signed = Checkpoint::sign(head, &vault.log_key(&LogName::LEDGER, Timestamp::EPOCH).await.unwrap());
    assert!(vault.advance_guard(&LogName::LEDGER, None, signed.note()).await.unwrap());
    store.rounds(None, Cosigners::none()).await.round().await.unwrap();
    assert_eq!(store.tiles.latest().await.unwrap().unwrap().note, signed.note());
}

#[tokio::test]
async fn rounds_of_two_processes_make_one_row_of_checkpoints() {
    let store = Store::new();
    let (mut one, mut other) = (store.rounds(None, Cosigners::none()).await, store.rounds(None, Cosigners::none()).await);
    for _ in 0..10 {
        append(&*store.log, 7).await;
        let (ours, theirs) = futures::join!(one.round(), other.round());
        ours.and(theirs).unwrap();
    }
    one.round().await.unwrap();
    assert_eq!(store.publishes().await.last(), Some(&70));
}

#[tokio::test]
async fn a_log_that_was_rolled_back_is_refused_by_the_guard() {
    let store = Store::new();
    append(&*store.log, 5).await;
    store.rounds(None, Cosigners::none()).await.round().await.unwrap();
    let store = Store::beside(store.folder);
    append(&*store.log, 4).await;
    let what = refused(store.rounds(None, Cosigners::none()).await.round().await);
    assert_eq!(
        what,
        "the vault keeps a checkpoint of 5 events, and the tree has 4: it was rolled back; restore it from a backup that is not older than that checkpoint, or, if that history is lost, begin another log, of another origin"
    );
    append(&*store.log, 4).await;
    let what = refused(store.rounds(None, Cosigners::none()).await.round().await);
    assert_eq!(
        what,
        "the vault keeps a checkpoint of 5 events, and the first 5 of this log are others: history was rewritten; restore it from a backup that is not older than that checkpoint, or, if that history is lost, begin another log, of another origin"
    );
    assert_eq!(store.publishes().await, [0; 0]);
}

#[tokio::test]
async fn a_log_and_vault_that_were_rolled_back_together_are_refused_by_the_anchor() {
    let store = Store::new();
    append(&*store.log, 5).await;
    store.rounds(Some(store.anchor()), Cosigners::none()).await.round().await.unwrap();
    // In another folder: the connections to the lost vault may still be closing, and would take another's write-ahead log away.
    let anchor = store.anchor();
    let (_lost, store) = (store, Store::new());
    append(&*store.log, 4).await;
    let what = refused(store.rounds(Some(anchor), Cosigners::none()).await.round().await);
    assert_eq!(
        what,
        "the anchor keeps a checkpoint of 5 events, and the tree has 4: it was rolled back; restore it from a backup that is not older than that checkpoint, or, if that history is lost, begin another log, of another origin"
    );
    // Without it nobody knows.
    store.rounds(None, Cosigners::none()).await.round().await.unwrap();
    assert_eq!(store.publishes().await, [4]);
}

#[tokio::test]
async fn a_start_refuses_a_log_that_was_rolled_back() {
    let store = Store::new();
    append(&*store.log, 5).await;
    store.rounds(None, Cosigners::none()).await.round().await.unwrap();
    let store = Store::beside(store.folder);
    let settings = Settings { interval: Duration::from_secs(1), anchor: None, cosigners: Cosigners::none(), clock: clock() };
    assert!(Publisher::start(store.tiles.clone(), store.vault().await, settings).await.is_err());
}

#[tokio::test]
async fn a_vault_that_was_restored_from_a_backup_does_not_lower_the_guard() {
    let store = Store::new();
    append(&*store.log, 3).await;
    let mut rounds = store.rounds(Some(store.anchor()), Cosigners::none()).await;
    rounds.round().await.unwrap();
    let vault = store.vault().await;
    let backup = vault.guard(&LogName::LEDGER).await.unwrap().unwrap();
    append(&*store.log, 3).await;
    rounds.round().await.unwrap();
    let newer = vault.guard(&LogName::LEDGER).await.unwrap().unwrap();
    assert!(vault.advance_guard(&LogName::LEDGER, Some(&newer), &backup).await.unwrap());
    rounds.recall().await.unwrap();
    assert_eq!(vault.guard(&LogName::LEDGER).await.unwrap().unwrap(), newer);
}

#[tokio::test]
async fn another_key_signs_the_same_tree_anew() {
    let store = Store::new();
    append(&*store.log, 3).await;
    let mut rounds = store.rounds(Some(store.anchor()), Cosigners::none()).await;
    rounds.round().await.unwrap();
    let vault = store.vault().await;
    let old = vault.log_key(&LogName::LEDGER, Timestamp::EPOCH).await.unwrap().verifier();
    let new = vault.rotate_log_key(&LogName::LEDGER, Timestamp::EPOCH).await.unwrap().verifier();
    rounds.round().await.unwrap();
    rounds.round().await.unwrap();
    let published = store.tiles.checkpoints(0, 9).await.unwrap();
    let signers: Vec<_> =
        published.iter().map(|one| Checkpoint::parse(&one.note).unwrap().verify(&[old.clone(), new.clone()]).unwrap().logs).collect();
    assert_eq!(signers, [[old], [new]]);
}

#[tokio::test]
async fn whoever_asks_for_a_position_gets_a_checkpoint_that_covers_it() {
    let store = Store::new();
    append(&*store.log, 3).await;
    let settings = Settings { interval: Duration::from_secs(3600), anchor: None, cosigners: Cosigners::none(), clock: clock() };
    let publisher = Publisher::start(store.tiles.clone(), store.vault().await, settings).await.unwrap();
    let soon = || Instant::now() + Duration::from_secs(5);
    assert!(publisher.covering(Position(2), soon()).await.unwrap().unwrap().size.covers(Position(2)));
    append(&*store.log, 3).await;
    assert!(publisher.covering(Position(5), soon()).await.unwrap().unwrap().size.covers(Position(5)));
    let now = Instant::now() + Duration::from_millis(100);
    assert_eq!(publisher.covering(Position(6), now).await.unwrap(), None);
    append(&*store.log, 1).await;
    publisher.shutdown(Duration::from_secs(5)).await;
    assert_eq!(store.publishes().await.last(), Some(&7), "what was appended last is covered when the process ends");
}

/// It cosigns whatever it is given while it is well, unless it has seen more.
struct Yes {
    key: WitnessKey,
    verifier: VerifierKey,
    is_well: AtomicBool,
    seen: AtomicU64,
}

impl Yes {
    fn new(name: &str, seed: u8) -> Arc<Yes> {
        let key = WitnessKey::from_seed(name, &[seed; 32]);
        Arc::new(Yes { verifier: key.verifier(), key, is_well: AtomicBool::new(false), seen: AtomicU64::new(0) })
    }
}

#[async_trait]
impl Witness for Yes {
    fn key(&self) -> &VerifierKey {
        &self.verifier
    }

    async fn cosign(&self, checkpoint: &Checkpoint, _: &dyn Tiles) -> Result<String, Refusal> {
        if !self.is_well.load(Ordering::SeqCst) {
            return Err(Refusal::NoAnswer("it is ill".to_owned()));
        }
        let seen = self.seen.fetch_max(checkpoint.head().size.0, Ordering::SeqCst);
        if seen > checkpoint.head().size.0 { Err(Refusal::Ahead(TreeSize(seen))) } else { Ok(self.key.cosign(checkpoint, 1)) }
    }
}

#[tokio::test]
async fn a_checkpoint_is_published_with_as_many_cosignatures_as_are_wanted_and_not_before() {
    let (one, other) = (Yes::new("one.example", 1), Yes::new("other.example", 2));
    let members = vec![Quorum::Witness(one.verifier.clone()), Quorum::Witness(other.verifier.clone())];
    let cosigners = |wanted| Cosigners::new(vec![one.clone(), other.clone()], Quorum::Some(wanted, members.clone()));
    let store = Store::new();
    append(&*store.log, 3).await;
    let failed = store.rounds(None, cosigners(1)).await.round().await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "too few witnesses cosigned: one.example: the witness did not answer: it is ill; other.example: the witness did not answer: it is ill"
    );
    other.is_well.store(true, Ordering::SeqCst);
    assert!(store.rounds(None, cosigners(2)).await.round().await.is_err());
    assert_eq!(store.publishes().await, [0; 0]);
    let mut rounds = store.rounds(None, cosigners(1)).await;
    rounds.round().await.unwrap();
    rounds.round().await.unwrap();
    assert_eq!(store.publishes().await, [3]);
    let note = store.tiles.latest().await.unwrap().unwrap().note;
    let key = store.vault().await.log_key(&LogName::LEDGER, Timestamp::EPOCH).await.unwrap().verifier();
    let signers = Checkpoint::parse(&note).unwrap().verify(&[key, one.verifier.clone(), other.verifier.clone()]).unwrap();
    assert_eq!(signers.witnesses, [(other.verifier.clone(), 1)]);
}

/// A log of four events whose checkpoint is published, and a witness that has seen a tree of nine: as after a backup of both stores.
async fn restored_from_an_older_backup() -> (Store, Arc<Yes>) {
    let (store, witness) = (Store::new(), Yes::new("w.example", 1));
    append(&*store.log, 4).await;
    store.rounds(None, Cosigners::none()).await.round().await.unwrap();
    witness.seen.store(9, Ordering::SeqCst);
    (store, witness)
}

async fn start(store: &Store, witness: &Arc<Yes>, interval: Duration) -> Result<Publisher, Contradiction> {
    let (anchor, cosigners) = (Some(Anchor::Witness(witness.verifier.clone())), Cosigners::new(vec![witness.clone()], Quorum::None));
    let settings = Settings { interval, anchor, cosigners, clock: clock() };
    Publisher::start(store.tiles.clone(), store.vault().await, settings).await
}

#[tokio::test]
async fn a_start_refuses_a_log_of_which_the_anchoring_witness_has_seen_more() {
    let (store, witness) = restored_from_an_older_backup().await;
    witness.is_well.store(true, Ordering::SeqCst);
    let refused = start(&store, &witness, Duration::from_secs(3600)).await.err().unwrap();
    assert_eq!(
        refused.what,
        "w.example: the witness has cosigned a tree of 9 events, and this one is smaller: it was rolled back; restore it from a backup that is not older than that checkpoint, or, if that history is lost, begin another log, of another origin"
    );
}

#[tokio::test]
async fn a_witness_that_does_not_answer_at_the_start_is_asked_again_before_all_is_well() {
    let (store, witness) = restored_from_an_older_backup().await;
    let publisher = start(&store, &witness, Duration::from_millis(10)).await.unwrap();
    let becomes = async |wanted: fn(&Status) -> bool| {
        let waited = async {
            while !wanted(&publisher.status()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap();
    };
    becomes(|status| matches!(status, Status::Failing(_))).await;
    witness.is_well.store(true, Ordering::SeqCst);
    becomes(|status| matches!(status, Status::Refused(_))).await;
    assert_eq!(store.publishes().await, [4]);
}

#[tokio::test]
async fn an_anchor_that_is_damaged_or_hangs_stops_signing_and_not_the_start() {
    let store = Store::new();
    append(&*store.log, 3).await;
    store.rounds(Some(store.anchor()), Cosigners::none()).await.round().await.unwrap();
    let file = store.folder.path().join("anchor.ledger");
    let whole = std::fs::read(&file).unwrap();
    append(&*store.log, 3).await;
    for damaged in [&b"words"[..], b"", b"\xff\xfe"] {
        std::fs::write(&file, damaged).unwrap();
        let failed = store.rounds(Some(store.anchor()), Cosigners::none()).await.round().await.unwrap_err();
        assert!(matches!(failed, Failure::Damaged(Place::Anchor, _) | Failure::Anchor(_)), "{failed:?}");
    }
    std::fs::remove_file(&file).unwrap();
    // As a mount does whose server is gone.
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let settings =
        Settings { interval: Duration::from_secs(1), anchor: Some(store.anchor()), cosigners: Cosigners::none(), clock: clock() };
    let publisher = Publisher::start(store.tiles.clone(), store.vault().await, settings).await.unwrap();
    while publisher.status() == Status::Good {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(publisher.status(), Status::Failing("the anchor cannot be used".to_owned()));
    assert_eq!(store.publishes().await, [3], "nothing is signed that the anchor might contradict");
    publisher.shutdown(Duration::from_secs(1)).await;
    // Whoever waits for it is let go, as when the mount is back.
    drop(std::fs::OpenOptions::new().write(true).open(&file).unwrap());
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, whole).unwrap();
    store.rounds(Some(store.anchor()), Cosigners::none()).await.round().await.unwrap();
    assert_eq!(store.publishes().await, [3, 6]);
}

#[tokio::test]
async fn a_checkpoint_that_is_stored_with_another_size_is_not_built_upon() {
    let store = Store::new();
    append(&*store.log, 3).await;
    store.rounds(None, Cosigners::none()).await.round().await.unwrap();
    let note = store.tiles.latest().await.unwrap().unwrap().note;
    store.tiles.publish(&Published { number: 1, size: TreeSize(9_000), note }).await.unwrap();
    append(&*store.log, 3).await;
    assert!(matches!(store.rounds(None, Cosigners::none()).await.round().await, Err(Failure::Store(Error::Corrupt(_)))));
}
