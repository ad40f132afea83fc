insert into cursor (only, generation, version, stage, position, chain_hash, head_seen, confirmed_at, unhealthy)
values (0, ?1, ?2, ?3, null, ?4, null, 0, null);
