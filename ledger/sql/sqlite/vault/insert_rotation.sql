insert into master_key_rotation (only_row, from_key, to_key, stage)
values (1, ?1, ?2, ?3)
on conflict (only_row) do nothing
