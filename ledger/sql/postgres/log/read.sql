select position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
from events
where position between $1 and $2 and ($3::text is null or type = $3)
order by position
limit $4
