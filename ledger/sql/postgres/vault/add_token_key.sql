insert into token_keys (kid, public_key, wrapped_signing_key, created_at)
select $1, $2, $3, $4
where not exists (select 1 from token_keys where created_at > $5 and retired_at is null)
