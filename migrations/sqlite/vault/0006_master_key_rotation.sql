-- the last rotation of the master key, and by which master keys each process wraps and opens.

create table master_key_rotation (
  only_row integer not null constraint master_key_rotation_pkey primary key constraint master_key_rotation_only_row check (only_row = 1),
  -- fingerprints of the key that was and of the one that takes its place
  from_key text not null,
  to_key text not null,
  stage text not null constraint master_key_rotation_stage check (stage in ('announced', 'wrapping', 'done'))
) strict;

-- fingerprints, with spaces between; the one that wraps comes first. null is an older program.
alter table workers add column master_keys text;
