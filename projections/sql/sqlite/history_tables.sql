-- The primary key alone: a generation is loaded by inserts in position order, and gets its index at the end.
create table verifications (
    position integer not null primary key,
    credential blob not null
) strict;
