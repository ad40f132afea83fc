-- A whole batch. Every statement but the last only writes; none looks at what another one writes.
with inserted as (
    insert into events (position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash)
    select position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash
    from unnest(
        $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::integer[], $9::bigint[], $10::bytea[], $11::bytea[], $12::bytea[],
        $13::bytea[]
    ) as row (position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash)
),
-- a key that is free must be free here too: no "on conflict", so that a contradiction is found
claimed as (
    insert into unique_keys (key, stream, position)
    select key, stream, position from unnest($14::bytea[], $15::text[], $16::bigint[]) as row (key, stream, position)
),
moved as (
    update unique_keys set stream = row.stream, position = row.position
    from unnest($17::bytea[], $18::text[], $19::bigint[]) as row (key, stream, position)
    where unique_keys.key = row.key
),
released as (
    delete from unique_keys where key = any ($20::bytea[])
),
-- only an expired row is replaced
remembered as (
    insert into idempotency (key, command, position, recorded_at)
    select key, command, position, recorded_at
    from unnest($21::bytea[], $22::bytea[], $23::bigint[], $24::bigint[]) as row (key, command, position, recorded_at)
    on conflict on constraint idempotency_key
        do update set command = excluded.command, position = excluded.position, recorded_at = excluded.recorded_at
)
update head set size = $1 + cardinality($4::bigint[]), chain_hash = $2, recorded_at = $3 where size = $1
