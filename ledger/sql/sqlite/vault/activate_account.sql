update accounts set deactivated_at = null where id = ?1 and is_recorded = 1
