insert into month_keys (month, wrapped_key) values (?1, ?2)
