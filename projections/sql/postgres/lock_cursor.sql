-- Nobody moves this generation on until the flip is committed.
select generation, stage, position, chain_hash, head_seen, confirmed_at, unhealthy, version
from cursors
where projection = $1 and generation = $2
for update;
