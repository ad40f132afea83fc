//! Damage to files, as somebody with the file in hand could do it, and what the self-check says.

mod destroyed;
mod flips;
mod lies;
mod proofs;
mod remembered;
mod resumed;

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::Connection;
use serde_bytes::ByteArray;
use sqlx::Connection as _;
use uuid::Uuid;

use super::*;
use crate::chain::{self, Origin};
use crate::clock::{ManualClock, SystemClock};
use crate::event::Recorded;
use crate::event::audit::KeyRevoked;
use crate::event::credential::{CredentialIssued, CredentialRevoked, CredentialSuspended};
use crate::event::issuer::IssuerRegistered;
use crate::event::{New, Origination, Payload, new_id};
use crate::log::contract::noon;
use crate::log::memory::Memory;
use crate::log::postgres::Postgres;
use crate::log::sqlite::{self, Sqlite};
use crate::log::{Append, CommitError, Expected, KeyOwner, Listed, Outcome, Query, UniqueKey};
use crate::random::SystemRandom;
use crate::store::postgres::Durability;
use crate::{Stream, Version, tiles};

fn encode<P: Payload>(payload: &P) -> New {
    New::of(payload, &Origination::system("test").metadata(&SystemRandom))
}

fn id() -> Uuid {
    new_id(&SystemClock, &SystemRandom)
}

fn issued(issuer: Uuid, subject_id: Option<Uuid>, digest: u8) -> CredentialIssued {
    CredentialIssued {
        credential_type: "badge".to_owned(),
        digest: ByteArray::new([digest; 32]),
        issuer,
        document: None,
        subject_id,
        valid_from: None,
        valid_until: None,
    }
}

/// The log every test begins with:
///
/// ```text
/// 0 an issuer    1 a secret's credential    2 a subject's    3 that is suspended    4 another subject's    5 that is revoked
/// ```
async fn fill(log: &dyn Log) -> [Stream; 4] {
    let (issuer, subject) = (id(), id());
    let streams = [Stream::issuer(issuer), Stream::credential(id()), Stream::credential(id()), Stream::credential(id())];
    let claim = |at: usize, key: UniqueKey, event: New| Append {
        claims: vec![(key, streams[at].clone())],
        ..Append::to(streams[at].clone(), Expected::None, vec![event])
    };
    let registered = IssuerRegistered { did: "did:key:z6Mk".to_owned(), name: "acme".to_owned() };
    let revoked_key = UniqueKey::natural(issuer, issuer, "badge");
    let revoke = Append {
        releases: vec![revoked_key.clone()],
        ..Append::to(streams[3].clone(), Expected::Any, vec![encode(&CredentialRevoked { reason: None })])
    };
    let batch = vec![
        claim(0, UniqueKey::issuer_name("acme"), encode(&registered)),
        claim(1, UniqueKey::secret(issuer, &[1; 32]), encode(&issued(issuer, None, 1))),
        claim(2, UniqueKey::natural(issuer, subject, "badge"), encode(&issued(issuer, Some(subject), 2))),
        Append::to(streams[2].clone(), Expected::Any, vec![encode(&CredentialSuspended { reason: None })]),
        claim(3, revoked_key, encode(&issued(issuer, Some(issuer), 3))),
        revoke,
    ];
    log.commit(batch).await.unwrap();
    streams
}

/// Of a log whose tree has not been begun.
async fn run(log: &dyn Log) -> (Vec<Finding>, Summary) {
    let tiles = no_tiles(log);
    run_against(log, &Against { tiles: &tiles, known: &[], held: &[] }).await
}

async fn run_against(log: &dyn Log, against: &Against<'_>) -> (Vec<Finding>, Summary) {
    let mut findings = Vec::new();
    let summary = check(log, against, &mut |finding| findings.push(finding), &mut |done, total| assert!(done <= total)).await.unwrap();
    assert_eq!(summary.findings, findings.len() as u64);
    (findings, summary)
}

fn no_tiles(log: &dyn Log) -> tiles::memory::Memory {
    tiles::memory::Memory::new(Arc::new(Memory::new(log.name().clone(), log.origin().clone(), Arc::new(SystemClock))))
}

struct Damaged {
    folder: tempfile::TempDir,
    log: Sqlite,
    streams: [Stream; 4],
}

impl Damaged {
    async fn new() -> Damaged {
        let folder = tempfile::tempdir().unwrap();
        let log = Sqlite::open(folder.path(), LogName::LEDGER, "fsck.example", Arc::new(ManualClock::at(noon()))).await.unwrap();
        let streams = fill(&log).await;
        Damaged { folder, log, streams }
    }

    /// Runs `statements` on the file without its triggers.
    fn damage(&self, statements: &str) {
        let raw = Connection::open(sqlite::path(self.folder.path(), &LogName::LEDGER)).unwrap();
        let triggers: Vec<String> = raw
            .prepare("select name from sqlite_master where type = 'trigger'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for trigger in triggers {
            raw.execute_batch(&format!("drop trigger {trigger}")).unwrap();
        }
        raw.execute_batch(&format!("pragma synchronous = off; {statements}")).unwrap();
    }

