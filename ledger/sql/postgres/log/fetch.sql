-- What a batch is judged by. Each array of answers is in the order of its array of questions, null where nothing is found.
select
    head.size,
    head.chain_hash,
    head.recorded_at,
    (extract(epoch from clock_timestamp()) * 1000000)::bigint as now,
    versions.version,
    keys.stream,
    keys.position,
    remembered.command,
    remembered.position,
    remembered.recorded_at
from head
cross join lateral (
    select array_agg(last.version order by wanted.place) as version
    from unnest($1::text[]) with ordinality as wanted (stream, place)
    left join lateral (
        select events.version from events where events.stream = wanted.stream order by events.version desc limit 1
    ) as last on true
) as versions
cross join lateral (
    select array_agg(owned.stream order by wanted.place) as stream, array_agg(owned.position order by wanted.place) as position
    from unnest($2::bytea[]) with ordinality as wanted (key, place)
    left join lateral (
        select unique_keys.stream, unique_keys.position from unique_keys where unique_keys.key = wanted.key limit 1
    ) as owned on true
) as keys
cross join lateral (
    select
        array_agg(known.command order by wanted.place) as command,
        array_agg(known.position order by wanted.place) as position,
        array_agg(known.recorded_at order by wanted.place) as recorded_at
    from unnest($3::bytea[]) with ordinality as wanted (key, place)
    left join lateral (
        select idempotency.command, idempotency.position, idempotency.recorded_at
        from idempotency where idempotency.key = wanted.key limit 1
    ) as known on true
) as remembered
