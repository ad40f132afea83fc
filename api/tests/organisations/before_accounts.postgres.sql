-- The vault as it was before step 4.
set search_path = vault;
alter table workers drop column master_keys;
drop table master_key_rotation, erasures, token_keys, refresh_tokens, sessions, accounts;
alter table issuers drop column display_name, drop column url, drop column deactivated_at;
drop table api_keys;
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
delete from _sqlx_migrations where version >= 4;
