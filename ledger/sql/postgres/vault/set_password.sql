with changed as (
    update accounts set wrapped_password = $2
    where id = $1 and is_recorded = 1
    returning id
),
ended as (
    update sessions set ended_at = $4
    from changed
    where sessions.account = changed.id and sessions.ended_at is null and sessions.id is distinct from $3
)
select id from changed
