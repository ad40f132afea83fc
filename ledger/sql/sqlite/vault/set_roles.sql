update accounts set roles = ?2 where id = ?1 and is_recorded = 1
