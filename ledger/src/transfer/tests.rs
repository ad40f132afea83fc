//! Logs that are moved stay what they are; moves that cannot be made leave everything as it was.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::chain::Origin;
use crate::checkpoint::{Checkpoint, LogKey, TreeHead};
use crate::clock::ManualClock;
use crate::export::{Fault, Footer, Invalid, Reader};
use crate::log::memory::Memory;
use crate::log::sqlite::Sqlite;
use crate::log::{Append, Expected, Idempotency, Query};
use crate::testing::history;
use crate::tiles::{self, Published};
use crate::tree::TreeSize;
use crate::{LogName, fsck};

fn origin() -> Origin {
    Origin::new("transfer.example", &LogName::LEDGER)
}

fn memory() -> Kept {
    let log = Arc::new(Memory::new(LogName::LEDGER, origin(), Arc::new(ManualClock::default())));
    Kept { tiles: Arc::new(tiles::memory::Memory::new(log.clone())), log }
}

async fn sqlite(folder: &Path) -> Kept {
    let log = Sqlite::open(folder, LogName::LEDGER, "transfer.example", Arc::new(ManualClock::default())).await.unwrap();
    Kept { log: Arc::new(log), tiles: Arc::new(tiles::sqlite::Sqlite::new(folder, LogName::LEDGER, origin())) }
}

/// Signs the log as it is.
async fn publish(kept: &Kept) {
    publish_by(kept, 7).await;
}

async fn publish_by(kept: &Kept, key: u8) {
    let size = tiles::grow(&*kept.tiles, &mut None).await.unwrap();
    let head = TreeHead { origin: origin(), size, root: tiles::root(&*kept.tiles, size).await.unwrap() };
    let note = Checkpoint::sign(head, &LogKey::from_seed(origin(), &[key; 32])).note().to_owned();
    let number = kept.tiles.latest().await.unwrap().map_or(0, |latest| latest.number + 1);
    assert!(kept.tiles.publish(&Published { number, size, note }).await.unwrap());
}

/// A log of more than a page, with checkpoints: before its first event, twice in its middle, and at its end.
async fn source(credentials: u128) -> Kept {
    let kept = memory();
    publish(&kept).await;
    history::issue(&*kept.log, 0..credentials / 2).await;
    publish(&kept).await;
    publish(&kept).await;
    history::issue(&*kept.log, credentials / 2..credentials).await;
    publish(&kept).await;
    kept
}

async fn exported(kept: &Kept) -> (Vec<u8>, Footer) {
    export(&*kept.log, &*kept.tiles, Vec::new(), &mut |_, _| {}).await.unwrap()
}

fn reader(bytes: &[u8]) -> Reader<std::io::Cursor<Vec<u8>>> {
    Reader::open(std::io::Cursor::new(bytes.to_vec())).unwrap()
}

async fn imported(bytes: &[u8], to: &Kept) -> Result<u64, Error> {
    import(reader(bytes), to, &mut |_| {}).await
}

async fn require_sound(kept: &Kept) {
    let mut findings = Vec::new();
    let against = fsck::Against { tiles: &*kept.tiles, known: &[], held: &[] };
    fsck::check(&*kept.log, &against, &mut |finding| findings.push(finding), &mut |_, _| {}).await.unwrap();
    assert_eq!(findings, []);
}

async fn keys(kept: &Kept) -> Vec<(crate::log::UniqueKey, crate::log::KeyOwner)> {
    kept.log.keys(None, usize::MAX).await.unwrap()
}

#[tokio::test]
async fn a_file_that_was_imported_is_exported_as_it_was_from_any_engine() {
    let log = source(1700).await;
    let (bytes, footer) = exported(&log).await;
    assert_eq!((footer.events, footer.checkpoints), (log.log.head().await.unwrap().size, 4));
    let folder = tempfile::tempdir().unwrap();
    for target in [&sqlite(folder.path()).await, &memory()] {
        assert_eq!(imported(&bytes, target).await.unwrap(), footer.events);
        assert_eq!(imported(&bytes, target).await.unwrap(), 0);
        assert!(exported(target).await.0 == bytes);
        assert_eq!(keys(target).await, keys(&log).await);
        assert_eq!(tiles::root(&*target.tiles, TreeSize(footer.events)).await.unwrap().0, *footer.root);
        require_sound(target).await;
    }
}

