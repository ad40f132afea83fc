-- The Merkle tree over the log, in tiles, and the checkpoints that were published of it. Permanent: later steps add, none changes
-- this file.

-- How many events the tiles stand for; the same as the tiles say. Whoever writes tiles changes it from the size that it started from.
create table tree (
    singleton boolean not null default true,
    size bigint not null,
    constraint tree_singleton primary key (singleton),
    constraint tree_is_one_row check (singleton)
);

insert into tree (size) values (0);

create table tiles (
    -- -1: entries, which are event hashes; from 0: hashes of the tree, 8 times so many levels above the leaves
    level smallint not null,
    number bigint not null,
    -- up to 256 hashes of 32 bytes
    hashes bytea not null,
    constraint tiles_place primary key (level, number),
    constraint tiles_hashes_are_whole check (octet_length(hashes) between 32 and 8192 and octet_length(hashes) % 32 = 0)
);

-- Hashes do not compress.
alter table tiles alter column hashes set storage external;

create function refuse_other_than_growth() returns trigger language plpgsql as $$
begin
    if new.level <> old.level or new.number <> old.number
        or octet_length(new.hashes) <= octet_length(old.hashes)
        or substr(new.hashes, 1, octet_length(old.hashes)) <> old.hashes
    then
        raise exception 'what a tile holds is never changed' using errcode = 'object_not_in_prerequisite_state';
    end if;
    return new;
end
$$;

create function refuse_change_of_proofs() returns trigger language plpgsql as $$
begin
    raise exception 'tiles and checkpoints are never taken away, nor checkpoints changed' using errcode = 'object_not_in_prerequisite_state';
end
$$;

-- so a full tile never changes
create trigger tiles_only_grow before update on tiles for each row execute function refuse_other_than_growth();

create trigger tiles_stay before delete or truncate on tiles for each statement execute function refuse_change_of_proofs();

create table checkpoints (
    -- dense, from 0
    number bigint not null,
    size bigint not null,
    note text not null,
    constraint checkpoints_number primary key (number),
    constraint checkpoints_number_counts_from_zero check (number >= 0)
);

create trigger checkpoints_are_append_only before update or delete or truncate on checkpoints
    for each statement execute function refuse_change_of_proofs();
