-- Read beside whoever appends: the whole table is gone through, since no index is kept on positions.
select sequence
from idempotency
where position in (select value from json_each(?1)) and length(command) > 0
