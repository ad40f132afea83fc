select id, wrapped_agent, created_at, refreshed_at, expires_at
from sessions
where account = ?1 and ended_at is null and expires_at > ?2
order by id desc
