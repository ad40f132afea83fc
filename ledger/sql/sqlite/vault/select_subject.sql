select id, wrapped_key from subjects where email_ref = ?1 and name_ref = ?2 and issuer = ?3
