insert into events (position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
