-- The first one's origin stands. A log with events has lost its head, and gets none.
insert into head (origin, size, chain_hash, recorded_at)
select $1, 0, $2, 0
where not exists (select from events)
on conflict on constraint head_singleton do nothing
