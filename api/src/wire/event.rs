//! An event in JSON, for people and their programs. (As CBOR it is [`credence_ledger::codec::sequence`].)
//!
//! The JSON is generic: it is made from the stored CBOR, so that an event which this program does not know, or which was
//! tampered with, can still be shown. Byte strings are hex; the few fields that are known to be UUIDs, times or ledger
//! positions are shown as such. What is sealed is shown as `{"sealed": "<key id>"}`, or `{"sealed": "erased"}` once its key is
//! gone, unless it is to be opened.

use std::collections::{BTreeSet, HashMap};

use ciborium::Value as Cbor;
use credence_ledger::chain::Origin;
use credence_ledger::event::{Place, Recorded};
use credence_ledger::sealing::{KeyId, Sealed, SealingKey};
use credence_ledger::{LogName, Position, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// One event of a log.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Event {
    /// Its place in its log.
    #[schema(example = "ledger@42")]
    pub position: String,
    /// The thing it is about.
    #[schema(example = "credential/0198c5a2-0000-7000-8000-000000000001")]
    pub stream: String,
    /// Its place in its stream, from 0.
    pub version: u64,
    /// The event's type, in the past tense.
    #[serde(rename = "type")]
    #[schema(example = "CredentialIssued")]
    pub kind: String,
    /// The payload's schema version.
    pub schema: u16,
    /// The log's clock when it was written.
    #[schema(example = "2026-01-31T12:00:00.123456Z")]
    pub recorded_at: String,
    /// Who did it, where, and in answer to which request.
    pub metadata: Map<String, Value>,
    /// What happened.
    pub payload: Map<String, Value>,
    /// BLAKE3 over the event's content, in hex.
    pub event_hash: String,
    /// BLAKE3 over the previous chain hash and this event's hash, in hex.
    pub chain_hash: String,
}

/// A page of events, in position order.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct EventPage {
    /// The page.
    pub items: Vec<Event>,
    /// Goes on from here; null at the end.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Events of a log as they are shown. Each is made when it is written and not kept: as values, an opened document takes many times its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The log's name.
    pub log: &'a LogName,
    /// The log's origin.
    pub origin: &'a Origin,
    /// The events.
    pub events: &'a [Recorded],
    /// What is known of the keys that seal them.
    pub keys: Keys<'a>,
}

impl Shown<'_> {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        self.events.iter().map(|event| Event::new(self.log, self.origin, event, self.keys))
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// What an [`EventPage`] says, of events that are made when they are written.
#[derive(Debug, Serialize)]
pub struct ShownPage<'a> {
    /// The page.
    pub items: Shown<'a>,
    /// Goes on from here; null at the end.
    pub next_cursor: Option<String>,
}

/// What is known of the keys under which a page of events is sealed.
#[derive(Debug, Clone, Copy)]
pub enum Keys<'a> {
    /// The vault was not asked: whether a key still exists is unknown.
    Unknown,
    /// These exist, but what they seal stays closed.
    Closed(&'a HashMap<KeyId, SealingKey>),
    /// These exist, and what they seal is shown.
    Open(&'a HashMap<KeyId, SealingKey>),
}

impl Event {
    /// Shows `event` of the log named `log`.
    #[must_use]
    pub fn new(log: &LogName, origin: &Origin, event: &Recorded, keys: Keys<'_>) -> Event {
        let reader = Reader { origin, event, keys };
        Event {
            position: log.at(event.position).to_string(),
            stream: event.stream.to_string(),
            version: event.version.0,
            kind: event.kind.clone(),
            schema: event.schema,
            recorded_at: event.recorded_at.to_string(),
            metadata: reader.map(&event.metadata),
            payload: reader.map(&event.payload),
            event_hash: event.event_hash.to_string(),
            chain_hash: event.chain_hash.to_string(),
        }
    }
}

/// The keys that seal anything in these events: what to ask the vault for, once a page.
#[must_use]
pub fn sealed_under(events: &[Recorded]) -> Vec<KeyId> {
    let mut ids = BTreeSet::new();
    for bytes in events.iter().flat_map(|event| [&event.metadata, &event.payload]) {
        let fields = decoded(bytes).unwrap_or_default();
        ids.extend(fields.iter().filter_map(|(_, value)| sealed(value)).filter_map(|sealed| sealed.key.parse().ok()));
    }
    ids.into_iter().collect()
}

/// Turns one event's CBOR into JSON.
struct Reader<'a> {
    origin: &'a Origin,
    event: &'a Recorded,
    keys: Keys<'a>,
}

