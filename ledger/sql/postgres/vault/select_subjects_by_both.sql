select id, issuer from subjects where email_ref = any($1) and name_ref = any($2)
