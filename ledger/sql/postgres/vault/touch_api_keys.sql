-- Several processes may report late and out of order. The rows are locked in one order, so that two such statements do not
-- lock each other out.
with used as (
    select id, max(used_at) as used_at
    from unnest($1::uuid[], $2::bigint[]) as reported (id, used_at)
    group by id
),
locked as (
    select api_keys.id from api_keys where api_keys.id = any ($1::uuid[]) order by api_keys.id for no key update
)
update api_keys
set last_used_at = used.used_at
from used join locked on locked.id = used.id
where api_keys.id = used.id and (api_keys.last_used_at is null or api_keys.last_used_at < used.used_at)
