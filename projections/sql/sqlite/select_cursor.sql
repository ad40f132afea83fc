select generation, stage, position, chain_hash, head_seen, confirmed_at, unhealthy, version from cursor;