    async fn findings(&self) -> Vec<(Option<u64>, Kind)> {
        run(&self.log).await.0.into_iter().map(|finding| (finding.position.map(|position| position.0), finding.kind)).collect()
    }
}

async fn after(damage: &str) -> Vec<(Option<u64>, Kind)> {
    let damaged = Damaged::new().await;
    damaged.damage(damage);
    damaged.findings().await
}

#[tokio::test]
async fn a_sound_log_has_no_findings_on_any_engine() {
    let damaged = Damaged::new().await;
    let (findings, summary) = run(&damaged.log).await;
    assert_eq!(findings, []);
    let head = damaged.log.head().await.unwrap().chain_hash;
    let empty = TreeHash::EMPTY;
    assert_eq!(summary.to_string(), format!("ledger: 6 events, head ledger@5 {head}, tree 0 {empty}, 0 checkpoints, ok"));

    let memory = Memory::new(LogName::LEDGER, Origin::new("fsck.example", &LogName::LEDGER), Arc::new(ManualClock::at(noon())));
    let (findings, summary) = run(&memory).await;
    let genesis = memory.origin().genesis();
    assert_eq!(
        (findings, summary.to_string()),
        (vec![], format!("ledger: 0 events, head none {genesis}, tree 0 {empty}, 0 checkpoints, ok"))
    );
    fill(&memory).await;
    assert_eq!(run(&memory).await.0, []);
}

#[tokio::test]
async fn a_log_of_many_pages_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let log = Sqlite::open(folder.path(), LogName::AUDIT, "fsck.example", Arc::new(SystemClock)).await.unwrap();
    let appends = (0..PAGE * 2 + 1)
        .map(|_| Append::to(Stream::new(crate::stream::category::KEY, id()), Expected::None, vec![encode(&KeyRevoked {})]));
    log.commit(appends.collect()).await.unwrap();
    let mut steps = Vec::new();
    let tiles = no_tiles(&log);
    let against = Against { tiles: &tiles, known: &[], held: &[] };
    let summary = check(&log, &against, &mut |finding| panic!("{finding}"), &mut |done, total| steps.push((done, total))).await.unwrap();
    let (page, all) = (PAGE as u64, PAGE as u64 * 2 + 1);
    assert_eq!(summary.events, all);
    assert_eq!(steps, [(page, all), (2 * page, all), (all, all)]);
}

/// Each column but the position, with what a damage to it is called. A flipped bit, or the next larger number.
#[tokio::test]
async fn a_flipped_byte_in_any_column_is_found_and_named() {
    use Kind::{ChainHash, Encoding, EventHash, Gap, Head, UniqueKey, Version};
    let other_stream = "substr(stream, 1, length(stream) - 1) || iif(stream like '%0', '1', '0')";
    let blob =
        |column: &str| format!("unhex(substr(hex({column}), 1, length(hex({column})) - 2) || iif(hex({column}) like '%00', '01', '00'))");
    let cases: Vec<(&str, String, Vec<Kind>)> = vec![
        ("stream", other_stream.to_owned(), [EventHash, Version, UniqueKey].into()),
        ("version", "version + 7".to_owned(), [EventHash, Version].into()),
        ("type", "'CredentialIssueD'".to_owned(), [EventHash, UniqueKey].into()),
        ("schema", "schema + 1".to_owned(), [EventHash, Encoding, UniqueKey].into()),
        ("recorded_at", "recorded_at + 1".to_owned(), [EventHash].into()),
        ("metadata", blob("metadata"), [EventHash].into()),
        ("payload", blob("payload"), [EventHash].into()),
        ("event_hash", blob("event_hash"), [EventHash].into()),
        ("chain_hash", blob("chain_hash"), [ChainHash].into()),
    ];
    for (column, value, expected) in cases {
        let found = after(&format!("update events set {column} = {value} where position = 2")).await;
        let kinds: HashSet<Kind> = found.iter().map(|(_, kind)| *kind).collect();
        // Damaged bytes may besides be no CBOR of ours, and then no key can be rebuilt from them.
        let besides: &[Kind] = if matches!(column, "metadata" | "payload") { &[Encoding, UniqueKey] } else { &[] };
        assert!(expected.iter().all(|kind| kinds.contains(kind)), "{column}: {found:?}");
        assert!(kinds.iter().all(|kind| expected.contains(kind) || besides.contains(kind)), "{column}: {found:?}");
        assert!(found.contains(&(Some(2), expected[0])), "{column}: {found:?}");
        // What comes after is not blamed, except in the same stream.
        assert!(found.iter().all(|(position, _)| matches!(position, Some(2 | 3))), "{column}: {found:?}");
    }
    // The position is the place itself: the event is missing where it stood, and no other follows from the one before.
    let moved = after("update events set position = 99 where position = 5; update head set size = 100").await;
    assert_eq!(moved, [(Some(5), Gap)]);
    assert_eq!(after("delete from events where position = 5").await, [(Some(5), Gap), (Some(5), Head), (Some(4), UniqueKey)]);
}

