-- The last rotation of the master key, and by which master keys each process wraps and opens. Permanent: later steps add.

create table master_key_rotation (
    singleton boolean not null default true,
    -- fingerprints of the key that was and of the one that takes its place
    from_key text not null,
    to_key text not null,
    stage text not null,
    constraint master_key_rotation_singleton primary key (singleton),
    constraint master_key_rotation_is_one_row check (singleton),
    constraint master_key_rotation_stage check (stage in ('announced', 'wrapping', 'done'))
);

-- Fingerprints, with spaces between; the one that wraps comes first. Null is an older program.
alter table workers add column master_keys text;
