select wrapped_key from subjects where id = ?1
