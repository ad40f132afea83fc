insert into rebuilds (id, projection, phase, done, total, events_per_second, equal, updated_at, failure)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (id) do update set
    phase = excluded.phase,
    done = excluded.done,
    total = excluded.total,
    events_per_second = excluded.events_per_second,
    equal = excluded.equal,
    updated_at = excluded.updated_at,
    failure = excluded.failure;
