-- Where a credential's verifications stand from ?2 on, ascending, at most ?3; beside the cursor of the same snapshot.
select
    k.generation, k.stage, k.position, k.chain_hash, k.head_seen, k.confirmed_at, k.unhealthy,
    v.position
from cursor k
left join (
    select position from verifications where credential = ?1 and position >= ?2 order by position limit ?3
) v on true
order by v.position;
