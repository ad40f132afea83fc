update sessions set ended_at = ?3 where id = ?2 and account = ?1 and ended_at is null and expires_at > ?3
