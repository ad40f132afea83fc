select position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
from events
where position = ?1
