select id, issuer from subjects where email_ref = any($1)
