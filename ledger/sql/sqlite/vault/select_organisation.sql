select id, name, did, deactivated_at is null as is_active, display_name, url, deactivated_at from issuers where id = ?1
