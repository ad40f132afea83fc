-- The keys that the logs sign their checkpoints with, and the last checkpoint that each signed. The newest key signs; the older ones
-- stay, so that what they signed can be checked. Permanent: later steps add.

create table log_keys (
    log text not null,
    -- dense in each log, from 0
    number bigint not null,
    public_key bytea not null,
    wrapped_signing_key bytea not null,
    created_at bigint not null,
    constraint log_keys_number primary key (log, number),
    constraint log_keys_number_counts_from_zero check (number >= 0),
    constraint log_keys_public_key_is_whole check (octet_length(public_key) = 32)
);

create table checkpoint_guard (
    log text not null,
    note text not null,
    constraint checkpoint_guard_log primary key (log)
);
