insert into head (origin, size, chain_hash, recorded_at) values ($1, 0, $2, 0) on conflict on constraint head_singleton do nothing
