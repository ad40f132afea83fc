-- Primary keys alone: a generation is loaded by inserts in position order, and gets its indexes at the end.
create table issuers (
    position integer not null primary key,
    id blob not null,
    name text not null,
    did text not null,
    registered_at integer not null
) strict;

create table credentials (
    position integer not null primary key,
    id blob not null,
    type text not null,
    issuer blob not null,
    subject_id blob,
    digest blob not null,
    valid_from integer,
    valid_until integer,
    issued_at integer not null,
    issued_by text not null,
    state integer not null,
    status_changed_at integer
) strict;

create table status_changes (
    position integer not null primary key,
    credential blob not null,
    recorded_at integer not null,
    state integer not null
) strict;

-- Subjects whose personal data was erased, by the position of that.
create table erasures (
    position integer not null primary key,
    subject_id blob not null,
    recorded_at integer not null
) strict;

-- What is left of their credentials, by the position of their issuance; they stand in no other table any more.
create table erased_credentials (
    position integer not null primary key,
    id blob not null,
    issuer blob not null,
    subject_id blob not null,
    digest blob not null
) strict;
