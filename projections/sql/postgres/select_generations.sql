-- Generations whose tables ($3, without their numbers) are all there; $2 is the one wanted, or null for all.
select generation, stage, position, chain_hash, head_seen, confirmed_at, unhealthy, version
from cursors
where projection = $1
  and ($2::bigint is null or generation = $2)
  and not exists (select 1 from unnest($3::text[]) as needed (name) where to_regclass('read.' || name || '_' || generation) is null)
order by generation;
