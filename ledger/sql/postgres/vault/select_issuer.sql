select id, name, did, deactivated_at is null as is_active from issuers where name = $1
