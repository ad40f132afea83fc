-- The Merkle tree over the log, in tiles, and the checkpoints that were published of it.
-- Permanent: a change is a further migration.

-- How many events the tiles stand for; the same as the tiles say.
create table tree (
    id integer primary key,
    size integer not null,
    constraint tree_single_row check (id = 1)
) strict;

insert into tree (id, size) values (1, 0);

create table tiles (
    -- -1: entries, which are event hashes; from 0: hashes of the tree, 8 times so many levels above the leaves
    level integer not null,
    number integer not null,
    -- up to 256 hashes of 32 bytes
    hashes blob not null,
    constraint tiles_place primary key (level, number),
    constraint tiles_hashes_are_whole check (length(hashes) between 32 and 8192 and length(hashes) % 32 = 0)
) strict;

-- A tile only grows, so a full one never changes. `insert or replace` would delete without firing a trigger.
create trigger tiles_only_grow before update on tiles
when new.level <> old.level or new.number <> old.number
    or length(new.hashes) <= length(old.hashes) or substr(new.hashes, 1, length(old.hashes)) <> old.hashes
begin
    select raise(abort, 'tiles_only_grow: what a tile holds is never changed');
end;

create trigger tiles_no_delete before delete on tiles
begin
    select raise(abort, 'tiles_no_delete: tiles are never deleted');
end;

create table checkpoints (
    -- dense, from 0
    number integer primary key,
    size integer not null,
    note text not null
) strict;

create trigger checkpoints_dense before insert on checkpoints
when new.number <> (select coalesce(max(number), -1) + 1 from checkpoints)
begin
    select raise(abort, 'checkpoints_dense: a checkpoint is published at the next number only');
end;

create trigger checkpoints_no_update before update on checkpoints
begin
    select raise(abort, 'checkpoints_no_update: checkpoints are never changed');
end;

create trigger checkpoints_no_delete before delete on checkpoints
begin
    select raise(abort, 'checkpoints_no_delete: checkpoints are never deleted');
end;
