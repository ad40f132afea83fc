//! Files that hold are read back as they were written; whatever else is done to them is told, and where.

use std::io::Read;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;

use super::*;
use crate::chain::Origin;
use crate::clock::ManualClock;
use crate::codec::{self, sequence};
use crate::event::Recorded;
use crate::log::memory::Memory;
use crate::log::{Log, Query};
use crate::testing::history;
use crate::tree::{Frontier, Hash};
use crate::{LogName, Position};

fn origin() -> Origin {
    Origin::new("export.example", &LogName::LEDGER)
}

async fn events(credentials: u128) -> Vec<Recorded> {
    let log = Memory::new(LogName::LEDGER, origin(), Arc::new(ManualClock::default()));
    history::issue(&log, 0..credentials).await;
    log.read(&Query::from(Position::FIRST, usize::MAX)).await.unwrap()
}

fn root(events: &[Recorded]) -> Hash {
    let mut tree = Frontier::new();
    events.iter().for_each(|event| tree.push(Hash::leaf(event.event_hash)));
    tree.root()
}

fn checkpoint(events: &[Recorded]) -> Checkpoint {
    let (size, root) = (events.len() as u64, BASE64_STANDARD.encode(root(events).0));
    let note = format!("{}\n{size}\n{root}\n\n\u{2014} export.example c2lnbmF0dXJl\n", origin().as_str());
    Checkpoint { note, size }
}

/// The file's items, of a log with a checkpoint at 0, at 3 twice, and at its end.
fn written(events: &[Recorded]) -> Vec<Vec<u8>> {
    let mut writer = Writer::begin(Vec::new(), &LogName::LEDGER, &origin()).unwrap();
    writer.checkpoint(&checkpoint(&[])).unwrap();
    for (at, event) in (1..).zip(events) {
        writer.event(event).unwrap();
        let checkpoints = match at {
            3 => 2,
            at if at == events.len() => 1,
            _ => 0,
        };
        (0..checkpoints).for_each(|_| writer.checkpoint(&checkpoint(&events[..at])).unwrap());
    }
    let (bytes, footer) = writer.finish().unwrap();
    assert_eq!((footer.events, footer.checkpoints), (events.len() as u64, 4));
    let (mut items, mut rest) = (Vec::new(), bytes.as_slice());
    while !rest.is_empty() {
        let (item, others) = rest.split_at(codec::first(rest).unwrap().unwrap());
        items.push(item.to_vec());
        rest = others;
    }
    items
}

fn read(source: impl Read) -> Result<Vec<Item>, ReadError> {
    let mut reader = Reader::open(source)?;
    let mut items = Vec::new();
    while let Some(item) = reader.next()? {
        items.push(item);
    }
    Ok(items)
}

fn refused(source: impl Read) -> Invalid {
    match read(source) {
        Err(ReadError::Invalid(invalid)) => invalid,
        other => panic!("expected it to be refused: {other:?}"),
    }
}

/// The position that is told.
fn place(invalid: &Invalid) -> Option<u64> {
    invalid.position.as_ref().map(|(_, position)| position.0)
}

/// Gives one byte at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.0.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

#[tokio::test]
async fn what_was_written_is_read_back() {
    let events = events(10).await;
    let items = written(&events);
    let read_back = read(items.concat().as_slice()).unwrap();
    assert_eq!(read_back, read(Slow(&items.concat())).unwrap());
    let found: Vec<Recorded> =
        read_back.iter().filter_map(|item| if let Item::Event(event) = item { Some(event.clone()) } else { None }).collect();
    assert_eq!(found, events);
    assert_eq!(read_back[0], Item::Checkpoint(checkpoint(&[])));
    assert_eq!(read_back[4..6], [Item::Checkpoint(checkpoint(&events[..3])), Item::Checkpoint(checkpoint(&events[..3]))]);
    let Some(Item::Footer(footer)) = read_back.last() else { panic!("a footer") };
    assert_eq!((footer.chain_hash.as_slice(), footer.root.as_slice()), (&events.last().unwrap().chain_hash.0[..], &root(&events).0[..]));
    assert_eq!(footer.blake3.as_slice(), blake3::hash(&items[..items.len() - 1].concat()).as_bytes());
}

#[test]
fn an_empty_log_has_an_export() {
    let (bytes, footer) = Writer::begin(Vec::new(), &LogName::AUDIT, &Origin::new("a", &LogName::AUDIT)).unwrap().finish().unwrap();
    assert_eq!(read(bytes.as_slice()).unwrap(), [Item::Footer(footer)]);
}

