-- only over the one that was known
update master_key_rotation
set from_key = ?4, to_key = ?5, stage = ?6
where from_key = ?1 and to_key = ?2 and stage = ?3