#[tokio::test]
async fn every_single_flipped_bit_of_an_event_is_found() {
    let damaged = Damaged::new().await;
    let row = damaged.log.read_at(&[Position(2)]).await.unwrap().remove(0);
    damaged.damage("");
    for (column, bytes) in
        [("metadata", &row.metadata[..]), ("payload", &row.payload), ("event_hash", &row.event_hash.0), ("chain_hash", &row.chain_hash.0)]
    {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            damaged.damage(&format!("update events set {column} = x'{}' where position = 2", hex::encode(flipped)));
            assert!(damaged.findings().await.iter().any(|(position, _)| *position == Some(2)), "bit {bit} of {column}");
        }
        damaged.damage(&format!("update events set {column} = x'{}' where position = 2", hex::encode(bytes)));
    }
    assert_eq!(damaged.findings().await, []);
}

#[tokio::test]
async fn a_row_that_is_no_event_is_named_and_the_rest_is_read() {
    for damage in
        ["stream = 'nothing'", "stream = cast(x'6bff' as text)", "version = -1", "schema = 70000", "event_hash = x'00'", "chain_hash = x''"]
    {
        let found = after(&format!("update events set {damage} where position = 3")).await;
        assert_eq!(found, [(Some(3), Kind::Encoding)], "{damage}");
    }
}

#[tokio::test]
async fn bytes_that_another_program_wrote_are_found_even_with_right_hashes() {
    let memory = Memory::new(LogName::AUDIT, Origin::new("fsck.example", &LogName::AUDIT), Arc::new(ManualClock::at(noon())));
    let mut event = encode(&KeyRevoked {});
    // An empty map of indefinite length.
    event.payload = vec![0xbf, 0xff].into();
    memory.commit(vec![Append::to(Stream::new(crate::stream::category::KEY, id()), Expected::None, vec![event])]).await.unwrap();
    let findings = run(&memory).await.0;
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].position, findings[0].kind), (Some(Position(0)), Kind::Encoding));
}

#[tokio::test]
async fn an_event_that_was_rewritten_with_its_hash_breaks_the_chain() {
    let damaged = Damaged::new().await;
    let mut event = damaged.log.read_at(&[Position(3)]).await.unwrap().remove(0);
    event.metadata = encode(&CredentialSuspended { reason: None }).metadata;
    let hash = chain::event_hash(&event.content());
    damaged.damage(&format!("update events set metadata = x'{}', event_hash = x'{hash}' where position = 3", hex::encode(&event.metadata)));
    assert_eq!(damaged.findings().await, [(Some(3), Kind::ChainHash)]);
}

#[tokio::test]
async fn a_head_that_says_another_thing_than_the_last_event_is_found() {
    for damage in ["chain_hash = x'0000000000000000000000000000000000000000000000000000000000000000'", "recorded_at = 1"] {
        assert_eq!(after(&format!("update head set {damage}")).await, [(Some(5), Kind::Head)], "{damage}");
    }
    assert_eq!(after("update head set chain_hash = x'00'").await, [(None, Kind::Head)]);
    // One event lies beyond the head; what it releases is unknown as long as it is not looked at.
    let behind = after("update head set size = 5, chain_hash = (select chain_hash from events where position = 4)").await;
    assert_eq!(behind, [(Some(5), Kind::Head)]);
    let far = after("update head set size = 1000000000000").await;
    assert_eq!(far, [(Some(6), Kind::Gap), (Some(999_999_999_999), Kind::Head)]);
}

#[tokio::test]
async fn the_table_of_unique_keys_must_follow_from_the_log() {
    use Kind::UniqueKey;
    assert_eq!(after("delete from unique_keys where position = 2").await, [(Some(2), UniqueKey)]);
    assert_eq!(after("delete from unique_keys").await, [(Some(0), UniqueKey), (Some(1), UniqueKey), (Some(2), UniqueKey)]);
    assert_eq!(after("update unique_keys set key = x'01' where position = 1").await, [(Some(1), UniqueKey), (Some(1), UniqueKey)]);
    assert_eq!(after("update unique_keys set position = 3 where position = 2").await, [(Some(3), UniqueKey), (Some(2), UniqueKey)]);
    assert_eq!(after("update unique_keys set stream = 'nothing' where position = 2").await, [(None, UniqueKey)]);

    let damaged = Damaged::new().await;
    let [_, secret, _, revoked] = &damaged.streams;
    damaged.damage(&format!("update unique_keys set stream = '{secret}' where position = 0"));
    assert_eq!(damaged.findings().await, [(Some(0), UniqueKey), (Some(0), UniqueKey)]);

    let damaged = Damaged::new().await;
    damaged.damage(&format!("insert into unique_keys values (x'0909', '{}', 4)", damaged.streams[3]));
    let (findings, summary) = run(&damaged.log).await;
    assert_eq!(findings[0].to_string(), format!("ledger@4 unique-key: {} owns 0909, which its events do not claim", damaged.streams[3]));
    assert!(summary.to_string().ends_with(", 1 findings"));
    assert_ne!(revoked, secret);
}

