select month, wrapped_key from month_keys where month = any($1) and length(wrapped_key) > 0
