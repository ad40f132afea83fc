select issuer, name_ref, email_ref from subjects where id = $1
