select id, prefix, role, issuer, name, created_at, last_used_at, revoked_at
from api_keys
order by id
