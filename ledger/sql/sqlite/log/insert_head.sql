-- Several processes may create the log at once: the first one's origin stands.
insert into head (id, origin, size, chain_hash, recorded_at)
values (1, ?1, 0, ?2, 0)
on conflict (id) do nothing
