insert into cursors (projection, generation, version, stage, serving, position, chain_hash, head_seen, confirmed_at, unhealthy)
values ($1, $2, $3, $4, false, null, $5, null, 0, null);
