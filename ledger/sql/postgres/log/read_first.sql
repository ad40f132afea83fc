-- In no order: asked for by position, the server would go through the index of positions, and so through the whole table.
select position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
from events
where stream = any ($1::text[]) and version = 0
