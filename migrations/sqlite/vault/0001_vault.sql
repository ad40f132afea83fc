-- the vault: mutable, and forgettable by design. ids are 16 bytes, references and hashes 32, times µs since the epoch;
-- a wrapped key is nonce (24 bytes), ciphertext and tag (16 bytes).

create table settings (
  only_row integer not null constraint settings_pkey primary key constraint settings_only_row check (only_row = 1),
  origin_base text not null,
  lookup_keys blob not null
) strict;

create table subjects (
  id blob not null constraint subjects_pkey primary key constraint subjects_id check (length(id) = 16),
  issuer blob not null constraint subjects_issuer check (length(issuer) = 16),
  name_ref blob not null constraint subjects_name_ref check (length(name_ref) = 32),
  email_ref blob not null constraint subjects_email_ref check (length(email_ref) = 32),
  wrapped_key blob not null,
  -- the e-mail reference leads: the same index serves the search by address.
  constraint subjects_refs unique (email_ref, name_ref, issuer)
) strict;

create index subjects_name_ref_idx on subjects (name_ref);

create table issuers (
  id blob not null constraint issuers_pkey primary key constraint issuers_id check (length(id) = 16),
  name text not null constraint issuers_name unique,
  did text not null constraint issuers_did unique,
  wrapped_signing_key blob not null,
  wrapped_sealing_key blob not null
) strict, without rowid;

create table month_keys (
  month text not null constraint month_keys_pkey primary key,
  wrapped_key blob not null
) strict, without rowid;

create table api_keys (
  id blob not null constraint api_keys_pkey primary key constraint api_keys_id check (length(id) = 16),
  hash blob not null constraint api_keys_hash unique constraint api_keys_hash_length check (length(hash) = 32),
  prefix text not null,
  role text not null constraint api_keys_role check (role in ('issuer', 'auditor', 'admin')),
  issuer blob not null constraint api_keys_issuer references issuers (id),
  name text,
  created_at integer not null,
  last_used_at integer,
  revoked_at integer
) strict, without rowid;

create table workers (
  instance blob not null constraint workers_pkey primary key constraint workers_instance check (length(instance) = 16),
  name text not null,
  role text not null,
  version text not null,
  started_at integer not null,
  last_seen_at integer not null,
  cursors text not null
) strict, without rowid;
