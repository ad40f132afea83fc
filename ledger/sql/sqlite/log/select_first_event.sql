select position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
from events
where stream = ?1 and version = 0
