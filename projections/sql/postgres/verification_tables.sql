-- Primary keys alone: a generation is loaded by copies in position order, and gets its indexes at the end. Whatever stands under
-- the same name was left behind by a store of which only a part was deleted.
drop table if exists issuers_{generation}, credentials_{generation}, status_changes_{generation}, erasures_{generation},
    erased_credentials_{generation};

create table issuers_{generation} (
    position bigint not null primary key,
    id uuid not null,
    name text not null,
    did text not null,
    registered_at bigint not null
);

create table credentials_{generation} (
    position bigint not null primary key,
    id uuid not null,
    type text not null,
    issuer uuid not null,
    subject_id uuid,
    digest bytea not null,
    valid_from bigint,
    valid_until bigint,
    issued_at bigint not null,
    issued_by text not null,
    state bigint not null,
    status_changed_at bigint
);

create table status_changes_{generation} (
    position bigint not null primary key,
    credential uuid not null,
    recorded_at bigint not null,
    state bigint not null
);

-- Subjects whose personal data was erased, by the position of that.
create table erasures_{generation} (
    position bigint not null primary key,
    subject_id uuid not null,
    recorded_at bigint not null
);

-- What is left of their credentials, by the position of their issuance; they stand in no other table any more.
create table erased_credentials_{generation} (
    position bigint not null primary key,
    id uuid not null,
    issuer uuid not null,
    subject_id uuid not null,
    digest bytea not null
);
