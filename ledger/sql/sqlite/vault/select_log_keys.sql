select number, public_key, wrapped_signing_key, created_at
from log_keys
where log = ?1
order by number
