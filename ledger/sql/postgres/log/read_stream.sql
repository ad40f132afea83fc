-- within a stream versions and positions have one order; "+ 0" keeps the index of positions out of it, which knows nothing of streams
select position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
from events
where stream = $5 and position + 0 between $1 and $2 and ($3::text is null or type = $3)
order by version
limit $4
