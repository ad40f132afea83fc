select wrapped_sealing_key from issuers where id = ?1