#[tokio::test]
async fn every_item_is_deterministic() {
    for item in written(&events(3).await) {
        assert_eq!(codec::check(&item), Ok(()));
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_refused_and_located() {
    let items = written(&events(5).await);
    let bytes = items.concat();
    let footer_at = bytes.len() - items.last().unwrap().len();
    let mut begin = 0;
    for item in &items {
        for at in begin..begin + item.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let invalid = refused(flipped.as_slice());
            let told_at = usize::try_from(invalid.byte).unwrap();
            let is_told = match item[0] {
                // Another origin is one as good as any, until something follows that is not of it.
                0xa4 => told_at == 0 || told_at == item.len(),
                // Who signed what is known by those who have the keys; here it is only known that it is not what was written.
                0xa2 => told_at == begin || told_at == footer_at,
                _ => told_at == begin,
            };
            assert!(is_told, "{at} in {begin}: {invalid}: {}", invalid.fault);
            assert_eq!(invalid.position.is_none(), told_at == 0, "{at}: {invalid}");
        }
        begin += item.len();
    }
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_refused_wherever_it_ends() {
    let items = written(&events(5).await);
    let bytes = items.concat();
    for length in 0..bytes.len() {
        let invalid = refused(&bytes[..length]);
        let expected =
            if length < items[0].len() { matches!(invalid.fault, Fault::NoExport) } else { matches!(invalid.fault, Fault::CutOff) };
        assert!(expected, "{length}: {:?}", invalid.fault);
    }
}

#[tokio::test]
async fn what_follows_the_footer_is_refused() {
    let items = written(&events(5).await);
    let bytes = items.concat();
    for more in [&[0][..], &[0xaa], &[0xff], items.last().unwrap(), &items[2], &bytes] {
        let invalid = refused([&bytes[..], more].concat().as_slice());
        assert!(matches!(invalid.fault, Fault::Trailing), "{:?}", invalid.fault);
    }
}

#[tokio::test]
async fn a_verifier_takes_nothing_after_the_footer() {
    let events = events(1).await;
    let header = Header { log: "ledger".to_owned(), format: FORMAT.to_owned(), origin: origin().as_str().to_owned(), version: VERSION };
    let mut verifier = Verifier::begin(&header).unwrap();
    let footer = verifier.footer();
    verifier.finish(&footer).unwrap();
    let refused = [verifier.event(&events[0]), verifier.checkpoint(&checkpoint(&[])), verifier.finish(&footer)];
    assert!(refused.iter().all(|refused| matches!(refused, Err(Invalid { fault: Fault::Trailing, .. }))), "{refused:?}");
}

#[tokio::test]
async fn items_that_are_missing_doubled_or_out_of_order_are_refused() {
    let items = written(&events(5).await);
    for at in 0..items.len() {
        let mut without = items.clone();
        without.remove(at);
        refused(without.concat().as_slice());
        let mut doubled = items.clone();
        doubled.insert(at, items[at].clone());
        refused(doubled.concat().as_slice());
        for other in (at + 1..items.len()).filter(|other| items[*other] != items[at]) {
            let mut swapped = items.clone();
            swapped.swap(at, other);
            refused(swapped.concat().as_slice());
        }
    }
    // Header, a checkpoint, three events: the second event is the first that is not where it should be.
    let mut without = items.clone();
    without.remove(2);
    let invalid = refused(without.concat().as_slice());
    assert_eq!(place(&invalid), Some(0));
    assert_eq!(invalid.to_string(), format!("ledger@0, byte {}", items[0].len() + items[1].len()));
    assert!(matches!(invalid.fault, Fault::Event(crate::chain::Broken::Gap { .. })));
}

#[tokio::test]
async fn a_file_that_is_something_else_is_told_so() {
    let replay = sequence::start(&LogName::LEDGER, Position::FIRST, &origin());
    for other in [&b""[..], b"{}", b"PK\x03\x04", &replay, &[0xa0], &[0xff; 9]] {
        let invalid = refused(other);
        assert!(matches!(invalid.fault, Fault::NoExport), "{:?}", invalid.fault);
        assert_eq!((place(&invalid), invalid.byte), (None, 0));
    }
}

#[test]
fn a_newer_format_is_told_by_its_version() {
    #[derive(serde::Serialize)]
    struct Newer<'a> {
        log: &'a str,
        format: &'a str,
        version: u64,
        something: bool,
    }
    let newer = |version| codec::encode(&Newer { log: "ledger", format: FORMAT, version, something: true });
    assert!(matches!(refused(newer(2).as_slice()).fault, Fault::Newer(2)));
    assert!(matches!(refused(newer(1).as_slice()).fault, Fault::NoExport));
    assert!(matches!(refused(newer(0).as_slice()).fault, Fault::NoExport));
}

#[test]
fn a_header_names_a_log_and_its_origin() {
    let header = |log: &str, origin: &str| {
        let header = Header { log: log.to_owned(), format: FORMAT.to_owned(), origin: origin.to_owned(), version: VERSION };
        codec::encode(&header)
    };
    for (log, origin) in [("other", "a/v1/logs/other"), ("ledger", "a/v1/logs/audit"), ("ledger", "/v1/logs/ledger"), ("ledger", "ledger")]
    {
        assert!(matches!(refused(header(log, origin).as_slice()).fault, Fault::Header), "{log} {origin}");
    }
    assert!(matches!(refused(header("ledger", "a/b/v1/logs/ledger").as_slice()).fault, Fault::CutOff));
}

/// Bytes without end, counted.
struct Endless(u64);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(0);
        self.0 += buffer.len() as u64;
        Ok(buffer.len())
    }
}

