insert into master_key_rotation (from_key, to_key, stage)
values ($1, $2, $3)
on conflict on constraint master_key_rotation_singleton do nothing
