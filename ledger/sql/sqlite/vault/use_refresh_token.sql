update refresh_tokens set used_at = ?2 where hash = ?1
