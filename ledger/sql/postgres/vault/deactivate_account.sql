update accounts set deactivated_at = coalesce(deactivated_at, $2) where id = $1 and is_recorded = 1
