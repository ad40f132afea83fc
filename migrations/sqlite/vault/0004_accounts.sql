-- who may do what: roles and terms of API keys, accounts, their sessions, the keys that sign access tokens.

-- a key has any number of roles, by name, with spaces between. who was an admin or an auditor of everything stays that, under the
-- roles' new names: admin and auditor are an organisation's.
create table keys_with_roles (
  id blob not null constraint api_keys_pkey primary key constraint api_keys_id check (length(id) = 16),
  hash blob not null constraint api_keys_hash unique constraint api_keys_hash_length check (length(hash) = 32),
  prefix text not null,
  roles text not null,
  issuer blob not null constraint api_keys_issuer references issuers (id),
  -- a JSON array; null is all
  types text,
  name text,
  created_at integer not null,
  expires_at integer,
  last_used_at integer,
  revoked_at integer
) strict, without rowid;

insert into keys_with_roles (id, hash, prefix, roles, issuer, name, created_at, last_used_at, revoked_at)
select
  id, hash, prefix, case role when 'admin' then 'operator' when 'auditor' then 'inspector' else role end, issuer, name, created_at,
  last_used_at, revoked_at
from api_keys;

drop table api_keys;

alter table keys_with_roles rename to api_keys;

alter table issuers add column display_name text;

alter table issuers add column url text;

alter table issuers add column deactivated_at integer;

create table accounts (
  id blob not null constraint accounts_pkey primary key constraint accounts_id check (length(id) = 16),
  issuer blob not null constraint accounts_issuer references issuers (id),
  roles text not null,
  username_ref blob not null constraint accounts_username unique constraint accounts_username_length check (length(username_ref) = 32),
  email_ref blob not null constraint accounts_email unique constraint accounts_email_length check (length(email_ref) = 32),
  wrapped_profile blob not null,
  wrapped_password blob not null,
  created_at integer not null,
  -- whether the audit log tells of it: until then it is nobody's, and makes way
  is_recorded integer not null default 0 constraint accounts_is_recorded check (is_recorded in (0, 1)),
  deactivated_at integer
) strict, without rowid;

create table sessions (
  id blob not null constraint sessions_pkey primary key constraint sessions_id check (length(id) = 16),
  account blob not null constraint sessions_account references accounts (id),
  wrapped_agent blob,
  created_at integer not null,
  refreshed_at integer not null,
  expires_at integer not null,
  ended_at integer
) strict, without rowid;

create index sessions_of_account on sessions (account);

-- one that was used stays until its session is forgotten: who uses it again stole it, or was stolen from.
create table refresh_tokens (
  hash blob not null constraint refresh_tokens_pkey primary key constraint refresh_tokens_hash check (length(hash) = 32),
  session blob not null constraint refresh_tokens_session references sessions (id) on delete cascade,
  created_at integer not null,
  used_at integer
) strict, without rowid;

create index refresh_tokens_of_session on refresh_tokens (session);

create table token_keys (
  kid text not null constraint token_keys_pkey primary key,
  public_key blob not null constraint token_keys_public_key check (length(public_key) = 32),
  wrapped_signing_key blob not null,
  created_at integer not null,
  retired_at integer
) strict, without rowid;
