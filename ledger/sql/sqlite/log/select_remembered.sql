-- Rows lie in the order of their time, so that a page begins where the one before ended; where its last row is gone, at the first row.
select key, command, position, recorded_at
from idempotency
where sequence > coalesce((select sequence from idempotency where key = ?1), 0)
order by sequence
limit ?2