#[tokio::test]
async fn an_event_far_beyond_the_head_or_before_the_first_position_is_found() {
    let stray = |position: i64| {
        format!(
            "insert into events select {position}, stream, version + 1, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
             from events where position = 1"
        )
    };
    let log = Damaged::new().await;
    log.damage(&stray(9_000_000_000));
    let found = run(&log.log).await.0;
    assert!(found.iter().any(|finding| finding.to_string().starts_with("ledger@9000000000 head: an event stands beyond")), "{found:?}");
    let log = Damaged::new().await;
    log.damage(&stray(-5));
    let found = run(&log.log).await.0;
    assert!(
        found.iter().any(|finding| finding.to_string() == "ledger file: an event stands at -5, before the first position"),
        "{found:?}"
    );
}

#[tokio::test]
async fn an_event_older_than_the_one_before_it_is_found() {
    let damaged = Damaged::new().await;
    let mut event = damaged.log.read_at(&[Position(3)]).await.unwrap().remove(0);
    event.recorded_at = crate::Timestamp::from_micros(1);
    let hash = chain::event_hash(&event.content());
    damaged.damage(&format!("update events set recorded_at = 1, event_hash = x'{hash}' where position = 3"));
    assert_eq!(damaged.findings().await, [(Some(3), Kind::ChainHash), (Some(3), Kind::Time)]);
}

#[tokio::test]
async fn a_key_claimed_beyond_the_head_is_found() {
    let beyond = Damaged::new().await;
    beyond.damage(&format!("insert into unique_keys values (x'0909', '{}', 999)", beyond.streams[1]));
    let detail = format!("{} owns 0909 by an event beyond the head, which says 6 events", beyond.streams[1]);
    assert_eq!(run(&beyond.log).await.0[0].to_string(), format!("ledger@999 unique-key: {detail}"));

    // The last event is deleted and the head set back; its key is left over.
    let log = Damaged::new().await;
    let claim = Append {
        claims: vec![(UniqueKey::issuer_name("left over"), log.streams[0].clone())],
        ..Append::to(log.streams[0].clone(), Expected::Any, vec![encode(&KeyRevoked {})])
    };
    log.log.commit(vec![claim]).await.unwrap();
    log.damage(
        "delete from events where position = 6;
         update head set size = 6, chain_hash = (select chain_hash from events where position = 5)",
    );
    assert_eq!(log.findings().await, [(Some(6), Kind::UniqueKey)]);
}

/// A log that appends just before its keys are read: what they tell is newer than the head that was taken first.
struct Appending(Memory);

#[async_trait::async_trait]
impl Log for Appending {
    fn name(&self) -> &LogName {
        self.0.name()
    }

    fn origin(&self) -> &Origin {
        self.0.origin()
    }

    fn schema(&self) -> usize {
        self.0.schema()
    }

    async fn head(&self) -> Result<Head, Error> {
        self.0.head().await
    }

