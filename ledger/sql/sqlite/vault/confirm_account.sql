update accounts set is_recorded = 1 where id = ?1
