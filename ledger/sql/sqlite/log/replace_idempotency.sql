-- The row that is replaced has expired. The new one goes to the end, since rows lie in the order of their time.
insert or replace into idempotency (key, command, position, recorded_at)
values (?1, ?2, ?3, ?4)