#[tokio::test]
async fn verifying_tells_the_chain_hash_at_any_size() {
    let log = source(20).await;
    let (bytes, footer) = exported(&log).await;
    let events = log.log.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap();
    let at = |size| verify(reader(&bytes), size, &mut |_| {}).unwrap();
    assert_eq!(at(0).chain_hash, Some(log.log.origin().genesis()));
    assert_eq!(at(7).chain_hash, Some(events[6].chain_hash));
    assert_eq!(at(footer.events).chain_hash, Some(events.last().unwrap().chain_hash));
    assert_eq!(at(footer.events + 1).chain_hash, None);
    assert_eq!(at(0).footer, footer);
}

/// Fails once so much has been read, as a process does that is killed.
struct Cut<R>(R, u64);

impl<R: Read> Read for Cut<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.1 == 0 {
            return Err(std::io::Error::other("cut off"));
        }
        let read = (&mut self.0).take(self.1).read(buffer)?;
        self.1 -= read as u64;
        Ok(read)
    }
}

#[tokio::test]
async fn an_import_that_was_interrupted_is_gone_on_with() {
    let log = source(2500).await;
    let (bytes, footer) = exported(&log).await;
    let target = memory();
    let cut = Reader::open(Cut(std::io::Cursor::new(bytes.clone()), bytes.len() as u64 / 2)).unwrap();
    assert!(matches!(import(cut, &target, &mut |_| {}).await, Err(Error::Read(_))));
    let held = target.log.head().await.unwrap().size;
    assert!((1..footer.events).contains(&held), "{held}");
    let mut told = Vec::new();
    assert_eq!(import(reader(&bytes), &target, &mut |at| told.push(at)).await.unwrap(), footer.events - held);
    assert!(told.is_sorted() && told.last() == Some(&footer.events));
    assert!(exported(&target).await.0 == bytes);
    assert_eq!(keys(&target).await, keys(&log).await);
}

#[tokio::test]
async fn a_log_that_is_no_beginning_of_the_file_is_left_alone() {
    let (bytes, footer) = exported(&source(20).await).await;
    // As long, shorter, and longer, but with events of its own.
    for credentials in [20, 3, 40] {
        let other = source(credentials).await;
        let before = exported(&other).await.0;
        let refused = imported(&bytes, &other).await;
        let expected = match credentials {
            40 => matches!(refused, Err(Error::Longer { size, .. }) if size == footer.events),
            _ => matches!(refused, Err(Error::Different { .. })),
        };
        assert!(expected, "{refused:?}");
        assert!(exported(&other).await.0 == before);
    }
}

#[tokio::test]
async fn a_beginning_is_completed_and_a_longer_log_is_left_alone() {
    let log = source(10).await;
    let shorter = exported(&log).await.0;
    history::issue(&*log.log, 10..20).await;
    let (longer, footer) = exported(&log).await;
    let target = memory();
    let first = imported(&shorter, &target).await.unwrap();
    assert_eq!(imported(&longer, &target).await.unwrap(), footer.events - first);
    assert!(matches!(imported(&shorter, &target).await, Err(Error::Longer { .. })));
    assert!(exported(&target).await.0 == longer);
}

#[tokio::test]
async fn a_file_that_does_not_hold_leaves_its_beginning_at_most() {
    let log = source(2500).await;
    let bytes = exported(&log).await.0;
    let mut damaged = bytes.clone();
    let at = bytes.len() - 2000;
    damaged[at] ^= 1;
    let target = memory();
    assert!(matches!(imported(&damaged, &target).await, Err(Error::Read(_))));
    let held = target.log.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap();
    assert_eq!(held, log.log.read(&Query::from(Position::FIRST, held.len())).await.unwrap());
    require_sound(&target).await;
}

#[tokio::test]
async fn a_damaged_log_has_no_export() {
    let folder = tempfile::tempdir().unwrap();
    let kept = sqlite(folder.path()).await;
    history::issue(&*kept.log, 0..5).await;
    let raw = rusqlite::Connection::open(crate::log::sqlite::path(folder.path(), &LogName::LEDGER)).unwrap();
    raw.execute_batch("drop trigger events_no_update; update events set type = 'Other' where position = 3").unwrap();
    let Err(ExportError::Write(crate::export::WriteError::Invalid(invalid))) =
        export(&*kept.log, &*kept.tiles, Vec::new(), &mut |_, _| {}).await
    else {
        panic!("it must be refused")
    };
    assert_eq!(invalid.position, Some((LogName::LEDGER, Position(3))));
    raw.execute_batch("drop trigger events_no_delete; delete from events where position >= 3").unwrap();
    let exported = export(&*kept.log, &*kept.tiles, Vec::new(), &mut |_, _| {}).await;
    assert!(matches!(exported, Err(ExportError::Store(_))));
    assert!(matches!(copy(&kept, &memory(), 0, &mut |_, _| {}).await, Err(Error::Store(_))));
}

