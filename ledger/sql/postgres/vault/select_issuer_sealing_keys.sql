select id, wrapped_sealing_key from issuers where id = any($1)
