select position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
from events
where position >= ?1 and position < ?2 and (?3 is null or type = ?3)
order by position
limit ?4
