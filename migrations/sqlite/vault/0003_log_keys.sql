-- the keys that the logs sign their checkpoints with, and the last checkpoint that each signed. the newest key signs; the older ones
-- stay, so that what they signed can be checked.

create table log_keys (
  log text not null,
  -- dense in each log, from 0
  number integer not null constraint log_keys_number check (number >= 0),
  public_key blob not null constraint log_keys_public_key check (length(public_key) = 32),
  wrapped_signing_key blob not null,
  created_at integer not null,
  constraint log_keys_pkey primary key (log, number)
) strict, without rowid;

create table checkpoint_guard (
  log text not null constraint checkpoint_guard_pkey primary key,
  note text not null
) strict, without rowid;
