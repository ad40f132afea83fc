-- Appends a batch that was planned from what its process knows of the log, if all of that still holds: one round trip and one
-- statement, which commits by itself. If anything differs, nothing is written; the caller then locks, looks and plans again.
-- Volatile, so that each statement within has a snapshot of its own: what is checked is seen after the head was locked.
create function append_if_unchanged(
    -- the head that was built on, and the new one
    known_size bigint,
    new_chain_hash bytea,
    new_recorded_at bigint,
    -- the events
    positions bigint[],
    event_streams text[],
    versions bigint[],
    types text[],
    schemas integer[],
    recorded_ats bigint[],
    metadatas bytea[],
    payloads bytea[],
    event_hashes bytea[],
    chain_hashes bytea[],
    -- unique keys that are claimed
    keys bytea[],
    key_streams text[],
    key_positions bigint[],
    -- idempotency rows
    remembered bytea[],
    commands bytea[],
    remembered_positions bigint[],
    remembered_ats bigint[],
    -- what the plan presumes besides: the chain hash at the head; each stream's last version, null for none; that nobody owns these
    -- keys, that nothing is remembered under these, and that these subjects are in the vault of this database
    known_chain_hash bytea,
    streams text[],
    last_versions bigint[],
    free_keys bytea[],
    unremembered bytea[],
    subjects uuid[],
    -- by how much the new time may be ahead of the clock, in microseconds; behind it may not be at all
    lead_max bigint,
    -- whether it was appended, and the clock under the lock
    out appended boolean,
    out now bigint
)
language plpgsql volatile as $$
declare
    stored record;
begin
    appended := false;
    select head.size, head.chain_hash, head.recorded_at into stored from head for update;
    now := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
    if stored.size is distinct from known_size or stored.chain_hash <> known_chain_hash then
        return;
    end if;
    if new_recorded_at < now or new_recorded_at > greatest(now + lead_max, stored.recorded_at) then
        return;
    end if;
    if exists (
        select from unnest(streams, last_versions) as presumed (stream, version)
        where presumed.version is distinct from (
            select events.version from events where events.stream = presumed.stream order by events.version desc limit 1
        )
    ) then
        return;
    end if;
    if exists (select from unique_keys where unique_keys.key = any (free_keys)) then
        return;
    end if;
    if exists (select from idempotency where idempotency.key = any (unremembered)) then
        return;
    end if;
    if cardinality(subjects) > 0 then
        -- a statement of its own, planned only where there is such a table
        if exists (
            select from unnest(subjects) as named (id) where not exists (select from vault.subjects where vault.subjects.id = named.id)
        ) then
            return;
        end if;
    end if;
    insert into events (position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash)
    select *
    from unnest(
        positions, event_streams, versions, types, schemas, recorded_ats, metadatas, payloads, event_hashes, chain_hashes
    );
    -- a key that is free must be free here too: no "on conflict", so that a contradiction is found
    insert into unique_keys (key, stream, position) select * from unnest(keys, key_streams, key_positions);
    insert into idempotency (key, command, position, recorded_at)
    select * from unnest(remembered, commands, remembered_positions, remembered_ats);
    update head set size = known_size + cardinality(positions), chain_hash = new_chain_hash, recorded_at = new_recorded_at;
    appended := true;
end
$$;
