-- One log: its events, its end, and what its appends must be judged by. Permanent: later steps add, none changes this file.
-- The log's name is the schema's.

create table events (
    position bigint not null,
    stream text not null,
    version bigint not null,
    type text not null,
    schema integer not null,
    -- microseconds since 1970-01-01T00:00:00Z
    recorded_at bigint not null,
    metadata bytea not null,
    payload bytea not null,
    event_hash bytea not null,
    chain_hash bytea not null,
    constraint events_position primary key (position),
    constraint events_stream_version unique (stream, version),
    constraint events_position_counts_from_zero check (position >= 0),
    constraint events_version_counts_from_zero check (version >= 0),
    constraint events_hashes_are_whole check (octet_length(event_hash) = 32 and octet_length(chain_hash) = 32)
);

-- What is sealed does not compress.
alter table events alter column payload set storage external;
alter table events alter column metadata set storage external;

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'an event is never changed or taken away' using errcode = 'object_not_in_prerequisite_state';
end
$$;

create trigger events_are_append_only before update or delete or truncate on events
    for each statement execute function refuse_change();

-- The end of the log, one row. Whoever appends locks it first.
create table head (
    singleton boolean not null default true,
    -- host and optional path, then /v1/logs/<log>
    origin text not null,
    -- how many events there are; also the next position
    size bigint not null,
    chain_hash bytea not null,
    recorded_at bigint not null,
    constraint head_singleton primary key (singleton),
    constraint head_is_one_row check (singleton),
    constraint head_hash_is_whole check (octet_length(chain_hash) = 32)
);

create table unique_keys (
    key bytea not null,
    stream text not null,
    position bigint not null,
    constraint unique_keys_key primary key (key)
);

create table idempotency (
    key bytea not null,
    command bytea not null,
    position bigint not null,
    recorded_at bigint not null,
    constraint idempotency_key primary key (key)
);

create index idempotency_recorded_at on idempotency (recorded_at);
