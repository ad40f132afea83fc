insert into api_keys (id, hash, prefix, role, issuer, name, created_at)
values ($1, $2, $3, $4, $5, $6, $7)
