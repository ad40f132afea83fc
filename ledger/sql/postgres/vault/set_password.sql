update accounts set wrapped_password = $2 where id = $1 and is_recorded = 1
