select id, name, did from issuers order by id
