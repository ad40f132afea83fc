-- Who may do what: roles and terms of API keys, accounts, their sessions, the keys that sign access tokens. Permanent: later steps add.

-- A key has any number of roles, by name, with spaces between. Who was an admin or an auditor of everything stays that, under the
-- roles' new names: admin and auditor are an organisation's.
alter table api_keys drop constraint api_keys_role;
alter table api_keys rename column role to roles;
alter table api_keys add column types text;
alter table api_keys add column expires_at bigint;
update api_keys set roles = case roles when 'admin' then 'operator' when 'auditor' then 'inspector' else roles end;

alter table issuers add column display_name text;
alter table issuers add column url text;
alter table issuers add column deactivated_at bigint;

create table accounts (
    id uuid not null,
    issuer uuid not null,
    roles text not null,
    username_ref bytea not null,
    email_ref bytea not null,
    wrapped_profile bytea not null,
    wrapped_password bytea not null,
    created_at bigint not null,
    -- whether the audit log tells of it: until then it is nobody's, and makes way
    is_recorded bigint not null default 0,
    deactivated_at bigint,
    constraint accounts_id primary key (id),
    constraint accounts_issuer foreign key (issuer) references issuers (id),
    constraint accounts_username unique (username_ref),
    constraint accounts_email unique (email_ref),
    constraint accounts_username_is_whole check (octet_length(username_ref) = 32),
    constraint accounts_email_is_whole check (octet_length(email_ref) = 32),
    constraint accounts_is_recorded_or_not check (is_recorded in (0, 1))
);

create table sessions (
    id uuid not null,
    account uuid not null,
    wrapped_agent bytea,
    created_at bigint not null,
    refreshed_at bigint not null,
    expires_at bigint not null,
    ended_at bigint,
    constraint sessions_id primary key (id),
    constraint sessions_account foreign key (account) references accounts (id)
);

create index sessions_of_account on sessions (account);

-- One that was used stays until its session is forgotten: who uses it again stole it, or was stolen from.
create table refresh_tokens (
    hash bytea not null,
    session uuid not null,
    created_at bigint not null,
    used_at bigint,
    constraint refresh_tokens_hash primary key (hash),
    constraint refresh_tokens_hash_is_whole check (octet_length(hash) = 32),
    constraint refresh_tokens_session foreign key (session) references sessions (id) on delete cascade
);

create index refresh_tokens_of_session on refresh_tokens (session);

create table token_keys (
    kid text not null,
    public_key bytea not null,
    wrapped_signing_key bytea not null,
    created_at bigint not null,
    retired_at bigint,
    constraint token_keys_kid primary key (kid),
    constraint token_keys_public_key_is_whole check (octet_length(public_key) = 32)
);
