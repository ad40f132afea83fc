-- One log: its events, its head, the unique keys its streams own, and the idempotency keys it has answered.
-- Permanent: a change is a further migration.

create table events (
    position integer primary key,
    stream text not null,
    version integer not null,
    type text not null,
    schema integer not null,
    -- Microseconds since the epoch, UTC; never less than in the row before.
    recorded_at integer not null,
    metadata blob not null,
    payload blob not null,
    event_hash blob not null,
    chain_hash blob not null,
    -- Also finds a stream's events and its last version. No other index: one on a random key would slow every append.
    constraint events_stream_version unique (stream, version)
) strict;

-- `insert or replace` deletes the row in its way without firing a delete trigger. So a row that could replace another, by its
-- position or by its place in its stream, is refused before it is inserted; and so is a gap.
create trigger events_position_dense before insert on events
when new.position <> (select coalesce(max(position), -1) + 1 from events)
begin
    select raise(abort, 'events_position_dense: an event is appended at the next position only');
end;

create trigger events_version_dense before insert on events
when new.version <> (select coalesce(max(version), -1) + 1 from events where stream = new.stream)
begin
    select raise(abort, 'events_version_dense: an event is appended at its stream''s next version only');
end;

create trigger events_no_update before update on events
begin
    select raise(abort, 'events_no_update: events are never changed');
end;

create trigger events_no_delete before delete on events
begin
    select raise(abort, 'events_no_delete: events are never deleted');
end;

-- What the next append builds on; the same as the last event says.
create table head (
    id integer primary key,
    origin text not null,
    size integer not null,
    chain_hash blob not null,
    recorded_at integer not null,
    constraint head_single_row check (id = 1)
) strict;

create table unique_keys (
    key blob not null,
    stream text not null,
    position integer not null,
    constraint unique_keys_key primary key (key)
) strict, without rowid;

-- Rows lie in the order in which they were written, so that the old ones are found without an index on their time.
create table idempotency (
    sequence integer primary key,
    key blob not null,
    command blob not null,
    position integer not null,
    recorded_at integer not null,
    constraint idempotency_key unique (key)
) strict;
