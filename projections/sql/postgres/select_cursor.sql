-- The cursor of the generation that serves; of one whose tables ($2, without their numbers) are all there.
select generation, stage, position, chain_hash, head_seen, confirmed_at, unhealthy, version, digest, digest_position
from cursors
where projection = $1
  and serving
  and not exists (select 1 from unnest($2::text[]) as needed (name) where to_regclass('read.' || name || '_' || generation) is null);
