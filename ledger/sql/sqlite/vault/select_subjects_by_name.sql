select id, issuer from subjects where name_ref = ?1
