insert into sessions (id, account, wrapped_agent, created_at, refreshed_at, expires_at)
values (?1, ?2, ?3, ?4, ?4, ?5)
