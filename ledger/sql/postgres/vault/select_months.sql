select month from month_keys where length(wrapped_key) > 0 order by month
