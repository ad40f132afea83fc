-- the account's row is held until the commit: who changes it comes before, and is seen, or after, and sees the session
with checked as (
    select id
    from accounts
    where id = $2 and wrapped_password = $7 and deactivated_at is null and is_recorded = 1
    for share
),
begun as (
    insert into sessions (id, account, wrapped_agent, created_at, refreshed_at, expires_at)
    select $1, id, $3, $4, $4, $5 from checked
    returning id
)
insert into refresh_tokens (hash, session, created_at)
select $6, id, $4 from begun
