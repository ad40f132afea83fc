-- The vault: mutable, and forgettable by design. References and hashes have 32 bytes, times are microseconds since
-- 1970-01-01T00:00:00Z; a wrapped key is nonce (24 bytes), ciphertext and tag (16 bytes). Permanent: later steps add.

create table settings (
    singleton boolean not null default true,
    origin_base text not null,
    lookup_keys bytea not null,
    constraint settings_singleton primary key (singleton),
    constraint settings_is_one_row check (singleton)
);

create table subjects (
    id uuid not null,
    issuer uuid not null,
    name_ref bytea not null,
    email_ref bytea not null,
    wrapped_key bytea not null,
    constraint subjects_id primary key (id),
    -- The e-mail reference leads: the same index serves the search by address.
    constraint subjects_refs unique (email_ref, name_ref, issuer),
    constraint subjects_refs_are_whole check (octet_length(name_ref) = 32 and octet_length(email_ref) = 32)
);

create index subjects_name_ref on subjects (name_ref);

create table issuers (
    id uuid not null,
    name text not null,
    did text not null,
    wrapped_signing_key bytea not null,
    wrapped_sealing_key bytea not null,
    constraint issuers_id primary key (id),
    constraint issuers_name unique (name),
    constraint issuers_did unique (did)
);

create table month_keys (
    month text not null,
    wrapped_key bytea not null,
    constraint month_keys_month primary key (month)
);

create table api_keys (
    id uuid not null,
    hash bytea not null,
    prefix text not null,
    role text not null,
    issuer uuid not null,
    name text,
    created_at bigint not null,
    last_used_at bigint,
    revoked_at bigint,
    constraint api_keys_id primary key (id),
    constraint api_keys_hash unique (hash),
    constraint api_keys_role check (role in ('issuer', 'auditor', 'admin')),
    constraint api_keys_issuer foreign key (issuer) references issuers (id)
);

create table workers (
    instance uuid not null,
    name text not null,
    role text not null,
    version text not null,
    started_at bigint not null,
    last_seen_at bigint not null,
    cursors text not null,
    constraint workers_instance primary key (instance)
);
