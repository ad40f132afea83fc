//! An independent check of a CBOR sequence of events: by docs/FORMAT.md alone, with nothing of our own code.

use ciborium::Value;

/// The items of a sequence.
pub fn items(mut bytes: &[u8]) -> Vec<Value> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        items.push(ciborium::from_reader(&mut bytes).unwrap());
    }
    items
}

/// A member of an item.
pub fn member<'a>(item: &'a Value, name: &str) -> &'a Value {
    let entries = item.as_map().unwrap();
    &entries.iter().find(|(key, _)| key.as_text() == Some(name)).unwrap_or_else(|| panic!("no {name}")).1
}

pub fn uint(item: &Value, name: &str) -> u64 {
    member(item, name).as_integer().unwrap().try_into().unwrap()
}

fn hash(item: &Value, name: &str) -> [u8; 32] {
    member(item, name).as_bytes().unwrap().as_slice().try_into().unwrap()
}

/// Recomputes a whole log's hashes from its origin on; answers how many events there are and the last chain hash, in hex.
pub fn check(sequence: &[u8], log: &str) -> (u64, String) {
    let items = items(sequence);
    let (start, events) = items.split_first().unwrap();
    assert_eq!(member(start, "log").as_text(), Some(log));
    assert_eq!(uint(start, "from"), 0);
    let mut chain: [u8; 32] = blake3::hash(member(start, "origin").as_text().unwrap().as_bytes()).into();
    for (position, event) in (0..).zip(events) {
        assert_eq!(uint(event, "position"), position);
        let names = ["stream", "version", "type", "schema", "recorded_at", "metadata", "payload"];
        let content = std::iter::once(Value::from(1)).chain(names.map(|name| member(event, name).clone()));
        let mut encoded = Vec::new();
        ciborium::into_writer(&Value::Array(content.collect()), &mut encoded).unwrap();
        let event_hash = *blake3::hash(&encoded).as_bytes();
        assert_eq!(hash(event, "event_hash"), event_hash, "event hash at {position}");
        chain = blake3::hash(&[chain, event_hash].concat()).into();
        assert_eq!(hash(event, "chain_hash"), chain, "chain hash at {position}");
    }
    (events.len() as u64, hex::encode(chain))
}
