delete from accounts where id = $1 and is_recorded = 0
