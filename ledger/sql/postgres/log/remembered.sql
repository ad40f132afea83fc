select key, command, position, recorded_at
from idempotency
where (recorded_at, key) > ($1, $2)
order by recorded_at, key
limit $3
