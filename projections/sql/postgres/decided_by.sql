-- The last event that changed the status of the credential $1 at the time $2 and the position $3; null when none had. Beside the cursor
-- of the same snapshot.
select
    k.generation, k.stage, k.position, k.chain_hash, k.head_seen, k.confirmed_at, k.unhealthy,
    (
        select s.position
        from status_changes_{generation} s
        where s.credential = $1 and s.recorded_at <= $2 and s.position <= $3
        order by s.position desc
        limit 1
    )
from cursors k
where k.projection = 'verification' and k.generation = {generation} and k.serving;
