insert into refresh_tokens (hash, session, created_at) values (?1, ?2, ?3)
