-- A stream's versions grow with its positions, so the index on (stream, version) gives the order, too.
select position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
from events
where stream = ?5 and position >= ?1 and position < ?2 and (?3 is null or type = ?3)
order by version
limit ?4
