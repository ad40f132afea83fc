select id, wrapped_key from subjects where id = any($1)
