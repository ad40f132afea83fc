select id from subjects where email_ref = $1
