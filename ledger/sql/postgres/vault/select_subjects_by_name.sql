select id from subjects where name_ref = $1