#[tokio::test]
async fn versions_and_owners_are_held_against_the_store() {
    let log = source(3).await;
    let events = log.log.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap();
    let mut writer = crate::export::Writer::begin(Vec::new(), &LogName::LEDGER, log.log.origin()).unwrap();
    let mut end = crate::chain::End::of_nothing(log.log.origin());
    for event in [&events[0], &events[1], &events[1]] {
        let mut event = crate::event::Recorded { position: Position(end.size), ..event.clone() };
        event.event_hash = crate::chain::event_hash(&event.content());
        event.chain_hash = crate::chain::chain_hash(end.chain_hash, event.event_hash);
        end.follow(&event).unwrap();
        writer.event(&event).unwrap();
    }
    // The file holds as far as a file can: the same version of a stream stands there twice.
    let (bytes, _) = writer.finish().unwrap();
    verify(reader(&bytes), 0, &mut |_| {}).unwrap();
    let refused = imported(&bytes, &memory()).await.unwrap_err();
    assert_eq!(refused.to_string(), "ledger@2 was not written");
}

#[tokio::test]
async fn another_checkpoint_of_the_same_number_is_left_alone() {
    let log = source(3).await;
    let bytes = exported(&log).await.0;
    let target = memory();
    publish_by(&target, 8).await;
    let before = target.tiles.latest().await.unwrap();
    assert!(matches!(imported(&bytes, &target).await, Err(Error::Store(store::Error::Corrupt(_)))));
    assert!(matches!(copy(&log, &target, 0, &mut |_, _| {}).await, Err(Error::Store(store::Error::Corrupt(_)))));
    assert_eq!(target.tiles.latest().await.unwrap(), before);
}

#[tokio::test]
async fn a_copy_is_the_same_log_and_knows_the_same_repeats() {
    let (from, to) = (source(1700).await, memory());
    let remember = |n: u8| {
        let stream = crate::Stream::new(crate::stream::category::KEY, uuid::Uuid::from_u128(n.into()));
        let origination = crate::event::Origination::system("test");
        let event = crate::event::New::of(&crate::event::audit::KeyRevoked {}, &origination.metadata(&crate::random::SystemRandom));
        let kept = std::time::Duration::from_secs(9);
        let idempotency = Some(Idempotency { key: [n; 32], command: [1; 32], kept });
        Append { idempotency, ..Append::to(stream, Expected::None, vec![event]) }
    };
    from.log.commit(vec![remember(1), remember(2)]).await.unwrap();
    let copied = copy(&from, &to, 0, &mut |_, _| {}).await.unwrap();
    let head = from.log.head().await.unwrap();
    assert_eq!((copied.size, copied.chain_hash), (head.size, head.chain_hash));
    assert!(exported(&to).await.0 == exported(&from).await.0);
    assert_eq!(to.log.remembered(None, 9).await.unwrap(), from.log.remembered(None, 9).await.unwrap());
    require_sound(&to).await;
    // Later it is brought to where the source is then.
    from.log.commit(vec![remember(3)]).await.unwrap();
    history::issue(&*from.log, 1700..1710).await;
    copy(&from, &to, copied.size, &mut |_, _| {}).await.unwrap();
    assert!(exported(&to).await.0 == exported(&from).await.0);
    assert_eq!(to.log.remembered(None, 9).await.unwrap(), from.log.remembered(None, 9).await.unwrap());
    // Once it has been appended to it is a log of its own.
    to.log.commit(vec![remember(4)]).await.unwrap();
    assert!(matches!(copy(&from, &to, 0, &mut |_, _| {}).await, Err(Error::Longer { .. })));
    history::issue(&*from.log, 1710..1712).await;
    assert!(matches!(copy(&from, &to, 0, &mut |_, _| {}).await, Err(Error::Different { .. })));
}

#[tokio::test]
async fn a_newer_file_is_no_file_to_import() {
    #[derive(serde::Serialize)]
    struct Newer {
        log: &'static str,
        format: &'static str,
        version: u64,
    }
    let newer = crate::codec::encode(&Newer { log: "ledger", format: crate::export::FORMAT, version: 2 });
    let refused = Reader::open(newer.as_slice()).map(drop);
    assert!(matches!(refused, Err(crate::export::ReadError::Invalid(Invalid { fault: Fault::Newer(2), .. }))));
}
