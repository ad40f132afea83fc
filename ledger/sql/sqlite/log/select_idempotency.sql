select command, position, recorded_at
from idempotency
where key = ?1
