select session, used_at from refresh_tokens where hash = ?1
