-- One row: what this generation is and how far it has come. Positions are null while nothing has been applied.
create table cursor (
    only integer not null primary key check (only = 0),
    generation integer not null,
    version integer not null,
    stage text not null,
    position integer,
    chain_hash blob not null,
    head_seen integer,
    confirmed_at integer not null,
    unhealthy text
) strict;
