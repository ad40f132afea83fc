with begun as (
    insert into sessions (id, account, wrapped_agent, created_at, refreshed_at, expires_at)
    values ($1, $2, $3, $4, $4, $5)
    returning id
)
insert into refresh_tokens (hash, session, created_at)
select $6, id, $4 from begun
