select wrapped_key from month_keys where month = ?1