#[test]
fn an_item_without_end_is_refused_in_bounded_memory() {
    let writer = Writer::begin(Vec::new(), &LogName::LEDGER, &origin()).unwrap();
    let bytes = writer.finish().unwrap().0;
    let header = &bytes[..codec::first(&bytes).unwrap().unwrap()];
    // An event of a payload of 2^40 bytes; and a map of 2^40 entries that goes on and on.
    for item in [&b"\xaa\x67payload\x5b\0\0\x01\0\0\0\0\0"[..], b"\xbb\0\0\x01\0\0\0\0\0"] {
        let mut endless = Endless(0);
        let invalid = refused(header.chain(item).chain(&mut endless));
        assert!(matches!(invalid.fault, Fault::TooLong | Fault::NotDeterministic(_)), "{:?}", invalid.fault);
        assert!(endless.0 <= 3 * ITEM_BYTES_MAX as u64, "{} bytes were read", endless.0);
    }
}

#[tokio::test]
async fn a_checkpoint_speaks_of_the_events_before_it() {
    let events = events(3).await;
    let right = checkpoint(&events[..2]);
    let line = |at: usize, with: &str| {
        let mut lines: Vec<&str> = right.note.split('\n').collect();
        lines[at] = with;
        Checkpoint { note: lines.join("\n"), size: 2 }
    };
    let wrong = [
        Checkpoint { size: 3, ..right.clone() },
        line(0, "other.example/v1/logs/ledger"),
        line(1, "02"),
        line(1, "3"),
        line(2, &BASE64_STANDARD.encode([0; 32])),
        line(3, "an extension without its text's end"),
        line(4, "no signature"),
        Checkpoint { note: right.note.trim_end().to_owned(), size: 2 },
        Checkpoint { note: right.note.split("\n\n").next().unwrap().to_owned(), size: 2 },
    ];
    let mut writer = Writer::begin(Vec::new(), &LogName::LEDGER, &origin()).unwrap();
    events[..2].iter().for_each(|event| writer.event(event).unwrap());
    for wrong in wrong {
        let refused = writer.checkpoint(&wrong);
        assert!(matches!(refused, Err(WriteError::Invalid(Invalid { fault: Fault::Checkpoint(_), .. }))), "{wrong:?}");
    }
    writer.checkpoint(&right).unwrap();
}

#[tokio::test]
async fn a_log_that_does_not_hold_together_is_not_written() {
    let events = events(3).await;
    let mut writer = Writer::begin(Vec::new(), &LogName::LEDGER, &origin()).unwrap();
    writer.event(&events[0]).unwrap();
    for wrong in [&events[0], &events[2], &Recorded { kind: "Other".to_owned(), ..events[1].clone() }] {
        let Err(WriteError::Invalid(invalid)) = writer.event(wrong) else { panic!("it must be refused") };
        assert_eq!(place(&invalid), Some(1));
    }
    writer.event(&events[1]).unwrap();
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic_or_believe(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(bytes.as_slice()).is_err());
    }
}
