//! A log as `credence replay --format cbor` gives it, checked by code of its own.
//!
//! The hashes are made here from the written format alone, not by the program's own functions.

use std::collections::HashMap;

use ciborium::Value;

use crate::process::run_well;
use crate::store::Store;

/// One event.
pub(crate) struct Event {
    pub(crate) position: u64,
    pub(crate) stream: String,
    pub(crate) kind: String,
}

/// The ledger log from its first event on, with its chain, positions and versions checked.
pub(crate) fn ledger(store: &Store) -> Vec<Event> {
    log(store, "ledger")
}

/// Any log from its first event on, with its chain, positions and versions checked.
pub(crate) fn log(store: &Store, name: &str) -> Vec<Event> {
    let bytes = run_well(store, &["replay", "--log", name, "--format", "cbor"]);
    let mut rest = bytes.as_slice();
    let header = next(&mut rest);
    let origin = text(&header, "origin");
    assert_eq!(text(&header, "log"), name);
    let mut chain: [u8; 32] = blake3::hash(origin.as_bytes()).into();
    let mut versions: HashMap<String, u64> = HashMap::new();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let event = next(&mut rest);
        let (position, stream, version) = (number(&event, "position"), text(&event, "stream"), number(&event, "version"));
        assert_eq!(position, events.len() as u64, "positions are dense from 0");
        let expected = versions.entry(stream.clone()).and_modify(|version| *version += 1).or_insert(0);
        assert_eq!(version, *expected, "versions of {stream} are dense from 0");
        let content = Value::Array(["stream", "version", "type", "schema", "recorded_at", "metadata", "payload"].iter().fold(
            vec![Value::from(1)],
            |mut fields, name| {
                fields.push(field(&event, name).clone());
                fields
            },
        ));
        let mut encoded = Vec::new();
        ciborium::into_writer(&content, &mut encoded).unwrap();
        let hash: [u8; 32] = blake3::hash(&encoded).into();
        assert_eq!(bytes_of(&event, "event_hash"), hash, "event hash at {position}");
        chain = blake3::hash(&[chain, hash].concat()).into();
        assert_eq!(bytes_of(&event, "chain_hash"), chain, "chain hash at {position}");
        events.push(Event { position, stream, kind: text(&event, "type") });
    }
    events
}

/// How many events of a type there are.
pub(crate) fn count(events: &[Event], kind: &str) -> usize {
    events.iter().filter(|event| event.kind == kind).count()
}

fn next(rest: &mut &[u8]) -> Value {
    ciborium::from_reader(rest).expect("a CBOR sequence")
}

fn field<'a>(map: &'a Value, name: &str) -> &'a Value {
    let entries = map.as_map().expect("a map");
    entries.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value).unwrap_or_else(|| panic!("no {name} in {map:?}"))
}

fn text(map: &Value, name: &str) -> String {
    field(map, name).as_text().expect("a text").to_owned()
}

fn number(map: &Value, name: &str) -> u64 {
    field(map, name).as_integer().expect("a number").try_into().expect("not negative")
}

fn bytes_of(map: &Value, name: &str) -> Vec<u8> {
    field(map, name).as_bytes().expect("bytes").clone()
}
