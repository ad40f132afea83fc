-- only one of those who try at once finds it unused
with used as (
    update refresh_tokens set used_at = $3
    where hash = $1 and used_at is null
    returning session
),
refreshed as (
    update sessions set refreshed_at = $3, expires_at = $4
    from used
    where sessions.id = used.session and sessions.ended_at is null and sessions.expires_at > $3
    returning sessions.id
),
next as (
    insert into refresh_tokens (hash, session, created_at)
    select $2, id, $3 from refreshed
)
select id from refreshed
