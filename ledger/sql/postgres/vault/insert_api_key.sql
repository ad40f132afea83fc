insert into api_keys (id, hash, prefix, roles, issuer, types, name, created_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
