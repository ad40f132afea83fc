-- what others check with; not the signing key, which few logins may read
select number, public_key, created_at from log_keys where log = $1 order by number
