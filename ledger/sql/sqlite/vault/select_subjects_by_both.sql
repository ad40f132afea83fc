select id, issuer from subjects where email_ref = ?1 and name_ref = ?2
