select id, name, did, display_name, url, deactivated_at from issuers where id = ?1
