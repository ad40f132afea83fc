-- The first folded event recorded after $1; null when there is none. Beside the cursor of the same snapshot.
select
    k.generation, k.stage, k.position, k.chain_hash, k.head_seen, k.confirmed_at, k.unhealthy,
    (
        select min(position)
        from (
            select * from (
                select position from issuers_{generation} where registered_at > $1 order by registered_at, position limit 1
            ) as i
            union all
            select * from (
                select position from credentials_{generation} where issued_at > $1 order by issued_at, position limit 1
            ) as c
            union all
            select * from (
                select position from status_changes_{generation} where recorded_at > $1 order by recorded_at, position limit 1
            ) as s
            union all
            select * from (
                select position from erasures_{generation} where recorded_at > $1 order by recorded_at, position limit 1
            ) as e
        ) as first
    )
from cursors k
where k.projection = 'verification' and k.generation = {generation} and k.serving;
