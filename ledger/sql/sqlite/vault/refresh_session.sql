update sessions set refreshed_at = ?2, expires_at = ?3
where id = ?1 and ended_at is null and expires_at > ?2
