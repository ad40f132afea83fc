select wrapped_key from month_keys where month = ?1 and length(wrapped_key) > 0
