-- The first folded event recorded after ?1; null when there is none. Beside the cursor of the same snapshot.
select
    k.generation, k.stage, k.position, k.chain_hash, k.head_seen, k.confirmed_at, k.unhealthy,
    (
        select min(position)
        from (
            select * from (select position from issuers where registered_at > ?1 order by registered_at, position limit 1)
            union all
            select * from (select position from credentials where issued_at > ?1 order by issued_at, position limit 1)
            union all
            select * from (select position from status_changes where recorded_at > ?1 order by recorded_at, position limit 1)
            union all
            select * from (select position from erasures where recorded_at > ?1 order by recorded_at, position limit 1)
        )
    )
from cursor k;
