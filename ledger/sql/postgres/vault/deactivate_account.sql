with changed as (
    update accounts set deactivated_at = coalesce(deactivated_at, $2)
    where id = $1 and is_recorded = 1
    returning id
),
ended as (
    update sessions set ended_at = $2
    from changed
    where sessions.account = changed.id and sessions.ended_at is null
)
select id from changed
