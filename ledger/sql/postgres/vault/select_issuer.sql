select id, name, did from issuers where name = $1
