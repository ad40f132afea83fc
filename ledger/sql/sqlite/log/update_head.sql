update head
set size = ?2, chain_hash = ?3, recorded_at = ?4
where id = 1 and size = ?1
