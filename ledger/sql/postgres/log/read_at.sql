select position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
from events
where position = any ($1::bigint[])
order by position
