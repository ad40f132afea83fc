-- Only one of those who try at once finds it unused. While the organisation is deactivated nothing is used, and its sessions go on
-- afterwards.
with used as (
    update refresh_tokens set used_at = $3
    from sessions as s
    inner join accounts as a on a.id = s.account
    inner join issuers as i on i.id = a.issuer
    where
        refresh_tokens.hash = $1 and refresh_tokens.used_at is null
        and s.id = refresh_tokens.session and i.deactivated_at is null
    returning refresh_tokens.session, s.account, a.issuer, a.roles, a.deactivated_at is null as of_active
),
refreshed as (
    update sessions set refreshed_at = $3, expires_at = $4
    from used
    where sessions.id = used.session and sessions.ended_at is null and sessions.expires_at > $3
    returning sessions.id, used.account, used.issuer, used.roles, used.of_active, sessions.expires_at, sessions.ended_at
),
next as (
    insert into refresh_tokens (hash, session, created_at)
    select $2, id, $3 from refreshed
)
select id, account, issuer, roles, of_active, expires_at, ended_at from refreshed
