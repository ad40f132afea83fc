-- In no order: to sort is switched off, at a price that has the server compile the statement.
select position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
from events
where stream = any ($1::text[]) and version = 0
