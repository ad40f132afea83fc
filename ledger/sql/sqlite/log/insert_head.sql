-- Several processes may create the log at once: the first one's origin stands. A log with events has lost its head, and gets none.
insert into head (id, origin, size, chain_hash, recorded_at)
select 1, ?1, 0, ?2, 0
where (select max(position) from events) is null
on conflict (id) do nothing