impl Reader<'_> {
    fn map(&self, bytes: &[u8]) -> Map<String, Value> {
        match decoded(bytes) {
            Some(fields) => fields.iter().map(|(name, value)| (name.clone(), self.field(name, value))).collect(),
            // Only a damaged log holds such bytes; whoever looks into it needs to see them.
            None => Map::from_iter([("malformed".to_owned(), Value::String(hex::encode(bytes)))]),
        }
    }

    fn field(&self, name: &str, value: &Cbor) -> Value {
        if let Some(sealed) = sealed(value) {
            return self.sealed(name, &sealed);
        }
        known(&self.event.kind, name, value).unwrap_or_else(|| plain(value))
    }

    fn sealed(&self, field: &str, sealed: &Sealed) -> Value {
        let closed = json!({ "sealed": sealed.key });
        let (Ok(id), Keys::Closed(keys) | Keys::Open(keys)) = (sealed.key.parse::<KeyId>(), self.keys) else {
            return closed;
        };
        let Some(key) = keys.get(&id) else {
            return json!({ "sealed": "erased" });
        };
        if !matches!(self.keys, Keys::Open(_)) {
            return closed;
        }
        let Recorded { stream, kind, schema, .. } = self.event;
        match key.open(&Place { origin: self.origin, stream, kind, schema: *schema, field }, sealed) {
            Ok(plain) => opened(field, &plain),
            // It was altered, or sealed elsewhere: it stays closed, and the self-check tells.
            Err(_) => closed,
        }
    }
}

/// Documents and details are JSON objects; reasons are the text that somebody wrote, whatever it looks like.
fn opened(field: &str, plain: &[u8]) -> Value {
    let text = || Value::String(String::from_utf8_lossy(plain).into_owned());
    match field {
        "reason" => text(),
        _ => serde_json::from_slice(plain).unwrap_or_else(|_| text()),
    }
}

/// The fields whose meaning is more than their CBOR says.
fn known(kind: &str, field: &str, value: &Cbor) -> Option<Value> {
    match (kind, field) {
        ("CredentialIssued", "issuer" | "subject_id")
        | ("CredentialVerified", "credential")
        | ("KeyReplaced", "replaced_by")
        | ("SessionStarted" | "SessionEnded", "account")
        | ("SubjectErased", "order")
        | ("KeyCreated" | "AccountRegistered" | "SubjectErased" | "ErasureOrdered", "issuer") => uuid(value),
        ("ErasureOrdered", "subjects") => value.as_array()?.iter().map(uuid).collect(),
        ("CredentialIssued", "valid_from" | "valid_until")
        | ("CredentialVerified", "as_of")
        | ("KeyCreated" | "KeyLimited" | "KeyReplaced", "expires_at")
        | ("VaultBackedUp", "valid_until")
        | ("VaultRestored", "made_at") => {
            let micros = u64::try_from(value.as_integer()?).ok()?;
            let time = Timestamp::from_micros(micros);
            (time.as_micros() == micros).then(|| Value::String(time.to_string()))
        }
        ("CredentialVerified", "position") => {
            let position = u64::try_from(value.as_integer()?).ok()?;
            Some(Value::String(LogName::LEDGER.at(Position(position)).to_string()))
        }
        _ => None,
    }
}

fn uuid(value: &Cbor) -> Option<Value> {
    Some(Value::String(Uuid::from_slice(value.as_bytes()?).ok()?.to_string()))
}

/// Anything else: byte strings in hex, and what events cannot hold as the text that CBOR's diagnostic notation has for it.
fn plain(value: &Cbor) -> Value {
    match value {
        Cbor::Integer(number) => {
            let number = i128::from(*number);
            u64::try_from(number)
                .map(Value::from)
                .or_else(|_| i64::try_from(number).map(Value::from))
                .unwrap_or_else(|_| json!(number.to_string()))
        }
        Cbor::Bytes(bytes) => Value::String(hex::encode(bytes)),
        Cbor::Text(text) => Value::String(text.clone()),
        Cbor::Bool(value) => Value::Bool(*value),
        Cbor::Float(number) => json!(number),
        Cbor::Array(items) => Value::Array(items.iter().map(plain).collect()),
        Cbor::Map(entries) => Value::Object(entries.iter().map(|(name, value)| (name_of(name), plain(value))).collect()),
        Cbor::Tag(_, inner) => plain(inner),
        _ => Value::Null,
    }
}

