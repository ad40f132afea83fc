-- The primary key alone: a generation is loaded by copies in position order, and gets its index at the end. Whatever stands under
-- the same name was left behind by a store of which only a part was deleted.
drop table if exists verifications_{generation};

create table verifications_{generation} (
    position bigint not null primary key,
    credential uuid not null
);
