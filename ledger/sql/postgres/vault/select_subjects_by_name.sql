select id, issuer from subjects where name_ref = any($1)
