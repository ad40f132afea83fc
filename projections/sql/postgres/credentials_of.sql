-- Where the credentials of the subjects $1 were issued from $2 on, ascending, at most $3, those that were erased included; beside the
-- cursor of the same snapshot.
select
    k.generation, k.stage, k.position, k.chain_hash, k.head_seen, k.confirmed_at, k.unhealthy,
    c.position, c.id, c.subject_id, c.is_erased
from cursors k
left join (
    select position, id, subject_id, false as is_erased
    from credentials_{generation}
    where subject_id = any($1) and position >= $2
    union all
    select position, id, subject_id, true as is_erased
    from erased_credentials_{generation}
    where subject_id = any($1) and position >= $2
    order by position
    limit $3
) c on true
where k.projection = 'verification' and k.generation = {generation} and k.serving
order by c.position;
