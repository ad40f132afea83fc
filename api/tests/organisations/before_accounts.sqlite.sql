-- The vault as it was before step 4.
alter table workers drop column master_keys;
drop table master_key_rotation;
drop table erasures;
drop table token_keys;
drop table refresh_tokens;
drop table sessions;
drop table accounts;
alter table issuers drop column display_name;
alter table issuers drop column url;
alter table issuers drop column deactivated_at;
drop table api_keys;
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
pragma user_version = 3;
