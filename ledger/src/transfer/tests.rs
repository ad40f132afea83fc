//! Logs that are moved stay what they are; moves that cannot be made leave everything as it was.

use std::io::Read;
use std::sync::Arc;

use super::*;
use crate::chain::Origin;
use crate::clock::ManualClock;
use crate::export::{Fault, Footer, Invalid, Reader};
use crate::log::memory::Memory;
use crate::log::sqlite::Sqlite;
use crate::log::{Append, Expected, Idempotency, Log, Query, Restore};
use crate::testing::history;
use crate::{LogName, fsck};

fn memory() -> Memory {
    Memory::new(LogName::LEDGER, Origin::new("transfer.example", &LogName::LEDGER), Arc::new(ManualClock::default()))
}

/// A log of more than a page.
async fn source(credentials: u128) -> Memory {
    let log = memory();
    history::issue(&log, 0..credentials).await;
    log
}

async fn exported(log: &dyn Log) -> (Vec<u8>, Footer) {
    export(log, Vec::new(), &mut |_, _| {}).await.unwrap()
}

fn reader(bytes: &[u8]) -> Reader<std::io::Cursor<Vec<u8>>> {
    Reader::open(std::io::Cursor::new(bytes.to_vec())).unwrap()
}

async fn imported(bytes: &[u8], log: &dyn Restore) -> Result<u64, Error> {
    import(reader(bytes), log, &mut |_| {}).await
}

async fn require_sound(log: &dyn Log) {
    let mut findings = Vec::new();
    fsck::check(log, &mut |finding| findings.push(finding), &mut |_, _| {}).await.unwrap();
    assert_eq!(findings, []);
}

async fn keys(log: &dyn Log) -> Vec<(crate::log::UniqueKey, crate::log::KeyOwner)> {
    log.keys(None, usize::MAX).await.unwrap()
}

#[tokio::test]
async fn a_file_that_was_imported_is_exported_as_it_was_from_any_engine() {
    let log = source(1700).await;
    let (bytes, footer) = exported(&log).await;
    assert_eq!(footer.events, log.head().await.unwrap().size);
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(folder.path(), LogName::LEDGER, "transfer.example", Arc::new(ManualClock::default())).await.unwrap();
    let other = memory();
    for target in [&sqlite as &dyn Restore, &other] {
        assert_eq!(imported(&bytes, target).await.unwrap(), footer.events);
        assert_eq!(imported(&bytes, target).await.unwrap(), 0);
        assert!(exported(target).await.0 == bytes);
        assert_eq!(keys(target).await, keys(&log).await);
        require_sound(target).await;
    }
}

#[tokio::test]
async fn verifying_tells_the_chain_hash_at_any_size() {
    let log = source(20).await;
    let (bytes, footer) = exported(&log).await;
    let events = log.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap();
    let at = |size| verify(reader(&bytes), size, &mut |_| {}).unwrap();
    assert_eq!(at(0).chain_hash, Some(log.origin().genesis()));
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
    let held = target.head().await.unwrap().size;
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
    history::issue(&log, 10..20).await;
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
    let held = target.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap();
    assert_eq!(held, log.read(&Query::from(Position::FIRST, held.len())).await.unwrap());
    require_sound(&target).await;
}

#[tokio::test]
async fn a_damaged_log_has_no_export() {
    let folder = tempfile::tempdir().unwrap();
    let log = Sqlite::open(folder.path(), LogName::LEDGER, "transfer.example", Arc::new(ManualClock::default())).await.unwrap();
    history::issue(&log, 0..5).await;
    let raw = rusqlite::Connection::open(crate::log::sqlite::path(folder.path(), &LogName::LEDGER)).unwrap();
    raw.execute_batch("drop trigger events_no_update; update events set type = 'Other' where position = 3").unwrap();
    let Err(ExportError::Write(crate::export::WriteError::Invalid(invalid))) = export(&log, Vec::new(), &mut |_, _| {}).await else {
        panic!("it must be refused")
    };
    assert_eq!(invalid.position, Some((LogName::LEDGER, Position(3))));
    raw.execute_batch("drop trigger events_no_delete; delete from events where position >= 3").unwrap();
    assert!(matches!(export(&log, Vec::new(), &mut |_, _| {}).await, Err(ExportError::Store(_))));
    assert!(matches!(copy(&log, &memory(), 0, &mut |_, _| {}).await, Err(Error::Store(_))));
}

#[tokio::test]
async fn versions_and_owners_are_held_against_the_store() {
    let log = source(3).await;
    let events = log.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap();
    let mut writer = crate::export::Writer::begin(Vec::new(), &LogName::LEDGER, log.origin()).unwrap();
    let mut end = crate::chain::End::of_nothing(log.origin());
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
    from.commit(vec![remember(1), remember(2)]).await.unwrap();
    let copied = copy(&from, &to, 0, &mut |_, _| {}).await.unwrap();
    let head = from.head().await.unwrap();
    assert_eq!((copied.size, copied.chain_hash), (head.size, head.chain_hash));
    assert!(exported(&to).await.0 == exported(&from).await.0);
    assert_eq!(to.remembered(None, 9).await.unwrap(), from.remembered(None, 9).await.unwrap());
    require_sound(&to).await;
    // Later it is brought to where the source is then.
    from.commit(vec![remember(3)]).await.unwrap();
    history::issue(&from, 1700..1710).await;
    copy(&from, &to, copied.size, &mut |_, _| {}).await.unwrap();
    assert!(exported(&to).await.0 == exported(&from).await.0);
    assert_eq!(to.remembered(None, 9).await.unwrap(), from.remembered(None, 9).await.unwrap());
    // Once it has been appended to it is a log of its own.
    to.commit(vec![remember(4)]).await.unwrap();
    assert!(matches!(copy(&from, &to, 0, &mut |_, _| {}).await, Err(Error::Longer { .. })));
    history::issue(&from, 1710..1712).await;
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