    async fn commit(&self, batch: Vec<Append>) -> Result<Vec<Outcome>, CommitError> {
        self.0.commit(batch).await
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>, Error> {
        self.0.read(query).await
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<Recorded>, Error> {
        self.0.read_at(positions).await
    }

    async fn read_first(&self, streams: &[Stream]) -> Result<Vec<Recorded>, Error> {
        self.0.read_first(streams).await
    }

    async fn versions(&self, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, Error> {
        self.0.versions(after, limit).await
    }

    async fn key_owner(&self, key: &UniqueKey) -> Result<Option<KeyOwner>, Error> {
        self.0.key_owner(key).await
    }

    async fn keys(&self, after: Option<&UniqueKey>, limit: usize) -> Result<Vec<(UniqueKey, KeyOwner)>, Error> {
        fill(&self.0).await;
        self.0.keys(after, limit).await
    }

    async fn forget_idempotency(&self, before: crate::Timestamp) -> Result<u64, Error> {
        self.0.forget_idempotency(before).await
    }

    async fn forget_commands(&self, positions: &[Position]) -> Result<u64, Error> {
        self.0.forget_commands(positions).await
    }
}

#[tokio::test]
async fn a_key_claimed_while_the_check_runs_is_no_finding() {
    let log = Memory::new(LogName::LEDGER, Origin::new("fsck.example", &LogName::LEDGER), Arc::new(ManualClock::at(noon())));
    let log = Appending(log);
    fill(&log).await;
    assert_eq!(run(&log).await.0, []);
    // The name of the issuer is taken the second time.
    assert_eq!(log.head().await.unwrap().size, 11);
}

#[tokio::test]
async fn a_row_without_a_key_and_a_table_that_is_gone_are_found() {
    let damaged = Damaged::new().await;
    damaged.damage(&format!("insert into unique_keys values (x'', '{}', 4)", damaged.streams[3]));
    assert_eq!(damaged.findings().await, [(Some(4), Kind::UniqueKey)]);
    assert_eq!(after("drop table unique_keys").await, [(None, Kind::UniqueKey)]);
}

#[tokio::test]
async fn a_head_of_any_size_is_checked_to_the_end() {
    let far = after("update head set size = 9223372036854775807").await;
    assert_eq!(far, [(Some(6), Kind::Gap), (Some(9_223_372_036_854_775_806), Kind::Head)]);
    assert_eq!(after("update head set size = -1").await, [(None, Kind::Head)]);
}

#[tokio::test]
async fn a_head_row_that_is_missing_is_a_finding_to_whoever_has_opened_the_log_and_to_whoever_opens_it() {
    let damaged = Damaged::new().await;
    damaged.damage("delete from head");
    let lost = "head: the row is missing, though there are events";
    assert_eq!(run(&damaged.log).await.0[0].to_string(), format!("ledger head: {lost}"));
    let opened = Sqlite::open_existing(damaged.folder.path(), LogName::LEDGER, Arc::new(SystemClock)).await;
    assert!(matches!(opened, Err(Error::Corrupt(what)) if what == lost));

    let database = crate::testing::postgres::Database::create().await;
    let log = postgres(&database).await;
    fill(&log).await;
    let mut raw = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("delete from ledger.head").execute(&mut raw).await.unwrap();
    assert_eq!(run(&log).await.0[0].to_string(), "ledger head: the row is missing");
    for base in [None, Some("fsck.example")] {
        let opened = Postgres::open(&database.url, LogName::LEDGER, base, None, Durability::Durable).await;
        assert!(matches!(opened, Err(Error::Corrupt(what)) if what == lost));
    }
}

#[tokio::test]
async fn a_key_whose_event_cannot_be_read_or_is_missing_is_not_accused() {
    // What follows in the same stream has lost the version before it.
    let unreadable = after("update events set stream = 'nothing' where position = 2").await;
    assert_eq!(unreadable, [(Some(2), Kind::Encoding), (Some(3), Kind::Version)]);
    assert_eq!(after("delete from events where position = 1").await, [(Some(1), Kind::Gap)]);
}

/// Every event and key is as it was, but a stream's events are not found by its name any more.
#[tokio::test]
async fn an_index_that_does_not_follow_from_its_table_is_found() {
    let Damaged { folder, log, streams } = Damaged::new().await;
    let path = sqlite::path(folder.path(), &LogName::LEDGER);
    let (page, page_size) = {
        let raw = Connection::open(&path).unwrap();
        raw.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
        let page = "select rootpage from sqlite_schema where type = 'index' and tbl_name = 'events'";
        let page: usize = raw.query_row(page, [], |row| row.get(0)).unwrap();
        (page - 1, raw.query_row("pragma page_size", [], |row| row.get::<_, usize>(0)).unwrap())
    };
    drop(log);
    let mut file = std::fs::read(&path).unwrap();
    let page = &mut file[page * page_size..(page + 1) * page_size];
    let name = streams[1].as_str().as_bytes();
    let at = page.windows(name.len()).position(|bytes| bytes == name).unwrap() + name.len() - 1;
    page[at] ^= 1;
    std::fs::write(&path, file).unwrap();

    let log = Sqlite::open_existing(folder.path(), LogName::LEDGER, Arc::new(SystemClock)).await.unwrap();
    assert_eq!(log.read(&Query::stream(&streams[1])).await.unwrap(), []);
    let (findings, _) = run(&log).await;
    assert!(!findings.is_empty() && findings.iter().all(|finding| finding.kind == Kind::File), "{findings:?}");
    assert!(findings[0].to_string().starts_with("ledger file: "), "{}", findings[0]);
}

/// Streams, versions and positions.
type Places<'a> = &'a [(&'a Stream, u64, u64)];

/// Where what is found.
type Found<'a> = &'a [(Option<u64>, Kind)];

/// A log that holds and tells what a test wants.
struct Given {
    log: Memory,
    events: Vec<Recorded>,
    listed: Vec<Listed>,
    keys: Vec<(UniqueKey, KeyOwner)>,
    damages: Vec<String>,
}

impl Given {
    /// An event for each of `versions`, which are those of the streams named, chained as they should be, at these positions.
    fn of(versions: Places<'_>) -> Given {
        let log = Memory::new(LogName::AUDIT, Origin::new("fsck.example", &LogName::AUDIT), Arc::new(ManualClock::at(noon())));
        let mut previous = log.origin().genesis();
        let place = |(stream, version, position): &(&Stream, u64, u64)| {
            let event = Recorded::place(&encode(&KeyRevoked {}), stream, Position(*position), Version(*version), noon(), previous);
            previous = event.chain_hash;
            event
        };
        let events: Vec<Recorded> = versions.iter().map(place).collect();
        let mut listed: Vec<Listed> = versions
            .iter()
            .map(|(stream, version, position)| Listed {
                stream: (*stream).clone(),
                version: Version(*version),
                position: Position(*position),
            })
            .collect();
        listed.sort_by(|a, b| (&a.stream, a.version).cmp(&(&b.stream, b.version)));
        Given { log, events, listed, keys: Vec::new(), damages: Vec::new() }
    }

    async fn findings(&self) -> Vec<(Option<u64>, Kind)> {
        run(self).await.0.into_iter().map(|finding| (finding.position.map(|position| position.0), finding.kind)).collect()
    }
}

#[async_trait::async_trait]
impl Log for Given {
    fn name(&self) -> &LogName {
        self.log.name()
    }

    fn origin(&self) -> &Origin {
        self.log.origin()
    }

    fn schema(&self) -> usize {
        self.log.schema()
    }

    async fn head(&self) -> Result<Head, Error> {
        let head = self.log.head().await?;
        Ok(self.events.last().map_or(head, |last| Head {
            size: last.position.0 + 1,
            chain_hash: last.chain_hash,
            recorded_at: last.recorded_at,
            now: last.recorded_at,
        }))
    }

    async fn commit(&self, _: Vec<Append>) -> Result<Vec<Outcome>, CommitError> {
        panic!("nothing is appended")
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>, Error> {
        // A stream's events are found by the index.
        let is_listed = |event: &&Recorded| {
            let wanted = |listed: &Listed| Some(&listed.stream) == query.stream.as_ref() && listed.position == event.position;
            query.stream.is_none() || self.listed.iter().any(wanted)
        };
        Ok(self.events.iter().filter(|event| query.wants(event)).filter(is_listed).take(query.limit).cloned().collect())
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<Recorded>, Error> {
        Ok(self.events.iter().filter(|event| positions.contains(&event.position)).cloned().collect())
    }

    async fn read_first(&self, streams: &[Stream]) -> Result<Vec<Recorded>, Error> {
        Ok(self.events.iter().filter(|event| event.version.0 == 0 && streams.contains(&event.stream)).cloned().collect())
    }

    async fn versions(&self, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, Error> {
        let next = after.map_or(0, |after| self.listed.iter().rposition(|listed| listed == after).unwrap() + 1);
        Ok(self.listed[next..].iter().take(limit).cloned().collect())
    }

    async fn key_owner(&self, key: &UniqueKey) -> Result<Option<KeyOwner>, Error> {
        Ok(self.keys.iter().find(|(owned, _)| owned == key).map(|(_, owner)| owner.clone()))
    }

    async fn keys(&self, after: Option<&UniqueKey>, limit: usize) -> Result<Vec<(UniqueKey, KeyOwner)>, Error> {
        Ok(self.keys.iter().filter(|(key, _)| after.is_none_or(|after| key > after)).take(limit).cloned().collect())
    }

    async fn damages(&self) -> Result<Vec<String>, Error> {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        Ok(self.damages.clone())
    }

    async fn forget_idempotency(&self, _: crate::Timestamp) -> Result<u64, Error> {
        Ok(0)
    }

    async fn forget_commands(&self, _: &[Position]) -> Result<u64, Error> {
        Ok(0)
    }
}

fn three_streams() -> [Stream; 3] {
    [1, 2, 3].map(|number| Stream::new(crate::stream::category::KEY, Uuid::from_u128(number)))
}

#[tokio::test]
async fn versions_that_are_missing_repeated_or_out_of_order_are_named() {
    use Kind::Version;
    let [a, b, c] = &three_streams();
    let cases: [(Places<'_>, &[u64]); 7] = [
        (&[(b, 0, 0), (a, 0, 1), (b, 1, 2), (c, 0, 3), (b, 2, 4)], &[]),
        // A stream begins with another version; one is missing in the middle.
        (&[(a, 1, 0), (b, 0, 1)], &[0]),
        (&[(a, 0, 0), (b, 0, 1), (a, 2, 2), (a, 3, 3), (b, 1, 4)], &[2]),
        // The first stands twice, so does the last of another.
        (&[(a, 0, 0), (a, 0, 1), (b, 0, 2)], &[1]),
        (&[(a, 0, 0), (b, 0, 1), (a, 1, 2), (a, 1, 3), (c, 0, 4)], &[3]),
        // Dense, but in another order than they happened.
        (&[(a, 1, 0), (b, 0, 1), (a, 0, 2)], &[0]),
        (&[(c, 0, 0), (c, 2, 1), (a, 0, 2), (c, 1, 3)], &[1]),
    ];
    for (versions, wrong) in cases {
        let expected: Vec<_> = wrong.iter().map(|position| (Some(*position), Version)).collect();
        assert_eq!(Given::of(versions).findings().await, expected, "{versions:?}");
    }
    let (findings, _) = run(&Given::of(&[(a, 1, 0), (a, 0, 1), (b, 0, 2), (b, 2, 3)])).await;
    assert_eq!(
        findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            format!("audit@0 version: {a} is at version 1, but the version before stands at 1"),
            format!("audit@3 version: {b} is at version 2, expected 1"),
        ]
    );
}

#[tokio::test]
async fn an_index_that_tells_another_story_than_the_table_is_found() {
    use Kind::File;
    let [a, b, c] = &three_streams();
    let sound: Places<'_> = &[(a, 0, 0), (b, 0, 1), (a, 1, 2), (a, 2, 3), (c, 0, 4)];
    let listed =
        |stream: &Stream, version, position| Listed { stream: stream.clone(), version: Version(version), position: Position(position) };
    let damaged = async |damage: &dyn Fn(&mut Vec<Listed>)| {
        let mut log = Given::of(sound);
        damage(&mut log.listed);
        log.findings().await
    };
    // An event that is not found by its stream. That the versions of its stream are not dense there is no second finding.
    assert_eq!(damaged(&|index| drop(index.remove(1))).await, [(Some(2), File)]);
    assert_eq!(damaged(&|index| drop(index.pop())).await, [(Some(4), File)]);
    assert_eq!(damaged(&|index| index[4].stream = three_streams()[1].clone()).await, [(Some(4), File)]);
    // One that is told of another stream or position besides; one that is told twice.
    assert_eq!(damaged(&|index| index.push(listed(c, 1, 1))).await, [(Some(1), File)]);
    assert_eq!(damaged(&|index| index.insert(3, listed(a, 3, 4))).await, [(Some(4), File)]);
    assert_eq!(damaged(&|index| index.push(listed(c, 0, 4))).await, [(None, File)]);
    // What was appended since the head was taken is none of ours.
    assert_eq!(damaged(&|index| index.push(listed(c, 1, 5))).await, []);
    assert_eq!(damaged(&|_| {}).await, []);
}

#[tokio::test]
async fn what_is_wrong_with_the_file_is_told_first_however_long_it_takes() {
    let [a, b, _] = &three_streams();
    let log = Given { damages: vec!["a page is gone".to_owned()], ..Given::of(&[(a, 0, 0), (b, 0, 2), (b, 2, 3)]) };
    assert_eq!(log.findings().await, [(None, Kind::File), (Some(1), Kind::Gap), (Some(3), Kind::Version)]);
}

#[tokio::test]
async fn positions_missing_over_many_pages_are_one_gap_and_the_rest_is_read() {
    let [a, ..] = &three_streams();
    let positions: Vec<u64> = (0..PAGE as u64 * 9).filter(|position| !(700..3 * PAGE as u64 + 7).contains(position)).collect();
    let versions: Vec<(&Stream, u64, u64)> = (0..).zip(&positions).map(|(version, position)| (a, version, *position)).collect();
    let (findings, summary) = run(&Given::of(&versions)).await;
    assert_eq!(findings.iter().map(|finding| (finding.position, finding.kind)).collect::<Vec<_>>(), [(Some(Position(700)), Kind::Gap)]);
    assert_eq!((summary.events, summary.head), (positions.len() as u64, positions.last().map(|last| Position(*last))));
}

fn issue(issuer: Uuid, subject: Uuid) -> (Append, (Stream, UniqueKey)) {
    let (stream, key) = (Stream::credential(id()), UniqueKey::natural(issuer, subject, "badge"));
    let event = encode(&issued(issuer, Some(subject), 7));
    let append = Append { claims: vec![(key.clone(), stream.clone())], ..Append::to(stream.clone(), Expected::None, vec![event]) };
    (append, (stream, key))
}

/// Credentials of one issuer, and their keys.
async fn issue_many(log: &dyn Log, issuer: Uuid, count: usize) -> Vec<(Stream, UniqueKey)> {
    let (batch, made): (Vec<Append>, Vec<_>) = (0..count).map(|_| issue(issuer, id())).unzip();
    log.commit(batch).await.unwrap();
    made
}

fn revoke((stream, key): &(Stream, UniqueKey)) -> Append {
    let event = encode(&CredentialRevoked { reason: None });
    Append { releases: vec![key.clone()], ..Append::to(stream.clone(), Expected::Any, vec![event]) }
}

#[tokio::test]
async fn among_many_keys_and_revocations_exactly_the_wrong_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = Sqlite::open(folder.path(), LogName::LEDGER, "fsck.example", Arc::new(SystemClock)).await.unwrap();
    let damaged = Damaged { folder, log, streams: [1, 2, 3, 4].map(|number| Stream::credential(Uuid::from_u128(number))) };
    let made = issue_many(&damaged.log, id(), 3 * PAGE).await;
    damaged.log.commit(made.iter().step_by(3).map(revoke).collect()).await.unwrap();
    assert_eq!(damaged.findings().await, []);
    // A row too many, for a released claim; one too few; one that two streams exchange.
    let released = &made[600];
    damaged.damage(&format!(
        "insert into unique_keys values (x'{}', '{}', 600);
         delete from unique_keys where position = 1001;
         update unique_keys set stream = '{}' where position = 4;",
        hex::encode(&released.1.0),
        released.0,
        made[5].0
    ));
    let mut findings = damaged.findings().await;
    findings.sort_unstable_by_key(|(position, _)| *position);
    assert_eq!(findings, [4, 4, 600, 1001].map(|position| (Some(position), Kind::UniqueKey)));
}

/// A log in which, before each page of keys is read and after it, some keys are released and others claimed: before the page, in
/// it and after it.
struct Busy {
    log: Memory,
    made: std::sync::Mutex<Vec<(Stream, UniqueKey)>>,
    issuer: Uuid,
}

impl Busy {
    async fn change(&self) {
        let taken: Vec<(Stream, UniqueKey)> = {
            let mut made = self.made.lock().unwrap();
            let (length, step) = (made.len(), (made.len() / 7).max(1));
            (0..length).step_by(step).take(7).rev().map(|at| made.remove(at)).collect()
        };
        self.log.commit(taken.iter().map(revoke).collect()).await.unwrap();
        // What was given back is claimed again, by another credential.
        let subject = Uuid::from_slice(&taken[0].1.0[17..33]).unwrap();
        self.log.commit(vec![issue(self.issuer, subject).0]).await.unwrap();
        issue_many(&self.log, self.issuer, 3).await;
    }
}

#[async_trait::async_trait]
impl Log for Busy {
    fn name(&self) -> &LogName {
        self.log.name()
    }

    fn origin(&self) -> &Origin {
        self.log.origin()
    }

    fn schema(&self) -> usize {
        self.log.schema()
    }

    async fn head(&self) -> Result<Head, Error> {
        self.log.head().await
    }

    async fn commit(&self, batch: Vec<Append>) -> Result<Vec<Outcome>, CommitError> {
        self.log.commit(batch).await
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>, Error> {
        self.log.read(query).await
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<Recorded>, Error> {
        self.log.read_at(positions).await
    }

    async fn read_first(&self, streams: &[Stream]) -> Result<Vec<Recorded>, Error> {
        self.log.read_first(streams).await
    }

    async fn versions(&self, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, Error> {
        self.log.versions(after, limit).await
    }

    async fn key_owner(&self, _: &UniqueKey) -> Result<Option<KeyOwner>, Error> {
        panic!("the sums differ: something is looked for that is not wrong")
    }

    async fn keys(&self, after: Option<&UniqueKey>, limit: usize) -> Result<Vec<(UniqueKey, KeyOwner)>, Error> {
        self.change().await;
        let page = self.log.keys(after, limit).await?;
        self.change().await;
        Ok(page)
    }

    async fn forget_idempotency(&self, before: crate::Timestamp) -> Result<u64, Error> {
        self.log.forget_idempotency(before).await
    }

    async fn forget_commands(&self, positions: &[Position]) -> Result<u64, Error> {
        self.log.forget_commands(positions).await
    }
}

#[tokio::test]
async fn keys_released_and_claimed_between_the_pages_are_no_finding() {
    let log = Memory::new(LogName::LEDGER, Origin::new("fsck.example", &LogName::LEDGER), Arc::new(ManualClock::at(noon())));
    let issuer = id();
    let made = issue_many(&log, issuer, 4 * PAGE).await;
    let busy = Busy { log, made: made.into(), issuer };
    for _ in 0..3 {
        assert_eq!(run(&busy).await.0, []);
    }
}

/// For a while; every third is revoked later than the next was issued.
async fn stays_sound_beside_an_appender(log: Arc<dyn Log>) {
    let (issuer, stop) = (id(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let made = issue_many(&*log, issuer, 3 * PAGE).await;
    log.commit(made.iter().skip(1).step_by(3).map(revoke).collect()).await.unwrap();
    let appending = {
        let (log, stop) = (log.clone(), stop.clone());
        tokio::spawn(async move {
            let mut left = made.into_iter().step_by(3);
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let fresh = issue_many(&*log, issuer, 5).await;
                log.commit(left.next().iter().chain(&fresh[..2]).map(revoke).collect()).await.unwrap();
            }
        })
    };
    for _ in 0..8 {
        assert_eq!(run(&*log).await.0, []);
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    appending.await.unwrap();
    assert_eq!(run(&*log).await.0, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_with_revocations_beside_an_appender_are_sound_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let log = Sqlite::open(folder.path(), LogName::LEDGER, "fsck.example", Arc::new(SystemClock)).await.unwrap();
    stays_sound_beside_an_appender(Arc::new(log)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_with_revocations_beside_an_appender_are_sound_on_postgres() {
    let database = crate::testing::postgres::Database::create().await;
    stays_sound_beside_an_appender(Arc::new(postgres(&database).await)).await;
}

async fn postgres(database: &crate::testing::postgres::Database) -> Postgres {
    Postgres::open(&database.url, LogName::LEDGER, Some("fsck.example"), None, Durability::Durable).await.unwrap()
}

#[tokio::test]
async fn damage_is_named_on_postgres_as_on_sqlite() {
    use Kind::{EventHash, UniqueKey, Version};
    let damages: [(&str, Found<'_>); 5] = [
        ("select 1", &[]),
        ("delete from unique_keys where position = 2", &[(Some(2), UniqueKey)]),
        ("update unique_keys set stream = 'nothing'", &[(None, UniqueKey)]),
        ("update events set version = 3 where position = 3", &[(Some(3), EventHash), (Some(3), Version)]),
        // Two events at one place of their stream.
        (
            "alter table events drop constraint events_stream_version; create index on events (stream, version);
             update events set version = 0 where position = 3",
            &[(Some(3), EventHash), (Some(3), Version)],
        ),
    ];
    for (damage, expected) in damages {
        let database = crate::testing::postgres::Database::create().await;
        let log = postgres(&database).await;
        fill(&log).await;
        let mut raw = sqlx::PgConnection::connect(&database.url).await.unwrap();
        let statements = format!("set search_path = ledger; alter table events disable trigger all; {damage}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut raw).await.unwrap();
        let findings: Vec<_> = run(&log).await.0.iter().map(|found| (found.position.map(|at| at.0), found.kind)).collect();
        assert_eq!(findings, expected, "{damage}");
    }
}
