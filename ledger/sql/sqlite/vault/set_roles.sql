update accounts set roles = ?3 where id = ?1 and roles = ?2 and is_recorded = 1
