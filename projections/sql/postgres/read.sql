-- Besides the generations: how far each has come and which one serves, and the rebuilds there have been. A generation's tables
-- carry its number.
create table if not exists cursors (
    projection text not null,
    generation bigint not null,
    version bigint not null,
    stage text not null,
    serving boolean not null,
    position bigint,
    chain_hash bytea not null,
    head_seen bigint,
    confirmed_at bigint not null,
    unhealthy text,
    digest bytea,
    digest_position bigint,
    constraint cursors_pkey primary key (projection, generation)
) with (fillfactor = 50);

-- At most one generation of a projection serves.
create unique index if not exists cursors_serving on cursors (projection) where serving;

create table if not exists rebuilds (
    id uuid not null,
    projection text not null,
    phase text not null,
    done bigint not null,
    total bigint not null,
    events_per_second bigint not null,
    equal boolean,
    updated_at bigint not null,
    failure text,
    constraint rebuilds_pkey primary key (id)
);
