-- The small file beside the generations: which generation of each projection serves, and the rebuilds there have been.
create table if not exists serving (
    projection text not null primary key,
    generation integer not null,
    version integer not null,
    digest blob,
    digest_position integer
) strict, without rowid;

create table if not exists rebuilds (
    id blob not null primary key,
    projection text not null,
    phase text not null,
    done integer not null,
    total integer not null,
    events_per_second integer not null,
    equal integer,
    updated_at integer not null,
    failure text
) strict, without rowid;
