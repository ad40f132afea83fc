-- Where a credential's verifications stand from $2 on, ascending, at most $3; beside the cursor of the same snapshot.
select
    k.generation, k.stage, k.position, k.chain_hash, k.head_seen, k.confirmed_at, k.unhealthy,
    v.position
from cursors k
left join (
    select position from verifications_{generation} where credential = $1 and position >= $2 order by position limit $3
) v on true
where k.projection = 'history' and k.generation = {generation} and k.serving
order by v.position;