fn name_of(name: &Cbor) -> String {
    name.as_text().map_or_else(|| plain(name).to_string(), str::to_owned)
}

fn decoded(mut bytes: &[u8]) -> Option<Vec<(String, Cbor)>> {
    let value: Cbor = ciborium::from_reader(&mut bytes).ok()?;
    let entries = if bytes.is_empty() { value.into_map().ok()? } else { return None };
    Some(entries.into_iter().map(|(name, value)| (name_of(&name), value)).collect())
}

/// Sealed bytes are a map of exactly `box`, `key` and `nonce`.
fn sealed(value: &Cbor) -> Option<Sealed> {
    if value.as_map()?.len() == 3 { value.deserialized().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use credence_ledger::chain::Hash;
    use credence_ledger::event::audit::{Cause, CredentialVerified, KeyRevoked, PresentedBy};
    use credence_ledger::event::credential::CredentialIssued;
    use credence_ledger::event::{New, Origination, Payload};
    use credence_ledger::random::SystemRandom;
    use credence_ledger::{Stream, Version};
    use serde_bytes::ByteArray;

    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn origin() -> Origin {
        Origin::new("example.org", &LogName::LEDGER)
    }

    fn recorded<P: Payload>(stream: Stream, payload: &P) -> Recorded {
        let metadata = Origination::system("one").metadata(&SystemRandom);
        let new = New::of(payload, &metadata);
        let at = "2026-01-31T12:00:00.5Z".parse().unwrap();
        Recorded::place(&new, &stream, Position(42), Version(0), at, Hash([0; 32]))
    }

    fn issued(key: &SealingKey) -> (Recorded, KeyId) {
        let (stream, key_id) = (Stream::credential(id(1)), KeyId::Subject(id(3)));
        let origin = origin();
        let place = Place { origin: &origin, stream: &stream, kind: CredentialIssued::TYPE, schema: 1, field: "document" };
        let document = key.seal(&key_id, &place, br#"{"id":"urn:uuid:x"}"#, &SystemRandom);
        let payload = CredentialIssued {
            credential_type: "certificate".into(),
            digest: ByteArray::new([0xab; 32]),
            issuer: id(2),
            document: Some(document),
            subject_id: Some(id(3)),
            valid_from: None,
            valid_until: Some("2027-01-31T12:00:00Z".parse().unwrap()),
        };
        (recorded(stream, &payload), key_id)
    }

    #[test]
    fn byte_strings_are_hex_and_known_fields_are_readable() {
        let (event, _) = issued(&SealingKey::generate(&SystemRandom));
        let shown = Event::new(&LogName::LEDGER, &origin(), &event, Keys::Unknown);
        assert_eq!(shown.position, "ledger@42");
        assert_eq!(shown.recorded_at, "2026-01-31T12:00:00.500Z");
        assert_eq!(shown.metadata["actor"], "system");
        assert_eq!(shown.metadata["event_id"].as_str().unwrap().len(), 32);
        assert_eq!(
            Value::Object(shown.payload),
            json!({"type": "certificate", "digest": "ab".repeat(32), "issuer": id(2).to_string(), "subject_id": id(3).to_string(),
                   "valid_until": "2027-01-31T12:00:00Z", "document": {"sealed": format!("subject/{}", id(3))}})
        );
    }

    #[test]
    fn a_verdict_names_the_ledger_position_it_was_given_at() {
        let payload = CredentialVerified {
            as_of: Timestamp::EPOCH,
            cause: Cause::Mismatch,
            status: "not_found".into(),
            position: Some(7),
            credential: Some(id(1)),
            presented_by: PresentedBy::Id,
        };
        let event = recorded(Stream::new(credence_ledger::stream::category::VERIFICATION, id(9)), &payload);
        let shown = Event::new(&LogName::AUDIT, &origin(), &event, Keys::Unknown);
        assert_eq!(
            Value::Object(shown.payload),
            json!({"as_of": "1970-01-01T00:00:00Z", "cause": "mismatch", "status": "not_found", "position": "ledger@7",
                   "credential": id(1).to_string(), "presented_by": "id"})
        );
    }

    /// What docs/FORMAT.md says that each member of a payload is, by type and name.
    fn documented() -> HashMap<(&'static str, &'static str), &'static str> {
        let mut members = HashMap::new();
        for line in
            include_str!("../../../docs/FORMAT.md").lines().filter(|line| line.starts_with("| ledger |") || line.starts_with("| audit |"))
        {
            let columns: Vec<&str> = line.trim_matches('|').split('|').collect();
            for kind in columns[2].split('`').skip(1).step_by(2) {
                for member in columns.last().unwrap().split(',').filter_map(|member| member.trim().strip_prefix('`')) {
                    let (name, what) = member.split_once('`').unwrap();
                    members.insert((kind, name), what.trim_start_matches('?').trim());
                }
            }
        }
        members
    }

    #[test]
    fn every_id_and_time_in_every_golden_payload_is_readable() {
        let (documented, mut seen) = (documented(), BTreeSet::new());
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ledger/tests/golden")).unwrap() {
            let file = file.unwrap().path();
            let kind = file.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
            for payload in std::fs::read_to_string(&file).unwrap().lines().filter_map(|line| line.strip_prefix("payload")) {
                let mut event = recorded(Stream::credential(id(1)), &KeyRevoked {});
                (event.kind, event.payload) = (kind.to_owned(), hex::decode(payload.trim()).unwrap().into());
                let shown = Event::new(&LogName::AUDIT, &origin(), &event, Keys::Unknown).payload;
                for (name, value) in decoded(&event.payload).unwrap() {
                    let what = *documented.get(&(kind, name.as_str())).unwrap_or_else(|| panic!("docs/FORMAT.md has no {kind}.{name}"));
                    let is_id = |value: &Cbor| value.as_bytes().is_some_and(|bytes| bytes.len() == 16);
                    let is_late = |number: ciborium::value::Integer| i128::from(number) > 1_000_000_000_000_000;
                    assert_eq!(is_id(&value), what == "UUID", "{kind}.{name}");
                    assert_eq!(value.as_array().is_some_and(|items| items.iter().any(is_id)), what == "array of UUID", "{kind}.{name}");
                    assert_eq!(value.as_integer().is_some_and(is_late), what == "time", "{kind}.{name}");
                    let is_uuid = |value: &Value| value.as_str().is_some_and(|text| text.len() == 36 && text.parse::<Uuid>().is_ok());
                    let is_readable = match what {
                        "UUID" => is_uuid(&shown[&name]),
                        "array of UUID" => shown[&name].as_array().unwrap().iter().all(is_uuid),
                        "time" => shown[&name].as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok()),
                        _ => continue,
                    };
                    assert!(is_readable, "{kind}.{name}: {}", shown[&name]);
                    seen.insert(format!("{kind}.{name}"));
                }
            }
        }
        assert!(seen.contains("KeyReplaced.replaced_by") && seen.contains("ErasureOrdered.subjects") && seen.len() > 15, "{seen:?}");
    }

    #[test]
    fn what_is_sealed_is_opened_only_when_asked_and_only_while_its_key_exists() {
        let key = SealingKey::generate(&SystemRandom);
        let (event, key_id) = issued(&key);
        assert_eq!(sealed_under(std::slice::from_ref(&event)), std::slice::from_ref(&key_id));
        let kept = HashMap::from([(key_id.clone(), key)]);
        let other = HashMap::from([(key_id.clone(), SealingKey::generate(&SystemRandom))]);
        let none = HashMap::new();
        let closed = json!({"sealed": key_id.to_string()});
        let erased = json!({"sealed": "erased"});
        let shown = |keys| Event::new(&LogName::LEDGER, &origin(), &event, keys).payload["document"].clone();
        assert_eq!(shown(Keys::Unknown), closed);
        assert_eq!(shown(Keys::Closed(&kept)), closed);
        assert_eq!(shown(Keys::Open(&kept)), json!({"id": "urn:uuid:x"}));
        assert_eq!(shown(Keys::Open(&other)), closed);
        assert_eq!(shown(Keys::Closed(&none)), erased);
        assert_eq!(shown(Keys::Open(&none)), erased);
    }

    #[test]
    fn an_opened_reason_is_text_whatever_it_looks_like() {
        assert_eq!(opened("reason", b"42"), json!("42"));
        assert_eq!(opened("details", br#"{"address":"::1"}"#), json!({"address": "::1"}));
    }

    #[test]
    fn damaged_bytes_are_shown_as_they_are() {
        let (mut event, _) = issued(&SealingKey::generate(&SystemRandom));
        event.payload = vec![0xff, 0x00].into();
        let shown = Event::new(&LogName::LEDGER, &origin(), &event, Keys::Unknown);
        assert_eq!(Value::Object(shown.payload), json!({"malformed": "ff00"}));
    }
}
