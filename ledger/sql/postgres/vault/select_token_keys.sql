select kid, public_key, created_at, retired_at from token_keys order by created_at, kid
