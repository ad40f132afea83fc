select id, issuer from subjects where email_ref = ?1
